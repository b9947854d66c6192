//! The two tokens of a session: the signed one to call with, and the opaque one to get new ones with.

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    credentials::{Claims, Sealer, Secret},
    error::Reason,
    platform::Platform,
};
use uuid::Uuid;

use crate::{
    config::IdentityConfig, context::lifetime, opaque, sessions::store::Session,
    signing_keys::KeyRing, users::store::User,
};

/// What the successors of refresh tokens are sealed for.
pub(crate) const SUCCESSORS: &str = "refresh token successor";

/// What a session is used with.
pub(crate) struct Tokens {
    pub(crate) session_id: Uuid,
    pub(crate) access_token: Secret,
    pub(crate) access_token_expires_at: DateTime<Utc>,
    pub(crate) refresh_token: RefreshToken,
    pub(crate) refresh_token_expires_at: DateTime<Utc>,
}

/// A token that says what its session may do.
pub(crate) struct AccessToken {
    pub(crate) text: Secret,
    pub(crate) expires_at: DateTime<Utc>,
}

/// An opaque token, which works once.
#[derive(Clone)]
pub(crate) struct RefreshToken(Secret);

/// Makes tokens.
pub(crate) struct TokenIssuer {
    keys: KeyRing,
    issuer: String,
    audience: String,
    access_lifetime: TimeDelta,
    refresh_lifetime: TimeDelta,
    session_lifetime: TimeDelta,
    successors: Sealer,
}

impl RefreshToken {
    /// A new one.
    ///
    /// # Errors
    /// `Internal`, when there is no randomness.
    pub(crate) fn generate() -> Result<Self> {
        opaque::generate().map(RefreshToken)
    }

    /// # Errors
    /// `InvalidFields`, when it is empty; `Unauthenticated`, when it can't be one of ours.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let invalid = || Error::Unauthenticated(Reason::CredentialsInvalid);
        opaque::parse(field, text, invalid).map(RefreshToken)
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> Vec<u8> {
        opaque::hash(&self.0)
    }

    /// The token, for its owner.
    pub(crate) fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl TokenIssuer {
    pub(crate) fn new(platform: &Platform, config: &IdentityConfig, keys: KeyRing) -> Self {
        TokenIssuer {
            keys,
            issuer: platform.tokens().jwt_issuer.clone(),
            audience: platform.tokens().jwt_audience.clone(),
            access_lifetime: lifetime(config.jwt_expires_in),
            refresh_lifetime: lifetime(config.jwt_refresh_expires_in),
            session_lifetime: lifetime(config.session_max_lifetime),
            successors: Sealer::new(&platform.master_key, SUCCESSORS),
        }
    }

    /// When the first refresh token of a session that is opened now expires.
    pub(crate) fn refresh_expiry(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.successor_expiry(now, now)
    }

    /// When a refresh token that is issued now expires, in a session that was opened
    /// at `opened_at`: no later than the session ends.
    pub(crate) fn successor_expiry(
        &self,
        opened_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        (now + self.refresh_lifetime).min(self.session_end(opened_at))
    }

    /// When a session that was opened at `opened_at` ends, however often it is refreshed.
    pub(crate) fn session_end(&self, opened_at: DateTime<Utc>) -> DateTime<Utc> {
        opened_at + self.session_lifetime
    }

    /// The tokens of `session`: `refresh_token`, and an access token with what
    /// `user` may do now.
    pub(crate) fn issue(
        &self,
        user: &User,
        session: &Session,
        refresh_token: RefreshToken,
        refresh_token_expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Tokens> {
        let access_token = self.issue_access(user, session, refresh_token_expires_at, now)?;
        Ok(Tokens {
            session_id: session.session_id,
            access_token: access_token.text,
            access_token_expires_at: access_token.expires_at,
            refresh_token,
            refresh_token_expires_at,
        })
    }

    /// An access token of `session`, which ends at `session_ends_at`, with what `user`
    /// may do now.
    pub(crate) fn issue_access(
        &self,
        user: &User,
        session: &Session,
        session_ends_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<AccessToken> {
        // No access token outlives its session.
        let expires_at = (now + self.access_lifetime).min(session_ends_at);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.user_id,
            sid: session.session_id,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            auth_time: session.auth_time.timestamp(),
            amr: session.amr.clone(),
            role: user.role.text().to_owned(),
            permissions: user.rights().texts(),
            ver: user.token_version,
        };
        Ok(AccessToken {
            text: self.keys.sign(&claims, now)?.into(),
            expires_at: DateTime::from_timestamp(claims.exp, 0).unwrap_or(expires_at),
        })
    }

    /// Encrypts the successor of a used refresh token, for the retry after a lost answer.
    pub(crate) fn seal_successor(&self, session_id: Uuid, token: &RefreshToken) -> Result<Vec<u8>> {
        self.successors.seal(&session_id.to_string(), token.reveal().as_bytes())
    }

    /// Decrypts what [`seal_successor`](Self::seal_successor) gave.
    pub(crate) fn open_successor(&self, session_id: Uuid, sealed: &[u8]) -> Result<RefreshToken> {
        let opened = self.successors.open(&session_id.to_string(), sealed)?;
        RefreshToken::parse("refresh_token", String::from_utf8(opened).map_err(Error::internal)?)
    }
}
