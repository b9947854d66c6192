//! Giving an account back to its owner when every other way to it is lost.

use ihuman_shared::{
    Error, Result,
    audit::{self, Actor, Change},
    platform::Platform,
};
use serde_json::json;

use super::{
    Email,
    store::{self, State},
};
use crate::{
    config::IdentityConfig,
    context::Context,
    locks, mail, mfa,
    passwords::{Candidate, Owner},
    revocations::{self, Revoked},
    sessions,
};

/// Gives the account with `email` a new password, and takes its second factors, its
/// sessions and its waits away: for who runs the service, when nobody who could help by
/// an RPC can log in, or no mail is sent. API keys stay.
///
/// # Errors
/// `InvalidFields`, when either is not allowed; `NotFound`; `WrongState`, when the
/// account is deactivated.
pub async fn recover(
    platform: &Platform,
    config: &IdentityConfig,
    email: String,
    password: String,
) -> Result<()> {
    let email = Email::parse("email", email)?;
    let candidate = Candidate::parse("password", password)?;
    let context = Context::new(platform, config).await.map_err(Error::Internal)?;
    let user = {
        let mut conn = context.db.acquire().await?;
        store::find_by_email(&mut conn, email.key()).await?.ok_or(Error::NotFound("user"))?
    };
    let password_hash = context.hasher.hash(&candidate.of(Owner::of(&user))?).await?;

    let (user_id, now) = (user.user_id, context.now());
    let mut tx = context.db.begin().await?;
    let user = store::lock(&mut tx, user_id).await?;
    if user.state != State::Active {
        let description = "is deactivated: reactivate it first".to_owned();
        return Err(Error::WrongState { subject: "user", description });
    }
    mfa::take_away(&mut tx, &context, user_id).await?;
    let reset = store::addresses::reset_password(&mut tx, user_id, &password_hash, false, now);
    let token_version = reset.await?.ok_or(Error::Conflict)?;
    let revoked_sessions = sessions::store::revoke_all(&mut tx, user_id, now).await?;
    revocations::insert(&mut tx, &context, &[Revoked::User { user_id, token_version }]).await?;
    let ended_locks = locks::store::delete_of_user(&mut tx, user_id).await?;
    mail::post(&mut tx, &context, mail::Kind::PasswordChanged, user_id, None).await?;
    let new = json!({
        "factors": [],
        "revoked_sessions": revoked_sessions,
        "ended_locks": ended_locks,
    });
    let change = Change::created("user.recover", "user", user_id, new);
    audit::record(&mut tx, &Actor::system(), change).await?;
    tx.commit().await?;
    Ok(())
}
