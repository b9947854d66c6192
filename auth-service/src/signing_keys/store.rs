//! The `signing_keys` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;

/// The number of the advisory lock under which keys are made and removed.
const LOCK: i64 = 0x6968_756d_736b;

#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    pub(crate) kid: String,
    pub(crate) public_key: Vec<u8>,
}

pub(crate) struct Row {
    pub(crate) kid: String,
    pub(crate) private_key_sealed: Vec<u8>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) activates_at: Option<DateTime<Utc>>,
}

pub(crate) struct NewKey<'a> {
    pub(crate) kid: &'a str,
    pub(crate) public_key: &'a [u8],
    pub(crate) private_key_sealed: &'a [u8],
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) activates_at: DateTime<Utc>,
}

/// Until the transaction ends, nobody else makes or removes a key.
pub(crate) async fn lock(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(conn).await?;
    Ok(())
}

/// Whether this transaction has the lock.
pub(crate) async fn try_lock(conn: &mut PgConnection) -> Result<bool> {
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, LOCK);
    Ok(locked.fetch_one(conn).await?)
}

/// The latest to sign first, and those that never do at the end.
pub(crate) async fn list(conn: &mut PgConnection) -> Result<Vec<Row>> {
    let keys = sqlx::query_as!(
        Row,
        "select kid, private_key_sealed, created_at, activates_at
         from signing_keys order by activates_at desc nulls last, created_at desc, kid desc",
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Newest first.
pub(crate) async fn list_public(conn: &mut PgConnection) -> Result<Vec<PublicKey>> {
    let keys = sqlx::query_as!(
        PublicKey,
        "select kid, public_key from signing_keys order by created_at desc, kid desc",
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

pub(crate) async fn insert(conn: &mut PgConnection, new: NewKey<'_>) -> Result<()> {
    sqlx::query!(
        "insert into signing_keys (kid, public_key, private_key_sealed, created_at, activates_at)
         values ($1, $2, $3, $4, $5)",
        new.kid,
        new.public_key,
        new.private_key_sealed,
        new.created_at,
        new.activates_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Has the key sign from `activates_at` on.
pub(crate) async fn update_activation(
    conn: &mut PgConnection,
    kid: &str,
    activates_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!("update signing_keys set activates_at = $2 where kid = $1", kid, activates_at)
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn delete(conn: &mut PgConnection, kid: &str) -> Result<()> {
    sqlx::query!("delete from signing_keys where kid = $1", kid).execute(conn).await?;
    Ok(())
}
