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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ceremony<'a> {
    /// A session gets a new passkey.
    Registration { session_id: Uuid },
    /// Somebody who knows the password goes on with a login.
    SecondFactor { token_hash: &'a [u8] },
    /// Somebody of whom nothing is known logs in.
    Alone { token_hash: &'a [u8] },
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
    pub(super) fn issue(&self, ceremony: Ceremony<'_>, now: DateTime<Utc>) -> Result<Vec<u8>> {
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
        ceremony: Ceremony<'_>,
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

/// Each kind has parts of fixed lengths, so that no two texts are the same.
fn bound(ceremony: Ceremony<'_>, body: &[u8]) -> Vec<u8> {
    let (kind, id) = match &ceremony {
        Ceremony::Registration { session_id } => (0, session_id.as_bytes().as_slice()),
        Ceremony::SecondFactor { token_hash } => (1, *token_hash),
        Ceremony::Alone { token_hash } => (2, *token_hash),
        Ceremony::Reauthentication { session_id } => (3, session_id.as_bytes().as_slice()),
    };
    [&[kind], id, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_good_for_its_ceremony_and_five_minutes() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let (challenges, now) = (Challenges::new(&key), Utc::now());
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let (one_hash, other_hash) = ([1; 32], [2; 32]);
        let ceremonies = [
            Ceremony::Registration { session_id: one },
            Ceremony::Registration { session_id: other },
            Ceremony::Reauthentication { session_id: one },
            Ceremony::SecondFactor { token_hash: &one_hash },
            Ceremony::SecondFactor { token_hash: &other_hash },
            Ceremony::Alone { token_hash: &one_hash },
        ];

        for (place, ceremony) in ceremonies.iter().enumerate() {
            let challenge = challenges.issue(*ceremony, now).unwrap();
            let good = |ceremony, now| challenges.check(ceremony, &challenge, now).is_ok();
            for (other, it) in ceremonies.iter().enumerate() {
                assert_eq!(good(*it, now), other == place, "{ceremony:?} {it:?}");
            }
            assert!(good(*ceremony, now + LIFETIME - TimeDelta::seconds(1)));
            assert!(!good(*ceremony, now + LIFETIME));
            for at in 0..challenge.len() {
                let mut changed = challenge.clone();
                changed[at] ^= 1;
                assert!(challenges.check(*ceremony, &changed, now).is_err(), "byte {at}");
                assert!(challenges.check(*ceremony, &challenge[..at], now).is_err());
            }
        }
    }
}
