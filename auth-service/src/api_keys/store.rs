//! The `api_keys` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    pub(crate) api_key_id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
}

pub(crate) struct NewApiKey<'a> {
    pub(crate) api_key_id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) scopes: &'a [String],
    pub(crate) secret_hash: &'a [u8],
    pub(crate) expires_at: DateTime<Utc>,
}

/// What an owner has already, of keys neither revoked nor expired.
pub(crate) struct Live {
    pub(crate) count: i64,
    pub(crate) has_name: bool,
}

pub(crate) async fn insert(conn: &mut PgConnection, new: NewApiKey<'_>) -> Result<ApiKey> {
    let api_key = sqlx::query_as!(
        ApiKey,
        "insert into api_keys (api_key_id, user_id, name, scopes, secret_hash, expires_at)
         values ($1, $2, $3, $4, $5, $6)
         returning api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at",
        new.api_key_id,
        new.user_id,
        new.name,
        new.scopes,
        new.secret_hash,
        new.expires_at,
    )
    .fetch_one(conn)
    .await?;
    Ok(api_key)
}

pub(crate) async fn find(conn: &mut PgConnection, api_key_id: Uuid) -> Result<Option<ApiKey>> {
    let api_key = sqlx::query_as!(
        ApiKey,
        "select api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at
         from api_keys where api_key_id = $1",
        api_key_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(api_key)
}

/// The key, which nobody else changes until the transaction ends.
pub(crate) async fn lock(conn: &mut PgConnection, api_key_id: Uuid) -> Result<Option<ApiKey>> {
    let api_key = sqlx::query_as!(
        ApiKey,
        "select api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at
         from api_keys where api_key_id = $1 for update",
        api_key_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(api_key)
}

/// Newest first: the ids are UUIDv7, so they sort by time.
pub(crate) async fn list(
    conn: &mut PgConnection,
    user_id: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    let api_keys = sqlx::query_as!(
        ApiKey,
        "select api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at
         from api_keys
         where user_id = $1 and ($2::uuid is null or api_key_id < $2)
         order by api_key_id desc
         limit $3",
        user_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(api_keys)
}

pub(crate) async fn count_live(
    conn: &mut PgConnection,
    user_id: Uuid,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Live> {
    let live = sqlx::query_as!(
        Live,
        r#"select count(*) as "count!", coalesce(bool_or(name = $2), false) as "has_name!"
           from api_keys
           where user_id = $1 and revoked_at is null and (expires_at is null or expires_at > $3)"#,
        user_id,
        name,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(live)
}

pub(crate) async fn revoke(
    conn: &mut PgConnection,
    api_key_id: Uuid,
    now: DateTime<Utc>,
) -> Result<ApiKey> {
    let api_key = sqlx::query_as!(
        ApiKey,
        "update api_keys set revoked_at = $2 where api_key_id = $1
         returning api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at",
        api_key_id,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(api_key)
}
