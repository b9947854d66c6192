//! Leases that expire: each replica looks for them, and queues their executions again.

use std::time::Duration;

use ihuman_shared::{
    Result,
    audit::{self, Actor},
    platform::Platform,
};
use sqlx::PgPool;
use tokio::time::sleep;

use super::{
    jitter, reports,
    reports::store::{self as reported, Failures},
    store,
};
use crate::executions::Changes;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many leases are ended in one transaction.
const BATCH: i64 = 500;
/// What the attempt failed of, in the words of the contract.
const CODE: &str = "LEASE_EXPIRED";
const MESSAGE: &str = "the worker did not report in time";

/// Looks for expired leases until the service stops.
pub fn start(platform: &Platform, changes: &Changes) {
    let (db, shutdown) = (platform.db.clone(), platform.shutdown.clone());
    let changes = changes.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = sleep(jitter(LOOK_EVERY)) => {}
            }
            if let Err(error) = expire(&db, &changes).await {
                tracing::warn!(error = error.with_cause(), "can't look for expired leases");
            }
        }
    });
}

/// Ends all leases that have expired.
async fn expire(db: &PgPool, changes: &Changes) -> Result<()> {
    while expire_batch(db, changes).await? == BATCH as usize {}
    Ok(())
}

async fn expire_batch(db: &PgPool, changes: &Changes) -> Result<usize> {
    let mut tx = db.begin().await?;
    let locked = store::lock_expired(&mut tx, BATCH).await?;
    if locked.is_empty() {
        return Ok(0);
    }
    let execution_ids = store::release_expired(&mut tx, &locked).await?;
    let count = execution_ids.len();
    let failures = Failures {
        execution_ids,
        codes: vec![CODE.to_owned(); count],
        messages: vec![MESSAGE.to_owned(); count],
        permanents: vec![false; count],
    };
    let changed = reported::fail(&mut tx, &failures, true).await?;
    let records = reports::ended("execution.expire_lease", &changed);
    audit::record_all(&mut tx, &Actor::system(), records).await?;
    tx.commit().await?;
    changes.announce(&changed);
    Ok(count)
}
