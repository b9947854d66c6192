//! The `revocations` table, and the rest of what housekeeping deletes.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

/// The number of the advisory lock of housekeeping.
const HOUSEKEEPING_LOCK: i64 = 0x6968_756d_6873;

pub(crate) struct NewRevocation {
    pub(crate) kind: &'static str,
    pub(crate) subject_id: Uuid,
    pub(crate) token_version: Option<i64>,
    pub(crate) expires_at: DateTime<Utc>,
}

pub(crate) async fn insert(conn: &mut PgConnection, new: NewRevocation) -> Result<()> {
    sqlx::query!(
        "insert into revocations (revocation_id, kind, subject_id, token_version, expires_at)
         values ($1, $2, $3, $4, $5)",
        Uuid::now_v7(),
        new.kind,
        new.subject_id,
        new.token_version,
        new.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sends a hint at the commit. PostgreSQL sends equal ones of a transaction once.
pub(crate) async fn notify(conn: &mut PgConnection, channel: &str) -> Result<()> {
    sqlx::query!("select pg_notify($1, '')", channel).execute(conn).await?;
    Ok(())
}

/// Whether this transaction is the only one that cleans up.
pub(crate) async fn try_lock_housekeeping(conn: &mut PgConnection) -> Result<bool> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock($1) as "locked!""#,
        HOUSEKEEPING_LOCK
    );
    Ok(locked.fetch_one(conn).await?)
}

pub(crate) async fn delete_expired(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<u64> {
    let deleted = sqlx::query!("delete from revocations where expires_at <= $1", now);
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// What subjects were granted in windows that have ended, by the database's clock.
pub(crate) async fn delete_ended_rate_limits(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!("delete from rate_limits where ends_at <= now()");
    Ok(deleted.execute(conn).await?.rows_affected())
}
