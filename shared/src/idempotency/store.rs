//! The service's own `idempotency_keys` table, which its search path names.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Earlier, Key};
use crate::Result;

/// Whether the key was free.
pub(super) async fn insert(
    conn: &mut PgConnection,
    key: &Key,
    entity_id: Uuid,
    sealed: Option<&[u8]>,
) -> Result<bool> {
    let inserted = sqlx::query!(
        "insert into idempotency_keys (principal_id, method, request_id, request_digest, entity_id, sealed)
         values ($1, $2, $3, $4, $5, $6)
         on conflict do nothing",
        key.principal_id,
        key.method,
        key.request_id,
        key.digest,
        entity_id,
        sealed,
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn get(conn: &mut PgConnection, key: &Key) -> Result<(Earlier, Vec<u8>)> {
    let row = sqlx::query!(
        "select entity_id, sealed, request_digest from idempotency_keys
         where principal_id = $1 and method = $2 and request_id = $3",
        key.principal_id,
        key.method,
        key.request_id,
    )
    .fetch_one(conn)
    .await?;
    Ok((Earlier { entity_id: row.entity_id, sealed: row.sealed }, row.request_digest))
}

/// Deletes at most `limit` of before `before`.
pub(super) async fn delete_old(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from idempotency_keys
         where created_at < $1 and ctid = any(array(
             select ctid from idempotency_keys where created_at < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

pub(super) async fn delete_of_principal(conn: &mut PgConnection, principal_id: Uuid) -> Result<()> {
    sqlx::query!("delete from idempotency_keys where principal_id = $1", principal_id)
        .execute(conn)
        .await?;
    Ok(())
}
