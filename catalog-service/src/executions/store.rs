//! The `executions`, `execution_history` and `execution_steps` tables, and the queue.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::State;

/// One execution, with the names of what it runs.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the contract describes each field")]
pub struct Execution {
    pub execution_id: Uuid,
    pub skill_id: Uuid,
    pub skill_name: String,
    pub skill_version: i32,
    pub skill_digest: String,
    pub state: State,
    /// None in lists.
    pub parameters: Option<Value>,
    pub result: Option<Value>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub progress_percent: i32,
    pub attempt: i32,
    pub max_attempts: i32,
    pub priority: i32,
    pub created_by: Uuid,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub revision: i64,
}

/// An execution to be queued.
#[derive(Debug)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct NewExecution<'a> {
    pub execution_id: Uuid,
    pub skill_id: Uuid,
    pub skill_name: &'a str,
    pub skill_version: i32,
    pub parameters: &'a Value,
    /// About how many bytes the parameters and their schema have in a message.
    pub size: i32,
    pub max_attempts: i32,
    pub priority: i32,
    pub created_by: Uuid,
}

/// One change of an execution, as the history keeps it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the contract describes each field")]
pub struct Change {
    pub revision: i64,
    pub state: State,
    pub attempt: i32,
    pub progress_percent: i32,
    pub step: String,
    pub message: String,
    pub created_at: DateTime<Utc>,
}

/// That an execution has changed, and into what.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct Changed {
    pub execution_id: Uuid,
    pub revision: i64,
    pub state: State,
    pub attempt: i32,
}

/// One part of an attempt.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the contract describes each field")]
pub struct Step {
    pub attempt: i32,
    pub position: i32,
    pub name: String,
    pub state: State,
    pub message: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Queues an execution, with its first revision. Returns when it was created.
pub async fn insert(conn: &mut PgConnection, new: &NewExecution<'_>) -> Result<DateTime<Utc>> {
    let created_at = sqlx::query_scalar!(
        r#"-- create execution
        with created as (
            insert into executions
                (execution_id, skill_id, skill_version, parameters, size, max_attempts, priority, created_by)
            select $1, v.skill_id, v.version, $4, $5 + octet_length(v.body), $6, $7, $8
            from skill_versions v
            where v.skill_id = $2 and v.version = $3
            returning execution_id, skill_id, size, priority, created_by, created_at
        ), queued as (
            insert into execution_queue (execution_id, skill_name, created_by, priority, size)
            select execution_id, $9, created_by, priority, size from created
        ), history as (
            insert into execution_history
                (execution_id, revision, state, attempt, progress_percent, step, message)
            select execution_id, 1, 'queued', 0, 0, '', '' from created
        ), usage as (
            insert into skill_usage (skill_id, executions) select skill_id, 1 from created
        )
        select created_at as "created_at!" from created"#,
        new.execution_id,
        new.skill_id,
        new.skill_version,
        new.parameters,
        new.size,
        new.max_attempts,
        new.priority,
        new.created_by,
        new.skill_name,
    )
    .fetch_one(conn)
    .await?;
    Ok(created_at)
}

/// How many executions of `created_by` are queued; counts no further than `limit`.
pub async fn count_queued(conn: &mut PgConnection, created_by: Uuid, limit: i64) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"-- count queued executions
        select count(*) as "count!"
        from (select from execution_queue where created_by = $1 limit $2) as queued"#,
        created_by,
        limit,
    )
    .fetch_one(conn)
    .await?;
    Ok(count)
}

/// One execution, of `owner` if that is given.
pub async fn get(
    conn: &mut PgConnection,
    execution_id: Uuid,
    owner: Option<Uuid>,
) -> Result<Option<Execution>> {
    let execution = sqlx::query_as!(
        Execution,
        r#"-- get execution
        select e.execution_id, e.skill_id, s.name as skill_name, e.skill_version,
               v.digest as skill_digest, e.state as "state: State",
               e.parameters as "parameters?", e.result, e.error_code, e.error_message,
               e.progress_percent, e.attempt, e.max_attempts, e.priority, e.created_by,
               e.started_at, e.ended_at, e.created_at, e.revision
        from executions e
        join skills s on s.skill_id = e.skill_id
        join skill_versions v on v.skill_id = e.skill_id and v.version = e.skill_version
        where e.execution_id = $1 and ($2::uuid is null or e.created_by = $2)"#,
        execution_id,
        owner,
    )
    .fetch_optional(conn)
    .await?;
    Ok(execution)
}

/// Which executions to list.
#[derive(Debug)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct Filter {
    pub skill_id: Option<Uuid>,
    pub state: Option<State>,
    /// Only those before this one.
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// The executions of one creator without parameters and result, newest first: the
/// ids are UUIDv7, so they sort by time.
pub async fn list_own(
    conn: &mut PgConnection,
    owner: Uuid,
    filter: &Filter,
) -> Result<Vec<Execution>> {
    let executions = sqlx::query_as!(
        Execution,
        r#"-- list own executions
        select e.execution_id, e.skill_id, s.name as skill_name, e.skill_version,
               v.digest as skill_digest, e.state as "state: State",
               null::jsonb as parameters, null::jsonb as result, e.error_code, e.error_message,
               e.progress_percent, e.attempt, e.max_attempts, e.priority, e.created_by,
               e.started_at, e.ended_at, e.created_at, e.revision
        from executions e
        join skills s on s.skill_id = e.skill_id
        join skill_versions v on v.skill_id = e.skill_id and v.version = e.skill_version
        where e.created_by = $1 and e.execution_id < $2
          and ($3::uuid is null or e.skill_id = $3) and ($4::text is null or e.state = $4)
        order by e.execution_id desc
        limit $5"#,
        owner,
        filter.before.unwrap_or(Uuid::max()),
        filter.skill_id,
        filter.state.map(State::text),
        filter.limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(executions)
}

/// The executions of everybody without parameters and result, newest first. Not
/// one query with [`list_own`]: no one plan is good for both.
pub async fn list_all(conn: &mut PgConnection, filter: &Filter) -> Result<Vec<Execution>> {
    let executions = sqlx::query_as!(
        Execution,
        r#"-- list all executions
        select e.execution_id, e.skill_id, s.name as skill_name, e.skill_version,
               v.digest as skill_digest, e.state as "state: State",
               null::jsonb as parameters, null::jsonb as result, e.error_code, e.error_message,
               e.progress_percent, e.attempt, e.max_attempts, e.priority, e.created_by,
               e.started_at, e.ended_at, e.created_at, e.revision
        from executions e
        join skills s on s.skill_id = e.skill_id
        join skill_versions v on v.skill_id = e.skill_id and v.version = e.skill_version
        where e.execution_id < $1
          and ($2::uuid is null or e.skill_id = $2) and ($3::text is null or e.state = $3)
        order by e.execution_id desc
        limit $4"#,
        filter.before.unwrap_or(Uuid::max()),
        filter.skill_id,
        filter.state.map(State::text),
        filter.limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(executions)
}

/// The state of one execution, of `owner` if that is given, which nobody else can
/// change until the transaction ends.
///
/// Invariant: whoever locks an execution together with its queue or lease row
/// locks the execution first, and many executions in the order of their ids. Only
/// a claim begins with the queue, and it never waits.
pub async fn lock(
    conn: &mut PgConnection,
    execution_id: Uuid,
    owner: Option<Uuid>,
) -> Result<Option<State>> {
    let state = sqlx::query_scalar!(
        r#"-- lock execution
        select state as "state: State" from executions
        where execution_id = $1 and ($2::uuid is null or created_by = $2)
        for no key update"#,
        execution_id,
        owner,
    )
    .fetch_optional(conn)
    .await?;
    Ok(state)
}

/// Ends an execution that is locked and has not ended.
pub async fn cancel(conn: &mut PgConnection, execution_id: Uuid) -> Result<Changed> {
    let changed = sqlx::query_as!(
        Changed,
        r#"-- cancel execution
        with dequeued as (
            delete from execution_queue where execution_id = $1
        ), released as (
            delete from execution_leases where execution_id = $1
        ), cancelled as (
            update executions
            set state = 'cancelled', ended_at = now(), revision = revision + 1
            where execution_id = $1
            returning execution_id, revision, state, attempt, progress_percent, step
        ), steps as (
            update execution_steps s
            set state = 'cancelled', ended_at = now()
            from cancelled c
            where s.execution_id = c.execution_id and s.attempt = c.attempt and s.state = 'running'
        ), history as (
            insert into execution_history
                (execution_id, revision, state, attempt, progress_percent, step, message)
            select execution_id, revision, state, attempt, progress_percent, step, '' from cancelled
        )
        select execution_id as "execution_id!", revision as "revision!",
               state as "state!: State", attempt as "attempt!"
        from cancelled"#,
        execution_id,
    )
    .fetch_one(conn)
    .await?;
    Ok(changed)
}

/// The changes of an execution after `revision`, in order.
pub async fn history(
    conn: &mut PgConnection,
    execution_id: Uuid,
    revision: i64,
    limit: i64,
) -> Result<Vec<Change>> {
    let changes = sqlx::query_as!(
        Change,
        r#"-- list changes
        select revision, state as "state: State", attempt, progress_percent, step, message, created_at
        from execution_history
        where execution_id = $1 and revision > $2
        order by revision
        limit $3"#,
        execution_id,
        revision,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(changes)
}

/// The revisions that these executions are at.
pub async fn revisions(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
) -> Result<Vec<(Uuid, i64)>> {
    let rows = sqlx::query!(
        "-- poll watched executions
        select execution_id, revision from executions where execution_id = any($1)",
        execution_ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.execution_id, it.revision)).collect())
}

/// The steps of an execution after one of an attempt, by attempt and position.
pub async fn steps(
    conn: &mut PgConnection,
    execution_id: Uuid,
    (attempt, position): (i32, i32),
    limit: i64,
) -> Result<Vec<Step>> {
    let steps = sqlx::query_as!(
        Step,
        r#"-- list steps
        select attempt, position, name, state as "state: State", message, started_at, ended_at
        from execution_steps
        where execution_id = $1 and (attempt, position) > ($2, $3)
        order by attempt, position
        limit $4"#,
        execution_id,
        attempt,
        position,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(steps)
}

/// Sends hints to every replica: each payload on its channel.
pub async fn notify(
    conn: &mut PgConnection,
    channels: &[String],
    payloads: &[String],
) -> Result<()> {
    sqlx::query!(
        "-- notify
        select pg_notify(channel, payload) from unnest($1::text[], $2::text[]) as hint (channel, payload)",
        channels,
        payloads,
    )
    .execute(conn)
    .await?;
    Ok(())
}
