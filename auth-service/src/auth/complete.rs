//! Completing a login: the second factor after the password.

use std::sync::Arc;

use ihuman_shared::{
    Error, Result,
    access::Origin,
    audit::{self, Actor},
    error::Reason,
};
use uuid::Uuid;

use super::{
    challenge::{ChallengeToken, FAILURES_MAX, invalid},
    opening::{self, Opened, Place},
    passkey_login,
    store::{self, challenge::ChallengeRow},
};
use crate::{
    context::Context,
    locks::{self, Counted, Subject},
    mfa::{self, Claim, FactorProof},
    passkeys::Ceremony,
    users::{self, store::State},
};

/// The path under which refused second factors are recorded.
pub(super) const COMPLETE_LOGIN: &str = "/ihuman.auth.v1.AuthService/CompleteLogin";

/// What came of a proof.
enum Outcome {
    Opened(Box<Opened>),
    Wrong,
    /// The challenge ended meanwhile, or the account is not what it was.
    Gone,
}

/// Opens the session that the login behind `token` asked for.
///
/// # Errors
/// `Unauthenticated`; `TooManyFailures`, whatever the proof is, while it must wait.
pub(crate) async fn complete_login(
    context: &Context,
    token: &ChallengeToken,
    proof: &FactorProof,
    origin: &Arc<Origin>,
) -> Result<Opened> {
    let hash = token.hash();
    let waiting = {
        let mut conn = context.db.acquire().await?;
        store::challenge::find(&mut conn, &hash, context.now(), FAILURES_MAX).await?
    };
    let ChallengeRow { user_id, device_id, device_proved, .. } = match (waiting, proof) {
        (Some(waiting), _) => waiting,
        // A passkey that logs in alone has nothing that waits.
        (None, FactorProof::Passkey(assertion)) => {
            return passkey_login::complete(context, &hash, assertion, origin).await;
        }
        (None, _) => return Err(invalid()),
    };
    // A device on which the second factor was proved before answers for itself only.
    let (subject, address) = match device_id.filter(|_| device_proved) {
        Some(device_id) => (Subject::Device { user_id, device_id }, None),
        None => (Subject::Account(user_id), origin.ip_address),
    };
    // Counted by account and not by challenge: another login gives no further guesses.
    let counted = locks::admit(context, locks::Kind::SecondFactor, subject, address).await?;
    match prove(context, &hash, user_id, proof, &counted, origin).await? {
        Outcome::Opened(opened) => Ok(*opened),
        Outcome::Wrong => {
            let begun = counted.fail(context).await?;
            let actor = Actor::user(user_id, origin);
            let mut tx = context.db.begin().await?;
            audit::refuse(&mut tx, &actor, COMPLETE_LOGIN, Reason::SecondFactorFailed).await?;
            audit::record_all(&mut tx, &actor, begun).await?;
            tx.commit().await?;
            Err(Error::Unauthenticated(Reason::SecondFactorFailed))
        }
        Outcome::Gone => {
            counted.take_back(context).await?;
            Err(invalid())
        }
    }
}

async fn prove(
    context: &Context,
    hash: &[u8],
    user_id: Uuid,
    proof: &FactorProof,
    counted: &Counted,
    origin: &Arc<Origin>,
) -> Result<Outcome> {
    let now = context.now();
    let mut tx = context.db.begin().await?;
    // Of two at the same time, the second waits here and sees what the first left.
    let user = users::store::lock(&mut tx, user_id).await?;
    let challenge = store::challenge::find(&mut tx, hash, now, FAILURES_MAX).await?;
    let as_it_was =
        |it: &ChallengeRow| user.state == State::Active && user.token_version == it.token_version;
    let Some(challenge) = challenge.filter(as_it_was) else { return Ok(Outcome::Gone) };
    let actor = Actor::user(user_id, origin);
    let ceremony = Ceremony::SecondFactor { token_hash: hash };
    let claim = Claim { user_id, ceremony, with_password: true };
    let Some(amr) = mfa::prove(&mut tx, context, &claim, proof, &actor).await? else {
        store::challenge::update_failed(&mut tx, hash).await?;
        tx.commit().await?;
        return Ok(Outcome::Wrong);
    };
    if !store::challenge::delete(&mut tx, hash).await? {
        return Ok(Outcome::Gone);
    }
    counted.succeed(&mut tx).await?;
    let place = Place::of(challenge.device_id, user.last_login_at);
    let user = users::store::login::update_last_login(&mut tx, user_id, now).await?;
    let opened = opening::open(&mut tx, context, user, amr, place, origin).await?;
    tx.commit().await?;
    Ok(Outcome::Opened(Box::new(opened)))
}
