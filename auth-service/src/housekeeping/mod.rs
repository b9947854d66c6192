//! Forgetting what has no use any more, once a minute, on one replica at a time.

mod store;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Error, Result, idempotency, platform::Platform};
use sqlx::{PgConnection, PgPool};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{auth, emails, locks, mail, mfa, passkeys, revocations, sessions, user_imports};

/// How often to clean up, before the jitter.
const EVERY: Duration = Duration::from_secs(60);
/// How long an ended session can be looked at.
const KEPT_FOR: TimeDelta = TimeDelta::days(30);
/// How many rows one transaction deletes: few enough that who wants one of them does
/// not notice.
const BATCH: i64 = 5000;

/// What is forgotten.
#[derive(Clone, Copy, Debug)]
enum Old {
    Revocations,
    AccessLifetimes,
    RateLimits,
    IdempotencyKeys,
    Sessions,
    RefreshTokens,
    LoginChallenges,
    Totps,
    Locks,
    PasskeyChallenges,
    UserImports,
    Mails,
    EmailTokens,
}

const ALL: [Old; 13] = [
    Old::Revocations,
    Old::AccessLifetimes,
    Old::RateLimits,
    Old::IdempotencyKeys,
    Old::Sessions,
    Old::RefreshTokens,
    Old::LoginChallenges,
    Old::Totps,
    Old::Locks,
    Old::PasskeyChallenges,
    Old::UserImports,
    Old::Mails,
    Old::EmailTokens,
];

/// Cleans up now and then, until the service stops.
pub(crate) fn start(platform: &Platform) {
    let platform = platform.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = platform.shutdown.begun() => return,
                () = sleep(EVERY.mul_f64(jitter())) => {}
            }
            // What failed has been logged.
            if let Ok(rows) = sweep(&platform.db, platform.clock.now()).await {
                tracing::debug!(rows, "cleaned up");
            }
        }
    });
}

/// Deletes what was of no use any more at `now`; returns how many rows. Stops where
/// another replica is at it.
///
/// # Errors
/// The last thing that failed, when everything else is done.
pub async fn sweep(db: &PgPool, now: DateTime<Utc>) -> Result<u64> {
    let (mut rows, mut failed) = (0, None::<Error>);
    for old in ALL {
        loop {
            match delete_some(db, old, now).await {
                Ok(Some(deleted)) => {
                    rows += deleted;
                    if deleted < BATCH as u64 {
                        break;
                    }
                }
                Ok(None) => return failed.map_or(Ok(rows), Err),
                Err(error) => {
                    tracing::warn!(error = error.with_cause(), ?old, "can't clean up");
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    failed.map_or(Ok(rows), Err)
}

/// Deletes a batch, in a transaction of its own: requests wait for the rows that it
/// holds. None while another replica is at it.
async fn delete_some(db: &PgPool, old: Old, now: DateTime<Utc>) -> Result<Option<u64>> {
    let mut tx = db.begin().await?;
    if !store::try_lock(&mut tx).await? {
        return Ok(None);
    }
    let deleted = delete(&mut tx, old, now).await?;
    tx.commit().await?;
    Ok(Some(deleted))
}

async fn delete(conn: &mut PgConnection, old: Old, now: DateTime<Utc>) -> Result<u64> {
    match old {
        Old::Revocations => revocations::forget_old(conn, now, BATCH).await,
        Old::AccessLifetimes => revocations::lifetimes::forget_old(conn, now).await,
        Old::RateLimits => store::delete_ended_rate_limits(conn, BATCH).await,
        Old::IdempotencyKeys => idempotency::forget_old(conn, now, BATCH).await,
        Old::Sessions => sessions::store::delete_ended(conn, now - KEPT_FOR, BATCH).await,
        Old::RefreshTokens => auth::store::delete_expired(conn, now - KEPT_FOR, BATCH).await,
        Old::LoginChallenges => auth::store::challenge::delete_expired(conn, now, BATCH).await,
        Old::Totps => mfa::store::delete_expired(conn, now, BATCH).await,
        Old::Locks => locks::forget_old(conn, now, BATCH).await,
        Old::PasskeyChallenges => passkeys::forget_old(conn, now, BATCH).await,
        Old::UserImports => user_imports::forget_old(conn, now, BATCH).await,
        Old::Mails => mail::forget_old(conn, now, BATCH).await,
        Old::EmailTokens => emails::forget_old(conn, now, BATCH).await,
    }
}

/// Between 0.9 and 1.1, so that replicas that started together do not stay together.
fn jitter() -> f64 {
    let random = u32::from_le_bytes(*Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[0; 4]));
    0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX)
}
