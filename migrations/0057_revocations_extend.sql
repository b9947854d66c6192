-- Revocations that outlive a longer lifetime of tokens, and revocations of signing keys.

-- How long access tokens last, by what replicas have said: a revocation must outlive the
-- tokens that were issued before the lifetime was made shorter.
create table auth.access_lifetimes
(
    -- How long after its issue a token concerns us, in seconds: a little longer than it lasts.
    kept_seconds double precision primary key,
    -- Until when tokens may be issued that last so long.
    issued_until timestamptz not null,
    constraint access_lifetimes_kept_check check (kept_seconds > 0)
);

grant select, insert, update, delete on auth.access_lifetimes to ihuman_auth;

-- A signing key that must not be trusted any more is revoked as sessions are; the next
-- one then signs before its time.
alter table auth.revocations
    drop constraint revocations_kind_check,
    add constraint revocations_kind_check
        check (kind in ('session', 'user', 'api_key', 'api_key_change', 'signing_key'));

grant update (activates_at) on auth.signing_keys to ihuman_auth;
