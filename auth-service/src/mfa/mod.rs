//! Second factors: turning them on and off, and what is left when all are lost.

mod enrollment;
mod proof;
mod recovery;
mod reset;
pub(crate) mod rpc;
pub(crate) mod store;
pub(crate) mod totp;

use chrono::TimeDelta;
use ihuman_shared::{
    Error, Result,
    access::{Principal, RECENT_AUTHENTICATION},
    audit::{self, Actor, Change},
    error::Reason,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::State;
pub(crate) use self::{
    enrollment::Enrollment,
    proof::{Claim, FactorProof, MFA, PASSKEY_ALONE, PASSWORD_ALONE, prove},
    recovery::RecoveryCode,
    reset::{reset, take_away},
    totp::TotpCode,
};
use crate::{
    auth,
    context::Context,
    locks::{self, Subject},
    mail, sessions,
    users::{self, store::User},
};

/// What the secrets of authenticators are sealed for.
pub(crate) const MFA_SECRETS: &str = "mfa secret";

/// For how long an authenticator can be confirmed.
const ENROLLMENT_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// The path under which refused confirmations are recorded.
const CONFIRM_TOTP: &str = "/ihuman.auth.v1.MfaService/ConfirmTotp";

const NOT_THE_CODE: &str = "must be what the authenticator says now, and not used before";

/// A way to prove who one is beside the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Factor {
    Totp,
    Passkey,
    RecoveryCode,
}

impl State {
    /// What a login may prove.
    pub(crate) fn factors(&self) -> Vec<Factor> {
        let totp = self.totp_confirmed_at.is_some().then_some(Factor::Totp);
        let passkey = (self.passkeys > 0).then_some(Factor::Passkey);
        let recovery_code = (self.recovery_codes_left > 0).then_some(Factor::RecoveryCode);
        totp.into_iter().chain(passkey).chain(recovery_code).collect()
    }
}

/// Which second factors the caller's account has.
pub(crate) async fn state(context: &Context, caller: &Principal) -> Result<State> {
    let mut conn = context.db.acquire().await?;
    store::get_state(&mut conn, caller.user_id).await
}

/// Makes a secret for an authenticator, in place of one that was not confirmed.
pub(crate) async fn enroll_totp(context: &Context, caller: &Principal) -> Result<Enrollment> {
    let (user_id, now) = (caller.user_id, context.now());
    let secret = totp::TotpSecret::generate()?;
    let sealed = proof::seal(context, user_id, &secret)?;
    let expires_at = now + ENROLLMENT_LIFETIME;
    let mut tx = context.db.begin().await?;
    let (user, _) = lock_own(&mut tx, context, caller).await?;
    store::insert_enrollment(&mut tx, user_id, &sealed, expires_at, now).await?;
    let new = json!({"expire_time": expires_at});
    let change = Change::created("mfa.enroll_totp", "user", user_id, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    let account = user.email.as_deref().unwrap_or(&user.display_name);
    let issuer = &context.config.mfa_issuer;
    let enrollment = Enrollment::new(issuer, account, &secret, expires_at)?;
    tx.commit().await?;
    Ok(enrollment)
}

/// Turns the enrolled authenticator on; returns recovery codes if the account had none.
///
/// # Errors
/// `InvalidFields`, when `code` is not of it; `WrongState`, when nothing is enrolled.
pub(crate) async fn confirm_totp(
    context: &Context,
    caller: &Principal,
    code: &TotpCode,
) -> Result<Vec<RecoveryCode>> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let (user_id, now, actor) = (caller.user_id, context.now(), Actor::from(caller));
    let subject = Subject::Session { user_id, session_id };
    let counted = locks::admit(context, locks::Kind::SecondFactor, subject, None).await?;
    let mut tx = context.db.begin().await?;
    let user = users::store::lock(&mut tx, user_id).await?;
    // What was enrolled with the password alone may not become a factor beside one that
    // the account has got meanwhile.
    if let Err(error) = check_proved(&mut tx, context, caller).await {
        drop(tx);
        counted.take_back(context).await?;
        return Err(error);
    }
    let Some(sealed) = store::find_enrollment(&mut tx, user_id, now).await? else {
        drop(tx);
        counted.take_back(context).await?;
        let description = "is not being enrolled: call EnrollTotp before".to_owned();
        return Err(Error::WrongState { subject: "authenticator", description });
    };
    let Some(step) = proof::open(context, user_id, &sealed)?.step_of(code, now) else {
        drop(tx);
        let begun = counted.fail(context).await?;
        let mut tx = context.db.begin().await?;
        audit::refuse(&mut tx, &actor, CONFIRM_TOTP, Reason::SecondFactorFailed).await?;
        audit::record_all(&mut tx, &actor, begun).await?;
        tx.commit().await?;
        return Err(Error::invalid("code", NOT_THE_CODE));
    };
    counted.succeed(&mut tx).await?;
    // The code that confirmed is used: it opens no session.
    store::confirm(&mut tx, user_id, step, now).await?;
    let state = changed(&mut tx, context, &user, mail::Kind::AuthenticatorAdded).await?;
    let codes = match state.recovery_codes_left {
        0 => replace_codes(&mut tx, context, &user).await?,
        _ => Vec::new(),
    };
    prove_in_session(&mut tx, context, session_id).await?;
    let new = json!({"made_recovery_codes": codes.len()});
    let change = Change::created("mfa.confirm_totp", "user", user_id, new);
    audit::record(&mut tx, &actor, change).await?;
    tx.commit().await?;
    Ok(codes)
}

/// Lets a session that has just shown a code go on as one that has.
async fn prove_in_session(
    conn: &mut PgConnection,
    context: &Context,
    session_id: Uuid,
) -> Result<()> {
    let session = sessions::store::lock(conn, session_id).await?;
    let session = session.filter(|it| it.is_live(context));
    let session = session.ok_or(Error::Unauthenticated(Reason::CredentialsRevoked))?;
    let mut amr: Vec<&str> = session.amr.iter().map(String::as_str).collect();
    for proved in proof::BY_TOTP {
        if !amr.contains(proved) {
            amr.push(proved);
        }
    }
    sessions::store::update_authenticated(conn, session_id, None, &amr).await?;
    Ok(())
}

/// Turns the authenticator off.
///
/// # Errors
/// `WrongState`, when the password is too short to stand alone and would have to.
pub(crate) async fn disable_totp(context: &Context, caller: &Principal) -> Result<()> {
    let user_id = caller.user_id;
    let mut tx = context.db.begin().await?;
    let (user, before) = lock_own(&mut tx, context, caller).await?;
    if !store::delete_totp(&mut tx, user_id).await? {
        return Ok(());
    }
    let after = changed(&mut tx, context, &user, mail::Kind::AuthenticatorRemoved).await?;
    let (old, new) = (
        json!({"factors": before.factors(), "mfa_enabled": before.enabled}),
        json!({"factors": after.factors(), "mfa_enabled": after.enabled}),
    );
    let change = Change::changed("mfa.disable_totp", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(())
}

/// Replaces the recovery codes; the old ones are worth nothing from then on.
pub(crate) async fn regenerate_recovery_codes(
    context: &Context,
    caller: &Principal,
) -> Result<Vec<RecoveryCode>> {
    let mut tx = context.db.begin().await?;
    let (user, before) = lock_own(&mut tx, context, caller).await?;
    if !before.enabled {
        let description = "has no second factor".to_owned();
        return Err(Error::WrongState { subject: "user", description });
    }
    let codes = replace_codes(&mut tx, context, &user).await?;
    let notice = mail::Kind::RecoveryCodesReplaced;
    mail::post(&mut tx, context, notice, user.user_id, None).await?;
    let old = json!({"recovery_codes_left": before.recovery_codes_left});
    let new = json!({"recovery_codes_left": codes.len()});
    let change = Change::changed("mfa.regenerate_recovery_codes", "user", user.user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(codes)
}

/// The caller's account, whose second factors nobody else changes until the transaction
/// ends. Who has only its password can't change them: the session must have proved one.
///
/// # Errors
/// `RecentAuthenticationRequired`, when it has not.
pub(crate) async fn lock_own(
    conn: &mut PgConnection,
    context: &Context,
    caller: &Principal,
) -> Result<(User, State)> {
    let user = users::store::lock(conn, caller.user_id).await?;
    let state = check_proved(conn, context, caller).await?;
    Ok((user, state))
}

/// Which second factors the caller's account has, if the session has proved one of them.
///
/// # Errors
/// `RecentAuthenticationRequired`, when it has not.
async fn check_proved(
    conn: &mut PgConnection,
    context: &Context,
    caller: &Principal,
) -> Result<State> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let state = store::get_state(conn, caller.user_id).await?;
    let session = sessions::find_live(conn, context, session_id).await?;
    let session = session.ok_or(Error::Unauthenticated(Reason::CredentialsRevoked))?;
    match state.enabled && !session.has_proved_second_factor() {
        true => Err(Error::RecentAuthenticationRequired(RECENT_AUTHENTICATION)),
        false => Ok(state),
    }
}

/// Call it whenever a second factor of a locked account has come or gone: says anew
/// whether logins need one, ends those that wait for one, forgets an authenticator that
/// was not confirmed, and has a mail tell the owner. Recovery codes go with the last
/// factor.
///
/// # Errors
/// `WrongState`, when the password is too short to stand alone and would have to.
pub(crate) async fn changed(
    conn: &mut PgConnection,
    context: &Context,
    user: &User,
    notice: mail::Kind,
) -> Result<State> {
    let enabled = store::update_enabled(conn, user.user_id).await?;
    auth::store::challenge::delete_of_user(conn, user.user_id).await?;
    store::delete_enrollment(conn, user.user_id).await?;
    mail::post(conn, context, notice, user.user_id, None).await?;
    if !enabled {
        store::delete_recovery_codes(conn, user.user_id).await?;
    }
    store::get_state(conn, user.user_id).await
}

/// Codes to give to a locked account that has none; none for one that has some.
pub(crate) async fn missing_codes(
    conn: &mut PgConnection,
    user_id: Uuid,
) -> Result<Vec<RecoveryCode>> {
    match store::get_state(conn, user_id).await?.recovery_codes_left {
        0 => RecoveryCode::generate_all(),
        _ => Ok(Vec::new()),
    }
}

/// Gives an account `codes` in place of those that it has.
pub(crate) async fn give_codes(
    conn: &mut PgConnection,
    context: &Context,
    user_id: Uuid,
    codes: &[RecoveryCode],
) -> Result<()> {
    let hashes: Vec<Vec<u8>> = codes.iter().map(|it| it.hash(user_id)).collect();
    store::delete_recovery_codes(conn, user_id).await?;
    store::insert_recovery_codes(conn, user_id, &hashes, context.now()).await
}

async fn replace_codes(
    conn: &mut PgConnection,
    context: &Context,
    user: &User,
) -> Result<Vec<RecoveryCode>> {
    let codes = RecoveryCode::generate_all()?;
    give_codes(conn, context, user.user_id, &codes).await?;
    Ok(codes)
}
