//! What reports of workers change of executions that are locked.

use ihuman_shared::Result;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::executions::{Changed, State};

/// Progress of executions, one array a column.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct Progress {
    pub execution_ids: Vec<Uuid>,
    pub percents: Vec<i32>,
    /// Empty where the step is to stay as it is.
    pub steps: Vec<String>,
    pub messages: Vec<String>,
}

/// Steps of attempts, one array a column.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct Steps {
    pub execution_ids: Vec<Uuid>,
    pub attempts: Vec<i32>,
    pub names: Vec<String>,
    pub messages: Vec<String>,
}

/// Ends of attempts that failed, one array a column.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named as the columns of the table")]
pub struct Failures {
    pub execution_ids: Vec<Uuid>,
    pub codes: Vec<String>,
    pub messages: Vec<String>,
    pub permanents: Vec<bool>,
}

/// Records how far executions are.
pub async fn progress(conn: &mut PgConnection, progress: &Progress) -> Result<Vec<Changed>> {
    let changed = sqlx::query_as!(
        Changed,
        r#"-- report progress
        with input as (
            select * from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[])
                as input (execution_id, percent, step, message)
        ), changed as (
            update executions e
            set progress_percent = i.percent, revision = e.revision + 1,
                step = case when i.step = '' then e.step else i.step end
            from input i
            where e.execution_id = i.execution_id
            returning e.execution_id, e.revision, e.state, e.attempt, e.progress_percent, e.step,
                      i.message
        ), history as (
            insert into execution_history
                (execution_id, revision, state, attempt, progress_percent, step, message)
            select execution_id, revision, state, attempt, progress_percent, step, message
            from changed
        )
        select execution_id as "execution_id!", revision as "revision!",
               state as "state!: State", attempt as "attempt!"
        from changed"#,
        &progress.execution_ids,
        &progress.percents,
        &progress.steps,
        &progress.messages,
    )
    .fetch_all(conn)
    .await?;
    Ok(changed)
}

/// Ends the steps that are going on and begins these. Returns the executions with
/// the positions of their new steps.
pub async fn begin_steps(conn: &mut PgConnection, steps: &Steps) -> Result<Vec<(Uuid, i32)>> {
    let begun = sqlx::query!(
        "-- begin steps
        with input as (
            select * from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[])
                as input (execution_id, attempt, name, message)
        ), ended as (
            update execution_steps s
            set state = 'succeeded', ended_at = now()
            from input i
            where s.execution_id = i.execution_id and s.attempt = i.attempt
              and s.state = 'running'
        )
        insert into execution_steps (execution_id, attempt, position, name, message)
        select i.execution_id, i.attempt, coalesce(max(s.position), 0) + 1, i.name, i.message
        from input i
        left join execution_steps s
            on s.execution_id = i.execution_id and s.attempt = i.attempt
        group by i.execution_id, i.attempt, i.name, i.message
        returning execution_id, position",
        &steps.execution_ids,
        &steps.attempts,
        &steps.names,
        &steps.messages,
    )
    .fetch_all(conn)
    .await?;
    Ok(begun.into_iter().map(|it| (it.execution_id, it.position)).collect())
}

/// Puts new messages on the steps that are going on.
pub async fn update_steps(conn: &mut PgConnection, steps: &Steps) -> Result<()> {
    sqlx::query!(
        "-- update steps
        update execution_steps s
        set message = i.message
        from unnest($1::uuid[], $2::integer[], $3::text[]) as i (execution_id, attempt, message)
        where s.execution_id = i.execution_id and s.attempt = i.attempt and s.state = 'running'",
        &steps.execution_ids,
        &steps.attempts,
        &steps.messages,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends executions with their results.
pub async fn complete(
    conn: &mut PgConnection,
    execution_ids: &[Uuid],
    results: &[Value],
) -> Result<Vec<Changed>> {
    let changed = sqlx::query_as!(
        Changed,
        r#"-- complete executions
        with input as (
            select * from unnest($1::uuid[], $2::jsonb[]) as input (execution_id, result)
        ), done as (
            update executions e
            set state = 'succeeded', result = i.result, error_code = null, error_message = null,
                progress_percent = 100, ended_at = now(), revision = e.revision + 1
            from input i
            where e.execution_id = i.execution_id
            returning e.execution_id, e.revision, e.state, e.attempt, e.progress_percent, e.step
        ), steps as (
            update execution_steps s
            set state = 'succeeded', ended_at = now()
            from done
            where s.execution_id = done.execution_id and s.attempt = done.attempt
              and s.state = 'running'
        ), history as (
            insert into execution_history
                (execution_id, revision, state, attempt, progress_percent, step, message)
            select execution_id, revision, state, attempt, progress_percent, step, '' from done
        )
        select execution_id as "execution_id!", revision as "revision!",
               state as "state!: State", attempt as "attempt!"
        from done"#,
        execution_ids,
        results,
    )
    .fetch_all(conn)
    .await?;
    Ok(changed)
}

/// Ends attempts with their errors. With attempts left an execution is queued again,
/// after a wait, or at once if its lease has expired: then the lease is forgotten
/// too, so that a late report under it is not taken for a repeated one.
pub async fn fail(
    conn: &mut PgConnection,
    failures: &Failures,
    lease_expired: bool,
) -> Result<Vec<Changed>> {
    let changed = sqlx::query_as!(
        Changed,
        r#"-- fail executions
        with input as (
            select * from unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[])
                as input (execution_id, code, message, permanent)
        ), judged as (
            select i.*, e.attempt >= e.max_attempts or i.permanent as is_final
            from input i join executions e using (execution_id)
        ), failed as (
            update executions e
            set state = case when j.is_final then 'failed' else 'queued' end,
                ended_at = case when j.is_final then now() end,
                error_code = j.code, error_message = j.message, revision = e.revision + 1,
                lease_id = case when $5 then null else e.lease_id end
            from judged j
            where e.execution_id = j.execution_id
            returning e.*
        ), queued as (
            insert into execution_queue
                (execution_id, skill_name, created_by, priority, size, available_at)
            select f.execution_id, s.name, f.created_by, f.priority, f.size,
                   now() + case when $5 then interval '0' else
                       make_interval(secs => least(power(2, f.attempt - 1), 300)) end
            from failed f join skills s using (skill_id)
            where f.state = 'queued'
        ), steps as (
            update execution_steps s
            set state = 'failed', ended_at = now()
            from failed f
            where s.execution_id = f.execution_id and s.attempt = f.attempt
              and s.state = 'running'
        ), history as (
            insert into execution_history
                (execution_id, revision, state, attempt, progress_percent, step, message)
            select execution_id, revision, state, attempt, progress_percent, step, error_message
            from failed
        )
        select execution_id as "execution_id!", revision as "revision!",
               state as "state!: State", attempt as "attempt!"
        from failed"#,
        &failures.execution_ids,
        &failures.codes,
        &failures.messages,
        &failures.permanents,
        lease_expired,
    )
    .fetch_all(conn)
    .await?;
    Ok(changed)
}
