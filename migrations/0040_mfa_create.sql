-- Second factors, and logins that wait for one.

alter table auth.users
    -- Whether a login needs a second factor: kept with the factors, in their transaction.
    add column mfa_enabled boolean not null default false,
    -- Whether the password is shorter than one that stands alone may be. The length of
    -- an imported one is not known, and it counts as long.
    add column password_is_short boolean not null default false,
    add constraint users_short_password_check check (mfa_enabled or not password_is_short);

-- Secrets that authenticators compute codes from: at most one that is in use, and one
-- that is to become it when a code of it was shown.
create table auth.totps
(
    user_id           uuid        not null references auth.users on delete cascade,
    is_confirmed      boolean     not null,
    -- 20 bytes, encrypted under the master key.
    mfa_secret_sealed bytea       not null,
    -- The latest step of 30 seconds of which a code was accepted: none before it is.
    last_step         bigint      not null default 0,
    -- Until when it can be confirmed.
    expires_at        timestamptz,
    created_at        timestamptz not null,
    primary key (user_id, is_confirmed),
    constraint totps_expires_check check (is_confirmed = (expires_at is null))
);

create index totps_expires_idx on auth.totps (expires_at) where not is_confirmed;

create table auth.recovery_codes
(
    user_id    uuid        not null references auth.users on delete cascade,
    -- SHA-256 of the account and the code, which has 75 bits of entropy of its own.
    code_hash  bytea       not null,
    used_at    timestamptz,
    created_at timestamptz not null,
    primary key (user_id, code_hash)
);

-- Logins whose password was proved and whose second factor was not, yet.
create table auth.login_challenges
(
    -- SHA-256 of the token, which has 256 bits of entropy of its own.
    challenge_hash bytea primary key,
    user_id        uuid        not null references auth.users on delete cascade,
    -- What the account was then: a change of its password, rights or state ends the challenge.
    token_version  bigint      not null,
    -- The known device that it was asked for on.
    device_id      uuid,
    failures       integer     not null default 0,
    expires_at     timestamptz not null
);

create index login_challenges_user_idx on auth.login_challenges (user_id);
create index login_challenges_expires_idx on auth.login_challenges (expires_at);

alter table auth.sessions
    -- How it last proved who it is (RFC 8176).
    add column amr text[] not null default '{pwd}';

alter table auth.locks
    drop constraint locks_kind_check,
    add constraint locks_kind_check check (kind in ('password', 'totp'));

grant select, insert, update, delete on auth.totps, auth.recovery_codes, auth.login_challenges to ihuman_auth;
