//! The `api_keys` table.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::{PgConnection, types::Json};
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
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    pub(crate) previous_expires_at: Option<DateTime<Utc>>,
    pub(crate) ip_allow_list: Vec<String>,
    pub(crate) rate_limit_requests: Option<i32>,
    pub(crate) rate_limit_window_ms: Option<i64>,
    pub(crate) metadata: Json<BTreeMap<String, String>>,
}

pub(crate) struct NewApiKey<'a> {
    pub(crate) api_key_id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) secret_hash: &'a [u8],
    pub(crate) mutable: Mutable<'a>,
}

/// What can be changed of a key.
pub(crate) struct Mutable<'a> {
    pub(crate) name: &'a str,
    pub(crate) scopes: &'a [String],
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) ip_allow_list: &'a [String],
    pub(crate) rate_limit_requests: Option<i32>,
    pub(crate) rate_limit_window_ms: Option<i64>,
    pub(crate) metadata: &'a BTreeMap<String, String>,
}

/// What an owner has already, of keys neither revoked nor expired.
pub(crate) struct Live {
    pub(crate) count: i64,
    pub(crate) has_name: bool,
}

pub(crate) async fn insert(conn: &mut PgConnection, new: NewApiKey<'_>) -> Result<()> {
    sqlx::query!(
        "insert into api_keys (api_key_id, user_id, name, scopes, secret_hash, expires_at,
             ip_allow_list, rate_limit_requests, rate_limit_window_ms, metadata)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        new.api_key_id,
        new.user_id,
        new.mutable.name,
        new.mutable.scopes,
        new.secret_hash,
        new.mutable.expires_at,
        new.mutable.ip_allow_list,
        new.mutable.rate_limit_requests,
        new.mutable.rate_limit_window_ms,
        Json(new.mutable.metadata) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn find(conn: &mut PgConnection, api_key_id: Uuid) -> Result<Option<ApiKey>> {
    let api_key = sqlx::query_as!(
        ApiKey,
        r#"select api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at,
                  last_used_at, previous_expires_at, ip_allow_list, rate_limit_requests,
                  rate_limit_window_ms, metadata as "metadata: Json<BTreeMap<String, String>>"
           from api_keys where api_key_id = $1"#,
        api_key_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(api_key)
}

/// Lets nobody else change the key until the transaction ends.
pub(crate) async fn lock(conn: &mut PgConnection, api_key_id: Uuid) -> Result<()> {
    sqlx::query!("select from api_keys where api_key_id = $1 for update", api_key_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Newest first: the ids are UUIDv7, so they sort by time. With `expiring`, only
/// keys that are not revoked and expire after its first time and until its second.
pub(crate) async fn list(
    conn: &mut PgConnection,
    user_id: Uuid,
    expiring: Option<(DateTime<Utc>, DateTime<Utc>)>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    let (expires_after, expires_until) = expiring.unzip();
    let api_keys = sqlx::query_as!(
        ApiKey,
        r#"select api_key_id, user_id, name, scopes, expires_at, revoked_at, created_at,
                  last_used_at, previous_expires_at, ip_allow_list, rate_limit_requests,
                  rate_limit_window_ms, metadata as "metadata: Json<BTreeMap<String, String>>"
           from api_keys
           where user_id = $1 and ($2::uuid is null or api_key_id < $2)
             and ($3::timestamptz is null
                  or (revoked_at is null and expires_at > $3 and expires_at <= $4))
           order by api_key_id desc
           limit $5"#,
        user_id,
        after,
        expires_after,
        expires_until,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(api_keys)
}

/// The live keys of an owner, without the key `but`.
pub(crate) async fn count_live(
    conn: &mut PgConnection,
    user_id: Uuid,
    name: &str,
    but: Uuid,
    now: DateTime<Utc>,
) -> Result<Live> {
    let live = sqlx::query_as!(
        Live,
        r#"select count(*) as "count!", coalesce(bool_or(name = $2), false) as "has_name!"
           from api_keys
           where user_id = $1 and api_key_id <> $3
             and revoked_at is null and (expires_at is null or expires_at > $4)"#,
        user_id,
        name,
        but,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(live)
}

/// No secret outlives the key. Returns the version of the key then.
pub(crate) async fn update(
    conn: &mut PgConnection,
    api_key_id: Uuid,
    mutable: Mutable<'_>,
) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "update api_keys
         set name = $2, scopes = $3, ip_allow_list = $4, rate_limit_requests = $5,
             rate_limit_window_ms = $6, metadata = $7, expires_at = $8, version = version + 1,
             previous_expires_at = case
                 when previous_expires_at is not null then least(previous_expires_at, $8)
             end
         where api_key_id = $1
         returning version",
        api_key_id,
        mutable.name,
        mutable.scopes,
        mutable.ip_allow_list,
        mutable.rate_limit_requests,
        mutable.rate_limit_window_ms,
        Json(mutable.metadata) as _,
        mutable.expires_at,
    );
    Ok(version.fetch_one(conn).await?)
}

/// Replaces the secret; the present one works until `previous_expires_at`, and
/// the one before no longer. The key works until `expires_at`. Returns the version of
/// the key then.
pub(crate) async fn rotate(
    conn: &mut PgConnection,
    api_key_id: Uuid,
    secret_hash: &[u8],
    previous_expires_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<i64> {
    let version = sqlx::query_scalar!(
        "update api_keys
         set previous_secret_hash = secret_hash, previous_expires_at = $3, secret_hash = $2,
             expires_at = $4, version = version + 1
         where api_key_id = $1
         returning version",
        api_key_id,
        secret_hash,
        previous_expires_at,
        expires_at,
    );
    Ok(version.fetch_one(conn).await?)
}

pub(crate) async fn revoke(
    conn: &mut PgConnection,
    api_key_id: Uuid,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!("update api_keys set revoked_at = $2 where api_key_id = $1", api_key_id, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Revokes all keys of a user and removes what says whose they are; returns those
/// that were not revoked yet.
pub(crate) async fn erase_of_user(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let revoked = sqlx::query_scalar!(
        r#"with erased as (
               update api_keys k
               set name = '', ip_allow_list = '{}', metadata = '{}',
                   revoked_at = coalesce(k.revoked_at, $2)
               from (select api_key_id, revoked_at is null as is_live
                     from api_keys where user_id = $1 for update) as before
               where k.api_key_id = before.api_key_id
               returning k.api_key_id, before.is_live
           )
           select api_key_id as "api_key_id!" from erased where is_live"#,
        user_id,
        now,
    );
    Ok(revoked.fetch_all(conn).await?)
}

/// Revokes all live keys of a user; returns which.
pub(crate) async fn revoke_all(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let revoked = sqlx::query_scalar!(
        "update api_keys set revoked_at = $2 where user_id = $1 and revoked_at is null
         returning api_key_id",
        user_id,
        now,
    );
    Ok(revoked.fetch_all(conn).await?)
}
