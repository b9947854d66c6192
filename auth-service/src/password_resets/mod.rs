//! A new password for whoever has forgotten the old one and reads their mail.

pub(crate) mod rpc;

use std::sync::Arc;

use ihuman_shared::{
    Error, Result,
    access::Origin,
    audit::{self, Actor, Change},
};
use serde_json::json;

use crate::{
    api_keys,
    context::Context,
    emails::{self, EmailToken, Kind},
    locks, mail, mfa,
    passwords::{Owner, Proposal},
    revocations::{self, Revoked},
    sessions,
    users::{self, Email},
};

/// Sends a mail with a token, if there is an active account with the address.
pub(crate) async fn request(context: &Context, email: &Email, origin: &Arc<Origin>) -> Result<()> {
    mail::ask(context, mail::Kind::ResetPassword, email, origin).await
}

/// Sets the password of the account whose token it is, and ends what was opened with
/// the old one. Who reads the mail has the address, so that is verified too.
pub(crate) async fn reset(
    context: &Context,
    token: &EmailToken,
    new: Proposal,
    origin: &Arc<Origin>,
) -> Result<()> {
    let kind = Kind::ResetPassword;
    // Before the transaction, so that no connection waits for it; and only for who has
    // a token, or strangers could have us hash.
    let user = {
        let mut conn = context.db.acquire().await?;
        emails::owner(&mut conn, context, kind, token).await?
    };
    // What was added before anybody proved the address does not stay.
    let keeps_factors = user.mfa_enabled && user.email_verified_at.is_some();
    let new = new.beside(keeps_factors)?.of(Owner::of(&user))?;
    let new_hash = context.hasher.hash(&new).await?;

    let (user_id, now) = (user.user_id, context.now());
    let mut tx = context.db.begin().await?;
    let user = emails::owner(&mut tx, context, kind, token).await?;
    emails::use_up(&mut tx, context, kind, token).await?;
    let is_short = new.is_short();
    if user.email_verified_at.is_none() {
        mfa::take_away(&mut tx, context, user_id).await?;
    }
    let reset =
        users::store::addresses::reset_password(&mut tx, user_id, &new_hash, is_short, now).await?;
    // The second factor is gone since it was looked at.
    let token_version = reset.ok_or(Error::Conflict)?;
    let sessions = sessions::store::revoke_all(&mut tx, user_id, now).await?;
    let locks = locks::store::delete_of_user_kind(&mut tx, user_id, locks::Kind::Password).await?;
    mail::post(&mut tx, context, mail::Kind::PasswordChanged, user_id, None).await?;
    let api_keys = match user.email_verified_at {
        Some(_) => Vec::new(),
        // Until now anybody may have opened the account with this address, and have
        // left a key, or a factor, to come back with.
        None => api_keys::store::revoke_all(&mut tx, user_id, now).await?,
    };
    let mut revoked = vec![Revoked::User { user_id, token_version }];
    revoked.extend(api_keys.iter().copied().map(Revoked::ApiKey));
    revocations::insert(&mut tx, context, &revoked).await?;
    let new = json!({
        "revoked_sessions": sessions,
        "revoked_api_keys": api_keys,
        "removed_second_factors": user.mfa_enabled && user.email_verified_at.is_none(),
        "ended_locks": locks,
    });
    let change = Change::created("user.reset_password", "user", user_id, new);
    audit::record(&mut tx, &Actor::user(user_id, origin), change).await?;
    tx.commit().await?;
    Ok(())
}
