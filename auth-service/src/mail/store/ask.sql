insert into mails (mail_id, kind, recipient, ip_address, user_agent, request_id, next_attempt_at, created_at)
select $1, $2::text, $3, $4, $5, $6, $7, $7
where not exists (
    select from mails
    where next_attempt_at is not null and user_id is null and kind = $2 and lower(recipient) = lower($3))
