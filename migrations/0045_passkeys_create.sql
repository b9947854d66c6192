-- Passkeys (W3C Web Authentication Level 3): what an account proves itself with by a signature.

create table auth.passkeys
(
    passkey_id      uuid primary key,
    user_id         uuid        not null references auth.users on delete cascade,
    -- Chosen by the authenticator, 16 bytes or more that nobody can guess.
    credential_id   bytea       not null,
    -- A COSE_Key (RFC 9052 section 7), as the authenticator gave it.
    public_key      bytea       not null,
    -- How often the authenticator signed, as far as it says: 0 if it does not count.
    sign_count      bigint      not null,
    name            text        not null,
    transports      text[]      not null,
    -- Whether it verified its user when that was proved by something else too. One
    -- that did not must not log in alone: a thief may set the PIN of a key without one.
    user_verifying  boolean     not null,
    -- Whether the key may be copied to other devices, which never changes, and whether it is.
    backup_eligible boolean     not null,
    backed_up       boolean     not null,
    last_used_at    timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint passkeys_credential_key unique (credential_id),
    constraint passkeys_credential_check check (length(credential_id) between 16 and 1023),
    constraint passkeys_sign_count_check check (sign_count between 0 and 4294967295),
    constraint passkeys_backup_check check (backup_eligible or not backed_up)
);

create index passkeys_user_idx on auth.passkeys (user_id, passkey_id desc);

-- Challenges that were answered, until nobody would accept them any more: each works
-- once. There is no row before a good answer, so that asking for challenges fills nothing.
create table auth.used_passkey_challenges
(
    nonce      bytea primary key,
    expires_at timestamptz not null
);

create index used_passkey_challenges_expires_idx on auth.used_passkey_challenges (expires_at);

-- A use is not a change of the passkey.
create trigger passkeys_updated before update of name on auth.passkeys
    for each row execute function public.set_updated_at();

grant select, insert, delete on auth.passkeys to ihuman_auth;
grant update (name, sign_count, user_verifying, backed_up, last_used_at) on auth.passkeys to ihuman_auth;
grant select, insert, delete on auth.used_passkey_challenges to ihuman_auth;
