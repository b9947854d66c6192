//! Refreshing: each refresh token works once, and using one again ends its session (RFC 9700 section 4.14).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::Origin,
    audit::{self, Actor, Change},
    error::Reason,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    store::{self, RefreshTokenRow},
    tokens::{RefreshToken, Tokens},
};
use crate::{
    context::Context,
    sessions::{self, store::Session},
    users::{
        self,
        store::{State, User},
    },
};

/// How long after its use a refresh token may be sent again because the answer was lost.
const RETRY_WITHIN: TimeDelta = TimeDelta::seconds(30);

/// Exchanges `token` for new tokens of its session.
pub(crate) async fn refresh(
    context: &Context,
    token: &RefreshToken,
    request_id: Option<Uuid>,
    origin: &Arc<Origin>,
) -> Result<Tokens> {
    let (hash, now) = (token.hash(), context.now());
    let mut tx = context.db.begin().await?;
    let session_id = store::find_session(&mut tx, &hash).await?.ok_or_else(invalid)?;
    // Of two uses at the same time, the second waits here and sees the first.
    let session = sessions::store::lock(&mut tx, session_id).await?.ok_or_else(invalid)?;
    let row = store::find(&mut tx, &hash).await?.ok_or_else(invalid)?;
    let user = users::store::get(&mut tx, session.user_id).await?;

    if session.revoked_at.is_some() || user.state != State::Active {
        return Err(Error::Unauthenticated(Reason::CredentialsRevoked));
    }
    let actor = Actor::session(user.user_id, session_id, origin);
    if let Some(used_at) = row.used_at {
        let retried = retried(&row, used_at, request_id, now);
        if let Some(successor) = retried {
            return again(&mut tx, context, &user, &session, successor).await;
        }
        sessions::end(&mut tx, context, session_id, &actor, "session.revoke_reused").await?;
        tx.commit().await?;
        return Err(Error::Unauthenticated(Reason::RefreshTokenReused));
    }
    // The last of the three is new when the configured lifetime is.
    let end = context.tokens.session_end(session.created_at);
    if row.expires_at.min(session.expires_at).min(end) <= now {
        return Err(Error::Unauthenticated(Reason::CredentialsExpired));
    }
    let tokens = rotate(&mut tx, context, &user, &session, &hash, request_id, origin).await?;
    let (old, new) = (
        json!({"expire_time": session.expires_at}),
        json!({"expire_time": tokens.refresh_token_expires_at}),
    );
    let change = Change::changed("session.refresh", "session", session_id, old, new);
    audit::record(&mut tx, &actor, change).await?;
    tx.commit().await?;
    Ok(tokens)
}

/// The sealed successor, if this use repeats the first one because its answer was lost.
fn retried(
    row: &RefreshTokenRow,
    used_at: DateTime<Utc>,
    request_id: Option<Uuid>,
    now: DateTime<Utc>,
) -> Option<&[u8]> {
    let same = request_id.is_some() && request_id == row.used_request_id;
    let in_time = now - used_at <= RETRY_WITHIN;
    row.successor_sealed.as_deref().filter(|_| same && in_time)
}

/// The tokens that the lost answer held, with a fresh access token.
async fn again(
    conn: &mut PgConnection,
    context: &Context,
    user: &User,
    session: &Session,
    successor_sealed: &[u8],
) -> Result<Tokens> {
    let successor = context.tokens.open_successor(session.session_id, successor_sealed)?;
    let row = store::find(conn, &successor.hash()).await?.ok_or_else(invalid)?;
    context.tokens.issue(user, session, successor, row.expires_at, context.now())
}

async fn rotate(
    conn: &mut PgConnection,
    context: &Context,
    user: &User,
    session: &Session,
    used_hash: &[u8],
    request_id: Option<Uuid>,
    origin: &Origin,
) -> Result<Tokens> {
    let (session_id, now) = (session.session_id, context.now());
    let successor = RefreshToken::generate()?;
    let expires_at = context.tokens.successor_expiry(session.created_at, now);
    // Without a request_id no retry can be told from a theft.
    let sealed = match request_id {
        Some(_) => Some(context.tokens.seal_successor(session_id, &successor)?),
        None => None,
    };
    // Whoever holds this token has had the answer before: it can't be lost any more.
    store::forget_successors(conn, session_id).await?;
    if !store::update_used(conn, used_hash, now, request_id, sealed.as_deref()).await? {
        return Err(Error::Conflict);
    }
    store::insert(conn, &successor.hash(), session_id, expires_at).await?;
    let ip_address = origin.ip_address;
    sessions::store::update_refreshed(conn, session_id, now, expires_at, ip_address).await?;
    context.tokens.issue(user, session, successor, expires_at, now)
}

fn invalid() -> Error {
    Error::Unauthenticated(Reason::CredentialsInvalid)
}
