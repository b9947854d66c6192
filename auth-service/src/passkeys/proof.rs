//! Proving who somebody is by a passkey.

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Result,
    audit::{self, Actor, Change},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Flaw,
    assertion::{Asserted, Assertion},
    challenge::{Answered, Ceremony},
    store::{self, Passkey, Use},
};
use crate::context::Context;

/// That the owner of a passkey used it for one ceremony. It counts once
/// [`use_up`](Self::use_up) says so.
pub(crate) struct Proof {
    passkey: Passkey,
    asserted: Asserted,
    answered: Answered,
    with_password: bool,
}

/// What an assertion is to prove.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) ceremony: Ceremony<'a>,
    /// Whose passkey it must be; none while nobody is known.
    pub(crate) owner: Option<Uuid>,
    /// Whether the owner proved the password too. Without it, the authenticator must
    /// have verified its user.
    pub(crate) with_password: bool,
}

/// Why an assertion proves nothing. Nobody but the operator and the auditor learns why.
pub(crate) struct Refusal {
    /// Whose passkey it was, if it is anybody's.
    pub(crate) user_id: Option<Uuid>,
    /// Whether the challenge is not good for the ceremony, or not any more.
    pub(crate) is_stale: bool,
    /// What to record beside the refusal.
    pub(crate) changes: Vec<Change>,
}

/// Checks an assertion.
pub(crate) async fn prove(
    context: &Context,
    conn: &mut PgConnection,
    claim: Claim<'_>,
    assertion: &Assertion,
) -> Result<Result<Proof, Refusal>> {
    let relying_party = &context.relying_party;
    let (client_data, challenge) = match assertion.client_data(relying_party) {
        Ok(read) => read,
        Err(flaw) => return Ok(Err(Refusal::of(flaw, None))),
    };
    let answered = match context.challenges.check(claim.ceremony, &challenge, context.now()) {
        Ok(answered) => answered,
        Err(flaw) => return Ok(Err(Refusal { is_stale: true, ..Refusal::of(flaw, None) })),
    };
    let Some(passkey) = store::find_credential(conn, assertion.credential_id()).await? else {
        return Ok(Err(Refusal::of(Flaw("is of no passkey that is known"), None)));
    };
    let user_id = passkey.user_id;
    let asserted = match assertion.verify(&client_data, relying_party, &passkey, claim.owner) {
        Ok(asserted) => asserted,
        Err(flaw) => return Ok(Err(Refusal::of(flaw, Some(user_id)))),
    };
    let proof = Proof { passkey, asserted, answered, with_password: claim.with_password };
    if !claim.with_password && !proof.is_user_verified() {
        let flaw = Flaw("was made without verifying its user, which is needed alone");
        return Ok(Err(Refusal::of(flaw, Some(user_id))));
    }
    if proof.counts_on() {
        return Ok(Ok(proof));
    }
    // The same answer once more is no copy of the key: its first answer may have been lost.
    if store::is_used_challenge(conn, &proof.answered.nonce).await? {
        let flaw = Flaw("has a challenge that was answered before");
        return Ok(Err(Refusal { is_stale: true, ..Refusal::of(flaw, Some(user_id)) }));
    }
    Ok(Err(proof.suspected()))
}

impl Proof {
    /// Whose passkey it is.
    pub(crate) fn user_id(&self) -> Uuid {
        self.passkey.user_id
    }

    /// Whether the authenticator verified its user, and did so before when something
    /// else was proved too: then it is two factors in one.
    fn is_user_verified(&self) -> bool {
        self.asserted.user_verified && self.passkey.user_verifying
    }

    /// Section 7.2, the count of signatures: it grows, or there is none.
    fn counts_on(&self) -> bool {
        let (old, new) = (self.passkey.sign_count, i64::from(self.asserted.sign_count));
        new > old || (old == 0 && new == 0)
    }

    /// There are two authenticators with the key, one of which somebody copied.
    fn suspected(self) -> Refusal {
        let Passkey { passkey_id, user_id, sign_count, .. } = self.passkey;
        let (old, new) =
            (json!({"sign_count": sign_count}), json!({"sign_count": self.asserted.sign_count}));
        let change = Change::changed("passkey.suspect_copy", "passkey", passkey_id, old, new);
        let flaw = Flaw("has a count of signatures that did not grow");
        Refusal { changes: vec![change], ..Refusal::of(flaw, Some(user_id)) }
    }

    /// Uses the challenge up and notes the use, in the transaction of what that allows.
    /// Returns whether it counts: not when the challenge was answered before, the
    /// passkey is gone, or a later use came first.
    pub(crate) async fn use_up(
        &self,
        conn: &mut PgConnection,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let Answered { nonce, expires_at } = &self.answered;
        if !store::insert_used_challenge(conn, nonce, *expires_at).await? {
            return Ok(false);
        }
        let was = self.passkey.user_verifying;
        // Only with something else proved too: a thief can set the PIN of a key without one.
        let is = was || (self.with_password && self.asserted.user_verified);
        let it = Use {
            sign_count: i64::from(self.asserted.sign_count),
            user_verifying: is,
            backed_up: self.asserted.backed_up,
            used_at: now,
        };
        if !store::update_used(conn, self.passkey.passkey_id, &it).await? {
            return Ok(false);
        }
        if is != was {
            let (old, new) = (json!({"user_verifying": was}), json!({"user_verifying": is}));
            let id = self.passkey.passkey_id;
            let change = Change::changed("passkey.verify_user", "passkey", id, old, new);
            audit::record(conn, actor, change).await?;
        }
        Ok(true)
    }
}

impl Refusal {
    fn of(flaw: Flaw, user_id: Option<Uuid>) -> Self {
        // An operator whose origins are wrong finds it here.
        tracing::info!(problem = flaw.0, "the answer of a passkey was refused");
        Refusal { user_id, is_stale: false, changes: Vec::new() }
    }
}
