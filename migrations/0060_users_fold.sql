-- One form of an e-mail address in which it is compared, whatever the locale of the
-- database holds for upper and lower case. The services make it (users::Email); what
-- is here fills it for the rows that are there and for services of the release before.

alter table auth.users add column email_key text;

-- The collation of ICU knows the letters of all scripts, whichever the database's is.
-- Where the server was built without it, only those of the database's locale fold.
do $do$
declare
    collated text := case
        when exists (select from pg_collation where collname = 'und-x-icu') then '"und-x-icu"'
        else '"default"' end;
begin
    execute format($sql$
        create function auth.email_key(email text) returns text
            language sql immutable parallel safe strict
            set search_path = ''
        as $$ select lower(email collate pg_catalog.%s) $$
    $sql$, collated);
end
$do$;

-- Of two that differ only in a case that the database did not know, the older account
-- keeps the address. The other has a key that no address has, until its own changes.
update auth.users u
set email_key = case when f.place = 1 then f.email_key else u.user_id::text end
from (
    select user_id, auth.email_key(email) as email_key,
        row_number() over (partition by auth.email_key(email) order by user_id) as place
    from auth.users
    where email is not null
) f
where u.user_id = f.user_id;

-- The name that services map to an error is that of the new index, which is checked first
-- because it is older than the other.
drop index auth.users_email_key;
create unique index users_email_key on auth.users (email_key);

-- A service of the release before knows nothing of the key, and names this index by its
-- expression. It goes with the next release, and so does the trigger.
create unique index users_email_lower_key on auth.users (lower(email));

create function auth.set_email_key() returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    if new.email is null then
        new.email_key := null;
    elsif new.email_key is null
        or tg_op = 'UPDATE' and new.email is distinct from old.email and new.email_key = old.email_key
    then
        new.email_key := auth.email_key(new.email);
    end if;
    return new;
end
$$;

create trigger users_email_keyed before insert or update of email, email_key on auth.users
    for each row execute function auth.set_email_key();

alter table auth.users
    add constraint users_email_key_check check ((email is null) = (email_key is null));

-- An account that was imported without a password has none until its owner sets one.
alter table auth.users
    drop constraint users_password_check,
    add constraint users_password_check check (
        password_hash is null or (kind = 'person' and state <> 'deleted'));
