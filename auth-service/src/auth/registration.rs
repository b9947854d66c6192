//! Opening an account: who may not know whether an address is taken does not learn it.

use std::sync::Arc;

use ihuman_shared::{
    Error, Result,
    access::{Origin, Role},
    audit::{self, Actor, Change},
    idempotency::{self, Key},
};
use uuid::Uuid;

use crate::{
    config,
    context::Context,
    mail,
    passwords::Password,
    users::{
        self, DisplayName, Email,
        store::{Kind, NewUser, User},
    },
};

/// The account to open.
pub(crate) struct Registration {
    pub(crate) email: Email,
    pub(crate) password: Password,
    pub(crate) display_name: DisplayName,
}

/// Opens an account with the role viewer. Where addresses must be verified, the answer
/// goes by mail and there is none here.
///
/// # Errors
/// `RegistrationClosed`; `AlreadyExists`, where addresses need not be verified;
/// `Overloaded`, while too many wait for the mail.
pub(crate) async fn register(
    context: &Context,
    registration: Registration,
    key: Option<Key>,
    origin: &Arc<Origin>,
) -> Result<Option<User>> {
    if context.config.registration == config::Registration::Closed {
        return Err(Error::RegistrationClosed);
    }
    // Before the transaction, so that no connection waits for it.
    let password_hash = context.hasher.hash(&registration.password).await?;
    let new = NewUser {
        user_id: Uuid::now_v7(),
        kind: Kind::Person,
        email: Some(registration.email.as_str()),
        email_key: Some(registration.email.key()),
        display_name: registration.display_name.as_str(),
        password_hash: Some(&password_hash),
        role: Role::Viewer,
    };
    match context.mailer.requires_verification() {
        true => open_unverified(context, new, key, origin).await.map(|()| None),
        false => open(context, new, key, origin).await.map(Some),
    }
}

async fn open(
    context: &Context,
    new: NewUser<'_>,
    key: Option<Key>,
    origin: &Arc<Origin>,
) -> Result<User> {
    let user_id = new.user_id;
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), user_id, None).await? {
        return users::store::get(&mut tx, earlier.entity_id).await;
    }
    let user = users::store::insert(&mut tx, new).await?;
    let change = Change::created("user.register", "user", user_id, new.recorded());
    audit::record(&mut tx, &Actor::user(user_id, origin), change).await?;
    tx.commit().await?;
    Ok(user)
}

/// The same statements in the same order for a free address and for a taken one; which
/// it is, the mail says to its owner.
async fn open_unverified(
    context: &Context,
    new: NewUser<'_>,
    key: Option<Key>,
    origin: &Arc<Origin>,
) -> Result<()> {
    let mut tx = context.db.begin().await?;
    if idempotency::claim(&mut tx, key.as_ref(), new.user_id, None).await?.is_some() {
        return Ok(());
    }
    mail::refuse_if_full(&mut tx).await?;
    let mut found = users::store::addresses::insert_or_find(&mut tx, &new).await?;
    if found.is_none() {
        // Two at the same time must not learn from a conflict that the address was free.
        found = users::store::addresses::insert_or_find(&mut tx, &new).await?;
    }
    let (user_id, is_new) = found.ok_or(Error::Conflict)?;
    let (mail, action) = match is_new {
        true => (mail::Kind::VerifyEmail, "user.register"),
        false => (mail::Kind::RegistrationAttempt, "user.registration_attempt"),
    };
    mail::post(&mut tx, context, mail, user_id, None).await?;
    let actor = if is_new { Actor::user(user_id, origin) } else { Actor::nobody(origin) };
    audit::record(&mut tx, &actor, Change::created(action, "user", user_id, new.recorded()))
        .await?;
    tx.commit().await?;
    Ok(())
}
