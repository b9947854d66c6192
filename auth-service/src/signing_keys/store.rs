//! The `signing_keys` table.

use ihuman_shared::Result;
use sqlx::PgConnection;

/// The number of the advisory lock under which the first key is made.
const CREATION_LOCK: i64 = 0x6968_756d_736b;

#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    pub(crate) kid: String,
    pub(crate) public_key: Vec<u8>,
}

pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) private_key_sealed: Vec<u8>,
}

/// Until the transaction ends, nobody else makes a key.
pub(crate) async fn lock_creation(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", CREATION_LOCK).execute(conn).await?;
    Ok(())
}

/// Newest first.
pub(crate) async fn list(conn: &mut PgConnection) -> Result<Vec<SigningKey>> {
    let keys = sqlx::query_as!(
        SigningKey,
        "select kid, private_key_sealed from signing_keys order by created_at desc, kid desc",
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

pub(crate) async fn insert(
    conn: &mut PgConnection,
    kid: &str,
    public_key: &[u8],
    private_key_sealed: &[u8],
) -> Result<()> {
    sqlx::query!(
        "insert into signing_keys (kid, public_key, private_key_sealed) values ($1, $2, $3)",
        kid,
        public_key,
        private_key_sealed,
    )
    .execute(conn)
    .await?;
    Ok(())
}
