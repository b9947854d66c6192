//! Logging in with a passkey alone: its signature says who it is, and its device that it is they.

use std::sync::Arc;

use ihuman_shared::{
    Error, Result,
    access::Origin,
    audit::{self, Actor},
    error::Reason,
};

use super::{
    challenge::invalid,
    complete::COMPLETE_LOGIN,
    opening::{self, Opened, Place},
};
use crate::{
    context::Context,
    emails,
    locks::{self, Kind, Subject},
    mfa,
    passkeys::{self, Assertion, Ceremony, Claim, Proof, Refusal},
    users::{self, store::State},
};

/// Opens a session of the account that `assertion` is of. An unknown passkey gets the
/// same answer as a wrong signature.
///
/// # Errors
/// `Unauthenticated`; `EmailNotVerified`; `TooManyFailures`, while the address must wait.
pub(super) async fn complete(
    context: &Context,
    token_hash: &[u8],
    assertion: &Assertion,
    origin: &Arc<Origin>,
) -> Result<Opened> {
    // By address and not by account: a stranger who saw the id of a passkey must not make
    // its owner wait, and nobody guesses a signature.
    if let Some(address) = origin.ip_address {
        locks::admit_address(context, Kind::SecondFactor, address).await?;
    }
    let ceremony = Ceremony::Alone { token_hash };
    let claim = Claim { ceremony, owner: None, with_password: false };
    let proved = {
        let mut conn = context.db.acquire().await?;
        passkeys::prove(context, &mut conn, claim, assertion).await?
    };
    match proved {
        Ok(proof) => open(context, &proof, origin).await?.ok_or_else(invalid),
        // The challenge is no good, whosever the passkey is.
        Err(refusal) if refusal.is_stale => Err(invalid()),
        Err(refusal) => {
            record_failure(context, refusal, origin).await?;
            Err(Error::Unauthenticated(Reason::SecondFactorFailed))
        }
    }
}

/// None, when the challenge was answered before, or the account or the passkey is not what
/// it was.
async fn open(context: &Context, proof: &Proof, origin: &Arc<Origin>) -> Result<Option<Opened>> {
    let (user_id, now) = (proof.user_id(), context.now());
    let mut tx = context.db.begin().await?;
    let user = users::store::lock(&mut tx, user_id).await?;
    if user.state != State::Active {
        return Ok(None);
    }
    if context.mailer.requires_verification() && user.email_verified_at.is_none() {
        // Before the refusal is recorded with another connection.
        drop(tx);
        return emails::refuse_unverified(context, user_id, COMPLETE_LOGIN, origin).await;
    }
    if !proof.use_up(&mut tx, &Actor::user(user_id, origin), now).await? {
        return Ok(None);
    }
    let user = users::store::login::update_last_login(&mut tx, user_id, now).await?;
    let amr = mfa::PASSKEY_ALONE;
    // Its owner was told of the passkey when it was added.
    let opened = opening::open(&mut tx, context, user, amr, Place::Expected, origin).await?;
    tx.commit().await?;
    Ok(Some(opened))
}

async fn record_failure(context: &Context, refusal: Refusal, origin: &Arc<Origin>) -> Result<()> {
    let mut changes = refusal.changes;
    if let Some(address) = origin.ip_address {
        let account = refusal.user_id.map(Subject::Account);
        let begun = locks::fail_address(context, Kind::SecondFactor, address, account.as_ref());
        changes.extend(begun.await?);
    }
    let actor = refusal.user_id.map_or_else(|| Actor::nobody(origin), |it| Actor::user(it, origin));
    let mut tx = context.db.begin().await?;
    if refusal.user_id.is_some() {
        audit::refuse(&mut tx, &actor, COMPLETE_LOGIN, Reason::SecondFactorFailed).await?;
    }
    audit::record_all(&mut tx, &actor, changes).await?;
    tx.commit().await?;
    Ok(())
}
