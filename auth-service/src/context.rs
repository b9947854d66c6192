//! What every room works with: the platform, and what is made of the configuration.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use ihuman_shared::{
    access::{Quota, RateLimit},
    clock::Clock,
    credentials::{ApiKeyHasher, Authenticator, Sealer},
    platform::Platform,
    tasks::Tasks,
};
use sqlx::PgPool;

use crate::{
    auth::TokenIssuer,
    config::IdentityConfig,
    emails::TokenMaker,
    locks::{Devices, Subjects},
    mail::Mailer,
    mfa::MFA_SECRETS,
    passkeys::{Challenges, RelyingParty},
    passwords::Hasher,
    signing_keys::{KeyRing, KeySet},
};

/// What the secrets of answers are sealed for.
pub(crate) const ANSWERS: &str = "idempotent answer";

/// What every room works with.
pub(crate) struct Context {
    pub(crate) db: PgPool,
    pub(crate) clock: Clock,
    /// What goes on beside the requests.
    pub(crate) tasks: Tasks,
    pub(crate) authenticator: Authenticator,
    pub(crate) config: IdentityConfig,
    pub(crate) hasher: Hasher,
    /// Whose failures are counted, hidden.
    pub(crate) subjects: Subjects,
    pub(crate) devices: Devices,
    /// Whom passkeys are made for.
    pub(crate) relying_party: RelyingParty,
    /// What passkeys sign.
    pub(crate) challenges: Challenges,
    pub(crate) tokens: TokenIssuer,
    pub(crate) key_set: KeySet,
    pub(crate) signing_keys: KeyRing,
    pub(crate) api_keys: ApiKeyHasher,
    /// What may be sent with a key that has no rate limit of its own.
    pub(crate) key_quota: Quota,
    /// Counts refusals.
    pub(crate) limiter: RateLimit,
    pub(crate) mailer: Mailer,
    pub(crate) email_tokens: TokenMaker,
    /// Seals the secrets of authenticators.
    pub(crate) mfa_secrets: Sealer,
    /// Seals the secrets of answers that may be asked for again.
    pub(crate) answers: Sealer,
}

impl Context {
    /// # Errors
    /// When the signing key can't be read or made.
    pub(crate) async fn new(
        platform: &Platform,
        config: &IdentityConfig,
    ) -> anyhow::Result<Arc<Self>> {
        // First of all, because everything else may need a token.
        let signing_keys = KeyRing::open(platform).await?;
        Ok(Arc::new(Context {
            db: platform.db.clone(),
            clock: platform.clock.clone(),
            tasks: platform.tasks.clone(),
            authenticator: platform.authenticator.clone(),
            config: config.clone(),
            hasher: Hasher::new(&config.passwords, &platform.master_key)?,
            subjects: Subjects::new(&platform.master_key),
            devices: Devices::new(&platform.master_key),
            relying_party: RelyingParty::new(&config.passkeys).map_err(anyhow::Error::msg)?,
            challenges: Challenges::new(&platform.master_key),
            tokens: TokenIssuer::new(platform, config, signing_keys.clone()),
            key_set: KeySet::new(platform),
            signing_keys,
            api_keys: ApiKeyHasher::new(&platform.master_key),
            key_quota: platform.rate_limit().of_principals(),
            limiter: platform.limiter.clone(),
            mailer: Mailer::new(&config.mail, &platform.master_key)?,
            email_tokens: TokenMaker::new(&platform.master_key),
            mfa_secrets: Sealer::new(&platform.master_key, MFA_SECRETS),
            answers: Sealer::new(&platform.master_key, ANSWERS),
        }))
    }

    /// The current time in microseconds, which is what PostgreSQL keeps: an answer
    /// says the same before it was stored and after.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(6)
    }

    /// How long an access token lasts.
    pub(crate) fn access_lifetime(&self) -> TimeDelta {
        lifetime(self.config.jwt_expires_in)
    }

    /// How long a session lasts, however often it is refreshed.
    pub(crate) fn session_lifetime(&self) -> TimeDelta {
        lifetime(self.config.session_max_lifetime)
    }
}

/// How much longer than a token what concerns it is kept: clocks differ.
const MARGIN: TimeDelta = TimeDelta::minutes(1);

/// How long after the issue of an access token it may matter what it is verified with,
/// and that it is revoked.
pub(crate) fn kept_for(access_lifetime: TimeDelta) -> TimeDelta {
    access_lifetime + MARGIN
}

/// A configured lifetime, which is far below what a `TimeDelta` can hold.
pub(crate) fn lifetime(configured: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(configured).unwrap_or(TimeDelta::MAX)
}
