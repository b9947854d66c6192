//! Access tokens: JWTs (RFC 7519, RFC 9068) that are verified without a look-up.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::{CREDENTIAL_MAX, Proof, Revocations, store};
use crate::{
    Error, Result,
    access::{Credential, Permissions, Role},
    error::Reason,
};

/// The media type of an access token (RFC 9068 section 2.1), so that no other
/// JWT of ours can pass as one.
const TYPE: &str = "at+jwt";
/// How many verified tokens are remembered.
const VERIFIED_MAX: u64 = 10_000;
/// How often an unknown key id may make us read the keys again.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// How often the keys are read again in any case, to drop those that are gone.
const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// How tokens are made and checked.
#[derive(clap::Args, Clone)]
pub struct TokenConfig {
    /// Signs tokens with HS256 under this secret of at least 32 bytes, instead of
    /// with rotating Ed25519 keys.
    #[arg(long, env, hide_env_values = true)]
    pub jwt_secret: Option<SharedSecret>,

    /// Who issues the tokens: their `iss`.
    #[arg(long, env, default_value = "ihuman")]
    pub jwt_issuer: String,

    /// Whom the tokens are for: their `aud`.
    #[arg(long, env, default_value = "ihuman")]
    pub jwt_audience: String,
}

/// An HS256 secret, at least as long as its hash (RFC 7518 section 3.2).
#[derive(Clone)]
pub struct SharedSecret(String);

impl FromStr for SharedSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.len() {
            32.. => Ok(SharedSecret(text.to_owned())),
            _ => Err("must have at least 32 bytes".to_owned()),
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The account.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
    /// When the session last proved its factors, in seconds since 1970.
    pub auth_time: i64,
    /// How it did (RFC 8176): `pwd`, `otp`, and `pop` and `user` by a passkey; and `mfa`
    /// with a second factor.
    pub amr: Vec<String>,
    /// The account's role.
    pub role: String,
    /// What the account may do, in text form.
    pub permissions: Vec<String>,
    /// The version of the account's rights that it was issued under.
    pub ver: i64,
}

/// Signs tokens.
pub struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Signer {
    /// Signs with EdDSA; `pkcs8` is an Ed25519 private key (RFC 5958).
    pub fn ed25519(kid: String, pkcs8: &[u8]) -> Self {
        let header = Header { kid: Some(kid), ..Self::header(Algorithm::EdDSA) };
        Signer { header, key: EncodingKey::from_ed_der(pkcs8) }
    }

    /// Signs with HS256.
    pub fn shared_secret(secret: &SharedSecret) -> Self {
        let key = EncodingKey::from_secret(secret.0.as_bytes());
        Signer { header: Self::header(Algorithm::HS256), key }
    }

    fn header(algorithm: Algorithm) -> Header {
        Header { typ: Some(TYPE.to_owned()), ..Header::new(algorithm) }
    }

    /// The token that says `claims`.
    pub fn sign(&self, claims: &Claims) -> Result<String> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(Error::internal)
    }
}

/// A token whose signature was checked.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) user_id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) version: i64,
    /// None with a shared secret.
    pub(super) signing_key: Option<Uuid>,
    role: String,
    permissions: Permissions,
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    auth_time: DateTime<Utc>,
    amr: Arc<[String]>,
}

/// Checks signatures, once for each token.
pub(super) struct TokenVerifier {
    validation: Validation,
    // By kid; the one shared secret has none.
    keys: RwLock<HashMap<Option<String>, DecodingKey>>,
    reloads: AsyncMutex<Throttle>,
    // By SHA-256 of the token.
    verified: Cache<[u8; 32], Arc<Verified>>,
    has_shared_secret: bool,
    db: PgPool,
}

impl TokenVerifier {
    pub(super) fn new(config: &TokenConfig, db: PgPool) -> Self {
        // The algorithm follows from the configuration and never from the token
        // (RFC 8725 section 3.1).
        let algorithm = match config.jwt_secret {
            Some(_) => Algorithm::HS256,
            None => Algorithm::EdDSA,
        };
        let shared_secret = config.jwt_secret.as_ref();
        let keys = shared_secret.map(|it| (None, DecodingKey::from_secret(it.0.as_bytes())));
        TokenVerifier {
            validation: validation(algorithm, &config.jwt_issuer, &config.jwt_audience),
            keys: RwLock::new(keys.into_iter().collect()),
            reloads: AsyncMutex::default(),
            verified: Cache::new(VERIFIED_MAX),
            has_shared_secret: shared_secret.is_some(),
            db,
        }
    }

    /// Reads the public keys again.
    pub(super) async fn reload(&self) -> Result<()> {
        if self.has_shared_secret {
            return Ok(());
        }
        let mut conn = self.db.acquire().await?;
        let rows = store::list_public_keys(&mut conn).await?;
        let read =
            rows.into_iter().map(|it| (Some(it.kid), DecodingKey::from_ed_der(&it.public_key)));
        let read: HashMap<_, _> = read.collect();
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let lost = keys.keys().any(|kid| !read.contains_key(kid));
        *keys = read;
        drop(keys);
        if lost {
            // Some of them may have been verified with a key that is gone.
            self.verified.invalidate_all();
        }
        Ok(())
    }

    /// Reads the public keys again and again, until the verifier is dropped.
    pub(super) fn keep_reading(self: &Arc<Self>) {
        let verifier = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH_EVERY).await;
                let Some(verifier) = verifier.upgrade() else { return };
                if let Err(error) = verifier.reload().await {
                    tracing::warn!(error = error.with_cause(), "can't read the public keys");
                }
            }
        });
    }

    /// What a token says, if it is one of ours and has not expired at `now`.
    pub(super) async fn verify(
        &self,
        token: &str,
        revocations: &Revocations,
        now: DateTime<Utc>,
    ) -> Result<Arc<Verified>> {
        if token.len() > CREDENTIAL_MAX {
            return Err(invalid());
        }
        let digest: [u8; 32] =
            digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes");
        let verified = match self.verified.get(&digest) {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.verify_signature(token, revocations).await?);
                self.verified.insert(digest, Arc::clone(&verified));
                verified
            }
        };
        verified.check(now)?;
        Ok(verified)
    }

    async fn verify_signature(&self, token: &str, revocations: &Revocations) -> Result<Verified> {
        let kid = kid(token)?;
        let key = match self.key(&kid) {
            Some(key) => key,
            None => self.newer_key(&kid, revocations).await?,
        };
        let signing_key = kid.and_then(|it| it.parse().ok());
        Ok(Verified { signing_key, ..decode(token, &key, &self.validation)? })
    }

    fn key(&self, kid: &Option<String>) -> Option<DecodingKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    /// Whether a key was revoked since the keys were read: another signs in its place.
    fn holds_a_dead_key(&self, revocations: &Revocations) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids = keys.keys().filter_map(|kid| kid.as_ref()?.parse().ok());
        ids.any(|it| revocations.is_dead_key(it))
    }

    /// A key may be newer than our copy; but strangers must not make us ask the
    /// database at each request.
    async fn newer_key(
        &self,
        kid: &Option<String>,
        revocations: &Revocations,
    ) -> Result<DecodingKey> {
        // Who comes while the keys are being read waits for what is found.
        let mut reloads = self.reloads.lock().await;
        if self.key(kid).is_none()
            && (reloads.allows(Instant::now()) || self.holds_a_dead_key(revocations))
        {
            self.reload().await?;
        }
        self.key(kid).ok_or_else(invalid)
    }
}

/// What every token must say, whoever signed it.
pub(super) fn validation(algorithm: Algorithm, issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    // Times are compared by the clock of the service, in `Verified::check`.
    validation.validate_exp = false;
    validation
}

/// The key that an access token names; none for the one shared secret.
pub(super) fn kid(token: &str) -> Result<Option<String>> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
    if header.typ.as_deref() != Some(TYPE) {
        return Err(invalid());
    }
    Ok(header.kid)
}

/// What a token says that was signed with `key`.
pub(super) fn decode(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Verified> {
    let decoded = jsonwebtoken::decode::<Claims>(token, key, validation);
    Verified::of(decoded.map_err(|_| invalid())?.claims).ok_or_else(invalid)
}

/// Allows something once in [`RELOAD_EVERY`].
#[derive(Default)]
struct Throttle(Option<Instant>);

impl Throttle {
    fn allows(&mut self, now: Instant) -> bool {
        if self.0.is_some_and(|it| now.saturating_duration_since(it) < RELOAD_EVERY) {
            return false;
        }
        self.0 = Some(now);
        true
    }
}

impl Verified {
    fn of(claims: Claims) -> Option<Self> {
        let time = |seconds| DateTime::from_timestamp(seconds, 0);
        Some(Verified {
            user_id: claims.sub,
            session_id: claims.sid,
            version: claims.ver,
            signing_key: None,
            permissions: Permissions::from_texts(&claims.permissions),
            role: claims.role,
            issued_at: time(claims.iat)?,
            expires_at: time(claims.exp)?,
            auth_time: time(claims.auth_time)?,
            amr: claims.amr.into(),
        })
    }

    fn check(&self, now: DateTime<Utc>) -> Result<()> {
        // Clocks of two machines differ a little.
        let leeway = chrono::TimeDelta::seconds(5);
        if self.issued_at > now + leeway {
            return Err(invalid());
        }
        if self.expires_at <= now {
            return Err(Error::Unauthenticated(Reason::CredentialsExpired));
        }
        Ok(())
    }

    pub(super) fn proof(&self) -> Result<Proof> {
        let Verified { user_id, session_id, version, signing_key, permissions, .. } = *self;
        let Verified { issued_at, expires_at, auth_time, .. } = *self;
        Ok(Proof {
            user_id,
            role: Role::parse(&self.role).ok_or_else(invalid)?,
            permissions,
            credential: Credential::Session {
                session_id,
                auth_time,
                expires_at,
                version,
                signing_key,
            },
            issued_at: Some(issued_at),
            amr: Arc::clone(&self.amr),
            // Only people have sessions.
            is_service_account: false,
            terms: None,
        })
    }
}

fn invalid() -> Error {
    Error::Unauthenticated(Reason::CredentialsInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_unknown_keys_are_named_the_keys_are_read_once_a_second() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let mut allowed = |at_ms: u64| throttle.allows(now + Duration::from_millis(at_ms));

        let allowed = (0..3000).filter(|it| allowed(*it)).count();

        assert_eq!(allowed, 3);
    }
}
