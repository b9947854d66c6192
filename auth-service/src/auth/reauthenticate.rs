//! Proving again, within a session, what a login proves.

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    error::Reason,
};
use serde_json::json;

use super::tokens::AccessToken;
use crate::{
    context::Context,
    locks::{self, Counted, Kind, Subject},
    mfa::{self, Claim, Factor, FactorProof},
    passkeys::{self, Ceremony, RequestOptions},
    passwords::Attempt,
    sessions,
    users::{
        self,
        store::{Login, State},
    },
};

/// The path under which refused proofs are recorded.
const REAUTHENTICATE: &str = "/ihuman.auth.v1.AuthService/Reauthenticate";

/// What the caller's session may prove, and what a passkey would sign, if there is one.
pub(crate) async fn begin_reauthentication(
    context: &Context,
    caller: &Principal,
) -> Result<(Vec<Factor>, Option<RequestOptions>)> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let ceremony = Ceremony::Reauthentication { session_id };
    let mut conn = context.db.acquire().await?;
    let state = mfa::store::get_state(&mut conn, caller.user_id).await?;
    let passkey = passkeys::request_options(context, &mut conn, ceremony, caller.user_id).await?;
    Ok((state.factors(), passkey))
}

/// Lets the caller's session count as one that has just authenticated; returns the
/// access token that says so. Only a passkey may come without a password.
///
/// # Errors
/// `InvalidFields`, when something is not proved; `TooManyFailures`, while the session
/// must wait, or for a second factor that it never proved the account.
pub(crate) async fn reauthenticate(
    context: &Context,
    caller: &Principal,
    attempt: Option<&Attempt>,
    proof: Option<&FactorProof>,
) -> Result<AccessToken> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let (login, session) = {
        let mut conn = context.db.acquire().await?;
        let login = users::store::login::get(&mut conn, caller.user_id).await?;
        (login, sessions::find_live(&mut conn, context, session_id).await?)
    };
    let session = session.ok_or(Error::Unauthenticated(Reason::CredentialsRevoked))?;
    let problem = match (login.mfa_enabled, proof) {
        (true, None) => Some("is required: the account has one"),
        (false, Some(_)) => Some("must not be set: the account has none"),
        _ => None,
    };
    if let Some(problem) = problem {
        return Err(Error::invalid("second_factor", problem));
    }
    let subject = Subject::Session { user_id: caller.user_id, session_id };
    let hash = match attempt {
        Some(attempt) => Some(prove_password(context, caller, &subject, &login, attempt).await?),
        None => None,
    };
    let hash = hash.as_deref();
    let Some(proof) = proof else { return renew(context, caller, hash, None).await };
    // Who has only the password opens as many sessions as they like: those that have
    // proved a second factor answer for themselves, and all others for each other.
    let (subject, address) = match session.has_proved_second_factor() {
        true => (subject, None),
        false => (Subject::Account(caller.user_id), caller.origin.ip_address),
    };
    let counted = locks::admit(context, Kind::SecondFactor, subject, address).await?;
    renew(context, caller, hash, Some((proof, &counted))).await
}

/// Returns the hash that the password was proved against.
async fn prove_password(
    context: &Context,
    caller: &Principal,
    subject: &Subject,
    login: &Login,
    attempt: &Attempt,
) -> Result<String> {
    let counted = locks::admit(context, Kind::Password, subject.clone(), None).await?;
    let hash = login.password_hash.as_deref();
    let verdict = counted.verify(context, attempt, hash).await?;
    match hash.filter(|_| verdict.is_good()) {
        Some(hash) => {
            let mut conn = context.db.acquire().await?;
            counted.succeed(&mut conn).await?;
            Ok(hash.to_owned())
        }
        None => {
            record_failure(context, caller, &counted, Reason::LoginFailed).await?;
            Err(Error::invalid("password", "must be the password of the account"))
        }
    }
}

async fn renew(
    context: &Context,
    caller: &Principal,
    password_hash: Option<&str>,
    factor: Option<(&FactorProof, &Counted)>,
) -> Result<AccessToken> {
    let (user_id, now, actor) = (caller.user_id, context.now(), Actor::from(caller));
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    let mut tx = context.db.begin().await?;
    let mfa_enabled = factor.is_some();
    let user = match password_hash {
        Some(hash) => users::store::login::lock(&mut tx, user_id, hash, mfa_enabled).await?,
        None => {
            let user = users::store::lock(&mut tx, user_id).await?;
            Some(user).filter(|it| it.state == State::Active)
        }
    };
    // Its password, its state or its factors changed in between.
    let user = user.ok_or(Error::Conflict)?;
    let session = sessions::store::lock(&mut tx, session_id).await?;
    let session = session.filter(|it| it.is_live(context));
    let session = session.ok_or(Error::Unauthenticated(Reason::CredentialsRevoked))?;
    let mut amr = mfa::PASSWORD_ALONE;
    if let Some((proof, counted)) = factor {
        let ceremony = Ceremony::Reauthentication { session_id };
        let claim = Claim { user_id, ceremony, with_password: password_hash.is_some() };
        match mfa::prove(&mut tx, context, &claim, proof, &actor).await? {
            Some(proved) => amr = proved,
            None => {
                tx.commit().await?;
                record_failure(context, caller, counted, Reason::SecondFactorFailed).await?;
                return Err(proof.refused());
            }
        }
        counted.succeed(&mut tx).await?;
    }
    let old = json!({"auth_time": session.auth_time, "amr": session.amr});
    let session =
        sessions::store::update_authenticated(&mut tx, session_id, Some(now), amr).await?;
    let end = context.tokens.end_of(&session);
    let token = context.tokens.issue_access(&user, &session, end, now)?;
    let new = json!({"auth_time": session.auth_time, "amr": session.amr});
    let change = Change::changed("session.reauthenticate", "session", session_id, old, new);
    audit::record(&mut tx, &actor, change).await?;
    tx.commit().await?;
    Ok(token)
}

async fn record_failure(
    context: &Context,
    caller: &Principal,
    counted: &Counted,
    reason: Reason,
) -> Result<()> {
    let begun = counted.fail(context).await?;
    let actor = Actor::from(caller);
    let mut tx = context.db.begin().await?;
    audit::refuse(&mut tx, &actor, REAUTHENTICATE, reason).await?;
    audit::record_all(&mut tx, &actor, begun).await?;
    tx.commit().await?;
    Ok(())
}
