//! Sessions: where an account is logged in, and how that ends.

mod device;
pub(crate) mod rpc;
pub(crate) mod store;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    error::Reason,
    page::Page,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::Session;
use crate::{
    context::Context,
    emails, mfa,
    revocations::{self, Revoked},
    users,
};

/// The caller's live sessions.
pub(crate) async fn list(
    context: &Context,
    caller: &Principal,
    page: Page<Uuid>,
) -> Result<(Vec<Session>, String)> {
    let mut conn = context.db.acquire().await?;
    let (user_id, now) = (caller.user_id, context.now());
    let (opened_after, after, limit) = (opened_after(context, now), page.after, page.limit());
    let sessions = store::list_live(&mut conn, user_id, now, opened_after, after, limit).await?;
    page.cut(sessions, |last| last.session_id)
}

/// Ends a session of the caller's. One that has ended stays as it is.
pub(crate) async fn revoke(context: &Context, caller: &Principal, session_id: Uuid) -> Result<()> {
    let mut tx = context.db.begin().await?;
    let found = store::lock(&mut tx, session_id).await?;
    let own = found.filter(|it| it.user_id == caller.user_id);
    let session = own.ok_or(Error::NotFound("session"))?;
    if session.is_live(context) {
        end(&mut tx, context, session_id, &Actor::from(caller), "session.revoke").await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Ends every live session of the caller's but the one that asks; returns how many.
pub(crate) async fn revoke_others(context: &Context, caller: &Principal) -> Result<i32> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let (user_id, now) = (caller.user_id, context.now());
    let mut tx = context.db.begin().await?;
    // Whoever else ends many sessions of the account holds this before: they wait for
    // each other here, and not for one session each.
    users::store::lock(&mut tx, user_id).await?;
    let opened_after = opened_after(context, now);
    let mut sessions = store::lock_live(&mut tx, user_id, now, opened_after).await?;
    // Of two sessions that end each other at the same time, one does: the second
    // finds itself ended.
    let own = sessions.iter().position(|it| *it == session_id);
    sessions.remove(own.ok_or(Error::Unauthenticated(Reason::CredentialsRevoked))?);
    let action = "session.revoke_others";
    let count = end_all(&mut tx, context, caller, user_id, &sessions, action).await?;
    tx.commit().await?;
    Ok(count)
}

/// Ends every live session of an account that the caller manages; returns how many.
pub(crate) async fn revoke_all(
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
) -> Result<i32> {
    let mut tx = context.db.begin().await?;
    // Until this has ended, nobody opens another one.
    let user = users::store::lock(&mut tx, user_id).await?;
    user.check_managed_by(caller)?;
    let now = context.now();
    let opened_after = opened_after(context, now);
    let sessions = store::lock_live(&mut tx, user_id, now, opened_after).await?;
    let action = "session.revoke_all";
    let count = end_all(&mut tx, context, caller, user_id, &sessions, action).await?;
    tx.commit().await?;
    Ok(count)
}

/// Ends these locked sessions of one account, every token of them and a change of the
/// address that waits, and records that as `action`; returns how many.
async fn end_all(
    conn: &mut PgConnection,
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
    sessions: &[Uuid],
    action: &'static str,
) -> Result<i32> {
    if !sessions.is_empty() {
        store::revoke_many(conn, sessions, context.now()).await?;
        let revoked: Vec<_> = sessions.iter().copied().map(Revoked::Session).collect();
        revocations::insert(conn, context, &revoked).await?;
        let new = json!({"revoked_sessions": sessions.len()});
        let change = Change::created(action, "user", user_id, new);
        audit::record(conn, &Actor::from(caller), change).await?;
    }
    emails::cancel_change(conn, user_id, &Actor::from(caller)).await?;
    Ok(i32::try_from(sessions.len()).unwrap_or(i32::MAX))
}

/// Ends a locked session and every token of it, with a change of the account's address
/// that waits, and records that as `action`.
pub(crate) async fn end(
    conn: &mut PgConnection,
    context: &Context,
    session_id: Uuid,
    actor: &Actor,
    action: &'static str,
) -> Result<()> {
    let now = context.now();
    if let Some(user_id) = store::revoke(conn, session_id, now).await? {
        emails::cancel_change(conn, user_id, actor).await?;
    }
    revocations::insert(conn, context, &[Revoked::Session(session_id)]).await?;
    let (old, new) = (json!({"revoke_time": null}), json!({"revoke_time": now}));
    audit::record(conn, actor, Change::changed(action, "session", session_id, old, new)).await
}

/// The session, if it is live.
pub(crate) async fn find_live(
    conn: &mut PgConnection,
    context: &Context,
    session_id: Uuid,
) -> Result<Option<Session>> {
    let session = store::find(conn, session_id).await?;
    Ok(session.filter(|it| it.is_live(context)))
}

/// When a session was opened that has lasted at `now` as long as it may; the SQL half of
/// [`TokenIssuer::end_of`](crate::auth::TokenIssuer::end_of).
fn opened_after(context: &Context, now: DateTime<Utc>) -> DateTime<Utc> {
    now - context.session_lifetime()
}

impl Session {
    /// Whether its last proof was of a second factor.
    pub(crate) fn has_proved_second_factor(&self) -> bool {
        self.amr.iter().any(|it| it == mfa::MFA)
    }

    /// Whether it has neither been revoked nor ended.
    pub(crate) fn is_live(&self, context: &Context) -> bool {
        self.revoked_at.is_none() && context.tokens.end_of(self) > context.now()
    }
}
