with first as (
    select mail_id from mails
    where next_attempt_at <= $1 and user_id is not null and not comes_last
    order by next_attempt_at
    limit $3
    for update skip locked
), last as (
    select mail_id from mails
    where next_attempt_at <= $1 and user_id is not null and comes_last
    order by next_attempt_at
    limit least($4, $3 - (select count(*) from first))
    for update skip locked
)
update mails set attempts = attempts + 1, next_attempt_at = $2, last_error = ''
where mail_id = any (array(select mail_id from first union all select mail_id from last))
returning mail_id, kind as "kind: Kind", user_id as "user_id!", recipient, attempts, token_version, comes_last, created_at
