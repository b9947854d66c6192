//! The `sessions` table.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) session_id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) auth_time: DateTime<Utc>,
    /// How it last proved who it is (RFC 8176).
    pub(crate) amr: Vec<String>,
    pub(crate) refreshed_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    pub(crate) ip_address: Option<IpAddr>,
    pub(crate) user_agent: String,
    /// Where it was refreshed from last; where it was opened from, until it is.
    pub(crate) refresh_ip_address: Option<IpAddr>,
    pub(crate) created_at: DateTime<Utc>,
}

pub(crate) struct NewSession<'a> {
    pub(crate) session_id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) auth_time: DateTime<Utc>,
    pub(crate) amr: Vec<String>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) ip_address: Option<IpAddr>,
    pub(crate) user_agent: &'a str,
}

pub(crate) async fn insert(conn: &mut PgConnection, new: NewSession<'_>) -> Result<Session> {
    let session = sqlx::query_as!(
        Session,
        r#"insert into sessions (session_id, user_id, auth_time, refreshed_at, expires_at, ip_address,
               user_agent, created_at, amr)
           values ($1, $2, $3, $3, $4, $5, $6, $3, $7)
           returning session_id, user_id, auth_time, amr, refreshed_at, expires_at, revoked_at,
               ip_address as "ip_address: IpAddr", user_agent,
               coalesce(refresh_ip_address, ip_address) as "refresh_ip_address: IpAddr", created_at"#,
        new.session_id,
        new.user_id,
        new.auth_time,
        new.expires_at,
        new.ip_address as Option<IpAddr>,
        new.user_agent,
        &new.amr,
    )
    .fetch_one(conn)
    .await?;
    Ok(session)
}

/// The session, which nobody else changes until the transaction ends.
pub(crate) async fn lock(conn: &mut PgConnection, session_id: Uuid) -> Result<Option<Session>> {
    let session = sqlx::query_as!(
        Session,
        r#"select session_id, user_id, auth_time, amr, refreshed_at, expires_at, revoked_at,
               ip_address as "ip_address: IpAddr", user_agent,
               coalesce(refresh_ip_address, ip_address) as "refresh_ip_address: IpAddr", created_at
           from sessions where session_id = $1 for update"#,
        session_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(session)
}

/// Those neither revoked nor expired that were opened after `opened_after`, newest
/// first: the ids are UUIDv7, so they sort by time.
pub(crate) async fn list_live(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
    opened_after: DateTime<Utc>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Session>> {
    let sessions = sqlx::query_as!(
        Session,
        r#"select session_id, user_id, auth_time, amr, refreshed_at, expires_at, revoked_at,
               ip_address as "ip_address: IpAddr", user_agent,
               coalesce(refresh_ip_address, ip_address) as "refresh_ip_address: IpAddr", created_at
           from sessions
           where user_id = $1 and revoked_at is null and expires_at > $2 and created_at > $3
               and ($4::uuid is null or session_id < $4)
           order by session_id desc
           limit $5"#,
        user_id,
        now,
        opened_after,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(sessions)
}

pub(crate) async fn update_refreshed(
    conn: &mut PgConnection,
    session_id: Uuid,
    refreshed_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    ip_address: Option<IpAddr>,
) -> Result<()> {
    sqlx::query!(
        "update sessions set refreshed_at = $2, expires_at = $3, refresh_ip_address = $4
         where session_id = $1",
        session_id,
        refreshed_at,
        expires_at,
        ip_address as Option<IpAddr>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn find(conn: &mut PgConnection, session_id: Uuid) -> Result<Option<Session>> {
    let session = sqlx::query_as!(
        Session,
        r#"select session_id, user_id, auth_time, amr, refreshed_at, expires_at, revoked_at,
               ip_address as "ip_address: IpAddr", user_agent,
               coalesce(refresh_ip_address, ip_address) as "refresh_ip_address: IpAddr", created_at
           from sessions where session_id = $1"#,
        session_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(session)
}

/// Remembers how the session proved who it is, and when if that is new.
pub(crate) async fn update_authenticated(
    conn: &mut PgConnection,
    session_id: Uuid,
    auth_time: Option<DateTime<Utc>>,
    amr: &[&str],
) -> Result<Session> {
    let session = sqlx::query_as!(
        Session,
        r#"update sessions set auth_time = coalesce($2, auth_time), amr = $3 where session_id = $1
           returning session_id, user_id, auth_time, amr, refreshed_at, expires_at, revoked_at,
               ip_address as "ip_address: IpAddr", user_agent,
               coalesce(refresh_ip_address, ip_address) as "refresh_ip_address: IpAddr", created_at"#,
        session_id,
        auth_time,
        amr as &[&str],
    )
    .fetch_one(conn)
    .await?;
    Ok(session)
}

/// Revokes the session; returns whose it is, unless it was revoked before.
pub(crate) async fn revoke(
    conn: &mut PgConnection,
    session_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>> {
    let user_id = sqlx::query_scalar!(
        "update sessions set revoked_at = $2 where session_id = $1 and revoked_at is null
         returning user_id",
        session_id,
        now,
    );
    Ok(user_id.fetch_optional(conn).await?)
}

/// The sessions of a locked user, neither revoked nor expired, that were opened after
/// `opened_after`, which nobody else changes until the transaction ends.
pub(crate) async fn lock_live(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
    opened_after: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let sessions = sqlx::query_scalar!(
        "select session_id from sessions
         where user_id = $1 and revoked_at is null and expires_at > $2 and created_at > $3
         order by session_id
         for update",
        user_id,
        now,
        opened_after,
    );
    Ok(sessions.fetch_all(conn).await?)
}

pub(crate) async fn revoke_many(
    conn: &mut PgConnection,
    session_ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update sessions set revoked_at = $2 where session_id = any($1)",
        session_ids,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Revokes all live sessions of a locked user; returns how many.
pub(crate) async fn revoke_all(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    let revoked = sqlx::query!(
        "update sessions set revoked_at = $2
         where user_id = $1 and revoked_at is null and expires_at > $2",
        user_id,
        now,
    )
    .execute(conn)
    .await?;
    Ok(revoked.rows_affected())
}

/// Revokes all sessions of a user, and forgets where and with what they were used;
/// returns how many there were.
pub(crate) async fn erase_of_user(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    let erased = sqlx::query!(
        "update sessions
         set ip_address = null, refresh_ip_address = null, user_agent = '',
             revoked_at = coalesce(revoked_at, $2)
         where user_id = $1",
        user_id,
        now,
    )
    .execute(conn)
    .await?;
    Ok(erased.rows_affected())
}

/// Deletes those that were revoked or expired before `before`, with their refresh tokens.
pub(crate) async fn delete_ended(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from sessions
         where least(expires_at, revoked_at) < $1 and ctid = any(array(
             select ctid from sessions where least(expires_at, revoked_at) < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
