//! API keys: `<prefix>_<id>_<secret><crc>`, refused without a look-up when malformed.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    hmac, rand,
};
use chrono::{DateTime, Utc};
use ipnet::IpNet;
use moka::sync::Cache;
use sqlx::PgPool;
use uuid::Uuid;

use super::{MasterKey, Proof, Revocations, Sealer, store};
use crate::{
    Error, Result,
    access::{Credential, Permissions, Quota, Role, Scope},
    error::Reason,
};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 43 characters of 62 are 256 bits.
const SECRET_LEN: usize = 43;
/// A CRC-32 in base 62.
const CRC_LEN: usize = 6;
const PREFIX_MAX: usize = 16;
/// How many verified keys are remembered, and for how long at the most.
const VERIFIED_MAX: u64 = 10_000;
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// An API key in its three parts.
#[derive(Clone)]
pub struct ApiKey {
    prefix: String,
    id: Uuid,
    secret: String,
}

/// Hashes the secrets of keys with HMAC-SHA256 (RFC 2104) under a key that is
/// not in the database: who steals the table can't even test a guess.
#[derive(Clone)]
pub struct ApiKeyHasher(hmac::Key);

/// What the HMAC keys of earlier master keys are sealed for.
const EARLIER: &str = "api key hash key";

impl ApiKey {
    /// A new key with a random secret. `prefix` has 1 to 16 characters of a-z and 0-9.
    pub fn generate(prefix: &str, id: Uuid) -> Result<Self> {
        let mut secret = String::with_capacity(SECRET_LEN);
        while secret.len() < SECRET_LEN {
            let mut bytes = [0; 64];
            let filled = rand::fill(&mut bytes);
            filled.map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))?;
            // 248 is the greatest multiple of 62 in a byte: more would favour some characters.
            let fair = bytes.iter().filter(|it| **it < 248);
            let letters = fair.map(|it| char::from(ALPHABET[usize::from(*it) % ALPHABET.len()]));
            secret.extend(letters.take(SECRET_LEN - secret.len()));
        }
        Ok(ApiKey { prefix: prefix.to_owned(), id, secret })
    }

    /// The parts of a key in text form; none if it is malformed or mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, rest) = text.split_once('_')?;
        let (id, secret_and_crc) = rest.split_once('_')?;
        let is_word = !prefix.is_empty() && prefix.len() <= PREFIX_MAX;
        if !is_word || id.len() != 32 || secret_and_crc.len() != SECRET_LEN + CRC_LEN {
            return None;
        }
        if !secret_and_crc.bytes().all(|it| it.is_ascii_alphanumeric()) {
            return None;
        }
        let secret = secret_and_crc[..SECRET_LEN].to_owned();
        let key = ApiKey { prefix: prefix.to_owned(), id: Uuid::try_parse(id).ok()?, secret };
        (key.text() == text).then_some(key)
    }

    /// The key in text form.
    pub fn text(&self) -> String {
        let body = format!("{}_{}_{}", self.prefix, self.id.simple(), self.secret);
        let mut crc = crc32fast::hash(body.as_bytes()) as usize;
        let mut digits = [b'0'; CRC_LEN];
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[crc % ALPHABET.len()];
            crc /= ALPHABET.len();
        }
        digits.iter().fold(body, |mut text, digit| {
            text.push(char::from(*digit));
            text
        })
    }
}

impl ApiKeyHasher {
    /// Hashes under a key that is derived from the master key.
    pub fn new(master_key: &MasterKey) -> Self {
        Self::with(&Self::key(master_key))
    }

    /// The HMAC key under `today`, sealed under the master key `new`: API keys that
    /// were issued before a change of the master key are verified with it after.
    pub fn seal(today: &MasterKey, new: &MasterKey, id: Uuid) -> Result<Vec<u8>> {
        Self::earlier(new).seal(&id.to_string(), &Self::key(today))
    }

    /// Seals the HMAC keys of earlier master keys.
    pub fn earlier(master_key: &MasterKey) -> Sealer {
        Sealer::new(master_key, EARLIER)
    }

    fn key(master_key: &MasterKey) -> [u8; 32] {
        master_key.derive("api key hash")
    }

    fn with(key: &[u8]) -> Self {
        ApiKeyHasher(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The hash to store.
    pub fn hash(&self, key: &ApiKey) -> Vec<u8> {
        hmac::sign(&self.0, key.secret.as_bytes()).as_ref().to_vec()
    }
}

/// What binds the use of a key, besides its scopes.
#[derive(Debug)]
pub struct KeyTerms {
    /// Where it may be used from; empty for anywhere.
    ip_allow_list: Vec<IpNet>,
    /// A quota of its own.
    pub quota: Option<Quota>,
}

impl KeyTerms {
    /// Whether the key may be used from `address`.
    pub fn allow(&self, address: Option<IpAddr>) -> bool {
        let address = address.map(|it| it.to_canonical());
        let within = |network: &IpNet| address.is_some_and(|it| network.contains(&it));
        self.ip_allow_list.is_empty() || self.ip_allow_list.iter().any(within)
    }

    /// # Errors
    /// `Internal`, when the row says what was never allowed: to take it for
    /// nothing would lift the bounds.
    fn of(row: &store::ApiKeyRow) -> Result<Self> {
        let networks: Result<_, _> = row.ip_allow_list.iter().map(|it| it.parse()).collect();
        let quota = match (row.rate_limit_requests, row.rate_limit_window_ms) {
            (Some(max_requests), Some(window_ms)) => Some(Quota {
                max_requests: u32::try_from(max_requests).map_err(Error::internal)?,
                window: Duration::from_millis(u64::try_from(window_ms).map_err(Error::internal)?),
            }),
            _ => None,
        };
        Ok(KeyTerms { ip_allow_list: networks.map_err(Error::internal)?, quota })
    }
}

/// A key whose secret was compared.
struct Verified {
    proof: Proof,
    // When the secret stops working: with its key, or with its overlap.
    expires_at: Option<DateTime<Utc>>,
}

/// Looks keys up, once a minute at most.
pub(super) struct ApiKeyVerifier {
    // That of today's master key, and those of earlier ones.
    hashers: Vec<ApiKeyHasher>,
    // By SHA-256 of the key.
    verified: Cache<[u8; 32], Arc<Verified>>,
    db: PgPool,
}

impl ApiKeyVerifier {
    pub(super) async fn new(master_key: &MasterKey, db: PgPool) -> Result<Self> {
        let verified = Cache::builder().max_capacity(VERIFIED_MAX).time_to_live(VERIFIED_FOR);
        let mut hashers = vec![ApiKeyHasher::new(master_key)];
        let sealer = ApiKeyHasher::earlier(master_key);
        let mut conn = db.acquire().await?;
        for row in store::list_api_key_hash_keys(&mut conn).await? {
            match sealer.open(&row.id.to_string(), &row.sealed) {
                Ok(key) => hashers.push(ApiKeyHasher::with(&key)),
                Err(_) => tracing::warn!("API keys of an earlier master key can't be verified"),
            }
        }
        drop(conn);
        Ok(Self { hashers, verified: verified.build(), db })
    }

    pub(super) async fn verify(
        &self,
        text: &str,
        revocations: &Revocations,
        now: DateTime<Utc>,
    ) -> Result<Proof> {
        let key = ApiKey::parse(text).ok_or_else(|| unauthenticated(Reason::CredentialsInvalid))?;
        let verified = match self.remembered(text, revocations) {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.look_up(&key).await?);
                self.verified.insert(fingerprint(text), Arc::clone(&verified));
                verified
            }
        };

        revocations.check_api_key(key.id)?;
        if verified.expires_at.is_some_and(|it| it <= now) {
            return Err(unauthenticated(Reason::CredentialsExpired));
        }
        Ok(verified.proof.clone())
    }

    /// Whether `text` must be looked up before anything can be said of it.
    pub(super) fn costs_look_up(&self, text: &str, revocations: &Revocations) -> bool {
        ApiKey::parse(text).is_some() && self.remembered(text, revocations).is_none()
    }

    /// What was verified before, unless it has changed since.
    fn remembered(&self, text: &str, revocations: &Revocations) -> Option<Arc<Verified>> {
        let remembered = self.verified.get(&fingerprint(text));
        remembered.filter(|it| !revocations.has_changed(it.proof.user_id, &it.proof.credential))
    }

    async fn look_up(&self, key: &ApiKey) -> Result<Verified> {
        let read_at = Instant::now();
        let mut conn = self.db.acquire().await?;
        let found = store::find_api_key(&mut conn, key.id).await?;

        let invalid = || unauthenticated(Reason::CredentialsInvalid);
        let row = found.ok_or_else(invalid)?;
        let hashes: Vec<_> = self.hashers.iter().map(|it| it.hash(key)).collect();
        let matches =
            |stored: &[u8]| hashes.iter().any(|it| verify_slices_are_equal(it, stored).is_ok());
        // Both are compared always: the time tells nothing of which it was.
        let is_current = matches(&row.secret_hash);
        let is_previous = row.previous_secret_hash.as_deref().is_some_and(matches);
        let expires_at = match (is_current, is_previous) {
            (true, _) => row.expires_at,
            (false, true) => row.expires_at.into_iter().chain(row.previous_expires_at).min(),
            (false, false) => return Err(invalid()),
        };
        if row.revoked_at.is_some() || row.state != "active" {
            return Err(unauthenticated(Reason::CredentialsRevoked));
        }

        let terms = KeyTerms::of(&row)?;
        let role = Role::parse(&row.role).ok_or_else(invalid)?;
        let owner = role.permissions().union(Permissions::from_texts(&row.permissions));
        let scopes = row.scopes.iter().filter_map(|it| Scope::parse(it));
        let scopes = Permissions::granted_by(scopes);
        let (api_key_id, version) = (key.id, row.version);
        let proof = Proof {
            user_id: row.user_id,
            role,
            permissions: owner.intersection(scopes),
            credential: Credential::ApiKey { api_key_id, expires_at, version, read_at },
            issued_at: None,
            amr: Arc::default(),
            is_service_account: row.kind == "service_account",
            terms: Some(Arc::new(terms)),
        };
        Ok(Verified { proof, expires_at })
    }
}

fn fingerprint(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn unauthenticated(reason: Reason) -> Error {
    Error::Unauthenticated(reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        let key = ApiKey::generate("ihk", Uuid::now_v7()).unwrap();

        let read = ApiKey::parse(&key.text()).unwrap();

        assert_eq!((read.id, read.secret.clone()), (key.id, key.secret.clone()));
    }

    #[test]
    fn any_mistyped_character_is_noticed() {
        let text = ApiKey::generate("ihk", Uuid::now_v7()).unwrap().text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let mistyped = String::from_utf8(bytes).unwrap();
            assert!(ApiKey::parse(&mistyped).is_none(), "{mistyped}");
        }
    }

    #[test]
    fn a_key_is_at_home_in_its_networks_in_whatever_form_the_address_comes() {
        let list = ["10.0.0.0/8", "2001:db8::/32"].map(|it| it.parse().unwrap()).to_vec();
        let terms = KeyTerms { ip_allow_list: list, quota: None };
        let anywhere = KeyTerms { ip_allow_list: Vec::new(), quota: None };
        let allow = |it: &str| terms.allow(Some(it.parse().unwrap()));

        assert!(allow("10.1.2.3") && allow("::ffff:10.1.2.3") && allow("2001:db8::1"));
        assert!(!allow("11.1.2.3") && !allow("::ffff:11.1.2.3") && !allow("2001:db9::1"));
        assert!(!terms.allow(None), "an address that is not known is in no network");
        assert!(anywhere.allow(None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,120}", tail in "[a-zA-Z0-9]{45,52}") {
            let _ = ApiKey::parse(&text);
            let _ = ApiKey::parse(&format!("ihk_{}_{tail}", Uuid::nil().simple()));
            let _ = ApiKey::parse(&format!("é_{text}_{tail}"));
        }
    }
}
