-- The three schemas, and the three login roles that the services and auditors
-- connect as. The roles get their passwords from the migrate program; where
-- they exist already, as on a managed server, they are taken as they are.

do $$
declare
    name text;
begin
    foreach name in array array['ihuman_auth', 'ihuman_catalog', 'ihuman_audit'] loop
        begin
            if not exists (select from pg_roles where rolname = name) then
                -- noinherit: a membership gives nothing until `set role` asks for it.
                execute format('create role %I login noinherit', name);
            end if;
        exception
            -- Roles belong to the cluster: another database may be creating them too.
            when duplicate_object or unique_violation then null;
        end;
    end loop;
end
$$;

create schema auth;
create schema catalog;
create schema audit;

revoke create on schema public from public;

grant usage on schema auth to ihuman_auth;
grant usage on schema catalog to ihuman_catalog;
grant usage on schema audit to ihuman_auth, ihuman_catalog, ihuman_audit;
-- Only to call the functions that auth offers; its tables stay closed.
grant usage on schema auth to ihuman_catalog;

create function public.set_updated_at() returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    new.updated_at = now();
    return new;
end
$$;
