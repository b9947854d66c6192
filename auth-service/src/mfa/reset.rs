//! Taking every second factor from an account whose owner lost them.

use ihuman_shared::{
    Result,
    access::Principal,
    audit::{self, Actor, Change},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::{
    auth,
    context::Context,
    mail, passkeys, passwords,
    revocations::{self, Revoked},
    sessions, users,
};

/// What a reset did.
#[derive(Debug, Default)]
pub(crate) struct Reset {
    /// Whether there was a second factor.
    pub(crate) was_enabled: bool,
    /// Whether the password was too short to stand alone, and does not work any more.
    pub(crate) ended_password: bool,
    pub(crate) revoked_sessions: u64,
}

/// Takes every second factor and recovery code from an account, and ends its sessions:
/// they may be of who has the lost ones.
pub(crate) async fn reset(context: &Context, caller: &Principal, user_id: Uuid) -> Result<Reset> {
    let mut tx = context.db.begin().await?;
    let user = users::store::lock(&mut tx, user_id).await?;
    // One's own account too can be named here.
    super::check_proved(&mut tx, context, caller).await?;
    user.check_managed_by(caller)?;
    let before = store::get_state(&mut tx, user_id).await?;
    if !before.enabled {
        return Ok(Reset::default());
    }
    let ended_password = before.password_is_short;
    let token_version = take_away(&mut tx, context, user_id).await?;
    let revoked_sessions = sessions::store::revoke_all(&mut tx, user_id, context.now()).await?;
    revocations::insert(&mut tx, context, &[Revoked::User { user_id, token_version }]).await?;
    let old = json!({"factors": before.factors(), "mfa_enabled": true});
    let new = json!({
        "factors": [],
        "mfa_enabled": false,
        "ended_password": ended_password,
        "revoked_sessions": revoked_sessions,
    });
    let change = Change::changed("mfa.reset", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(Reset { was_enabled: true, ended_password, revoked_sessions })
}

/// Takes every second factor and recovery code from a locked account, and a password
/// that was too short to stand alone, and has a mail tell the owner if there was one;
/// returns the new version of its tokens. The caller records it.
pub(crate) async fn take_away(
    conn: &mut PgConnection,
    context: &Context,
    user_id: Uuid,
) -> Result<i64> {
    if store::get_state(conn, user_id).await?.enabled {
        mail::post(conn, context, mail::Kind::SecondFactorsReset, user_id, None).await?;
    }
    store::delete_totp(conn, user_id).await?;
    passkeys::store::delete_of_user(conn, user_id).await?;
    store::delete_recovery_codes(conn, user_id).await?;
    auth::store::challenge::delete_of_user(conn, user_id).await?;
    store::reset(conn, user_id, passwords::UNUSABLE).await
}
