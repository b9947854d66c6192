insert into mails (mail_id, kind, user_id, recipient, next_attempt_at, created_at, token_version)
select $1, $2::text, $3, $4, $5, $5, (select token_version from users where user_id = $3)
where not exists (
    select from mails
    where next_attempt_at is not null and user_id = $3 and kind = $2
        and lower(recipient) is not distinct from lower($4))
