-- Failures in a row to prove a credential, and how long the next attempt has to wait.

create table auth.locks
(
    -- What was to be proved; each is counted apart.
    kind         text        not null,
    -- Whose failures they are: an account's by strangers, one known device's, one
    -- session's, or a network address's.
    scope        text        not null,
    -- HMAC-SHA256 of who it is under a key that is not in the database. Of addresses,
    -- and of accounts that nobody has, 20 bits: so there is a greatest number of rows.
    subject_hash bytea       not null,
    user_id      uuid references auth.users on delete cascade,
    failures     integer     not null,
    failed_at    timestamptz not null,
    wait_until   timestamptz not null,
    primary key (kind, scope, subject_hash),
    constraint locks_kind_check check (kind in ('password')),
    constraint locks_scope_check check (scope in ('account', 'device', 'session', 'address'))
);

create index locks_user_idx on auth.locks (user_id, failed_at desc) where user_id is not null;
create index locks_failed_idx on auth.locks (failed_at);

grant select, insert, update, delete on auth.locks to ihuman_auth;
