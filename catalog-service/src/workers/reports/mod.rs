//! What workers report under their leases: the rules. A report counts only while
//! its lease is held, so that of two workers on one execution one is heard.

pub mod store;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use self::store::{Failures, Steps};
use super::store::{self as leases, Standing};
use crate::executions::{Changed, Changes, State};

/// How many steps one attempt may have.
const STEPS_MAX: i32 = 100;

/// One leased execution, as its worker names it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The execution.
    pub execution_id: Uuid,
    /// What proves the lease.
    pub lease_id: Uuid,
}

/// How far one execution is.
#[derive(Debug)]
pub struct Progress {
    /// The lease that it runs under.
    pub lease: Lease,
    /// 0 to 100.
    pub percent: i32,
    /// The step that is going on; empty for the same as before.
    pub step: String,
    /// A word to who watches; empty for none.
    pub message: String,
}

/// The error of one attempt.
#[derive(Debug)]
pub struct Failure {
    /// The lease that it ran under.
    pub lease: Lease,
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether no further attempt could do better.
    pub permanent: bool,
}

/// Whether a report counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did; the lease holds until then, or is over.
    Held(Option<DateTime<Utc>>),
    /// It did not: the lease had expired, or was never given to this caller.
    Lost,
    /// It did not: the execution was cancelled.
    Cancelled,
}

/// Prolongs leases.
pub async fn heartbeat(db: &PgPool, caller: &Principal, reports: &[Lease]) -> Result<Vec<Verdict>> {
    let mut conn = db.acquire().await?;
    let (ids, lease_ids) = columns(reports.iter());
    let held = leases::prolong(&mut conn, &ids, &lease_ids, caller.user_id).await?;
    let standings = match held.len() == reports.len() {
        true => HashMap::new(),
        false => leases::standings(&mut conn, &ids).await?,
    };
    let verdict = |it: &Lease| match held.get(&it.execution_id) {
        Some(until) => Verdict::Held(Some(*until)),
        None => not_held(own(&standings, caller, it), &[]),
    };
    Ok(reports.iter().map(verdict).collect())
}

/// Records how far executions are, and prolongs their leases.
///
/// # Errors
/// `InvalidFields` for one step too many.
pub async fn progress(
    db: &PgPool,
    changes: &Changes,
    caller: &Principal,
    reports: &[Progress],
) -> Result<Vec<Verdict>> {
    let mut tx = db.begin().await?;
    let ids: Vec<Uuid> = reports.iter().map(|it| it.lease.execution_id).collect();
    let standings = leases::lock(&mut tx, &ids).await?;
    let running = reports.iter().map(|it| &it.lease).filter(|it| runs(&standings, caller, it));
    let (ids, lease_ids) = columns(running);
    let held = leases::prolong(&mut tx, &ids, &lease_ids, caller.user_id).await?;

    let counted = || reports.iter().filter(|it| held.contains_key(&it.lease.execution_id));
    let mut columns = store::Progress::default();
    for it in counted() {
        columns.execution_ids.push(it.lease.execution_id);
        columns.percents.push(it.percent);
        columns.steps.push(it.step.clone());
        columns.messages.push(it.message.clone());
    }
    if !columns.execution_ids.is_empty() {
        let changed = store::progress(&mut tx, &columns).await?;
        record_steps(&mut tx, reports, &standings, counted()).await?;
        let records = counted().map(|it| {
            let values = json!({ "progress_percent": it.percent, "step": it.step });
            record("execution.progress", it.lease.execution_id, Value::Null, values)
        });
        audit::record_all(&mut tx, &Actor::from(caller), records.collect()).await?;
        tx.commit().await?;
        changes.announce(&changed);
    }
    let verdict = |it: &Progress| match held.get(&it.lease.execution_id) {
        Some(until) => Verdict::Held(Some(*until)),
        None => not_held(own(&standings, caller, &it.lease), &[]),
    };
    Ok(reports.iter().map(verdict).collect())
}

/// Begins the steps that are named anew, and puts messages on those that go on.
async fn record_steps<'a>(
    conn: &mut sqlx::PgConnection,
    reports: &[Progress],
    standings: &HashMap<Uuid, Standing>,
    counted: impl Iterator<Item = &'a Progress>,
) -> Result<()> {
    let (mut new, mut old) = (Steps::default(), Steps::default());
    for it in counted {
        let standing = &standings[&it.lease.execution_id];
        let is_new = !it.step.is_empty() && it.step != standing.step;
        if !is_new && (it.message.is_empty() || standing.step.is_empty()) {
            continue;
        }
        let steps = if is_new { &mut new } else { &mut old };
        steps.execution_ids.push(it.lease.execution_id);
        steps.attempts.push(standing.attempt);
        steps.names.push(it.step.clone());
        steps.messages.push(it.message.clone());
    }
    if !old.execution_ids.is_empty() {
        store::update_steps(conn, &old).await?;
    }
    if new.execution_ids.is_empty() {
        return Ok(());
    }
    for (execution_id, position) in store::begin_steps(conn, &new).await? {
        if position > STEPS_MAX {
            let index = reports.iter().position(|it| it.lease.execution_id == execution_id);
            let field = format!("progress[{}].step", index.unwrap_or_default());
            let problem = format!("an attempt must have at most {STEPS_MAX} steps");
            return Err(Error::invalid(field, problem));
        }
    }
    Ok(())
}

/// Ends executions with their results.
pub async fn complete(
    db: &PgPool,
    changes: &Changes,
    caller: &Principal,
    reports: Vec<(Lease, Value)>,
) -> Result<Vec<Verdict>> {
    let mut tx = db.begin().await?;
    let ids: Vec<Uuid> = reports.iter().map(|(it, _)| it.execution_id).collect();
    let standings = leases::lock(&mut tx, &ids).await?;
    let running = reports.iter().map(|(it, _)| it).filter(|it| runs(&standings, caller, it));
    let (ids, lease_ids) = columns(running);
    let held = leases::release(&mut tx, &ids, &lease_ids, caller.user_id).await?;

    let verdict = |it: &Lease| match held.contains(&it.execution_id) {
        true => Verdict::Held(None),
        false => not_held(own(&standings, caller, it), &[State::Succeeded]),
    };
    let verdicts = reports.iter().map(|(it, _)| verdict(it)).collect();
    if !held.is_empty() {
        let counted = reports.into_iter().filter(|(it, _)| held.contains(&it.execution_id));
        let (ids, results): (Vec<_>, Vec<_>) =
            counted.map(|(it, result)| (it.execution_id, result)).unzip();
        let changed = store::complete(&mut tx, &ids, &results).await?;
        let records = ended("execution.complete", &changed);
        audit::record_all(&mut tx, &Actor::from(caller), records).await?;
        tx.commit().await?;
        changes.announce(&changed);
    }
    Ok(verdicts)
}

/// Ends attempts with their errors.
pub async fn fail(
    db: &PgPool,
    changes: &Changes,
    caller: &Principal,
    reports: Vec<Failure>,
) -> Result<Vec<Verdict>> {
    let mut tx = db.begin().await?;
    let ids: Vec<Uuid> = reports.iter().map(|it| it.lease.execution_id).collect();
    let standings = leases::lock(&mut tx, &ids).await?;
    let running = reports.iter().map(|it| &it.lease).filter(|it| runs(&standings, caller, it));
    let (ids, lease_ids) = columns(running);
    let held = leases::release(&mut tx, &ids, &lease_ids, caller.user_id).await?;

    let verdict = |it: &Failure| match held.contains(&it.lease.execution_id) {
        true => Verdict::Held(None),
        false => not_held(own(&standings, caller, &it.lease), &[State::Queued, State::Failed]),
    };
    let verdicts = reports.iter().map(verdict).collect();
    if !held.is_empty() {
        let mut failures = Failures::default();
        for it in reports.into_iter().filter(|it| held.contains(&it.lease.execution_id)) {
            failures.execution_ids.push(it.lease.execution_id);
            failures.codes.push(it.code);
            failures.messages.push(it.message);
            failures.permanents.push(it.permanent);
        }
        let changed = store::fail(&mut tx, &failures, false).await?;
        let records = ended("execution.fail", &changed);
        audit::record_all(&mut tx, &Actor::from(caller), records).await?;
        tx.commit().await?;
        changes.announce(&changed);
    }
    Ok(verdicts)
}

/// The audit records of attempts that ended.
pub(super) fn ended(action: &'static str, changed: &[Changed]) -> Vec<audit::Change> {
    let record = |it: &Changed| {
        let old_values = json!({ "state": State::Running.text() });
        let new_values = json!({ "state": it.state.text(), "attempt": it.attempt });
        record(action, it.execution_id, old_values, new_values)
    };
    changed.iter().map(record).collect()
}

fn record(
    action: &'static str,
    execution_id: Uuid,
    old_values: Value,
    new_values: Value,
) -> audit::Change {
    audit::Change::changed(action, "execution", execution_id, old_values, new_values)
}

/// The execution of a lease, if that was its latest and this caller's.
fn own<'a>(
    standings: &'a HashMap<Uuid, Standing>,
    caller: &Principal,
    lease: &Lease,
) -> Option<&'a Standing> {
    let standing = standings.get(&lease.execution_id)?;
    let is_own =
        standing.lease_id == Some(lease.lease_id) && standing.leased_by == Some(caller.user_id);
    is_own.then_some(standing)
}

fn runs(standings: &HashMap<Uuid, Standing>, caller: &Principal, lease: &Lease) -> bool {
    own(standings, caller, lease).is_some_and(|it| it.state == State::Running)
}

/// What to say of a report that changed nothing: it repeats an earlier one if that
/// one would have led to one of the states `repeated`.
fn not_held(standing: Option<&Standing>, repeated: &[State]) -> Verdict {
    match standing.map(|it| it.state) {
        Some(State::Cancelled) => Verdict::Cancelled,
        Some(state) if repeated.contains(&state) => Verdict::Held(None),
        _ => Verdict::Lost,
    }
}

fn columns<'a>(leases: impl Iterator<Item = &'a Lease>) -> (Vec<Uuid>, Vec<Uuid>) {
    leases.map(|it| (it.execution_id, it.lease_id)).unzip()
}
