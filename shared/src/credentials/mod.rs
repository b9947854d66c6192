//! What callers prove themselves with: access tokens and API keys, verified the same in both services.

mod access_token;
mod api_key;
#[cfg(feature = "testing")]
pub mod fuzz;
mod last_use;
mod master_key;
mod revocations;
mod store;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{HeaderMap, header::AUTHORIZATION};
use sqlx::PgPool;
use uuid::Uuid;

use self::{access_token::TokenVerifier, api_key::ApiKeyVerifier, last_use::LastUses};
pub use self::{
    access_token::{Claims, SharedSecret, Signer, TokenConfig},
    api_key::{ApiKey, ApiKeyHasher, KeyTerms},
    master_key::{MasterKey, Sealer, Secret},
    revocations::Revocations,
};
use crate::{
    Error, Result,
    access::{Credential, Origin, Permissions, Principal, Role},
    clock::Clock,
    error::Reason,
};

/// No credential of ours is longer, in bytes.
pub const CREDENTIAL_MAX: usize = 8192;

/// Verifies credentials: access tokens without a look-up, API keys with one at most.
#[derive(Clone)]
pub struct Authenticator {
    tokens: Arc<TokenVerifier>,
    api_keys: Arc<ApiKeyVerifier>,
    revocations: Revocations,
    uses: LastUses,
    clock: Clock,
}

/// A credential as a caller presents it.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    /// `authorization: Bearer <token>`.
    AccessToken(&'a str),
    /// `authorization: ApiKey <key>` or `x-api-key: <key>`.
    ApiKey(&'a str),
}

/// What a credential proves.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The account.
    pub user_id: Uuid,
    /// Its role.
    pub role: Role,
    /// What the credential allows.
    pub permissions: Permissions,
    /// Which credential it is.
    pub credential: Credential,
    /// When an access token was issued.
    pub issued_at: Option<DateTime<Utc>>,
    /// How the session of an access token last proved who it is (RFC 8176).
    pub amr: Arc<[String]>,
    /// Whether the account is a program's.
    pub is_service_account: bool,
    /// What binds the use of an API key besides.
    pub terms: Option<Arc<KeyTerms>>,
}

impl Authenticator {
    /// Verifies with the keys and functions that `db` offers to both services.
    ///
    /// # Errors
    /// When the public keys can't be read.
    pub async fn new(
        tokens: &TokenConfig,
        master_key: &MasterKey,
        revocations: Revocations,
        clock: Clock,
        db: PgPool,
    ) -> Result<Self> {
        let verifier = Arc::new(TokenVerifier::new(tokens, db.clone()));
        verifier.reload().await?;
        verifier.keep_reading();
        let api_keys = ApiKeyVerifier::new(master_key, db.clone()).await?;
        let (tokens, api_keys) = (verifier, Arc::new(api_keys));
        Ok(Self { tokens, api_keys, revocations, uses: LastUses::keep(db), clock })
    }

    /// Which credentials are dead although they have not expired.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Says what a credential proves now.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason; `Unavailable` while revocations are not known.
    pub async fn authenticate(&self, presented: Presented<'_>) -> Result<Proof> {
        let now = self.clock.now();
        match presented {
            Presented::AccessToken(token) => {
                let verified = self.tokens.verify(token, &self.revocations, now).await?;
                self.revocations.check_token(&verified)?;
                verified.proof()
            }
            Presented::ApiKey(key) => self.api_keys.verify(key, &self.revocations, now).await,
        }
    }
}

impl Authenticator {
    /// Whether the database must be asked before anything can be said of a credential.
    pub(crate) fn costs_look_up(&self, presented: Presented<'_>) -> bool {
        match presented {
            Presented::AccessToken(_) => false,
            Presented::ApiKey(key) => self.api_keys.costs_look_up(key, &self.revocations),
        }
    }

    /// Notes that an API key let a request in.
    pub(crate) fn used(&self, api_key_id: Uuid) {
        self.uses.note(api_key_id, self.clock.now());
    }

    /// Writes when keys were last used, as far as it is not written.
    pub(crate) async fn write_uses(&self) {
        self.uses.write().await;
    }
}

/// Whether `master_key` is that of the database; it has none before auth-service has
/// started for the first time.
///
/// # Errors
/// [`Problem`](crate::config::Problem), when the database has another one.
pub(crate) async fn is_of_database(master_key: &MasterKey, db: &PgPool) -> anyhow::Result<bool> {
    let mut conn = db.acquire().await?;
    let Some(check_value) = store::find_master_key_check(&mut conn).await? else {
        return Ok(false);
    };
    master_key.compare(&check_value)?;
    Ok(true)
}

impl Proof {
    /// The caller, with where the request came from.
    pub fn principal(self, origin: Arc<Origin>) -> Principal {
        let Proof { user_id, role, permissions, credential, is_service_account, .. } = self;
        Principal { user_id, role, permissions, credential, is_service_account, origin }
    }
}

impl<'a> Presented<'a> {
    /// The credential of a request. `authorization` comes before `x-api-key`.
    ///
    /// # Errors
    /// `Unauthenticated`, when there is none or none of a known scheme.
    pub fn in_headers(headers: &'a HeaderMap) -> Result<Self> {
        let invalid = || Error::Unauthenticated(Reason::CredentialsInvalid);
        if let Some(value) = headers.get(AUTHORIZATION) {
            let value = value.to_str().map_err(|_| invalid())?;
            let (scheme, credential) = value.split_once(' ').ok_or_else(invalid)?;
            return match scheme {
                _ if scheme.eq_ignore_ascii_case("bearer") => Ok(Self::AccessToken(credential)),
                _ if scheme.eq_ignore_ascii_case("apikey") => Ok(Self::ApiKey(credential)),
                _ => Err(invalid()),
            };
        }
        match headers.get("x-api-key") {
            Some(value) => value.to_str().map(Self::ApiKey).map_err(|_| invalid()),
            None => Err(Error::Unauthenticated(Reason::CredentialsMissing)),
        }
    }

    /// The credential of a bare text: only access tokens have dots.
    pub fn guess(text: &'a str) -> Self {
        if text.contains('.') { Self::AccessToken(text) } else { Self::ApiKey(text) }
    }
}
