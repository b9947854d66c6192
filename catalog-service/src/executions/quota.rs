//! How many executions one creator may have queued.

use std::time::Duration;

use ihuman_shared::{Error, Result};
use moka::sync::Cache;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;

/// How many executions of one creator may be queued.
const QUEUED_MAX: i64 = 100_000;
/// How long a count is believed. Counting costs as much as there is to count, so
/// it is done once in this time and not at each create.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How many creators are remembered.
const CREATORS_MAX: u64 = 10_000;

/// What was counted lately. The limit may be passed by what is created within
/// `COUNT_EVERY`.
#[derive(Clone)]
pub struct Quota(Cache<Uuid, i64>);

impl Default for Quota {
    /// Nothing counted yet.
    fn default() -> Self {
        Quota(Cache::builder().time_to_live(COUNT_EVERY).max_capacity(CREATORS_MAX).build())
    }
}

impl Quota {
    /// Whether `created_by` may queue one more.
    ///
    /// # Errors
    /// `QuotaExceeded` if not.
    pub async fn check(&self, conn: &mut PgConnection, created_by: Uuid) -> Result<()> {
        let queued = match self.0.get(&created_by) {
            Some(queued) => queued,
            None => {
                let queued = store::count_queued(conn, created_by, QUEUED_MAX).await?;
                self.0.insert(created_by, queued);
                queued
            }
        };
        if queued < QUEUED_MAX {
            return Ok(());
        }
        let description = format!("at most {QUEUED_MAX} executions of one creator may be queued");
        Err(Error::QuotaExceeded { subject: "executions", description })
    }
}
