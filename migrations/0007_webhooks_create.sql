-- Webhooks: where events are sent, and what became of each sending.

create table catalog.webhooks
(
    webhook_id    uuid primary key,
    user_id       uuid        not null references auth.users,
    url           text        not null,
    event_types   text[]      not null,
    secret_sealed bytea       not null,
    state         text        not null default 'active',
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint webhooks_state_check check (state in ('active', 'disabled'))
);

create index webhooks_user_idx on catalog.webhooks (user_id, webhook_id desc);

create table catalog.webhook_deliveries
(
    webhook_delivery_id uuid primary key,
    webhook_id          uuid        not null references catalog.webhooks on delete cascade,
    event_type          text        not null,
    payload             jsonb       not null,
    state               text        not null default 'pending',
    attempt             integer     not null default 0,
    next_attempt_at     timestamptz not null default now(),
    response_status     integer,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now(),
    constraint webhook_deliveries_state_check check (state in ('pending', 'succeeded', 'failed'))
);

create index webhook_deliveries_webhook_idx on catalog.webhook_deliveries (webhook_id, webhook_delivery_id desc);
create index webhook_deliveries_due_idx on catalog.webhook_deliveries (next_attempt_at) where state = 'pending';

create trigger webhooks_updated before update on catalog.webhooks
    for each row execute function public.set_updated_at();
create trigger webhook_deliveries_updated before update on catalog.webhook_deliveries
    for each row execute function public.set_updated_at();

grant select, insert, update, delete on catalog.webhooks to ihuman_catalog;
grant select, insert, update, delete on catalog.webhook_deliveries to ihuman_catalog;
