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
    emails,
    revocations::{self, Revoked},
};

/// The caller's live sessions.
pub(crate) async fn list(
    context: &Context,
    caller: &Principal,
    page: Page<Uuid>,
) -> Result<(Vec<Session>, String)> {
    let mut conn = context.db.acquire().await?;
    let (user_id, now) = (caller.user_id, context.now());
    // A lifetime that was shortened since counts too.
    let opened_after = now - context.session_lifetime();
    let (after, limit) = (page.after, page.limit());
    let sessions = store::list_live(&mut conn, user_id, now, opened_after, after, limit).await?;
    page.cut(sessions, |last| last.session_id)
}

/// Ends a session of the caller's. One that has ended stays as it is.
pub(crate) async fn revoke(context: &Context, caller: &Principal, session_id: Uuid) -> Result<()> {
    let mut tx = context.db.begin().await?;
    let found = store::lock(&mut tx, session_id).await?;
    let own = found.filter(|it| it.user_id == caller.user_id);
    let session = own.ok_or(Error::NotFound("session"))?;
    if session.is_live(context.now()) {
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
    let mut sessions = store::lock_live(&mut tx, user_id, now).await?;
    // Of two sessions that end each other at the same time, one does: the second
    // finds itself ended.
    let own = sessions.iter().position(|it| *it == session_id);
    sessions.remove(own.ok_or(Error::Unauthenticated(Reason::CredentialsRevoked))?);
    if !sessions.is_empty() {
        store::revoke_many(&mut tx, &sessions, now).await?;
        revocations::insert_sessions(&mut tx, context, &sessions).await?;
        let new = json!({"revoked_sessions": sessions.len()});
        let change = Change::created("session.revoke_others", "user", user_id, new);
        audit::record(&mut tx, &Actor::from(caller), change).await?;
    }
    emails::cancel_change(&mut tx, user_id, &Actor::from(caller)).await?;
    tx.commit().await?;
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
    revocations::insert(conn, context, Revoked::Session(session_id)).await?;
    let (old, new) = (json!({"revoke_time": null}), json!({"revoke_time": now}));
    audit::record(conn, actor, Change::changed(action, "session", session_id, old, new)).await
}

impl Session {
    /// Whether it has neither been revoked nor expired.
    pub(crate) fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at > now
    }
}
