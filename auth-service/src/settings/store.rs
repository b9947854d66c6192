//! The `settings` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) updated_at: DateTime<Utc>,
}

pub(crate) async fn find(
    conn: &mut PgConnection,
    user_id: Uuid,
    name: &str,
) -> Result<Option<Setting>> {
    let setting = sqlx::query_as!(
        Setting,
        "select name, value, updated_at from settings where user_id = $1 and name = $2",
        user_id,
        name,
    )
    .fetch_optional(conn)
    .await?;
    Ok(setting)
}

/// By name.
pub(crate) async fn list(
    conn: &mut PgConnection,
    user_id: Uuid,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Setting>> {
    let settings = sqlx::query_as!(
        Setting,
        "select name, value, updated_at from settings
         where user_id = $1 and ($2::text is null or name > $2)
         order by name
         limit $3",
        user_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(settings)
}

pub(crate) async fn count(conn: &mut PgConnection, user_id: Uuid) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from settings where user_id = $1"#,
        user_id
    );
    Ok(count.fetch_one(conn).await?)
}

pub(crate) async fn upsert(
    conn: &mut PgConnection,
    user_id: Uuid,
    name: &str,
    value: &Value,
) -> Result<Setting> {
    let setting = sqlx::query_as!(
        Setting,
        "insert into settings (user_id, name, value) values ($1, $2, $3)
         on conflict (user_id, name) do update set value = excluded.value
         returning name, value, updated_at",
        user_id,
        name,
        value,
    )
    .fetch_one(conn)
    .await?;
    Ok(setting)
}

/// What it was, if it was there.
pub(crate) async fn delete(
    conn: &mut PgConnection,
    user_id: Uuid,
    name: &str,
) -> Result<Option<Setting>> {
    let setting = sqlx::query_as!(
        Setting,
        "delete from settings where user_id = $1 and name = $2 returning name, value, updated_at",
        user_id,
        name,
    )
    .fetch_optional(conn)
    .await?;
    Ok(setting)
}

/// Returns how many there were.
pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<u64> {
    let deleted = sqlx::query!("delete from settings where user_id = $1", user_id);
    Ok(deleted.execute(conn).await?.rows_affected())
}
