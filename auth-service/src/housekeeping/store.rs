//! Whose turn it is, and the rows that belong to no other room.

use ihuman_shared::Result;
use sqlx::PgConnection;

/// The number of the advisory lock of housekeeping.
const LOCK: i64 = 0x6968_756d_6873;

/// Whether this transaction is the only one that cleans up.
pub(super) async fn try_lock(conn: &mut PgConnection) -> Result<bool> {
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, LOCK);
    Ok(locked.fetch_one(conn).await?)
}

/// What subjects were granted in windows that have ended, by the clock that ends them:
/// the database's.
pub(super) async fn delete_ended_rate_limits(conn: &mut PgConnection, limit: i64) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from rate_limits
         where ends_at <= now() and ctid = any(array(
             select ctid from rate_limits where ends_at <= now() limit $1))",
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
