//! What an API key may do, from the `api_keys` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) struct ApiKey {
    pub(crate) user_id: Uuid,
    pub(crate) scopes: Vec<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
}

pub(crate) async fn find_api_key(conn: &mut PgConnection, id: Uuid) -> Result<Option<ApiKey>> {
    let api_key = sqlx::query_as!(
        ApiKey,
        "select user_id, scopes, expires_at, revoked_at from api_keys where api_key_id = $1",
        id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(api_key)
}
