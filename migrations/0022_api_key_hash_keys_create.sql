-- What API keys were hashed with under earlier master keys, for as long as such
-- API keys live.

create table auth.api_key_hash_keys
(
    api_key_hash_key_id uuid primary key,
    -- The HMAC key, encrypted under the master key of today.
    sealed              bytea       not null,
    created_at          timestamptz not null default now()
);

grant select, insert, update (sealed) on auth.api_key_hash_keys to ihuman_auth;
grant update (sealed) on auth.idempotency_keys to ihuman_auth;

create function auth.list_api_key_hash_keys()
    returns table (api_key_hash_key_id uuid, sealed bytea)
    language sql stable security definer
    set search_path = ''
as $$
    select k.api_key_hash_key_id, k.sealed
    from auth.api_key_hash_keys k
    order by k.api_key_hash_key_id desc
$$;

revoke all on function auth.list_api_key_hash_keys() from public;
grant execute on function auth.list_api_key_hash_keys() to ihuman_auth, ihuman_catalog;
