//! Closing an account for good, and removing what says whose it was.

use ihuman_shared::{
    Result,
    access::Principal,
    audit::{self, Actor, Change},
    idempotency,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, State, User};
use crate::{
    api_keys, auth,
    context::Context,
    emails, locks, mail, mfa, passkeys,
    revocations::{self, Revoked},
    sessions, settings,
};

/// How much was removed beside the account itself.
struct Erased {
    sessions: u64,
    api_keys: Vec<Uuid>,
    settings: u64,
    passkeys: i64,
    locks: u64,
}

/// Deletes an account. Its row stays, for what refers to it, and its audit records.
pub(crate) async fn delete(context: &Context, caller: &Principal, user_id: Uuid) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let (user, has_others) = super::lock(&mut tx, caller, user_id).await?;
    if user.state == State::Deleted {
        return Ok(user);
    }
    super::keep_an_administrator(&user, has_others)?;

    let old = json!({"state": user.state});
    let erased = erase_belongings(&mut tx, context, user_id).await?;
    let user = store::erasure::erase(&mut tx, user_id).await?;
    // The tokens of every session go with the version of the account; keys are
    // revoked one by one, as they are remembered one by one.
    super::revoke_tokens(&mut tx, context, &user).await?;
    let revoked: Vec<_> = erased.api_keys.iter().copied().map(Revoked::ApiKey).collect();
    revocations::insert(&mut tx, context, &revoked).await?;
    let new = json!({
        "state": user.state,
        "erased_sessions": erased.sessions,
        "revoked_api_keys": erased.api_keys,
        "removed_settings": erased.settings,
        "removed_passkeys": erased.passkeys,
        "ended_locks": erased.locks,
    });
    let change = Change::changed("user.delete", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}

/// Ends what belongs to a locked account in every room, and forgets where it was used
/// from.
async fn erase_belongings(
    conn: &mut PgConnection,
    context: &Context,
    user_id: Uuid,
) -> Result<Erased> {
    let now = context.now();
    let passkeys = passkeys::store::count(conn, user_id).await?;
    mfa::take_away(conn, context, user_id).await?;
    auth::store::delete_of_user(conn, user_id).await?;
    mail::store::delete_of_user(conn, user_id).await?;
    emails::store::delete_of_user(conn, user_id).await?;
    idempotency::forget(conn, user_id).await?;
    Ok(Erased {
        sessions: sessions::store::erase_of_user(conn, user_id, now).await?,
        api_keys: api_keys::store::erase_of_user(conn, user_id, now).await?,
        settings: settings::store::delete_of_user(conn, user_id).await?,
        passkeys,
        locks: locks::store::delete_of_user(conn, user_id).await?,
    })
}
