//! Opening a session, whichever way its owner proved who they are.

use std::sync::Arc;

use ihuman_shared::{
    Result,
    access::Origin,
    audit::{self, Actor, Change},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    store,
    tokens::{RefreshToken, Tokens},
};
use crate::{
    context::Context,
    sessions::{self, store::NewSession},
    users::store::User,
};

/// A new session.
pub(crate) struct Opened {
    pub(crate) tokens: Tokens,
    pub(crate) user: User,
    /// What the device is known by from now on.
    pub(crate) device_token: String,
}

/// Opens a session of a locked account, whose owner proved who they are in the ways
/// that `amr` names.
pub(super) async fn open(
    conn: &mut PgConnection,
    context: &Context,
    user: User,
    amr: &[&str],
    device_id: Option<Uuid>,
    origin: &Arc<Origin>,
) -> Result<Opened> {
    let (user_id, now) = (user.user_id, context.now());
    let refresh_token = RefreshToken::generate()?;
    let expires_at = context.tokens.refresh_expiry(now);
    let new = NewSession {
        session_id: Uuid::now_v7(),
        user_id,
        auth_time: now,
        amr: amr.iter().map(|it| (*it).to_owned()).collect(),
        expires_at,
        ip_address: origin.ip_address,
        user_agent: &origin.user_agent,
    };
    let session = sessions::store::insert(conn, new).await?;
    let session_id = session.session_id;
    store::insert(conn, &refresh_token.hash(), session_id, expires_at).await?;
    let tokens = context.tokens.issue(&user, &session, refresh_token, expires_at, now)?;
    let new = json!({"user_id": user_id, "expire_time": expires_at, "amr": amr});
    let change = Change::created("session.create", "session", session_id, new);
    audit::record(conn, &Actor::session(user_id, session_id, origin), change).await?;
    let device_id = device_id.unwrap_or_else(Uuid::new_v4);
    let device_token = context.devices.issue(user_id, device_id, now);
    Ok(Opened { tokens, user, device_token })
}
