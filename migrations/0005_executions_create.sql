-- Executions: a ledger that is written at each change, a queue and a lease table
-- that stay small because rows leave them, and the history of every change.

create table catalog.executions
(
    execution_id     uuid primary key,
    skill_id         uuid        not null,
    skill_version    integer     not null,
    parameters       jsonb       not null,
    -- About how many bytes a worker is sent for it, its skill included.
    size             integer     not null,
    state            text        not null default 'queued',
    result           jsonb,
    error_code       text,
    error_message    text,
    progress_percent integer     not null default 0,
    step             text        not null default '',
    attempt          integer     not null default 0,
    max_attempts     integer     not null,
    priority         integer     not null,
    -- The lease of the latest attempt and who took it, by which a repeated report
    -- is recognized; none when that lease expired.
    lease_id         uuid,
    leased_by        uuid,
    revision         bigint      not null default 1,
    created_by       uuid        not null references auth.users,
    started_at       timestamptz,
    ended_at         timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    constraint executions_version_fkey foreign key (skill_id, skill_version) references catalog.skill_versions,
    constraint executions_state_check check (state in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    constraint executions_progress_check check (progress_percent between 0 and 100),
    constraint executions_priority_check check (priority between 0 and 9)
)
-- Room on each page for the updates that every execution goes through; no index
-- has a column that they change.
with (fillfactor = 70);

create index executions_created_by_idx on catalog.executions (created_by, execution_id desc);
create index executions_skill_idx on catalog.executions (skill_id, created_by, execution_id desc);

create table catalog.execution_queue
(
    queue_id     bigint generated always as identity primary key,
    execution_id uuid        not null references catalog.executions,
    skill_name   text        not null,
    created_by   uuid        not null,
    priority     integer     not null,
    size         integer     not null,
    available_at timestamptz not null default now(),
    constraint execution_queue_execution_key unique (execution_id)
)
with (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

create index execution_queue_order_idx on catalog.execution_queue (priority desc, queue_id);
create index execution_queue_owner_idx on catalog.execution_queue (created_by, priority desc, queue_id);

create table catalog.execution_leases
(
    execution_id uuid primary key references catalog.executions,
    lease_id     uuid        not null,
    worker       text        not null,
    leased_by    uuid        not null,
    duration     interval    not null,
    expires_at   timestamptz not null
)
with (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

create index execution_leases_expires_idx on catalog.execution_leases (expires_at);

create table catalog.execution_history
(
    execution_id     uuid        not null references catalog.executions,
    revision         bigint      not null,
    state            text        not null,
    attempt          integer     not null,
    progress_percent integer     not null,
    step             text        not null,
    message          text        not null,
    created_at       timestamptz not null default now(),
    primary key (execution_id, revision)
);

create table catalog.execution_steps
(
    execution_id uuid        not null references catalog.executions,
    attempt      integer     not null,
    position     integer     not null,
    name         text        not null,
    state        text        not null default 'running',
    message      text        not null default '',
    started_at   timestamptz not null default now(),
    ended_at     timestamptz,
    primary key (execution_id, attempt, position),
    constraint execution_steps_state_check check (state in ('running', 'succeeded', 'failed', 'cancelled'))
);

create trigger executions_updated before update on catalog.executions
    for each row execute function public.set_updated_at();

grant select, insert, update on catalog.executions, catalog.execution_steps to ihuman_catalog;
grant select, insert, update, delete on catalog.execution_queue, catalog.execution_leases to ihuman_catalog;
grant select, insert on catalog.execution_history to ihuman_catalog;
