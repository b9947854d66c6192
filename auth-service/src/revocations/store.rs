//! The `revocations` table, and the rest of what housekeeping deletes.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

/// The number of the advisory lock of housekeeping.
const HOUSEKEEPING_LOCK: i64 = 0x6968_756d_6873;

pub(crate) struct NewRevocation {
    pub(crate) kind: &'static str,
    pub(crate) subject_id: Uuid,
    pub(crate) token_version: Option<i64>,
    pub(crate) expires_at: DateTime<Utc>,
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
    pub(crate) kind: String,
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
        "select xact, revocation_id, kind, subject_id, token_version, expires_at
         from revocations
         where xact >= $1 and expires_at > $2
             -- A change of a key's terms tells replicas to look again, and revokes nothing.
             and kind <> 'api_key_change'
             and ($3::bigint is null or (xact, revocation_id) > ($3, $4::uuid))
         order by xact, revocation_id
         limit $5",
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

pub(crate) async fn insert(conn: &mut PgConnection, new: NewRevocation) -> Result<()> {
    sqlx::query!(
        "insert into revocations (revocation_id, kind, subject_id, token_version, expires_at)
         values ($1, $2, $3, $4, $5)",
        Uuid::now_v7(),
        new.kind,
        new.subject_id,
        new.token_version,
        new.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn insert_sessions(
    conn: &mut PgConnection,
    session_ids: &[Uuid],
    expires_at: DateTime<Utc>,
) -> Result<()> {
    let revocation_ids: Vec<Uuid> = session_ids.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query!(
        "insert into revocations (revocation_id, kind, subject_id, expires_at)
         select revocation_id, 'session', session_id, $3
         from unnest($1::uuid[], $2::uuid[]) as it (revocation_id, session_id)",
        &revocation_ids,
        session_ids,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether this transaction is the only one that cleans up.
pub(crate) async fn try_lock_housekeeping(conn: &mut PgConnection) -> Result<bool> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock($1) as "locked!""#,
        HOUSEKEEPING_LOCK
    );
    Ok(locked.fetch_one(conn).await?)
}

pub(crate) async fn delete_expired(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<u64> {
    let deleted = sqlx::query!("delete from revocations where expires_at <= $1", now);
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// What subjects were granted in windows that have ended, by the database's clock.
pub(crate) async fn delete_ended_rate_limits(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!("delete from rate_limits where ends_at <= now()");
    Ok(deleted.execute(conn).await?.rows_affected())
}
