-- Workflows: skills in an order, run as one.

create table catalog.workflows
(
    workflow_id uuid primary key,
    name        text        not null,
    description text        not null default '',
    definition  jsonb       not null,
    version     integer     not null default 1,
    state       text        not null default 'active',
    created_by  uuid        not null references auth.users,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    constraint workflows_name_key unique (created_by, name),
    constraint workflows_state_check check (state in ('active', 'archived'))
);

create trigger workflows_updated before update on catalog.workflows
    for each row execute function public.set_updated_at();

grant select, insert, update on catalog.workflows to ihuman_catalog;
