//! Mail: what is to be sent waits in a table, and no request waits for a mail server.

mod compose;
mod letter;
mod mailbox;
mod resolve;
pub(crate) mod sender;
pub(crate) mod store;
mod transport;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::Origin,
    credentials::MasterKey,
    notifications::{self, Channel},
};
use sqlx::PgConnection;
use uuid::Uuid;

use self::{letter::Stationery, mailbox::Mailboxes};
pub(crate) use self::{store::Kind, transport::Transport};
use crate::{
    config::{EmailVerification, MailConfig},
    context::Context,
    emails,
    users::{
        Email,
        store::{State, User},
    },
};

/// How long a mail that is gone can be looked at.
const KEPT_FOR: TimeDelta = TimeDelta::days(7);
/// Within which time a person gets only so many.
pub(crate) const WINDOW: TimeDelta = TimeDelta::hours(1);
/// When to come back while too many wait.
const FULL_FOR: Duration = Duration::from_secs(60);

/// What this deployment does about mail.
pub(crate) struct Mailer {
    verification: EmailVerification,
    mailboxes: Mailboxes,
    /// None when mail is off.
    office: Option<Office>,
}

/// What mails are made with, and what takes them.
struct Office {
    transport: Transport,
    stationery: Stationery,
}

impl Mailer {
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn new(config: &MailConfig, master_key: &MasterKey) -> anyhow::Result<Self> {
        let settings = config.read().map_err(anyhow::Error::msg)?;
        let office = match settings {
            None => None,
            Some(settings) => {
                let transport = Transport::new(&settings).map_err(anyhow::Error::msg)?;
                Some(Office { transport, stationery: Stationery::new(settings) })
            }
        };
        let mailboxes = Mailboxes::new(master_key);
        Ok(Mailer { verification: config.email_verification, mailboxes, office })
    }

    /// Whether nobody logs in with an address that is not verified.
    pub(crate) fn requires_verification(&self) -> bool {
        self.verification == EmailVerification::Required
    }

    /// # Errors
    /// `MailNotConfigured`
    pub(crate) fn check_configured(&self) -> Result<()> {
        self.office.as_ref().map(drop).ok_or(Error::MailNotConfigured)
    }
}

impl Kind {
    /// Its name in metrics.
    fn text(self) -> &'static str {
        match self {
            Kind::VerifyEmail => "verify_email",
            Kind::RegistrationAttempt => "registration_attempt",
            Kind::ResetPassword => "reset_password",
            Kind::PasswordChanged => "password_changed",
            Kind::ConfirmEmailChange => "confirm_email_change",
            Kind::EmailChangeRequested => "email_change_requested",
            Kind::EmailChanged => "email_changed",
            Kind::AuthenticatorAdded => "authenticator_added",
            Kind::AuthenticatorRemoved => "authenticator_removed",
            Kind::PasskeyAdded => "passkey_added",
            Kind::PasskeyRemoved => "passkey_removed",
            Kind::SecondFactorsReset => "second_factors_reset",
            Kind::RecoveryCodeUsed => "recovery_code_used",
            Kind::RecoveryCodesReplaced => "recovery_codes_replaced",
            Kind::NewDevice => "new_device",
        }
    }

    /// What the mail carries a token for, if it does.
    fn token(self) -> Option<emails::Kind> {
        match self {
            Kind::VerifyEmail => Some(emails::Kind::VerifyEmail),
            Kind::ResetPassword => Some(emails::Kind::ResetPassword),
            Kind::ConfirmEmailChange => Some(emails::Kind::ChangeEmail),
            _ => None,
        }
    }

    /// Whether there is anything to tell to `user`.
    fn concerns(self, user: &User) -> bool {
        let is_verified = user.email_verified_at.is_some();
        match self {
            Kind::VerifyEmail => user.state == State::Active && !is_verified,
            Kind::ResetPassword
            | Kind::RegistrationAttempt
            | Kind::ConfirmEmailChange
            | Kind::EmailChangeRequested => user.state == State::Active,
            Kind::NewDevice => user.state == State::Active && is_verified,
            _ => user.state != State::Deleted,
        }
    }

    /// How many a person gets within the [`WINDOW`] at the most, if a stranger can cause
    /// it, or who has the password alone.
    fn window_max(self) -> Option<i64> {
        match self {
            Kind::VerifyEmail
            | Kind::RegistrationAttempt
            | Kind::ResetPassword
            | Kind::ConfirmEmailChange
            | Kind::EmailChangeRequested
            | Kind::NewDevice => Some(5),
            _ => None,
        }
    }
}

/// Sends a mail to an account once this transaction has committed: to its address, or
/// to `recipient`. One that says the same and still waits is enough. Nothing happens
/// where mail is off.
pub(crate) async fn post(
    conn: &mut PgConnection,
    context: &Context,
    kind: Kind,
    user_id: Uuid,
    recipient: Option<&str>,
) -> Result<()> {
    if context.mailer.office.is_none() {
        return Ok(());
    }
    store::post(conn, kind, user_id, recipient, context.now()).await?;
    notifications::notify(conn, Channel::Mails).await
}

/// Refuses a registration while too many wait for their mails.
///
/// # Errors
/// `Overloaded`
pub(crate) async fn refuse_if_full(conn: &mut PgConnection) -> Result<()> {
    match store::is_full(conn).await? {
        true => Err(Error::Overloaded { retry_after: FULL_FOR }),
        false => Ok(()),
    }
}

/// Forgets the mails of the kind to an account that are not gone; returns how many.
pub(crate) async fn withdraw(conn: &mut PgConnection, kind: Kind, user_id: Uuid) -> Result<u64> {
    store::delete_waiting(conn, kind, user_id).await
}

/// Sends a mail to whoever has the address, if somebody does: that is found out beside
/// the request, so that nobody can tell by its time.
///
/// # Errors
/// `MailNotConfigured`; `Overloaded`, when more wait to be found than anybody asks for.
pub(crate) async fn ask(
    context: &Context,
    kind: Kind,
    email: &Email,
    origin: &Origin,
) -> Result<()> {
    context.mailer.check_configured()?;
    let mut tx = context.db.begin().await?;
    if store::is_crowded(&mut tx).await? {
        return Err(Error::Overloaded { retry_after: FULL_FOR });
    }
    store::ask(&mut tx, kind, email.key(), origin, context.now()).await?;
    notifications::notify(&mut tx, Channel::Mails).await?;
    tx.commit().await?;
    Ok(())
}

/// Sends the mail to verify the account's address again, beside the request, so that
/// nobody can tell by its time.
pub(crate) fn verify_again(context: &Context, user_id: Uuid) {
    let (db, now) = (context.db.clone(), context.now());
    context.tasks.spawn(async move {
        let posted = async {
            let mut tx = db.begin().await?;
            if !store::is_full(&mut tx).await? {
                store::post(&mut tx, Kind::VerifyEmail, user_id, None, now).await?;
                notifications::notify(&mut tx, Channel::Mails).await?;
            }
            tx.commit().await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = posted.await {
            tracing::warn!(
                error = error.with_cause(),
                "a mail to verify an address is not sent again"
            );
        }
    });
}

/// Forgets mails that are gone; returns how many.
pub(crate) async fn forget_old(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    store::delete_gone(conn, now - KEPT_FOR, limit).await
}
