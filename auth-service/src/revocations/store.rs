//! The tables `revocations` and `access_lifetimes`.

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Revoked;

/// What a revocation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Kind {
    Session,
    User,
    ApiKey,
    ApiKeyChange,
    SigningKey,
}

/// Where a revocation is in the order of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) xact: i64,
    pub(crate) revocation_id: Uuid,
}

#[derive(Clone, Debug)]
pub(crate) struct Revocation {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) subject_id: Uuid,
    pub(crate) token_version: Option<i64>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The number below which every transaction has ended.
pub(crate) async fn next_xact(conn: &mut PgConnection) -> Result<i64> {
    let next = sqlx::query_scalar!(
        r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "next_xact!""#
    );
    Ok(next.fetch_one(conn).await?)
}

/// Those by transactions from `from_xact` on that live at `now`, after a place, in
/// the order of their transactions.
pub(crate) async fn list(
    conn: &mut PgConnection,
    from_xact: i64,
    after: Option<Place>,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Revocation>> {
    let rows = sqlx::query!(
        r#"select xact, revocation_id, kind as "kind: Kind", subject_id, token_version, expires_at
           from revocations
           where xact >= $1 and expires_at > $2
               and ($3::bigint is null or (xact, revocation_id) > ($3, $4::uuid))
           order by xact, revocation_id
           limit $5"#,
        from_xact,
        now,
        after.map(|it| it.xact),
        after.map(|it| it.revocation_id),
        limit,
    )
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter().map(|it| Revocation {
        place: Place { xact: it.xact, revocation_id: it.revocation_id },
        kind: it.kind,
        subject_id: it.subject_id,
        token_version: it.token_version,
        expires_at: it.expires_at,
    });
    Ok(rows.collect())
}

/// Each lives until the time at its place at the least, and longer if there may be tokens,
/// issued until `now`, that do.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    revoked: &[Revoked],
    expires_at: &[DateTime<Utc>],
    now: DateTime<Utc>,
) -> Result<()> {
    let revocation_ids: Vec<Uuid> = revoked.iter().map(|_| Uuid::now_v7()).collect();
    let kinds: Vec<Kind> = revoked.iter().map(|it| it.kind()).collect();
    let subject_ids: Vec<Uuid> = revoked.iter().map(|it| it.subject_id()).collect();
    let versions: Vec<Option<i64>> = revoked.iter().map(|it| it.version()).collect();
    sqlx::query!(
        "insert into revocations (revocation_id, kind, subject_id, token_version, expires_at)
         select revocation_id, kind, subject_id, token_version, greatest(expires_at, (
             select max(least(issued_until, $6) + make_interval(secs => kept_seconds))
             from access_lifetimes))
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::timestamptz[])
             as it (revocation_id, kind, subject_id, token_version, expires_at)",
        &revocation_ids,
        &kinds as &[Kind],
        &subject_ids,
        &versions as &[Option<i64>],
        expires_at,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether there is one of this kind of this subject that lives at `now`.
pub(crate) async fn exists(
    conn: &mut PgConnection,
    kind: Kind,
    subject_id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"select exists (
               select from revocations where kind = $1 and subject_id = $2 and expires_at > $3
           ) as "exists!""#,
        kind as Kind,
        subject_id,
        now,
    );
    Ok(exists.fetch_one(conn).await?)
}

pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from revocations
         where expires_at <= $1 and ctid = any(array(
             select ctid from revocations where expires_at <= $1 limit $2))",
        now,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Says that tokens may be issued until `issued_until` that concern us for `kept_for`.
pub(crate) async fn upsert_lifetime(
    conn: &mut PgConnection,
    kept_for: TimeDelta,
    issued_until: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "insert into access_lifetimes as it (kept_seconds, issued_until) values ($1, $2)
         on conflict (kept_seconds) do update
         set issued_until = greatest(it.issued_until, excluded.issued_until)",
        kept_for.num_seconds() as f64,
        issued_until,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes those whose last token has expired.
pub(crate) async fn delete_ended_lifetimes(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from access_lifetimes
         where issued_until + make_interval(secs => kept_seconds) <= $1",
        now,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
