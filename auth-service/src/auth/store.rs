//! The `refresh_tokens` table.

pub(crate) mod challenge;

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

/// Invariant: `successor_sealed` is set only while the successor has not been used.
pub(crate) struct RefreshTokenRow {
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) used_at: Option<DateTime<Utc>>,
    pub(crate) used_request_id: Option<Uuid>,
    pub(crate) successor_sealed: Option<Vec<u8>>,
}

pub(crate) async fn insert(
    conn: &mut PgConnection,
    token_hash: &[u8],
    session_id: Uuid,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "insert into refresh_tokens (token_hash, session_id, expires_at) values ($1, $2, $3)",
        token_hash,
        session_id,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn find_session(
    conn: &mut PgConnection,
    token_hash: &[u8],
) -> Result<Option<Uuid>> {
    let session_id = sqlx::query_scalar!(
        "select session_id from refresh_tokens where token_hash = $1",
        token_hash
    );
    Ok(session_id.fetch_optional(conn).await?)
}

pub(crate) async fn find(
    conn: &mut PgConnection,
    token_hash: &[u8],
) -> Result<Option<RefreshTokenRow>> {
    let token = sqlx::query_as!(
        RefreshTokenRow,
        "select expires_at, used_at, used_request_id, successor_sealed
         from refresh_tokens where token_hash = $1",
        token_hash,
    )
    .fetch_optional(conn)
    .await?;
    Ok(token)
}

/// Uses a token up, if nobody has; returns whether.
pub(crate) async fn update_used(
    conn: &mut PgConnection,
    token_hash: &[u8],
    now: DateTime<Utc>,
    request_id: Option<Uuid>,
    successor_sealed: Option<&[u8]>,
) -> Result<bool> {
    let used = sqlx::query!(
        "update refresh_tokens set used_at = $2, used_request_id = $3, successor_sealed = $4
         where token_hash = $1 and used_at is null",
        token_hash,
        now,
        request_id,
        successor_sealed,
    )
    .execute(conn)
    .await?;
    Ok(used.rows_affected() == 1)
}

/// Forgets the successors of the session's used tokens.
pub(crate) async fn forget_successors(conn: &mut PgConnection, session_id: Uuid) -> Result<()> {
    sqlx::query!(
        "update refresh_tokens set successor_sealed = null
         where session_id = $1 and successor_sealed is not null",
        session_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes those that expired before `before`.
pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from refresh_tokens
         where expires_at < $1 and ctid = any(array(
             select ctid from refresh_tokens where expires_at < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!(
        "delete from refresh_tokens
         where session_id in (select session_id from sessions where user_id = $1)",
        user_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
