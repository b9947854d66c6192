//! The `user_imports` table, and what an import asks of the `users` table.

use chrono::{DateTime, Utc};
use ihuman_shared::{Result, access::Role};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) struct NewPerson<'a> {
    pub(crate) user_id: Uuid,
    pub(crate) email: &'a str,
    /// What it is compared by.
    pub(crate) email_key: &'a str,
    pub(crate) display_name: &'a str,
    pub(crate) password_hash: Option<&'a str>,
    pub(crate) role: Role,
    pub(crate) email_verified_at: Option<DateTime<Utc>>,
}

/// The accounts that have the addresses; none where one is free.
pub(crate) async fn find_owners(
    conn: &mut PgConnection,
    email_keys: &[String],
) -> Result<Vec<Option<Uuid>>> {
    let owners = sqlx::query_scalar!(
        r#"select u.user_id as "user_id?"
           from unnest($1::text[]) with ordinality as wanted (email_key, place)
           left join users u on u.email_key = wanted.email_key
           order by wanted.place"#,
        email_keys,
    )
    .fetch_all(conn)
    .await?;
    Ok(owners)
}

/// Whether the address was free, and the account is there now.
pub(crate) async fn insert_person(conn: &mut PgConnection, new: NewPerson<'_>) -> Result<bool> {
    let inserted = sqlx::query!(
        "insert into users (user_id, kind, email, email_key, display_name, password_hash, role, email_verified_at)
         values ($1, 'person', $2, $7, $3, $4, $5, $6)
         on conflict do nothing",
        new.user_id,
        new.email,
        new.display_name,
        new.password_hash,
        new.role as Role,
        new.email_verified_at,
        new.email_key,
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) async fn insert(
    conn: &mut PgConnection,
    user_import_id: Uuid,
    results: &Value,
) -> Result<()> {
    sqlx::query!(
        "insert into user_imports (user_import_id, results) values ($1, $2)",
        user_import_id,
        results,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn get_results(conn: &mut PgConnection, user_import_id: Uuid) -> Result<Value> {
    let results = sqlx::query_scalar!(
        "select results from user_imports where user_import_id = $1",
        user_import_id
    );
    Ok(results.fetch_one(conn).await?)
}

/// Deletes those that no `request_id` leads to any more.
pub(crate) async fn delete_old(conn: &mut PgConnection) -> Result<u64> {
    let deleted =
        sqlx::query!("delete from user_imports where created_at < now() - interval '25 hours'")
            .execute(conn)
            .await?;
    Ok(deleted.rows_affected())
}
