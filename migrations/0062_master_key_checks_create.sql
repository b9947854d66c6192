-- By what a process finds that it has the master key of this database: one row, which
-- auth-service writes at its first start.
create table auth.master_key_checks
(
    is_only     boolean primary key default true,
    -- Derived from the master key for this alone; nothing can be learnt from it.
    check_value bytea       not null,
    created_at  timestamptz not null default now(),
    constraint master_key_checks_only_check check (is_only)
);

grant select, insert, update on auth.master_key_checks to ihuman_auth;

create function auth.get_master_key_check() returns bytea
    language sql stable security definer
    set search_path = ''
as $$
    select c.check_value from auth.master_key_checks c
$$;

revoke all on function auth.get_master_key_check() from public;
grant execute on function auth.get_master_key_check() to ihuman_auth, ihuman_catalog;
