-- API keys that can be changed, rotated and confined, and that say when they were last used.

alter table auth.api_keys
    -- Goes up with each change: replicas drop the copies that they remember of an older one.
    add column version               bigint not null default 1,
    -- Networks in CIDR notation; empty for anywhere.
    add column ip_allow_list         text[] not null default '{}',
    -- Both or neither; without them the limit of the service applies.
    add column rate_limit_requests   integer,
    add column rate_limit_window_ms  bigint,
    add column metadata              jsonb  not null default '{}',
    add column last_used_at          timestamptz,
    -- The secret before the last rotation, and until when it works too.
    add column previous_secret_hash  bytea,
    add column previous_expires_at   timestamptz,
    add constraint api_keys_rate_limit_check
        check ((rate_limit_requests is null) = (rate_limit_window_ms is null)
               and rate_limit_requests > 0 and rate_limit_window_ms > 0),
    add constraint api_keys_previous_check
        check ((previous_secret_hash is null) = (previous_expires_at is null));

-- A use is not a change of the key.
drop trigger api_keys_updated on auth.api_keys;
create trigger api_keys_updated
    before update of name, scopes, secret_hash, expires_at, revoked_at, ip_allow_list, rate_limit_requests,
        rate_limit_window_ms, metadata, previous_secret_hash, previous_expires_at
    on auth.api_keys
    for each row execute function public.set_updated_at();

-- That an API key has changed travels as revocations do; `token_version` is then
-- the version of the key.
alter table auth.revocations
    drop constraint revocations_kind_check,
    drop constraint revocations_version_check,
    add constraint revocations_kind_check
        check (kind in ('session', 'user', 'api_key', 'api_key_change')),
    add constraint revocations_version_check
        check ((kind in ('user', 'api_key_change')) = (token_version is not null));

-- The same function with more columns at the end: who names the old ones notices nothing.
drop function auth.find_api_key(uuid);
create function auth.find_api_key(id uuid)
    returns table (user_id uuid, secret_hash bytea, scopes text[], expires_at timestamptz,
                   revoked_at timestamptz, kind text, role text, permissions text[], state text,
                   version bigint, previous_secret_hash bytea, previous_expires_at timestamptz,
                   ip_allow_list text[], rate_limit_requests integer, rate_limit_window_ms bigint)
    language sql stable security definer
    set search_path = ''
as $$
    select k.user_id, k.secret_hash, k.scopes, k.expires_at, k.revoked_at,
           u.kind, u.role, u.permissions, u.state,
           k.version, k.previous_secret_hash, k.previous_expires_at,
           k.ip_allow_list, k.rate_limit_requests, k.rate_limit_window_ms
    from auth.api_keys k
    join auth.users u on u.user_id = k.user_id
    where k.api_key_id = id
$$;

-- Notes when keys were used, many at once. Locks in the order of the ids, so that
-- two replicas wait for each other and not both at once.
create function auth.touch_api_keys(ids uuid[], times timestamptz[])
    returns void
    language sql security definer
    set search_path = ''
as $$
    with uses as (
        select k.api_key_id, u.used_at
        from auth.api_keys k
        join unnest(ids, times) as u (id, used_at) on u.id = k.api_key_id
        where k.last_used_at is null or k.last_used_at < u.used_at
        order by k.api_key_id
        for no key update of k
    )
    update auth.api_keys k
    set last_used_at = uses.used_at
    from uses
    where k.api_key_id = uses.api_key_id
$$;

revoke all on function auth.find_api_key(uuid), auth.touch_api_keys(uuid[], timestamptz[]) from public;
grant execute on function auth.find_api_key(uuid), auth.touch_api_keys(uuid[], timestamptz[])
    to ihuman_auth, ihuman_catalog;
