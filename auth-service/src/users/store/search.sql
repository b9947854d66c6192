select user_id, kind as "kind: Kind", email, display_name, role as "role: Role",
    permissions, avatar_url, state as "state: State", token_version, last_login_at, created_at, updated_at
from users
where words @@ auth.prefixes(auth.words($6))
    and ($1::text is null or role = $1)
    and ($2::text is null or kind = $2)
    and ($3::text is null or state = $3)
    and ($4::uuid is null or user_id < $4)
order by user_id desc
limit $5
