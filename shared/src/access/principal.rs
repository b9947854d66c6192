//! Who is calling, as proved by the credentials, and from where.

use std::{net::IpAddr, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Permission, Permissions, Role};
use crate::{Error, Result};

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The account.
    pub user_id: Uuid,
    /// Its role.
    pub role: Role,
    /// What the caller may do with these credentials.
    pub permissions: Permissions,
    /// What proved it.
    pub credential: Credential,
    /// Whether the account is a program's.
    pub is_service_account: bool,
    /// Where the request came from.
    pub origin: Arc<Origin>,
}

/// What proved who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An access token.
    Session {
        /// The session that the token belongs to.
        session_id: Uuid,
        /// When the session last proved its factors.
        auth_time: DateTime<Utc>,
        /// When the token expires.
        expires_at: DateTime<Utc>,
        /// The version of the account's rights that the token was issued under.
        version: i64,
        /// The key that signed the token; none with a shared secret.
        signing_key: Option<Uuid>,
    },
    /// An API key.
    ApiKey {
        /// The key.
        api_key_id: Uuid,
        /// When the key expires, if it does.
        expires_at: Option<DateTime<Utc>>,
        /// The version of the key that was read.
        version: i64,
        /// Before the key and its owner were read: a change that is heard of later may
        /// not be in what was read.
        read_at: Instant,
    },
}

/// Where a request came from, known or not who sent it.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The address that asked: the peer's, or what a trusted proxy says of it.
    pub ip_address: Option<IpAddr>,
    /// The program that asked, as it called itself: at most 256 characters.
    pub user_agent: String,
    /// The id of the request.
    pub request_id: String,
}

impl Principal {
    /// The caller that [`Gate`](super::Gate) let in.
    ///
    /// # Errors
    /// `Internal` on a public RPC, where nobody is known: asking there is a bug.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Arc<Principal>> {
        let caller = request.extensions().get().cloned();
        caller.ok_or_else(|| Error::internal(anyhow::anyhow!("a public RPC asked who is calling")))
    }

    /// Whether the caller may do what `permission` grants.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// Whether the caller may do everything.
    pub fn is_admin(&self) -> bool {
        self.may(Permission::ADMIN_FULL)
    }

    /// When the credential stops working by itself, if it does.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self.credential {
            Credential::Session { expires_at, .. } => Some(expires_at),
            Credential::ApiKey { expires_at, .. } => expires_at,
        }
    }

    /// The session that was used, if one was.
    pub fn session_id(&self) -> Option<Uuid> {
        match self.credential {
            Credential::Session { session_id, .. } => Some(session_id),
            Credential::ApiKey { .. } => None,
        }
    }

    /// The API key that was used, if one was.
    pub fn api_key_id(&self) -> Option<Uuid> {
        match self.credential {
            Credential::Session { .. } => None,
            Credential::ApiKey { api_key_id, .. } => Some(api_key_id),
        }
    }
}

impl Origin {
    /// Where the request came from, as [`Gate`](super::Gate) saw it.
    pub fn of<T>(request: &tonic::Request<T>) -> Arc<Origin> {
        request.extensions().get().cloned().unwrap_or_default()
    }
}
