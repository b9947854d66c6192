//! Handing executions to the programs that carry them out: the rules.

pub mod expiry;
pub mod reports;
pub mod rpc;
pub mod store;

use std::{sync::Arc, time::Duration};

use ihuman_shared::{
    Result,
    access::Principal,
    audit::{self, Actor},
    server::Shutdown,
};
use serde_json::json;
use sqlx::PgPool;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

pub use self::store::Leased;
use self::store::Picked;
use crate::executions::{Changed, Changes, State};

/// How often a waiting worker looks at the queue when no hint comes: hints may be
/// lost, and an execution that waits for its next attempt sends none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many workers look at the queue at once in this process. They are many and
/// wake together, and must leave connections to everybody else.
const LOOKS_MAX: usize = 4;
/// About how many bytes one reply may have: gRPC clients take 4 MiB.
const REPLY_BYTES_MAX: i64 = 3 << 20;

/// What work is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// What to call the worker.
    pub worker: String,
    /// How many executions to take at the most.
    pub max_executions: i64,
    /// Of which skills; of all if none is named.
    pub skill_names: Vec<String>,
    /// How long to wait for the first.
    pub until: Instant,
    /// How long each lease holds unless prolonged.
    pub lease_duration: Duration,
}

/// What leasing needs of the service.
#[derive(Clone)]
struct Queue {
    db: PgPool,
    changes: Changes,
    shutdown: Shutdown,
    looks: Arc<Semaphore>,
}

/// Takes queued executions, waiting for the first if there are none. Returns none
/// when the wait ends or the service stops.
async fn lease(queue: &Queue, caller: &Principal, wanted: &Wanted) -> Result<Vec<Leased>> {
    // Before the first look, so that nothing comes between a look and the wait.
    let mut news = queue.changes.queue();
    loop {
        let leased = take(queue, caller, wanted).await?;
        if !leased.is_empty() {
            return Ok(leased);
        }
        tokio::select! {
            biased;
            () = queue.shutdown.begun() => return Ok(leased),
            () = sleep_until(wanted.until) => return Ok(leased),
            _ = news.changed() => {}
            () = sleep(jitter(LOOK_EVERY)) => {}
        }
    }
}

/// Takes what there is now.
async fn take(queue: &Queue, caller: &Principal, wanted: &Wanted) -> Result<Vec<Leased>> {
    // Never closed, so there is always a permit some time.
    let _permit = queue.looks.acquire().await;
    let mut tx = queue.db.begin().await?;
    let (names, limit) = (&wanted.skill_names, wanted.max_executions);
    let picked = match caller.is_service_account || caller.is_admin() {
        true => store::pick_any(&mut tx, names, limit).await?,
        false => store::pick_own(&mut tx, caller.user_id, names, limit).await?,
    };
    let ids = of_one_reply(&picked);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let duration = wanted.lease_duration.as_secs_f64();
    let mut leased = store::claim(&mut tx, &ids, caller.user_id, &wanted.worker, duration).await?;
    leased.sort_by_key(|it| ids.iter().position(|id| *id == it.execution.execution_id));

    let records = leased.iter().map(|it| record(it, &wanted.worker)).collect();
    audit::record_all(&mut tx, &Actor::from(caller), records).await?;
    tx.commit().await?;
    let changed: Vec<_> = leased.iter().map(changed).collect();
    queue.changes.announce(&changed);
    Ok(leased)
}

/// The first of these that fit into one reply, and at least one. The others stay
/// in the queue.
fn of_one_reply(picked: &[Picked]) -> Vec<Uuid> {
    let mut bytes = 0;
    let fits = |it: &&Picked| {
        let is_first = bytes == 0;
        bytes += i64::from(it.size);
        is_first || bytes <= REPLY_BYTES_MAX
    };
    picked.iter().take_while(fits).map(|it| it.execution_id).collect()
}

fn record(leased: &Leased, worker: &str) -> audit::Change {
    audit::Change::changed(
        "execution.lease",
        "execution",
        leased.execution.execution_id,
        json!({ "state": State::Queued.text() }),
        json!({
            "state": State::Running.text(),
            "attempt": leased.execution.attempt,
            "worker": worker,
        }),
    )
}

fn changed(leased: &Leased) -> Changed {
    let it = &leased.execution;
    let (execution_id, revision) = (it.execution_id, it.revision);
    Changed { execution_id, revision, state: it.state, attempt: it.attempt }
}

/// About `period`: four fifths of it to six, so that replicas and workers do not
/// all look at the same time.
fn jitter(period: Duration) -> Duration {
    // The lower half of a UUIDv7 is random.
    let random = Uuid::now_v7().as_u64_pair().1 % 1000;
    period * 4 / 5 + period * 2 / 5 * random as u32 / 1000
}
