-- Mails that strangers cause come last, to a mailbox no more than it should get, and one
-- that changes an address only while the account is what it was.

alter table auth.mails
    -- Whose mailbox it went to, hidden, if nobody has proved that it is theirs.
    add column mailbox_hash  bytea,
    -- The account's when a change of the address was asked for.
    add column token_version bigint,
    -- Whether anybody can cause it who invents an address.
    add column comes_last    boolean not null default false,
    drop constraint mails_kind_check;

alter table auth.mails
    add constraint mails_kind_check check (kind in (
        'verify_email', 'registration_attempt', 'reset_password', 'password_changed',
        'confirm_email_change', 'email_change_requested', 'email_changed', 'authenticator_added',
        'authenticator_removed', 'passkey_added', 'passkey_removed', 'second_factors_reset',
        'recovery_code_used', 'recovery_codes_replaced', 'new_device'));

create index mails_mailbox_idx on auth.mails (mailbox_hash, kind, created_at)
    where mailbox_hash is not null;
-- Those that come last, and all others.
create index mails_last_idx on auth.mails (next_attempt_at)
    where next_attempt_at is not null and user_id is not null and comes_last;
create index mails_first_idx on auth.mails (next_attempt_at)
    where next_attempt_at is not null and user_id is not null and not comes_last;
