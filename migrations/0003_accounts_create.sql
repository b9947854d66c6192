-- Accounts and their credentials.

create table auth.users
(
    user_id       uuid primary key,
    kind          text        not null,
    email         text,
    display_name  text        not null,
    password_hash text,
    role          text        not null,
    permissions   text[]      not null default '{}',
    state         text        not null default 'active',
    -- Access tokens carry it; tokens with an older one are revoked.
    token_version bigint      not null default 1,
    last_login_at timestamptz,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint users_kind_check check (kind in ('person', 'service_account')),
    constraint users_role_check check (role in ('admin', 'developer', 'executor', 'viewer', 'service')),
    constraint users_state_check check (state in ('active', 'deactivated')),
    constraint users_email_check check ((kind = 'person') = (email is not null)),
    constraint users_password_check check ((kind = 'person') = (password_hash is not null))
);

create unique index users_email_key on auth.users (lower(email));
create index users_role_idx on auth.users (role, user_id desc);
create index users_active_admin_idx on auth.users (user_id) where role = 'admin' and state = 'active';

create table auth.sessions
(
    session_id   uuid primary key,
    user_id      uuid        not null references auth.users on delete cascade,
    auth_time    timestamptz not null,
    refreshed_at timestamptz not null,
    expires_at   timestamptz not null,
    revoked_at   timestamptz,
    ip_address   inet,
    user_agent   text        not null default '',
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);

create index sessions_user_idx on auth.sessions (user_id, session_id desc) where revoked_at is null;
-- When it ended, or will: whichever comes first.
create index sessions_end_idx on auth.sessions (least(expires_at, revoked_at));

create table auth.refresh_tokens
(
    -- SHA-256 of the token, which has 256 bits of entropy of its own.
    token_hash       bytea primary key,
    session_id       uuid        not null references auth.sessions on delete cascade,
    expires_at       timestamptz not null,
    used_at          timestamptz,
    used_request_id  uuid,
    -- The token that replaced this one, encrypted, for the retry after a lost answer.
    successor_sealed bytea,
    created_at       timestamptz not null default now()
);

create index refresh_tokens_session_idx on auth.refresh_tokens (session_id);
create index refresh_tokens_expires_idx on auth.refresh_tokens (expires_at);

create table auth.api_keys
(
    api_key_id  uuid primary key,
    user_id     uuid        not null references auth.users on delete cascade,
    name        text        not null,
    scopes      text[]      not null,
    -- HMAC-SHA256 of the secret part under a key that is not in the database.
    secret_hash bytea       not null,
    expires_at  timestamptz,
    revoked_at  timestamptz,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);

create index api_keys_user_idx on auth.api_keys (user_id, api_key_id desc);

create table auth.settings
(
    user_id    uuid        not null references auth.users on delete cascade,
    name       text        not null,
    value      jsonb       not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (user_id, name)
);

create table auth.signing_keys
(
    kid                text primary key,
    public_key         bytea       not null,
    -- The PKCS#8 document, encrypted under the master key.
    private_key_sealed bytea       not null,
    created_at         timestamptz not null default now()
);

-- What stateless access tokens and cached API keys must be checked against.
create table auth.revocations
(
    revocation_id     uuid primary key,
    -- The transaction that wrote it: readers ask by it, so that a transaction
    -- that commits late is not missed.
    xact              bigint      not null default (pg_current_xact_id()::text::bigint),
    kind              text        not null,
    subject_id        uuid        not null,
    -- For a user: tokens with a lower version are revoked.
    token_version     bigint,
    -- When every token that it concerns has expired by itself.
    expires_at        timestamptz not null,
    constraint revocations_kind_check check (kind in ('session', 'user', 'api_key')),
    constraint revocations_version_check check ((kind = 'user') = (token_version is not null))
);

create index revocations_xact_idx on auth.revocations (xact);
create index revocations_expires_idx on auth.revocations (expires_at);

-- Which creates were done already, by the caller's request_id (AIP-155).
create table auth.idempotency_keys
(
    principal_id   uuid        not null,
    method         text        not null,
    request_id     uuid        not null,
    request_digest bytea       not null,
    entity_id      uuid        not null,
    -- A secret of the first answer, encrypted.
    sealed         bytea,
    created_at     timestamptz not null default now(),
    primary key (principal_id, method, request_id)
);

create index idempotency_keys_created_idx on auth.idempotency_keys (created_at);

-- A login is not a change of the account.
create trigger users_updated before update of email, display_name, password_hash, role, permissions, state
    on auth.users
    for each row execute function public.set_updated_at();
create trigger sessions_updated before update on auth.sessions
    for each row execute function public.set_updated_at();
create trigger api_keys_updated before update on auth.api_keys
    for each row execute function public.set_updated_at();
create trigger settings_updated before update on auth.settings
    for each row execute function public.set_updated_at();

grant select, insert, update on auth.users to ihuman_auth;
grant select, insert, update, delete on auth.sessions, auth.refresh_tokens to ihuman_auth;
grant select, insert, update on auth.api_keys to ihuman_auth;
grant select, insert, update, delete on auth.settings to ihuman_auth;
grant select, insert on auth.signing_keys to ihuman_auth;
grant select, insert, delete on auth.revocations, auth.idempotency_keys to ihuman_auth;

-- What catalog-service may know of credentials, and nothing beside.

create function auth.list_public_keys()
    returns table (kid text, public_key bytea)
    language sql stable security definer
    set search_path = ''
as $$
    select k.kid, k.public_key from auth.signing_keys k
$$;

-- Revocations that a reader may not have seen, and where to ask from next time:
-- every transaction below `next_xact` has ended, so none below it can appear later.
create function auth.list_revocations(after_xact bigint)
    returns table (kind text, subject_id uuid, token_version bigint, expires_at timestamptz)
    language sql stable security definer
    set search_path = ''
as $$
    select r.kind, r.subject_id, r.token_version, r.expires_at
    from auth.revocations r
    where r.xact >= after_xact and r.expires_at > now()
$$;

create function auth.find_api_key(id uuid)
    returns table (user_id uuid, secret_hash bytea, scopes text[], expires_at timestamptz,
                   revoked_at timestamptz, kind text, role text, permissions text[], state text)
    language sql stable security definer
    set search_path = ''
as $$
    select k.user_id, k.secret_hash, k.scopes, k.expires_at, k.revoked_at,
           u.kind, u.role, u.permissions, u.state
    from auth.api_keys k
    join auth.users u on u.user_id = k.user_id
    where k.api_key_id = id
$$;

revoke all on function auth.list_public_keys(), auth.list_revocations(bigint), auth.find_api_key(uuid) from public;
grant execute on function auth.list_public_keys(), auth.list_revocations(bigint), auth.find_api_key(uuid)
    to ihuman_auth, ihuman_catalog;
