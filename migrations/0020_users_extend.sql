-- Profiles, deletion, and search by the words of a name.

alter table auth.users
    add column avatar_url text not null default '',
    drop constraint users_state_check,
    drop constraint users_email_check,
    drop constraint users_password_check;

-- A deleted account keeps its id, for what refers to it, and nothing that says
-- whose it was.
alter table auth.users
    add constraint users_state_check check (state in ('active', 'deactivated', 'deleted')),
    add constraint users_email_check check (
        (kind = 'person' and state <> 'deleted') = (email is not null)),
    add constraint users_password_check check (
        (kind = 'person' and state <> 'deleted') = (password_hash is not null)),
    add constraint users_avatar_url_check check (length(avatar_url) <= 2048);

-- The words of a text, in lower case. The same function splits what is stored and
-- what is searched for, so that no locale makes the two differ.
create function auth.words(text text) returns text[]
    language sql immutable parallel safe strict
    set search_path = ''
as $$
    select array_remove(regexp_split_to_array(lower(text), '[^[:alnum:]]+'), '')
$$;

-- What finds a text that has, for each word, one that begins with it.
create function auth.prefixes(words text[]) returns tsquery
    language sql immutable parallel safe strict
    set search_path = ''
as $$
    select string_agg(quote_literal(word) || ':*', ' & ')::tsquery from unnest(words) as word
$$;

alter table auth.users
    add column words tsvector generated always as (
        array_to_tsvector(auth.words(display_name || ' ' || coalesce(email, '')))) stored;

create index users_words_idx on auth.users using gin (words);
create index users_state_idx on auth.users (state, user_id desc) where state <> 'active';

drop trigger users_updated on auth.users;
-- A login is not a change of the account.
create trigger users_updated before update
    of email, display_name, avatar_url, password_hash, role, permissions, state
    on auth.users
    for each row execute function public.set_updated_at();
