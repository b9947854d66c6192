-- Mails to send: what each is about and for whom, and never its text. Each is written
-- in the transaction of what caused it.

create table auth.mails
(
    mail_id         uuid primary key,
    kind            text        not null,
    -- Who asked without saying more than an address is found out beside the answer.
    user_id         uuid references auth.users on delete cascade,
    -- Where it goes, if that is not the account's own address; null once it is gone.
    recipient       text,
    -- Where the request came from, until the mail is gone.
    ip_address      inet,
    user_agent      text        not null default '',
    request_id      text        not null default '',
    attempts        integer     not null default 0,
    -- Null when nothing is left to do. While a replica is at it, when another one may.
    next_attempt_at timestamptz,
    sent_at         timestamptz,
    -- The class of the last failure, without what the server said.
    last_error      text        not null default '',
    -- The mail itself, only where mails are printed instead of sent.
    printed         text,
    created_at      timestamptz not null,
    constraint mails_kind_check check (kind in (
        'verify_email', 'registration_attempt', 'reset_password', 'password_changed',
        'confirm_email_change', 'email_changed')),
    constraint mails_subject_check check (
        user_id is not null or recipient is not null or next_attempt_at is null)
);

create index mails_due_idx on auth.mails (next_attempt_at)
    where next_attempt_at is not null and user_id is not null;
create index mails_asked_idx on auth.mails (kind, lower(recipient))
    where next_attempt_at is not null and user_id is null;
create index mails_user_idx on auth.mails (user_id, kind, created_at) where user_id is not null;
create index mails_created_idx on auth.mails (created_at);

grant select, insert, update, delete on auth.mails to ihuman_auth;
