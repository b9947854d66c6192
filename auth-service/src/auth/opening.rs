//! Opening a session, whichever way its owner proved who they are.

use std::sync::Arc;

use chrono::{DateTime, Utc};
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
    locks::{Device, Home},
    mail, mfa,
    sessions::{self, store::NewSession},
    users::{self, store::User},
};

/// A new session.
pub(crate) struct Opened {
    pub(crate) tokens: Tokens,
    pub(crate) user: User,
    /// What the device is known by from now on.
    pub(crate) device_token: String,
}

/// Where somebody logs in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On a device that the account knows.
    Known(Uuid),
    /// On one that it does not know, which its owner is told.
    New,
    /// On one that it does not know, as it could not.
    Expected,
}

impl Place {
    pub(super) fn of(device_id: Option<Uuid>, last_login_at: Option<DateTime<Utc>>) -> Self {
        match (device_id, last_login_at) {
            (Some(device_id), _) => Place::Known(device_id),
            (None, Some(_)) => Place::New,
            (None, None) => Place::Expected,
        }
    }
}

/// What a device shows at its next login to be known, after a proof in the ways that
/// `amr` names.
pub(super) async fn issue_device_token(
    conn: &mut PgConnection,
    context: &Context,
    user_id: Uuid,
    device_id: Uuid,
    amr: &[impl AsRef<str>],
) -> Result<String> {
    let home = Home::from(&users::store::login::get(conn, user_id).await?);
    let is_proved = amr.iter().any(|it| it.as_ref() == mfa::MFA);
    Ok(context.devices.issue(home, Device { device_id, is_proved }, context.now()))
}

/// Opens a session of a locked account, whose owner proved who they are in the ways
/// that `amr` names.
pub(super) async fn open(
    conn: &mut PgConnection,
    context: &Context,
    user: User,
    amr: &[&str],
    place: Place,
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
    if place == Place::New && user.email_verified_at.is_some() {
        mail::post(conn, context, mail::Kind::NewDevice, user_id, None).await?;
    }
    let device_id = match place {
        Place::Known(device_id) => device_id,
        Place::New | Place::Expected => Uuid::new_v4(),
    };
    let device_token = issue_device_token(conn, context, user_id, device_id, amr).await?;
    Ok(Opened { tokens, user, device_token })
}
