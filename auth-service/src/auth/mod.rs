//! Opening accounts and sessions, and saying who is calling.

mod refresh;
pub(crate) mod rpc;
pub(crate) mod store;
mod tokens;

use std::sync::Arc;

use ihuman_shared::{
    Error, Result,
    access::{Origin, Principal, Role},
    audit::{self, Actor, Change},
    credentials::{CREDENTIAL_MAX, Presented, Proof},
    error::Reason,
    idempotency::{self, Key},
};
use serde_json::json;
use uuid::Uuid;

use self::tokens::{RefreshToken, Tokens};
pub(crate) use self::{
    refresh::refresh,
    tokens::{SUCCESSORS, TokenIssuer},
};
use crate::{
    context::Context,
    passwords::{Attempt, Password},
    revocations::{self, Revoked},
    sessions::{self, store::NewSession},
    users::{
        self, DisplayName, Email,
        store::{Kind, NewUser, State, User},
    },
};

/// The path under which refused logins are recorded.
const LOGIN: &str = "/ihuman.auth.v1.AuthService/Login";
/// The path under which refused changes of a password are recorded.
const CHANGE_PASSWORD: &str = "/ihuman.auth.v1.AuthService/ChangePassword";

/// The account to open.
pub(crate) struct Registration {
    pub(crate) email: Email,
    pub(crate) password: Password,
    pub(crate) display_name: DisplayName,
}

/// Opens an account with the role viewer.
pub(crate) async fn register(
    context: &Context,
    registration: Registration,
    key: Option<Key>,
    origin: &Arc<Origin>,
) -> Result<User> {
    // Before the transaction, so that no connection waits for it.
    let password_hash = context.hasher.hash(&registration.password).await?;
    let user_id = Uuid::now_v7();
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), user_id, None).await? {
        return users::store::get(&mut tx, earlier.entity_id).await;
    }
    let new = NewUser {
        user_id,
        kind: Kind::Person,
        email: Some(registration.email.as_str()),
        display_name: registration.display_name.as_str(),
        password_hash: Some(&password_hash),
        role: Role::Viewer,
    };
    let user = users::store::insert(&mut tx, new).await?;
    let change = Change::created("user.register", "user", user_id, users::recorded(&user));
    audit::record(&mut tx, &Actor::user(user_id, origin), change).await?;
    tx.commit().await?;
    Ok(user)
}

/// Opens a session. Why it does not is the same for every reason, and takes as long.
pub(crate) async fn login(
    context: &Context,
    email: &Email,
    attempt: &Attempt,
    origin: &Arc<Origin>,
) -> Result<(Tokens, User)> {
    let login_failed = || Error::Unauthenticated(Reason::LoginFailed);
    let known = {
        let mut conn = context.db.acquire().await?;
        users::store::find_login(&mut conn, email.as_str()).await?
    };
    let active = known.as_ref().filter(|it| it.state == State::Active);
    let hash = active.and_then(|it| it.password_hash.clone());
    let proved = context.hasher.verify(attempt, hash.as_deref()).await?;
    let user_id = known.as_ref().map(|it| it.user_id);
    let (Some(user_id), Some(hash), true) = (user_id, hash, proved) else {
        if let Some(user_id) = user_id {
            record_failure(context, user_id, origin);
        }
        return Err(login_failed());
    };

    let now = context.now();
    let mut tx = context.db.begin().await?;
    let user = users::store::update_login(&mut tx, user_id, &hash, now).await?;
    let user = user.ok_or_else(login_failed)?;
    let refresh_token = RefreshToken::generate()?;
    let expires_at = context.tokens.refresh_expiry(now);
    let new = NewSession {
        session_id: Uuid::now_v7(),
        user_id,
        auth_time: now,
        expires_at,
        ip_address: origin.ip_address,
        user_agent: &origin.user_agent,
    };
    let session = sessions::store::insert(&mut tx, new).await?;
    let session_id = session.session_id;
    store::insert(&mut tx, &refresh_token.hash(), session_id, expires_at).await?;
    let tokens = context.tokens.issue(&user, &session, refresh_token, expires_at, now)?;
    let new = json!({"user_id": user_id, "expire_time": expires_at});
    let change = Change::created("session.create", "session", session_id, new);
    audit::record(&mut tx, &Actor::session(user_id, session_id, origin), change).await?;
    tx.commit().await?;
    Ok((tokens, user))
}

/// Records a refused login beside the request: a known address must not take
/// longer to refuse than an unknown one.
fn record_failure(context: &Context, user_id: Uuid, origin: &Arc<Origin>) {
    let (db, actor) = (context.db.clone(), Actor::user(user_id, origin));
    tokio::spawn(async move {
        let recorded = async {
            let mut conn = db.acquire().await?;
            audit::refuse(&mut conn, &actor, LOGIN, Reason::LoginFailed).await
        };
        if let Err(error) = recorded.await {
            tracing::error!(%error, "a refused login is missing in the audit trail");
        }
    });
}

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
    new: &Password,
) -> Result<()> {
    let wrong = || Error::invalid("current_password", "must be the password of the account");
    let (user_id, actor) = (caller.user_id, Actor::from(caller));
    let hash = {
        let mut conn = context.db.acquire().await?;
        users::store::get_password_hash(&mut conn, user_id).await?
    };
    if !context.hasher.verify(current, hash.as_deref()).await? {
        let mut conn = context.db.acquire().await?;
        audit::refuse(&mut conn, &actor, CHANGE_PASSWORD, Reason::LoginFailed).await?;
        return Err(wrong());
    }
    if new.is(current) {
        return Err(Error::invalid("new_password", "must not be the current password"));
    }
    let (old_hash, new_hash) = (hash.ok_or_else(wrong)?, context.hasher.hash(new).await?);

    let mut tx = context.db.begin().await?;
    let updated = users::store::update_password(&mut tx, user_id, &old_hash, &new_hash).await?;
    let token_version = updated.ok_or_else(wrong)?;
    let sessions = sessions::store::revoke_all(&mut tx, user_id, context.now()).await?;
    revocations::insert(&mut tx, context, Revoked::User { user_id, token_version }).await?;
    let new = json!({"revoked_sessions": sessions});
    let change = Change::created("user.change_password", "user", user_id, new);
    audit::record(&mut tx, &actor, change).await?;
    tx.commit().await?;
    Ok(())
}
