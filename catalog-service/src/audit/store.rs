//! The `audit_logs` table, as its readers see it.

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::Result;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Filter, Outcome};

/// Begins the transaction that records are read in, as the role that may. Each is
/// planned for the filters that are set: one plan for all would use no index of
/// theirs.
pub const READ: &str = "begin read only; set local role ihuman_audit; \
     set local plan_cache_mode = 'force_custom_plan'";

/// How far the clock that made an id may be from the one that made `created_at`.
const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::hours(1);

/// One fact.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the contract describes each")]
pub struct AuditRecord {
    pub audit_log_id: Uuid,
    pub created_at: DateTime<Utc>,
    pub actor_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub api_key_id: Option<Uuid>,
    pub action: String,
    pub entity_type: String,
    pub entity_id: String,
    pub old_values: Option<Value>,
    pub new_values: Option<Value>,
    pub ip_address: Option<String>,
    pub user_agent: String,
    pub request_id: String,
    pub outcome: Outcome,
    pub reason: String,
}

/// At most `limit` records, newest first, older than the one with id `after`.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditRecord>> {
    // The ids sort by time, and so bound the part of any index that is read.
    let first_id = filter.start_time.and_then(|it| floor(it.checked_sub_signed(CLOCK_SKEW_MAX)?));
    let last_id = filter.end_time.and_then(|it| floor(it.checked_add_signed(CLOCK_SKEW_MAX)?));
    let records = sqlx::query_file_as!(
        AuditRecord,
        "src/audit/store/list.sql",
        filter.actor_id,
        filter.action,
        filter.entity.as_ref().map(|it| it.entity_type.as_str()),
        filter.entity.as_ref().and_then(|it| it.entity_id.as_deref()),
        filter.outcome as _,
        filter.start_time,
        filter.end_time,
        first_id,
        last_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(records)
}

/// The least UUIDv7 of a time; none before 1970, when there are no such ids.
fn floor(time: DateTime<Utc>) -> Option<Uuid> {
    let milliseconds = u64::try_from(time.timestamp_millis()).ok()?;
    let milliseconds = milliseconds.min((1 << 48) - 1);
    Some(Uuid::from_u128(u128::from(milliseconds) << 80))
}
