//! What catalog-service tidies up by itself, on one replica at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ihuman_shared::{Result, clock::Clock, idempotency, platform::Platform, server::Shutdown};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use super::store;

/// How often executions are added to the figures of their skills, on average.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// Old idempotency keys are forgotten at every so manieth turn.
const FORGET_EVERY_TURNS: u64 = 60;
/// How many of them at a turn.
const FORGET_MAX: i64 = 5000;

/// Starts the task; it ends when the service stops.
pub fn start(platform: &Platform) {
    let Platform { db, clock, shutdown, .. } = platform.clone();
    tokio::spawn(run(db, clock, shutdown));
}

async fn run(db: PgPool, clock: Clock, shutdown: Shutdown) {
    for turn in 0_u64.. {
        tokio::select! {
            () = shutdown.begun() => return,
            () = sleep(jittered(FOLD_EVERY)) => {}
        }
        let forget = turn.is_multiple_of(FORGET_EVERY_TURNS).then(|| clock.now());
        if let Err(error) = tidy(&db, forget).await {
            tracing::warn!(error = error.with_cause(), "housekeeping failed; it is tried again");
        }
    }
}

/// One turn, unless another replica is at it: with the time at which to forget, if it
/// is time to.
async fn tidy(db: &PgPool, forget: Option<DateTime<Utc>>) -> Result<()> {
    let mut tx = db.begin().await?;
    if store::take_turn(&mut tx).await? {
        store::fold(&mut tx).await?;
        if let Some(now) = forget {
            idempotency::forget_old(&mut tx, now, FORGET_MAX).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Between half and one and a half of `every`, so that replicas do not keep in step.
fn jittered(every: Duration) -> Duration {
    // The last bits of a UUIDv7 are random.
    let random = (Uuid::now_v7().as_u128() & 0xffff) as f64 / 65536.0;
    every.mul_f64(0.5 + random)
}
