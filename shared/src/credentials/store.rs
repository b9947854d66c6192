//! What the auth schema tells both services of credentials, through its functions.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

pub(super) struct PublicKey {
    pub(super) kid: String,
    pub(super) public_key: Vec<u8>,
}

pub(super) struct ApiKeyHashKey {
    pub(super) id: Uuid,
    pub(super) sealed: Vec<u8>,
}

pub(super) struct Revocation {
    pub(super) kind: String,
    pub(super) subject_id: Uuid,
    pub(super) token_version: Option<i64>,
    pub(super) expires_at: DateTime<Utc>,
}

pub(super) struct ApiKeyRow {
    pub(super) user_id: Uuid,
    pub(super) secret_hash: Vec<u8>,
    pub(super) scopes: Vec<String>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) revoked_at: Option<DateTime<Utc>>,
    pub(super) kind: String,
    pub(super) role: String,
    pub(super) permissions: Vec<String>,
    pub(super) state: String,
    pub(super) version: i64,
    pub(super) previous_secret_hash: Option<Vec<u8>>,
    pub(super) previous_expires_at: Option<DateTime<Utc>>,
    pub(super) ip_allow_list: Vec<String>,
    pub(super) rate_limit_requests: Option<i32>,
    pub(super) rate_limit_window_ms: Option<i64>,
}

pub(super) async fn list_public_keys(conn: &mut PgConnection) -> Result<Vec<PublicKey>> {
    let keys = sqlx::query_as!(
        PublicKey,
        r#"select kid as "kid!", public_key as "public_key!" from auth.list_public_keys()"#,
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// What API keys were hashed with under earlier master keys, the latest first.
pub(super) async fn list_api_key_hash_keys(conn: &mut PgConnection) -> Result<Vec<ApiKeyHashKey>> {
    let keys = sqlx::query_as!(
        ApiKeyHashKey,
        r#"select api_key_hash_key_id as "id!", sealed as "sealed!" from auth.list_api_key_hash_keys()"#,
    )
    .fetch_all(conn)
    .await?;
    Ok(keys)
}

/// Revocations by transactions from `after_xact` on, and where to ask from next:
/// every transaction below has ended, so none below can appear later.
pub(super) async fn list_revocations(
    conn: &mut PgConnection,
    after_xact: i64,
) -> Result<(i64, Vec<Revocation>)> {
    let rows = sqlx::query!(
        r#"select s.next_xact as "next_xact!", r.kind as "kind?", r.subject_id as "subject_id?",
                  r.token_version as "token_version?", r.expires_at as "expires_at?"
           from (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as next_xact) s
           left join auth.list_revocations($1) r on true"#,
        after_xact,
    )
    .fetch_all(conn)
    .await?;
    let next_xact = rows.first().map_or(after_xact, |it| it.next_xact);
    let revocations = rows.into_iter().filter_map(|it| {
        let (kind, subject_id, expires_at) = (it.kind?, it.subject_id?, it.expires_at?);
        Some(Revocation { kind, subject_id, token_version: it.token_version, expires_at })
    });
    Ok((next_xact, revocations.collect()))
}

/// What the database knows its master key by, once it has one.
pub(super) async fn find_master_key_check(conn: &mut PgConnection) -> Result<Option<Vec<u8>>> {
    let found = sqlx::query_scalar!("select auth.get_master_key_check()");
    Ok(found.fetch_one(conn).await?)
}

pub(super) async fn find_api_key(conn: &mut PgConnection, id: Uuid) -> Result<Option<ApiKeyRow>> {
    let row = sqlx::query_as!(
        ApiKeyRow,
        r#"select user_id as "user_id!", secret_hash as "secret_hash!", scopes as "scopes!",
                  expires_at, revoked_at, kind as "kind!", role as "role!",
                  permissions as "permissions!", state as "state!", version as "version!",
                  previous_secret_hash, previous_expires_at, ip_allow_list as "ip_allow_list!",
                  rate_limit_requests, rate_limit_window_ms
           from auth.find_api_key($1)"#,
        id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Notes when keys were used: each id goes with the time at its place.
pub(super) async fn touch_api_keys(
    conn: &mut PgConnection,
    ids: &[Uuid],
    times: &[DateTime<Utc>],
) -> Result<()> {
    sqlx::query!("select auth.touch_api_keys($1, $2)", ids, times).execute(conn).await?;
    Ok(())
}
