//! Revocations: how tokens and keys that have not expired stop working everywhere.

mod cursor;
pub(crate) mod lifetimes;
pub(crate) mod rpc;
mod store;
mod watch;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Result,
    notifications::{self, Channel},
};
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::{Kind, Revocation};
use crate::context::{Context, kept_for};

/// What is revoked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revoked {
    /// Every access token of the session.
    Session(Uuid),
    /// Every access token of the account with a lower version than this; and what
    /// replicas remember of its API keys.
    User { user_id: Uuid, token_version: i64 },
    /// The API key.
    ApiKey(Uuid),
    /// What replicas remember of the API key from before this version of it.
    ApiKeyBefore { api_key_id: Uuid, version: i64 },
}

/// Makes every replica of both services refuse what is revoked, from the commit of this
/// transaction on and until every token that it concerns has expired by itself.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    context: &Context,
    revoked: &[Revoked],
) -> Result<()> {
    if revoked.is_empty() {
        return Ok(());
    }
    let now = context.now();
    let expires_at = now + kept_for(context.access_lifetime());
    store::insert(conn, revoked, now, expires_at).await?;
    notifications::notify(conn, Channel::Revocations).await
}

/// Forgets at most `limit` that concern nothing any more; returns how many.
pub(crate) async fn forget_old(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    store::delete_expired(conn, now, limit).await
}

impl Revoked {
    fn kind(self) -> Kind {
        match self {
            Revoked::Session(_) => Kind::Session,
            Revoked::User { .. } => Kind::User,
            Revoked::ApiKey(_) => Kind::ApiKey,
            Revoked::ApiKeyBefore { .. } => Kind::ApiKeyChange,
        }
    }

    fn subject_id(self) -> Uuid {
        match self {
            Revoked::Session(id) | Revoked::ApiKey(id) => id,
            Revoked::User { user_id, .. } => user_id,
            Revoked::ApiKeyBefore { api_key_id, .. } => api_key_id,
        }
    }

    /// The lowest version that is still good.
    fn version(self) -> Option<i64> {
        match self {
            Revoked::Session(_) | Revoked::ApiKey(_) => None,
            Revoked::User { token_version: version, .. }
            | Revoked::ApiKeyBefore { version, .. } => Some(version),
        }
    }
}
