//! When API keys were last used: gathered in memory, and written many at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use super::store;

/// How often the uses are written.
const EVERY: Duration = Duration::from_secs(30);
/// How many keys are remembered between two writes; the uses of others are not.
const KEYS_MAX: usize = 10_000;

/// The uses that are not written yet.
#[derive(Clone)]
pub(super) struct LastUses(Arc<Inner>);

struct Inner {
    uses: Mutex<HashMap<Uuid, DateTime<Utc>>>,
    db: PgPool,
}

impl LastUses {
    /// Writes to `db` now and then until every clone is dropped.
    pub(super) fn keep(db: PgPool) -> Self {
        let uses = LastUses(Arc::new(Inner { uses: Mutex::default(), db }));
        tokio::spawn(keep_writing(Arc::downgrade(&uses.0)));
        uses
    }

    /// Notes a use.
    pub(super) fn note(&self, api_key_id: Uuid, at: DateTime<Utc>) {
        let mut uses = self.0.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() < KEYS_MAX || uses.contains_key(&api_key_id) {
            uses.insert(api_key_id, at);
        }
    }

    /// Writes what was noted. What can't be written is noted again.
    pub(super) async fn write(&self) {
        let uses = {
            let mut uses = self.0.uses.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *uses)
        };
        if uses.is_empty() {
            return;
        }
        let (ids, times): (Vec<_>, Vec<_>) = uses.iter().unzip();
        let written = async {
            let mut conn = self.0.db.acquire().await?;
            store::touch_api_keys(&mut conn, &ids, &times).await
        };
        if let Err(error) = written.await {
            tracing::warn!(error = error.with_cause(), "can't write when API keys were used");
            let mut newer = self.0.uses.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, at) in uses {
                newer.entry(id).or_insert(at);
            }
        }
    }
}

async fn keep_writing(uses: Weak<Inner>) {
    loop {
        sleep(EVERY).await;
        let Some(uses) = uses.upgrade() else { return };
        LastUses(uses).write().await;
    }
}
