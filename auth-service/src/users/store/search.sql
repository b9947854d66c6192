-- Materialized, so that the index on the words is read and not, for the sake of the
-- order, every account from the newest on until a page is full.
with found as materialized (
    select *
    from users
    where words @@ auth.prefixes(auth.words($6))
        and ($1::text is null or role = $1)
        and ($2::text is null or kind = $2)
        and ($3::text is null or state = $3)
        and ($4::uuid is null or user_id < $4)
)
select user_id as "user_id!", kind as "kind!: Kind", email as "email?", email_verified_at as "email_verified_at?",
    display_name as "display_name!",
    role as "role!: Role", permissions as "permissions!", avatar_url as "avatar_url!", mfa_enabled as "mfa_enabled!",
    state as "state!: State", token_version as "token_version!", last_login_at as "last_login_at?",
    created_at as "created_at!", updated_at as "updated_at!"
from found
order by user_id desc
limit $5
