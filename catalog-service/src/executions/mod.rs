//! Asking for skills to be run, and seeing what becomes of it: the rules.

mod changes;
mod quota;
pub mod rpc;
mod state;
pub mod store;
mod watch;

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor},
    idempotency::{self, Key},
    page::Page,
};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use self::store::{Filter, NewExecution};
pub use self::{
    changes::Changes,
    quota::Quota,
    state::State,
    store::{Change, Changed, Execution, Step},
    watch::Update,
};
use crate::skills;

/// The most that parameters and results may have, in bytes of JSON text.
pub const JSON_BYTES_MAX: usize = 256 << 10;

/// What to run.
#[derive(Debug)]
pub struct Request {
    /// The skill, at its newest version.
    pub skill_id: Uuid,
    /// What to run it with: a JSON object.
    pub parameters: Value,
    /// 0 to 9.
    pub priority: i32,
    /// 1 to 20.
    pub max_attempts: i32,
}

/// Whose executions `caller` sees: their own, or everybody's.
fn scope(caller: &Principal) -> Option<Uuid> {
    (!caller.is_admin()).then_some(caller.user_id)
}

/// Queues an execution of the newest version of a skill.
///
/// # Errors
/// `NotFound` for an unknown skill, `WrongState` for an archived one,
/// `InvalidFields` for parameters that its schema refuses, `QuotaExceeded`.
pub async fn create(
    db: &PgPool,
    changes: &Changes,
    quota: &Quota,
    caller: &Principal,
    key: Option<&Key>,
    request: Request,
) -> Result<Execution> {
    let execution_id = Uuid::now_v7();
    let mut tx = db.begin().await?;
    // Before anything is checked: what was created stays created, whatever has
    // become of the skill since.
    if let Some(earlier) = idempotency::claim(&mut tx, key, execution_id, None).await? {
        let execution = store::get(&mut tx, earlier.entity_id, scope(caller)).await?;
        return execution.ok_or(Error::NotFound("execution"));
    }
    let skill = runnable(&mut tx, &request).await?;
    quota.check(&mut tx, caller.user_id).await?;

    let Request { parameters, priority, max_attempts, .. } = request;
    let new = NewExecution {
        execution_id,
        skill_id: skill.skill_id,
        skill_name: &skill.name,
        skill_version: skill.version,
        parameters: &parameters,
        size: message_size(&parameters) + message_size(&skill.parameters_schema),
        max_attempts,
        priority,
        created_by: caller.user_id,
    };
    let created_at = store::insert(&mut tx, &new).await?;
    let values = json!({
        "skill_id": skill.skill_id,
        "skill_version": skill.version,
        "priority": priority,
        "max_attempts": max_attempts,
    });
    let change = audit::Change::created("execution.create", "execution", execution_id, values);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;

    let state = State::Queued;
    changes.announce(&[Changed { execution_id, revision: 1, state, attempt: 0 }]);
    Ok(Execution {
        execution_id,
        skill_id: skill.skill_id,
        skill_name: skill.name,
        skill_version: skill.version,
        skill_digest: skill.digest,
        state,
        parameters: Some(parameters),
        result: None,
        error_code: None,
        error_message: None,
        progress_percent: 0,
        attempt: 0,
        max_attempts,
        priority,
        created_by: caller.user_id,
        started_at: None,
        ended_at: None,
        created_at,
        revision: 1,
    })
}

/// The newest version of the skill, if it may be run with these parameters.
async fn runnable(
    conn: &mut PgConnection,
    request: &Request,
) -> Result<skills::store::NewestVersion> {
    let skill = skills::store::newest(conn, request.skill_id).await?;
    let skill = skill.ok_or(Error::NotFound("skill"))?;
    if skill.state == skills::State::Archived {
        return Err(Error::WrongState { subject: "skill", description: "is archived".to_owned() });
    }
    skills::schema::validate(&skill.digest, &skill.parameters_schema, &request.parameters)?;
    Ok(skill)
}

/// About how many bytes a value has as a `google.protobuf.Value`.
fn message_size(value: &Value) -> i32 {
    // What surrounds each value: two tags, and lengths of up to three bytes.
    const AROUND: i32 = 8;
    AROUND
        + match value {
            Value::Null | Value::Bool(_) => 2,
            Value::Number(_) => 9,
            Value::String(it) => it.len() as i32,
            Value::Array(items) => items.iter().map(message_size).sum(),
            Value::Object(map) => {
                map.iter().map(|(name, it)| AROUND + name.len() as i32 + message_size(it)).sum()
            }
        }
}

/// One execution that `caller` may see.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: &PgPool, caller: &Principal, execution_id: Uuid) -> Result<Execution> {
    let mut conn = db.acquire().await?;
    let execution = store::get(&mut conn, execution_id, scope(caller)).await?;
    execution.ok_or(Error::NotFound("execution"))
}

/// A page of the executions that `caller` may see, newest first.
pub async fn list(
    db: &PgPool,
    caller: &Principal,
    skill_id: Option<Uuid>,
    state: Option<State>,
    page: &Page<Uuid>,
) -> Result<(Vec<Execution>, String)> {
    let filter = Filter { skill_id, state, before: page.after, limit: page.limit() };
    let mut conn = db.acquire().await?;
    let rows = match scope(caller) {
        Some(owner) => store::list_own(&mut conn, owner, &filter).await?,
        None => store::list_all(&mut conn, &filter).await?,
    };
    page.cut(rows, |it| it.execution_id)
}

/// Ends an execution that has not ended. Cancelling a cancelled one changes nothing.
///
/// # Errors
/// `NotFound`; `WrongState` when it has succeeded or failed.
pub async fn cancel(
    db: &PgPool,
    changes: &Changes,
    caller: &Principal,
    execution_id: Uuid,
) -> Result<Execution> {
    let mut tx = db.begin().await?;
    let state = store::lock(&mut tx, execution_id, scope(caller)).await?;
    let mut changed = None;
    match state.ok_or(Error::NotFound("execution"))? {
        State::Cancelled => {}
        state @ (State::Succeeded | State::Failed) => {
            let description = format!("is already {}", state.text().to_uppercase());
            return Err(Error::WrongState { subject: "execution", description });
        }
        state @ (State::Queued | State::Running) => {
            changed = Some(store::cancel(&mut tx, execution_id).await?);
            let change = audit::Change::changed(
                "execution.cancel",
                "execution",
                execution_id,
                json!({ "state": state.text() }),
                json!({ "state": State::Cancelled.text() }),
            );
            audit::record(&mut tx, &Actor::from(caller), change).await?;
        }
    }
    let execution = store::get(&mut tx, execution_id, None).await?;
    tx.commit().await?;
    changes.announce(changed.as_slice());
    execution.ok_or(Error::NotFound("execution"))
}

/// A page of the steps of an execution that `caller` may see.
///
/// # Errors
/// `NotFound`.
pub async fn list_steps(
    db: &PgPool,
    caller: &Principal,
    execution_id: Uuid,
    page: &Page<(i32, i32)>,
) -> Result<(Vec<Step>, String)> {
    let mut conn = db.acquire().await?;
    let execution = store::get(&mut conn, execution_id, scope(caller)).await?;
    execution.ok_or(Error::NotFound("execution"))?;
    let after = page.after.unwrap_or_default();
    let rows = store::steps(&mut conn, execution_id, after, page.limit()).await?;
    page.cut(rows, |it| (it.attempt, it.position))
}
