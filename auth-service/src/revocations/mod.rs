//! Revocations: how tokens and keys that have not expired stop working everywhere.

mod cursor;
pub(crate) mod lifetimes;
pub(crate) mod rpc;
mod store;
mod watch;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Result,
    notifications::{self, Channel},
};
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::{Kind, Revocation};
use crate::context::{Context, kept_for};

/// How long a signing key stays revoked: who has it can sign what expires when they like.
const DEAD_FOR: TimeDelta = TimeDelta::days(3650);

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
    /// Every access token that the key signed.
    SigningKey(Uuid),
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
    let expires_at = |it: &Revoked| match it {
        Revoked::SigningKey(_) => now + DEAD_FOR,
        _ => now + kept_for(context.access_lifetime()),
    };
    let expires_at: Vec<_> = revoked.iter().map(expires_at).collect();
    store::insert(conn, revoked, &expires_at, now).await?;
    notifications::notify(conn, Channel::Revocations).await
}

/// Whether a signing key has been revoked, as far as that is remembered.
pub(crate) async fn is_dead_key(
    conn: &mut PgConnection,
    context: &Context,
    kid: Uuid,
) -> Result<bool> {
    store::exists(conn, Kind::SigningKey, kid, context.now()).await
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
            Revoked::SigningKey(_) => Kind::SigningKey,
        }
    }

    fn subject_id(self) -> Uuid {
        match self {
            Revoked::Session(id) | Revoked::ApiKey(id) | Revoked::SigningKey(id) => id,
            Revoked::User { user_id, .. } => user_id,
            Revoked::ApiKeyBefore { api_key_id, .. } => api_key_id,
        }
    }

    /// The lowest version that is still good.
    fn version(self) -> Option<i64> {
        match self {
            Revoked::Session(_) | Revoked::ApiKey(_) | Revoked::SigningKey(_) => None,
            Revoked::User { token_version: version, .. }
            | Revoked::ApiKeyBefore { version, .. } => Some(version),
        }
    }
}
