-- claim executions
with taken as (
    select execution_id from executions
    where execution_id = any($1) and state = 'queued'
    for no key update skip locked
), dequeued as (
    delete from execution_queue q using taken where q.execution_id = taken.execution_id
), running as (
    update executions e
    set state = 'running', attempt = e.attempt + 1, progress_percent = 0, step = '',
        started_at = coalesce(e.started_at, now()), revision = e.revision + 1,
        lease_id = gen_random_uuid(), leased_by = $2
    from taken, skills s, skill_versions v
    where e.execution_id = taken.execution_id and s.skill_id = e.skill_id
      and v.skill_id = e.skill_id and v.version = e.skill_version
    returning e.*, s.name, v.digest, v.body, v.allowed_tools, v.parameters_schema
), leased as (
    insert into execution_leases
        (execution_id, lease_id, worker, leased_by, duration, expires_at)
    select execution_id, lease_id, $3, $2, make_interval(secs => $4),
           now() + make_interval(secs => $4)
    from running
), history as (
    insert into execution_history
        (execution_id, revision, state, attempt, progress_percent, step, message)
    select execution_id, revision, state, attempt, 0, '', '' from running
)
select execution_id as "execution_id!", skill_id as "skill_id!", name as "skill_name!",
       skill_version as "skill_version!", digest as "skill_digest!",
       parameters as "parameters!", error_code, error_message, attempt as "attempt!",
       max_attempts as "max_attempts!", priority as "priority!",
       created_by as "created_by!", started_at, created_at as "created_at!",
       revision as "revision!", lease_id as "lease_id!", body as "body!",
       allowed_tools as "allowed_tools!", parameters_schema as "parameters_schema!",
       now() + make_interval(secs => $4) as "expires_at!"
from running
