//! Closing an account for good, and removing what says whose it was.

use ihuman_shared::{
    Result,
    access::Principal,
    audit::{self, Actor, Change},
};
use serde_json::json;
use uuid::Uuid;

use super::store::{self, State, User};
use crate::{
    context::Context,
    revocations::{self, Revoked},
};

/// Deletes an account. Its row stays, for what refers to it, and its audit records.
pub(crate) async fn delete(context: &Context, caller: &Principal, user_id: Uuid) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let (user, has_others) = super::lock(&mut tx, caller, user_id).await?;
    if user.state == State::Deleted {
        return Ok(user);
    }
    super::keep_an_administrator(&user, has_others)?;

    let old = json!({"state": user.state});
    let user = store::erasure::erase(&mut tx, user_id).await?;
    let erased = store::erasure::erase_belongings(&mut tx, user_id, context.now()).await?;
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
    });
    let change = Change::changed("user.delete", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}
