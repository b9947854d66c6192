//! Forgetting what has no use any more, once a minute, on one replica at a time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Result, idempotency, platform::Platform};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use super::store;
use crate::{auth, emails, locks, mail, mfa, passkeys, sessions, user_imports};

/// How often to clean up, before the jitter.
const EVERY: Duration = Duration::from_secs(60);
/// How long an ended session can be looked at.
const KEPT_FOR: TimeDelta = TimeDelta::days(30);

/// Cleans up now and then, until the service stops.
pub(crate) fn start(platform: &Platform) {
    let platform = platform.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = platform.shutdown.begun() => return,
                () = sleep(EVERY.mul_f64(jitter())) => {}
            }
            match sweep(&platform.db, platform.clock.now()).await {
                Ok(rows) => tracing::debug!(rows, "cleaned up"),
                Err(error) => tracing::warn!(error = error.with_cause(), "can't clean up"),
            }
        }
    });
}

/// Deletes what was of no use any more at `now`; returns how many rows. Does
/// nothing while another replica is at it.
///
/// # Errors
/// When the database fails.
pub async fn sweep(db: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    let mut tx = db.begin().await?;
    if !store::try_lock_housekeeping(&mut tx).await? {
        return Ok(0);
    }
    let rows = store::delete_expired(&mut tx, now).await?
        + store::delete_ended_rate_limits(&mut tx).await?
        + idempotency::forget_old(&mut tx).await?
        + sessions::store::delete_ended(&mut tx, now - KEPT_FOR).await?
        + auth::store::delete_expired(&mut tx, now - KEPT_FOR).await?
        + auth::store::challenge::delete_expired(&mut tx, now).await?
        + mfa::store::delete_expired(&mut tx, now).await?
        + locks::forget_old(&mut tx, now).await?
        + passkeys::forget_old(&mut tx, now).await?
        + user_imports::forget_old(&mut tx).await?
        + mail::forget_old(&mut tx, now).await?
        + emails::forget_old(&mut tx, now).await?;
    tx.commit().await?;
    Ok(rows)
}

/// Between 0.9 and 1.1, so that replicas that started together do not stay together.
fn jitter() -> f64 {
    let random = u32::from_le_bytes(*Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[0; 4]));
    0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX)
}
