//! The `locks` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

/// What was to be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Password,
    /// The code of an authenticator, or a recovery code or a passkey in its place, so
    /// that trying each gives no more guesses.
    SecondFactor,
}

/// Whose failures are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    Account,
    Device,
    Session,
    Address,
}

/// Which row it is.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) subject_hash: Vec<u8>,
    pub(crate) user_id: Option<Uuid>,
}

/// When an attempt is made, and what it is counted by.
pub(crate) struct Counting {
    pub(crate) now: DateTime<Utc>,
    /// How long to wait after the first failure, the second and so on, in milliseconds.
    pub(crate) waits_ms: Vec<i64>,
    /// From how many failures on to wait until `long_wait_until`.
    pub(crate) long_wait_from: i32,
    pub(crate) long_wait_until: DateTime<Utc>,
    /// A count that did not grow since then begins anew.
    pub(crate) forgotten_before: DateTime<Utc>,
    /// Whether to count even while the subject has to wait.
    pub(crate) is_afterwards: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub(crate) kind: Kind,
    pub(crate) scope: Scope,
    pub(crate) failures: i32,
    pub(crate) failed_at: DateTime<Utc>,
    pub(crate) wait_until: DateTime<Utc>,
}

/// Counts a failure, unless the subject has to wait; then none. Of many at the same
/// time, each sees what the one before it left, and one that looked at the clock before
/// it did does not wait for that.
pub(crate) async fn count(
    conn: &mut PgConnection,
    key: &Key,
    counting: &Counting,
) -> Result<Option<Lock>> {
    let lock = sqlx::query_as!(
        Lock,
        r#"insert into locks as l (kind, scope, subject_hash, user_id, failures, failed_at, wait_until)
           values ($1, $2, $3, $4, 1, $5::timestamptz, $5::timestamptz + ($6::bigint[])[1] * interval '1 millisecond')
           on conflict (kind, scope, subject_hash) do update
           set failures = case when l.failed_at < $7::timestamptz then 1 else l.failures + 1 end,
               failed_at = $5::timestamptz,
               accounts = case when l.failed_at < $7::timestamptz then '{}' else l.accounts end,
               wait_until = case
                   when l.failed_at < $7::timestamptz then $5::timestamptz + ($6::bigint[])[1] * interval '1 millisecond'
                   when l.failures + 1 >= $8 then $9::timestamptz
                   else $5::timestamptz + ($6::bigint[])[least(l.failures + 1, cardinality($6::bigint[]))]
                        * interval '1 millisecond'
               end
           where l.wait_until <= $5::timestamptz or l.wait_until = l.failed_at or $10
           returning kind as "kind: Kind", scope as "scope: Scope", failures, failed_at, wait_until"#,
        key.kind as Kind,
        key.scope as Scope,
        key.subject_hash,
        key.user_id,
        counting.now,
        &counting.waits_ms,
        counting.forgotten_before,
        counting.long_wait_from,
        counting.long_wait_until,
        counting.is_afterwards,
    )
    .fetch_optional(conn)
    .await?;
    Ok(lock)
}

/// Notes for which account an address failed, unless it has or there are `max`; returns
/// how many there are then.
pub(crate) async fn note_account(
    conn: &mut PgConnection,
    key: &Key,
    account_hash: &[u8],
    max: i32,
) -> Result<Option<i32>> {
    let noted = sqlx::query_scalar!(
        r#"update locks set accounts = accounts || $4::bytea
           where kind = $1 and scope = $2 and subject_hash = $3
               and cardinality(accounts) < $5 and not $4 = any (accounts)
           returning cardinality(accounts) as "noted!""#,
        key.kind as Kind,
        key.scope as Scope,
        key.subject_hash,
        account_hash,
        max,
    );
    Ok(noted.fetch_optional(conn).await?)
}

pub(crate) async fn find_wait_until(
    conn: &mut PgConnection,
    key: &Key,
) -> Result<Option<DateTime<Utc>>> {
    let wait_until = sqlx::query_scalar!(
        "select wait_until from locks where kind = $1 and scope = $2 and subject_hash = $3",
        key.kind as Kind,
        key.scope as Scope,
        key.subject_hash,
    )
    .fetch_optional(conn)
    .await?;
    Ok(wait_until)
}

/// Takes back one failure that was counted in advance, and the wait that it began.
pub(crate) async fn take_back(conn: &mut PgConnection, key: &Key) -> Result<()> {
    sqlx::query!(
        "update locks set failures = failures - 1, wait_until = failed_at
         where kind = $1 and scope = $2 and subject_hash = $3 and failures > 0",
        key.kind as Kind,
        key.scope as Scope,
        key.subject_hash,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn delete(conn: &mut PgConnection, key: &Key) -> Result<()> {
    sqlx::query!(
        "delete from locks where kind = $1 and scope = $2 and subject_hash = $3",
        key.kind as Kind,
        key.scope as Scope,
        key.subject_hash,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The latest failure first.
pub(crate) async fn list_of_user(
    conn: &mut PgConnection,
    user_id: Uuid,
    limit: i64,
) -> Result<Vec<Lock>> {
    let locks = sqlx::query_as!(
        Lock,
        r#"select kind as "kind: Kind", scope as "scope: Scope", failures, failed_at, wait_until
           from locks where user_id = $1 and failures > 0
           order by failed_at desc
           limit $2"#,
        user_id,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(locks)
}

/// Returns how many there were.
pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<u64> {
    let deleted = sqlx::query!("delete from locks where user_id = $1", user_id);
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Returns how many there were.
pub(crate) async fn delete_of_user_kind(
    conn: &mut PgConnection,
    user_id: Uuid,
    kind: Kind,
) -> Result<u64> {
    let deleted =
        sqlx::query!("delete from locks where user_id = $1 and kind = $2", user_id, kind as Kind);
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Deletes those whose last failure was before `before`.
pub(crate) async fn delete_forgotten(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from locks
         where failed_at < $1 and ctid = any(array(
             select ctid from locks where failed_at < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
