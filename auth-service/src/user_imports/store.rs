//! The `user_imports` table, and what an import asks of the `users` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::users::store::NewUser;

pub(crate) struct NewPerson<'a> {
    pub(crate) user: NewUser<'a>,
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

/// Opens the accounts whose address is free; of several with one address, the first.
/// In the order of addresses, so that two batches at the same time wait for one another
/// and never both at once.
pub(crate) async fn insert_people(conn: &mut PgConnection, people: &[NewPerson<'_>]) -> Result<()> {
    fn each<'a, T>(people: &'a [NewPerson<'a>], of: impl Fn(&NewPerson<'a>) -> T) -> Vec<T> {
        people.iter().map(of).collect()
    }
    sqlx::query!(
        "insert into users (user_id, kind, email, email_key, display_name, password_hash, role, email_verified_at)
         select user_id, 'person', email, email_key, display_name, password_hash, role, email_verified_at
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
             with ordinality as new (user_id, email, email_key, display_name, password_hash, role, email_verified_at, place)
         order by email_key, place
         on conflict do nothing",
        &each(people, |it| it.user.user_id),
        &each(people, |it| it.user.email) as &[Option<&str>],
        &each(people, |it| it.user.email_key) as &[Option<&str>],
        &each(people, |it| it.user.display_name) as &[&str],
        &each(people, |it| it.user.password_hash) as &[Option<&str>],
        &each(people, |it| it.user.role.text()) as &[&str],
        &each(people, |it| it.email_verified_at) as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .await?;
    Ok(())
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

/// Deletes those that were made before `before`.
pub(crate) async fn delete_old(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from user_imports
         where created_at < $1 and ctid = any(array(
             select ctid from user_imports where created_at < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
