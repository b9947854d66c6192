//! Making the next key in time and removing the old one, on one replica at a time.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Result,
    audit::{self, Actor, Change},
    credentials::{MasterKey, Sealer},
    notifications::{self, Channel},
    platform::Platform,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{Instant, interval_at};
use uuid::Uuid;

use super::{
    State, schedule,
    store::{self, Row},
};
use crate::{
    config::IdentityConfig,
    context::{Context, kept_for, lifetime},
};

/// How often to look; a key is published at least ten minutes ahead of its time.
const EVERY: Duration = Duration::from_secs(30);

/// How long a key is published before it signs.
pub(crate) fn publish_ahead(config: &IdentityConfig) -> TimeDelta {
    lifetime(config.signing_key_publish_ahead)
}

/// Rotates now and then, and reads the keys again at each hint, until the service stops.
pub(crate) fn start(platform: &Platform, context: &Arc<Context>) {
    if context.signing_keys.has_shared_secret() {
        return;
    }
    let (platform, context) = (platform.clone(), Arc::clone(context));
    tokio::spawn(async move {
        let mut hints = platform.notifications.subscribe(Channel::SigningKeys);
        let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
        let mut revoked = platform.authenticator.revocations().news();
        loop {
            let is_hint = tokio::select! {
                () = platform.shutdown.begun() => return,
                _ = ticks.tick() => false,
                _ = hints.next() => true,
                Ok(()) = revoked.changed() => {
                    // Most of what is revoked is no key.
                    if !context.signing_keys.holds_a_dead_key() {
                        continue;
                    }
                    true
                }
            };
            let done = async {
                if !is_hint {
                    rotate_due(&context.db, &platform.master_key, &context.config, context.now())
                        .await?;
                }
                context.signing_keys.reload(&context.db).await
            };
            if let Err(error) = done.await {
                tracing::warn!(error = error.with_cause(), "can't rotate the signing keys");
            }
        }
    });
}

/// Makes the next key if it is time at `now`, and removes those whose last token has
/// expired. Does nothing while another replica is at it.
///
/// # Errors
/// When the database fails.
pub async fn rotate_due(
    db: &PgPool,
    master_key: &MasterKey,
    config: &IdentityConfig,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut tx = db.begin().await?;
    if !store::try_lock(&mut tx).await? {
        return Ok(());
    }
    let access_lifetime = lifetime(config.jwt_expires_in);
    let sealer = Sealer::new(master_key, super::PURPOSE);
    let rows = store::list(&mut tx).await?;
    let signing = signing(&rows, &sealer, now);
    let keys = schedule(rows, kept_for(access_lifetime), now);

    let active = keys.iter().find(|it| it.state == State::Active).and_then(|it| it.activates_at);
    let has_next = keys.iter().any(|it| it.state == State::Next);
    let (rotation, ahead) = (lifetime(config.signing_key_rotation), publish_ahead(config));
    if let Some(due) = active.map(|it| it + rotation)
        && !has_next
        && now >= due - ahead
    {
        let (kid, activates_at) = (Uuid::now_v7(), due.max(now + ahead));
        super::create(&mut tx, &sealer, kid, now, activates_at, &Actor::system()).await?;
    }
    let is_over = |at: Option<DateTime<Utc>>| at.is_some_and(|it| it <= now);
    let over = keys.iter().filter(|it| is_over(it.removed_at));
    for key in over.filter(|it| signing.as_ref() != Some(&it.kid)) {
        store::delete(&mut tx, &key.kid).await?;
        let old = json!({"activate_time": key.activates_at});
        let change =
            Change::changed("signing_key.delete", "signing_key", &key.kid, old, Value::Null);
        audit::record(&mut tx, &Actor::system(), change).await?;
        notifications::notify(&mut tx, Channel::SigningKeys).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The key that this replica signs with, which has no successor for it while those that
/// came after were sealed under another master key.
fn signing(rows: &[Row], sealer: &Sealer, now: DateTime<Utc>) -> Option<String> {
    let signs = |row: &&Row| {
        row.activates_at.is_some_and(|it| it <= now)
            && sealer.open(&row.kid, &row.private_key_sealed).is_ok()
    };
    rows.iter().find(signs).map(|it| it.kid.clone())
}
