-- What keeps whoever has only the password from guessing the second factor.

alter table auth.users
    -- How often a second factor came or went: a device that proved an earlier one has
    -- proved none of these.
    add column factors_version bigint not null default 0;

alter table auth.login_challenges
    -- Whether the second factor was proved on the known device before.
    add column device_proved boolean not null default false;

-- Codes of authenticators, recovery codes and passkeys are counted together.
alter table auth.locks
    -- Of an address, the first accounts that it failed for since its count began, each as
    -- 20 bits, and no more than tell whoever tries many from whoever mistypes.
    add column accounts bytea[] not null default '{}',
    drop constraint locks_kind_check;
update auth.locks set kind = 'second_factor' where kind = 'totp';
alter table auth.locks add constraint locks_kind_check check (kind in ('password', 'second_factor'));
