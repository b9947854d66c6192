-- Who did what. Both services may add records and neither may change one.

create table audit.audit_logs
(
    audit_log_id uuid primary key,
    created_at   timestamptz not null default now(),
    actor_id     uuid,
    session_id   uuid,
    api_key_id   uuid,
    action       text        not null,
    entity_type  text        not null default '',
    entity_id    text        not null default '',
    old_values   jsonb,
    new_values   jsonb,
    ip_address   inet,
    user_agent   text        not null default '',
    request_id   text        not null default '',
    outcome      text        not null,
    reason       text        not null default '',
    constraint audit_logs_outcome_check check (outcome in ('succeeded', 'denied'))
);

-- The ids are UUIDv7, so each index also sorts by time.
create index audit_logs_actor_idx on audit.audit_logs (actor_id, audit_log_id desc);
create index audit_logs_entity_idx on audit.audit_logs (entity_type, entity_id, audit_log_id desc);
create index audit_logs_entity_type_idx on audit.audit_logs (entity_type, audit_log_id desc);
create index audit_logs_action_idx on audit.audit_logs (action, audit_log_id desc);
create index audit_logs_denied_idx on audit.audit_logs (audit_log_id desc) where outcome = 'denied';

grant insert on audit.audit_logs to ihuman_auth, ihuman_catalog;
grant select on audit.audit_logs to ihuman_audit;
-- catalog-service reads the trail for AuditService alone, by `set local role`.
grant ihuman_audit to ihuman_catalog;
