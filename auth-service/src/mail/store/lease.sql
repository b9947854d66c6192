with other as (
    select mail_id from mails
    where next_attempt_at <= $1 and user_id is not null
        and kind not in ('verify_email', 'registration_attempt')
    order by next_attempt_at
    limit $3
    for update skip locked
), registration as (
    select mail_id from mails
    where next_attempt_at <= $1 and user_id is not null
        and kind in ('verify_email', 'registration_attempt')
    order by next_attempt_at
    limit least($4, $3 - (select count(*) from other))
    for update skip locked
)
update mails set attempts = attempts + 1, next_attempt_at = $2, last_error = ''
where mail_id = any (array(select mail_id from other union all select mail_id from registration))
returning mail_id, kind as "kind: Kind", user_id as "user_id!", recipient, attempts, token_version, created_at
