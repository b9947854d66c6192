//! E-mail addresses: whose they are, as a token that went there proves, and how they change.

pub(crate) mod rpc;
pub(crate) mod store;
mod token;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Origin, Principal},
    audit::{self, Actor, Change},
    error::Reason,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::{
    store::Kind,
    token::{EmailToken, TokenMaker},
};
use crate::{
    context::Context,
    locks::{self, Counted, Subject},
    mail,
    passwords::Attempt,
    sessions,
    users::{
        self, Email,
        store::{State, User},
    },
};

/// The path under which refused passwords are recorded.
const VERIFY_EMAIL: &str = "/ihuman.auth.v1.EmailService/VerifyEmail";

/// How long a token is kept that is of no use any more: longer than its mail may be
/// tried again, which must not make it good again.
const KEPT_FOR: TimeDelta = TimeDelta::days(2);

/// The token to make.
pub(crate) struct Issue<'a> {
    pub(crate) kind: Kind,
    pub(crate) mail_id: Uuid,
    pub(crate) user: &'a User,
    /// Where it goes.
    pub(crate) email: &'a str,
}

impl Kind {
    /// How long a token works after its mail was sent.
    fn lifetime(self) -> TimeDelta {
        match self {
            Kind::VerifyEmail | Kind::ChangeEmail => TimeDelta::hours(24),
            // No shorter than the time within which only so many are sent: of those that a
            // stranger asks for, the last one works until the next is sent.
            Kind::ResetPassword => mail::WINDOW,
        }
    }
}

/// The token of a mail, which ends those of earlier mails: the same at each attempt to
/// send it. None when a later mail had one before, or this one was used.
pub(crate) async fn issue(
    conn: &mut PgConnection,
    context: &Context,
    issue: Issue<'_>,
) -> Result<Option<EmailToken>> {
    let Issue { kind, mail_id, user, email } = issue;
    let token = context.email_tokens.make(kind, mail_id);
    let new = store::NewToken {
        user_id: user.user_id,
        kind,
        mail_id,
        token_hash: &token.hash(),
        email,
        token_version: user.token_version,
        expires_at: context.now() + kind.lifetime(),
    };
    Ok(store::upsert(conn, new).await?.then_some(token))
}

/// The account whose token it is, if that works; locked until the transaction ends.
///
/// # Errors
/// `EmailTokenInvalid`
pub(crate) async fn owner(
    conn: &mut PgConnection,
    context: &Context,
    kind: Kind,
    token: &EmailToken,
) -> Result<User> {
    let user_id = store::find_user(conn, kind, &token.hash(), context.now()).await?;
    users::store::lock(conn, user_id.ok_or(Error::EmailTokenInvalid)?).await
}

/// Uses the token up; returns the address that it was sent to. Of many at the same
/// time one does.
///
/// # Errors
/// `EmailTokenInvalid`
pub(crate) async fn use_up(
    conn: &mut PgConnection,
    context: &Context,
    kind: Kind,
    token: &EmailToken,
) -> Result<String> {
    let email = store::update_used(conn, kind, &token.hash(), context.now()).await?;
    email.ok_or(Error::EmailTokenInvalid)
}

/// Refuses the RPC at `path` to an account that must prove its address first, and
/// records that.
///
/// # Errors
/// `EmailNotVerified`
pub(crate) async fn refuse_unverified<T>(
    context: &Context,
    user_id: Uuid,
    path: &str,
    origin: &Arc<Origin>,
) -> Result<T> {
    let error = Error::EmailNotVerified;
    let mut conn = context.db.acquire().await?;
    audit::refuse(&mut conn, &Actor::user(user_id, origin), path, error.reason()).await?;
    Err(error)
}

/// Sends a mail to verify `email`, if there is an account that needs it.
pub(crate) async fn send_verification(
    context: &Context,
    email: &Email,
    origin: &Arc<Origin>,
) -> Result<()> {
    mail::ask(context, mail::Kind::VerifyEmail, email, origin).await
}

/// Verifies the address of the account whose token it is, for who knows its password
/// too: whoever reads the mail may not be who opened the account.
///
/// # Errors
/// `EmailTokenInvalid`; `Unauthenticated`, when it is another password;
/// `TooManyFailures`, while the account must wait.
pub(crate) async fn verify(
    context: &Context,
    token: &EmailToken,
    attempt: &Attempt,
    origin: &Arc<Origin>,
) -> Result<()> {
    let (kind, now) = (Kind::VerifyEmail, context.now());
    let login = {
        let mut conn = context.db.acquire().await?;
        let user = owner(&mut conn, context, kind, token).await?;
        users::store::login::get(&mut conn, user.user_id).await?
    };
    if login.state != State::Active {
        return Err(Error::EmailTokenInvalid);
    }
    let subject = Subject::Account(login.user_id);
    let counted = locks::admit(context, locks::Kind::Password, subject, origin.ip_address).await?;
    let hash = login.password_hash.as_deref();
    let verdict = counted.verify(context, attempt, hash).await?;
    let Some(hash) = hash.filter(|_| verdict.is_good()) else {
        return refuse_password(context, &counted, login.user_id, origin).await;
    };
    let mut tx = context.db.begin().await?;
    let user = users::store::login::lock(&mut tx, login.user_id, hash, login.mfa_enabled).await?;
    // Its password, its state or its second factor changed in between.
    let user = user.ok_or(Error::Conflict)?;
    counted.succeed(&mut tx).await?;
    if let Err(error) = use_up(&mut tx, context, kind, token).await {
        // Another was faster, and the password was not wrong.
        drop(tx);
        counted.take_back(context).await?;
        return Err(error);
    }
    users::store::addresses::update_verified(&mut tx, user.user_id, now).await?;
    let (old, new) =
        (json!({"email_verify_time": user.email_verified_at}), json!({"email_verify_time": now}));
    let change = Change::changed("user.verify_email", "user", user.user_id, old, new);
    audit::record(&mut tx, &Actor::user(user.user_id, origin), change).await?;
    tx.commit().await?;
    Ok(())
}

async fn refuse_password(
    context: &Context,
    counted: &Counted,
    user_id: Uuid,
    origin: &Arc<Origin>,
) -> Result<()> {
    let begun = counted.fail(context).await?;
    let actor = Actor::user(user_id, origin);
    let mut tx = context.db.begin().await?;
    audit::refuse(&mut tx, &actor, VERIFY_EMAIL, Reason::LoginFailed).await?;
    audit::record_all(&mut tx, &actor, begun).await?;
    tx.commit().await?;
    Err(Error::Unauthenticated(Reason::LoginFailed))
}

/// Sends a mail to the address that the caller's account is to have.
pub(crate) async fn change(context: &Context, caller: &Principal, new_email: Email) -> Result<()> {
    context.mailer.check_configured()?;
    let (user_id, session_id) = (caller.user_id, caller.session_id());
    let mut tx = context.db.begin().await?;
    // Who ends the session at the same time waits for this, and then ends the change.
    let session = sessions::store::lock(&mut tx, session_id.ok_or(Error::SessionRequired)?).await?;
    if !session.is_some_and(|it| it.is_live(context)) {
        return Err(Error::Unauthenticated(Reason::CredentialsRevoked));
    }
    let user = users::store::get(&mut tx, user_id).await?;
    let own = user.email.as_deref();
    if own == Some(new_email.as_str()) {
        return Err(Error::invalid("new_email", "must not be the address of the account"));
    }
    let confirm = mail::Kind::ConfirmEmailChange;
    mail::post(&mut tx, context, confirm, user_id, Some(new_email.as_str())).await?;
    if user.email_verified_at.is_some() {
        // To the address that it has now, whichever it has when the mail is sent.
        let told = mail::Kind::EmailChangeRequested;
        mail::post(&mut tx, context, told, user_id, own).await?;
    }
    let new = json!({"new_email": new_email.as_str()});
    let change = Change::created("user.request_email_change", "user", user_id, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(())
}

/// Ends a change of the account's address that waits for its mail or for its token, and
/// records that: whoever logs a session out may have found a thief there.
pub(crate) async fn cancel_change(
    conn: &mut PgConnection,
    user_id: Uuid,
    actor: &Actor,
) -> Result<()> {
    // In the order in which a mail is written.
    let mails = mail::withdraw(conn, mail::Kind::ConfirmEmailChange, user_id).await?;
    let is_issued = store::delete_unused(conn, user_id, Kind::ChangeEmail).await?;
    if mails == 0 && !is_issued {
        return Ok(());
    }
    let change = Change::created("user.cancel_email_change", "user", user_id, json!({}));
    audit::record(conn, actor, change).await
}

/// Gives an account the address that its token was sent to.
///
/// # Errors
/// `EmailTokenInvalid`; `AlreadyExists`, when another account has the address.
pub(crate) async fn confirm_change(
    context: &Context,
    token: &EmailToken,
    origin: &Arc<Origin>,
) -> Result<()> {
    let (kind, now) = (Kind::ChangeEmail, context.now());
    let mut tx = context.db.begin().await?;
    let user = owner(&mut tx, context, kind, token).await?;
    let user_id = user.user_id;
    let email = use_up(&mut tx, context, kind, token).await?;
    let email_key = users::email_key(&email);
    users::store::addresses::update_email(&mut tx, user_id, &email, &email_key, now).await?;
    let told = user.email.as_deref();
    mail::post(&mut tx, context, mail::Kind::EmailChanged, user_id, told).await?;
    let (old, new) = (json!({"email": user.email}), json!({"email": email}));
    let change = Change::changed("user.change_email", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::user(user_id, origin), change).await?;
    tx.commit().await?;
    Ok(())
}

/// Forgets tokens that are of no use any more; returns how many.
pub(crate) async fn forget_old(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    store::delete_expired(conn, now - KEPT_FOR, limit).await
}
