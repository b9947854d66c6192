//! Logging in: why it fails is the same for every reason, and takes as long.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::Origin,
    audit::{self, Actor, Change},
    error::Reason,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    challenge::{self, Challenge},
    opening::{self, Opened, Place},
};
use crate::{
    context::Context,
    locks::{self, Counted, Device, DeviceToken, Subject},
    mail, mfa,
    passwords::{Attempt, Verdict},
    users::{
        self, Email,
        store::{Login, State},
    },
};

/// The path under which refused logins are recorded.
const LOGIN: &str = "/ihuman.auth.v1.AuthService/Login";

/// How often to look at an account that changes while its password is verified.
const LOOKS: usize = 2;

/// What somebody logs in with.
pub(crate) struct Credentials {
    pub(crate) email: Email,
    pub(crate) attempt: Attempt,
    pub(crate) device: DeviceToken,
}

/// What a right password leads to.
pub(crate) enum LoggedIn {
    /// A session.
    Opened(Box<Opened>),
    /// The question for a second factor.
    Challenged(Challenge),
}

/// A password that was proved.
struct Proved {
    user_id: Uuid,
    hash: String,
    mfa_enabled: bool,
    /// The same password in the present form, if the stored one is not in it.
    renewed: Option<String>,
    /// Whether the address of the account is its owner's.
    is_verified: bool,
    last_login_at: Option<DateTime<Utc>>,
}

/// Opens a session, or a challenge if the account has a second factor.
///
/// # Errors
/// `Unauthenticated`, also after a right password where addresses must be verified and
/// this one is not: who registers an address and then logs in must not learn whether it
/// was free; `TooManyFailures`, whatever the password is, while it must wait.
pub(crate) async fn login(
    context: &Context,
    credentials: &Credentials,
    origin: &Arc<Origin>,
) -> Result<LoggedIn> {
    let mut known = find(context, &credentials.email).await?;
    let user_id = known.as_ref().map(|it| it.user_id);
    let device = known
        .as_ref()
        .and_then(|it| context.devices.find(it.into(), &credentials.device, context.now()));
    // A known device answers for itself only.
    let (subject, address) = match (user_id, device) {
        (Some(user_id), Some(Device { device_id, .. })) => {
            (Subject::Device { user_id, device_id }, None)
        }
        (Some(user_id), None) => (Subject::Account(user_id), origin.ip_address),
        (None, _) => {
            let email_key = credentials.email.key().to_owned();
            (Subject::Nobody { email_key }, origin.ip_address)
        }
    };
    let counted = locks::admit(context, locks::Kind::Password, subject, address).await?;
    let mut is_unverified = false;

    for _ in 0..LOOKS {
        let proved = prove(context, &counted, known, &credentials.attempt).await?;
        let Some(proved) = proved else { break };
        if context.mailer.requires_verification() && !proved.is_verified {
            is_unverified = true;
            break;
        }
        let logged_in = match proved.mfa_enabled {
            false => open(context, &proved, &counted, device, origin).await?,
            true => challenge(context, &proved, &counted, device, origin).await?,
        };
        if let Some(logged_in) = logged_in {
            return Ok(logged_in);
        }
        // Another login stored the password in another form, or it is another password,
        // or a second factor was turned on or off.
        known = find(context, &credentials.email).await?;
    }
    let begun = counted.fail(context).await?;
    record_failure(context, user_id, begun, origin);
    if let Some(user_id) = user_id.filter(|_| is_unverified) {
        mail::verify_again(context, user_id);
    }
    Err(Error::Unauthenticated(Reason::LoginFailed))
}

async fn find(context: &Context, email: &Email) -> Result<Option<Login>> {
    let mut conn = context.db.acquire().await?;
    users::store::find_login(&mut conn, email.key()).await
}

async fn prove(
    context: &Context,
    counted: &Counted,
    known: Option<Login>,
    attempt: &Attempt,
) -> Result<Option<Proved>> {
    let active = known.filter(|it| it.state == State::Active);
    let hash = active.as_ref().and_then(|it| it.password_hash.as_deref());
    let is_unverified = active.as_ref().is_some_and(|it| !it.is_verified);
    let verdict = match context.mailer.requires_verification() && is_unverified {
        true => counted.verify_refused(context, attempt, hash).await?,
        false => counted.verify(context, attempt, hash).await?,
    };
    let (Verdict::Good { renewed }, Some(login)) = (verdict, active) else { return Ok(None) };
    let Login { user_id, password_hash, mfa_enabled, is_verified, last_login_at, .. } = login;
    Ok(password_hash.map(|hash| Proved {
        user_id,
        hash,
        mfa_enabled,
        renewed,
        is_verified,
        last_login_at,
    }))
}

/// None, when the account is not what it was when its password was proved.
async fn open(
    context: &Context,
    proved: &Proved,
    counted: &Counted,
    device: Option<Device>,
    origin: &Arc<Origin>,
) -> Result<Option<LoggedIn>> {
    let user_id = proved.user_id;
    let mut tx = context.db.begin().await?;
    let now = context.now();
    let user = users::store::update_login(&mut tx, user_id, &proved.hash, now).await?;
    let Some(user) = user else { return Ok(None) };
    counted.succeed(&mut tx).await?;
    let place = Place::of(device.map(|it| it.device_id), proved.last_login_at);
    let amr = mfa::PASSWORD_ALONE;
    let opened = opening::open(&mut tx, context, user, amr, place, origin).await?;
    let actor = Actor::session(user_id, opened.tokens.session_id, origin);
    renew(&mut tx, proved, &actor).await?;
    tx.commit().await?;
    Ok(Some(LoggedIn::Opened(Box::new(opened))))
}

/// The same for an account with a second factor. The password is proved: its count
/// ends here, and that of the second factor does not.
async fn challenge(
    context: &Context,
    proved: &Proved,
    counted: &Counted,
    device: Option<Device>,
    origin: &Arc<Origin>,
) -> Result<Option<LoggedIn>> {
    let mut tx = context.db.begin().await?;
    let user = users::store::login::lock(&mut tx, proved.user_id, &proved.hash, true).await?;
    let Some(user) = user else { return Ok(None) };
    counted.succeed(&mut tx).await?;
    let challenge = challenge::open(&mut tx, context, &user, device, origin).await?;
    renew(&mut tx, proved, &Actor::user(user.user_id, origin)).await?;
    tx.commit().await?;
    Ok(Some(LoggedIn::Challenged(challenge)))
}

/// Stores the password in the present form, if it is not.
async fn renew(conn: &mut PgConnection, proved: &Proved, actor: &Actor) -> Result<()> {
    let Proved { user_id, hash, renewed: Some(renewed), .. } = proved else { return Ok(()) };
    users::store::update_password_form(conn, *user_id, hash, renewed).await?;
    let change = Change::created("user.renew_password_hash", "user", user_id, json!({}));
    audit::record(conn, actor, change).await
}

/// Records a refused login, and the waits that begin with it, beside the request: a
/// known address must not take longer to refuse than an unknown one.
fn record_failure(
    context: &Context,
    user_id: Option<Uuid>,
    begun: Vec<Change>,
    origin: &Arc<Origin>,
) {
    let db = context.db.clone();
    if user_id.is_none() && begun.is_empty() {
        return;
    }
    let actor = user_id.map_or_else(|| Actor::nobody(origin), |it| Actor::user(it, origin));
    context.tasks.spawn(async move {
        let recorded = async {
            let mut tx = db.begin().await?;
            if user_id.is_some() {
                audit::refuse(&mut tx, &actor, LOGIN, Reason::LoginFailed).await?;
            }
            audit::record_all(&mut tx, &actor, begun).await?;
            tx.commit().await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = recorded.await {
            tracing::error!(
                error = error.with_cause(),
                "a refused login is missing in the audit trail"
            );
        }
    });
}
