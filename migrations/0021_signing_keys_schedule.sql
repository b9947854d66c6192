-- When each signing key begins to sign.

-- Null for a key that only verifies: its private half is somewhere else. The
-- newest key whose time has come signs; the one before it is kept for as long as
-- tokens that it signed may live.
alter table auth.signing_keys add column activates_at timestamptz;

update auth.signing_keys set activates_at = created_at where length(private_key_sealed) > 0;

create unique index signing_keys_activates_idx on auth.signing_keys (activates_at);

grant delete, update (private_key_sealed) on auth.signing_keys to ihuman_auth;

-- An older binary does not say when its first key begins to sign: at once.
create function auth.activate_signing_key() returns trigger
    language plpgsql
    set search_path = ''
as $$
begin
    if new.activates_at is null and length(new.private_key_sealed) > 0 then
        new.activates_at = now();
    end if;
    return new;
end
$$;

create trigger signing_keys_activated before insert on auth.signing_keys
    for each row execute function auth.activate_signing_key();
