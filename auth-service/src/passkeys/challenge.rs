//! Challenges: what an answer must be signed with, for one ceremony, once and soon.

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand,
};
use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Error, Result, credentials::MasterKey};
use uuid::Uuid;

use super::{Checked, Flaw};

/// How long there is to answer.
pub(crate) const LIFETIME: TimeDelta = TimeDelta::minutes(5);

const NONCE_LEN: usize = 16;
const BODY_LEN: usize = NONCE_LEN + 8;

/// What an answer is good for. One that is meant for another ceremony is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ceremony {
    /// A session gets a new passkey.
    Registration { session_id: Uuid },
    /// Somebody who knows the password goes on with a login.
    SecondFactor { login_id: Uuid },
    /// Somebody of whom nothing is known logs in.
    Alone,
    /// A session steps up.
    Reauthentication { session_id: Uuid },
}

/// Makes and reads challenges: a random number and an expiry under an HMAC-SHA256 that
/// is bound to the ceremony, so that nothing is stored until one is answered well.
pub(crate) struct Challenges(hmac::Key);

/// A challenge that is good, to be used up.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(super) nonce: Vec<u8>,
    pub(super) expires_at: DateTime<Utc>,
}

impl Challenges {
    pub(crate) fn new(master_key: &MasterKey) -> Self {
        Challenges(hmac::Key::new(HMAC_SHA256, &master_key.derive("passkey challenge")))
    }

    /// A new challenge.
    ///
    /// # Errors
    /// `Internal`, when there is no randomness.
    pub(super) fn issue(&self, ceremony: Ceremony, now: DateTime<Utc>) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        let filled = rand::fill(&mut nonce);
        filled.map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))?;
        let expires_at = (now + LIFETIME).timestamp_millis().to_be_bytes();
        let body = [nonce.as_slice(), &expires_at].concat();
        let tag = hmac::sign(&self.0, &bound(ceremony, &body));
        Ok([&body, tag.as_ref()].concat())
    }

    /// Checks that the challenge is ours, for this ceremony, and has not expired.
    pub(super) fn check(
        &self,
        ceremony: Ceremony,
        challenge: &[u8],
        now: DateTime<Utc>,
    ) -> Checked<Answered> {
        let foreign = Flaw("has no challenge of this service for this ceremony");
        let (body, tag) = challenge.split_at_checked(BODY_LEN).ok_or(foreign)?;
        hmac::verify(&self.0, &bound(ceremony, body), tag).map_err(|_| foreign)?;
        let (nonce, expires_at) = body.split_at_checked(NONCE_LEN).ok_or(foreign)?;
        let expires_at = expires_at.try_into().map(i64::from_be_bytes).map_err(|_| foreign)?;
        let expires_at = DateTime::from_timestamp_millis(expires_at).ok_or(foreign)?;
        match now < expires_at {
            true => Ok(Answered { nonce: nonce.to_vec(), expires_at }),
            false => Err(Flaw("has a challenge that has expired")),
        }
    }
}

/// The parts have fixed lengths, so that no two pairs make the same text.
fn bound(ceremony: Ceremony, body: &[u8]) -> Vec<u8> {
    let (kind, id) = match ceremony {
        Ceremony::Registration { session_id } => (0, session_id),
        Ceremony::SecondFactor { login_id } => (1, login_id),
        Ceremony::Alone => (2, Uuid::nil()),
        Ceremony::Reauthentication { session_id } => (3, session_id),
    };
    [&[kind], id.as_bytes().as_slice(), body].concat()
}
