//! The `execution_leases` table, and what workers change of executions.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::executions::{Execution, State};

/// A queued execution that this transaction may claim.
#[derive(Debug)]
pub struct Picked {
    /// Which.
    pub execution_id: Uuid,
    /// About how many bytes the worker is sent for it.
    pub size: i32,
}

/// A lease that was just given.
#[derive(Debug)]
pub struct Leased {
    /// The execution.
    pub execution: Execution,
    /// What proves the lease.
    pub lease_id: Uuid,
    /// When it expires unless prolonged.
    pub expires_at: DateTime<Utc>,
    /// What the pinned version of the skill says.
    pub body: String,
    /// What tools it may use.
    pub allowed_tools: Vec<String>,
    /// What its parameters must meet.
    pub parameters_schema: Value,
}

/// What a report is checked against.
#[derive(Debug)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct Standing {
    pub execution_id: Uuid,
    pub state: State,
    pub lease_id: Option<Uuid>,
    pub leased_by: Option<Uuid>,
    pub attempt: i32,
    pub step: String,
}

/// The first queued executions of these skills, or of all skills if none is named.
/// Those that another worker is about to take are passed over.
pub async fn pick_any(
    conn: &mut PgConnection,
    skill_names: &[String],
    limit: i64,
) -> Result<Vec<Picked>> {
    let picked = sqlx::query_as!(
        Picked,
        "-- pick anybody's executions
        select execution_id, size from execution_queue
        where available_at <= now() and ($1::text[] = '{}' or skill_name = any($1))
        order by priority desc, queue_id
        limit $2
        for update skip locked",
        skill_names,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(picked)
}

/// The same of those that `owner` created.
pub async fn pick_own(
    conn: &mut PgConnection,
    owner: Uuid,
    skill_names: &[String],
    limit: i64,
) -> Result<Vec<Picked>> {
    let picked = sqlx::query_as!(
        Picked,
        "-- pick own executions
        select execution_id, size from execution_queue
        where created_by = $3 and available_at <= now()
          and ($1::text[] = '{}' or skill_name = any($1))
        order by priority desc, queue_id
        limit $2
        for update skip locked",
        skill_names,
        limit,
        owner,
    )
    .fetch_all(conn)
    .await?;
    Ok(picked)
}

/// Gives leases on executions that were picked. One that is being cancelled just
/// now is passed over: waiting for it could be a deadlock.
pub async fn claim(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
    leased_by: Uuid,
    worker: &str,
    duration_seconds: f64,
) -> Result<Vec<Leased>> {
    let rows = sqlx::query_file!(
        "src/workers/store/claim.sql",
        execution_ids,
        leased_by,
        worker,
        duration_seconds,
    )
    .fetch_all(conn)
    .await?;
    let leased = rows.into_iter().map(|it| Leased {
        execution: Execution {
            execution_id: it.execution_id,
            skill_id: it.skill_id,
            skill_name: it.skill_name,
            skill_version: it.skill_version,
            skill_digest: it.skill_digest,
            state: State::Running,
            parameters: Some(it.parameters),
            result: None,
            error_code: it.error_code,
            error_message: it.error_message,
            progress_percent: 0,
            attempt: it.attempt,
            max_attempts: it.max_attempts,
            priority: it.priority,
            created_by: it.created_by,
            started_at: it.started_at,
            ended_at: None,
            created_at: it.created_at,
            revision: it.revision,
        },
        lease_id: it.lease_id,
        expires_at: it.expires_at,
        body: it.body,
        allowed_tools: it.allowed_tools,
        parameters_schema: it.parameters_schema,
    });
    Ok(leased.collect())
}

/// Where these executions stand, by their ids.
pub async fn standings(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
) -> Result<HashMap<Uuid, Standing>> {
    let standings = sqlx::query_as!(
        Standing,
        r#"-- look at leased executions
        select execution_id, state as "state: State", lease_id, leased_by, attempt, step
        from executions
        where execution_id = any($1)"#,
        execution_ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(standings.into_iter().map(|it| (it.execution_id, it)).collect())
}

/// The same, which nobody else can change until the transaction ends. Locked in
/// the order of their ids, so that two batches never wait for each other.
pub async fn lock(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
) -> Result<HashMap<Uuid, Standing>> {
    let standings = sqlx::query_as!(
        Standing,
        r#"-- lock leased executions
        select execution_id, state as "state: State", lease_id, leased_by, attempt, step
        from executions
        where execution_id = any($1)
        order by execution_id
        for no key update"#,
        execution_ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(standings.into_iter().map(|it| (it.execution_id, it)).collect())
}

/// Prolongs those of the leases that `leased_by` holds by the duration that each
/// was taken with. Returns until when.
pub async fn prolong(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
    lease_ids: &[Uuid],
    leased_by: Uuid,
) -> Result<HashMap<Uuid, DateTime<Utc>>> {
    let rows = sqlx::query!(
        "-- prolong leases
        with held as (
            select l.execution_id
            from unnest($1::uuid[], $2::uuid[]) as input (execution_id, lease_id)
            join execution_leases l using (execution_id, lease_id)
            where l.leased_by = $3 and l.expires_at > now()
            order by l.execution_id
            for update of l
        )
        update execution_leases l
        set expires_at = now() + l.duration
        from held
        where l.execution_id = held.execution_id
        returning l.execution_id, l.expires_at",
        execution_ids,
        lease_ids,
        leased_by,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.execution_id, it.expires_at)).collect())
}

/// Ends those of the leases that `leased_by` holds. Returns of which executions.
pub async fn release(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
    lease_ids: &[Uuid],
    leased_by: Uuid,
) -> Result<HashSet<Uuid>> {
    let released = sqlx::query_scalar!(
        "-- release leases
        with held as (
            select l.execution_id
            from unnest($1::uuid[], $2::uuid[]) as input (execution_id, lease_id)
            join execution_leases l using (execution_id, lease_id)
            where l.leased_by = $3 and l.expires_at > now()
            order by l.execution_id
            for update of l
        )
        delete from execution_leases l
        using held
        where l.execution_id = held.execution_id
        returning l.execution_id",
        execution_ids,
        lease_ids,
        leased_by,
    )
    .fetch_all(conn)
    .await?;
    Ok(released.into_iter().collect())
}

/// Executions whose lease has expired, the oldest first, which nobody else can
/// change until the transaction ends; those that somebody changes are passed over.
pub async fn lock_expired(conn: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>> {
    let expired = sqlx::query_scalar!(
        "-- lock expired executions
        select e.execution_id
        from executions e
        where e.execution_id = any (array(
            select execution_id from execution_leases
            where expires_at <= now() order by expires_at limit $1
        ))
        order by e.execution_id
        for no key update skip locked",
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(expired)
}

/// Ends the leases of executions that are locked, if they have expired.
pub async fn release_expired(conn: &mut PgConnection, execution_ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let released = sqlx::query_scalar!(
        "-- release expired leases
        with expired as (
            select execution_id from execution_leases
            where execution_id = any($1) and expires_at <= now()
            for update skip locked
        )
        delete from execution_leases l
        using expired
        where l.execution_id = expired.execution_id
        returning l.execution_id",
        execution_ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(released)
}
