-- When the owner of an account proved that its e-mail address is theirs.

alter table auth.users
    add column email_verified_at timestamptz,
    add constraint users_email_verified_check check (email is not null or email_verified_at is null);

create trigger users_verified before update of email_verified_at on auth.users
    for each row execute function public.set_updated_at();
