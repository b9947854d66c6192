-- What batches of imported accounts came to, for who asks again with the same request_id.

create table auth.user_imports
(
    user_import_id uuid primary key,
    results        jsonb       not null,
    created_at     timestamptz not null default now()
);

create index user_imports_created_idx on auth.user_imports (created_at);

grant select, insert, delete on auth.user_imports to ihuman_auth;
