insert into mails (mail_id, kind, user_id, recipient, next_attempt_at, created_at, token_version, comes_last)
select $1, $2::text, user_id, $4, $5, $5, token_version,
    $2 in ('verify_email', 'registration_attempt') or email_verified_at is null
from users
where user_id = $3 and not exists (
    select from mails
    where next_attempt_at is not null and user_id = $3 and kind = $2
        and lower(recipient) is not distinct from lower($4))
