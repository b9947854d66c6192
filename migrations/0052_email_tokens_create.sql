-- The tokens of mails: the latest of each kind of an account, which works once.

create table auth.email_tokens
(
    user_id       uuid        not null references auth.users on delete cascade,
    kind          text        not null,
    -- The mail that it came with: a token of an earlier one is not this one.
    mail_id       uuid        not null,
    -- SHA-256 of the token, which has 256 bits of entropy of its own.
    token_hash    bytea       not null,
    -- The address that it was sent to.
    email         text        not null,
    -- The account's when it was sent: after a change of the password it is another.
    token_version bigint      not null,
    expires_at    timestamptz not null,
    used_at       timestamptz,
    primary key (user_id, kind),
    constraint email_tokens_kind_check check (kind in ('verify_email', 'reset_password', 'change_email'))
);

create unique index email_tokens_hash_key on auth.email_tokens (token_hash);
create index email_tokens_expires_idx on auth.email_tokens (expires_at);

grant select, insert, update, delete on auth.email_tokens to ihuman_auth;
