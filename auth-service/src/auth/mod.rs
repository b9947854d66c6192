//! Opening accounts and sessions, and saying who is calling.

mod challenge;
mod complete;
mod login;
mod opening;
mod passkey_login;
mod reauthenticate;
mod refresh;
mod registration;
pub(crate) mod rpc;
pub(crate) mod store;
mod tokens;

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    credentials::{CREDENTIAL_MAX, Presented, Proof},
    error::Reason,
};
use serde_json::json;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use self::tokens::RefreshToken;
pub(crate) use self::{
    challenge::begin_passkey_login,
    complete::complete_login,
    login::login,
    reauthenticate::{begin_reauthentication, reauthenticate},
    refresh::refresh,
    registration::{Registration, register},
    tokens::{SUCCESSORS, TokenIssuer},
};
use crate::{
    context::Context,
    locks::{self, Subject},
    mail,
    passwords::{Attempt, Owner, Password, Proposal},
    revocations::{self, Revoked},
    sessions,
    users::{self, store::User},
};

/// The path under which refused changes of a password are recorded.
const CHANGE_PASSWORD: &str = "/ihuman.auth.v1.AuthService/ChangePassword";

/// Ends the caller's session.
pub(crate) async fn logout(context: &Context, caller: &Principal) -> Result<()> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    sessions::revoke(context, caller, session_id).await
}

/// What a credential proves, or why it proves nothing.
pub(crate) async fn verify(context: &Context, token: &str) -> Result<Result<Proof, Reason>> {
    if token.len() > CREDENTIAL_MAX {
        let problem = format!("must have at most {CREDENTIAL_MAX} bytes");
        return Err(Error::invalid("token", problem));
    }
    match context.authenticator.authenticate(Presented::guess(token)).await {
        Ok(proof) => Ok(Ok(proof)),
        Err(Error::Unauthenticated(reason)) => Ok(Err(reason)),
        Err(error) => Err(error),
    }
}

/// The caller's account.
pub(crate) async fn current_user(context: &Context, caller: &Principal) -> Result<User> {
    users::get(context, caller.user_id).await
}

/// Replaces the caller's password and ends every session of the account.
pub(crate) async fn change_password(
    context: &Context,
    caller: &Principal,
    current: &Attempt,
    new: Proposal,
) -> Result<()> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let (user_id, actor) = (caller.user_id, Actor::from(caller));
    let (user, login) = {
        let mut conn = context.db.acquire().await?;
        let login = users::store::login::get(&mut conn, user_id).await?;
        (users::store::get(&mut conn, user_id).await?, login)
    };
    let old_hash = login.password_hash;
    let subject = Subject::Session { user_id, session_id };
    let counted = locks::admit(context, locks::Kind::Password, subject, None).await?;
    let verdict = counted.verify(context, current, old_hash.as_deref()).await?;
    let Some(old_hash) = old_hash.filter(|_| verdict.is_good()) else {
        let begun = counted.fail(context).await?;
        let mut tx = context.db.begin().await?;
        audit::refuse(&mut tx, &actor, CHANGE_PASSWORD, Reason::LoginFailed).await?;
        audit::record_all(&mut tx, &actor, begun).await?;
        tx.commit().await?;
        let problem = "must be the password of the account";
        return Err(Error::invalid("current_password", problem));
    };
    if new.is(current) {
        counted.take_back(context).await?;
        return Err(Error::invalid("new_password", "must not be the current password"));
    }
    let new = new.beside(login.mfa_enabled).and_then(|it| it.of(Owner::of(&user)));
    let is_short = new.as_ref().is_ok_and(Password::is_short);
    let new_hash = match new {
        Ok(new) => context.hasher.hash(&new).await,
        Err(refused) => Err(refused),
    };
    let new_hash = match new_hash {
        Ok(new_hash) => new_hash,
        Err(error) => {
            counted.take_back(context).await?;
            return Err(error);
        }
    };

    let mut tx = context.db.begin().await?;
    let updated =
        users::store::update_password(&mut tx, user_id, &old_hash, &new_hash, is_short).await?;
    // A login may have renewed the hash in between, or the second factor is gone.
    let token_version = updated.ok_or(Error::Conflict)?;
    counted.succeed(&mut tx).await?;
    let sessions = sessions::store::revoke_all(&mut tx, user_id, context.now()).await?;
    revocations::insert(&mut tx, context, Revoked::User { user_id, token_version }).await?;
    mail::post(&mut tx, context, mail::Kind::PasswordChanged, user_id, None).await?;
    let new = json!({"revoked_sessions": sessions});
    let change = Change::created("user.change_password", "user", user_id, new);
    audit::record(&mut tx, &actor, change).await?;
    tx.commit().await?;
    Ok(())
}
