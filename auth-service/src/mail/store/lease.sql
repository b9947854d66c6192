update mails set attempts = attempts + 1, next_attempt_at = $2, last_error = ''
where mail_id = any (array(
    select mail_id from mails
    where next_attempt_at <= $1 and user_id is not null
    order by next_attempt_at
    limit $3
    for update skip locked))
returning mail_id, kind as "kind: Kind", user_id as "user_id!", recipient, attempts, created_at
