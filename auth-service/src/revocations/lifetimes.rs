//! How long access tokens may live that were issued under another configuration.
//!
//! A revocation must outlive every token that it concerns, and a replica knows only how
//! long its own last. So each says so, before it issues any and then once a minute; a
//! lifetime counts until the last token has expired that can have had it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Result, platform::Platform};
use sqlx::PgConnection;
use tokio::time::sleep;

use super::store;
use crate::context::{Context, kept_for};

/// How often a replica says how long its tokens last.
const EVERY: Duration = Duration::from_secs(60);
/// How long that holds if it can't say so again: who can't write this can't write a
/// session either, and issues nothing.
const HOLDS_FOR: TimeDelta = TimeDelta::minutes(10);

/// Says how long the tokens of this replica last, from now on until the service stops.
///
/// # Errors
/// When it can't be said the first time: then no token may be issued.
pub(crate) async fn start(platform: &Platform, context: &Arc<Context>) -> Result<()> {
    record(context).await?;
    let (shutdown, context) = (platform.shutdown.clone(), Arc::clone(context));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = sleep(EVERY) => {}
            }
            if let Err(error) = record(&context).await {
                tracing::warn!(error = error.with_cause(), "can't say how long tokens last");
            }
        }
    });
    Ok(())
}

/// Forgets the lifetimes that no living token has; returns how many.
pub(crate) async fn forget_old(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<u64> {
    store::delete_ended_lifetimes(conn, now).await
}

async fn record(context: &Context) -> Result<()> {
    let kept_for = kept_for(context.access_lifetime());
    let mut conn = context.db.acquire().await?;
    store::upsert_lifetime(&mut conn, kept_for, context.now() + HOLDS_FOR).await
}
