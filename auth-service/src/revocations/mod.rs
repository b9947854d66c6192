//! Revocations: how tokens and keys that have not expired stop working everywhere.

mod cursor;
pub(crate) mod housekeeping;
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

use self::store::Revocation;
use crate::context::Context;

/// How much longer than an access token a revocation lives: clocks differ.
const MARGIN: TimeDelta = TimeDelta::minutes(1);

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

/// Makes every replica of both services refuse what is revoked, from the commit
/// of this transaction on.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    context: &Context,
    revoked: Revoked,
) -> Result<()> {
    let (kind, subject_id, token_version) = match revoked {
        Revoked::Session(session_id) => ("session", session_id, None),
        Revoked::User { user_id, token_version } => ("user", user_id, Some(token_version)),
        Revoked::ApiKey(api_key_id) => ("api_key", api_key_id, None),
        Revoked::ApiKeyBefore { api_key_id, version } => {
            ("api_key_change", api_key_id, Some(version))
        }
    };
    let expires_at = expires_at(context);
    let revocation = store::NewRevocation { kind, subject_id, token_version, expires_at };
    store::insert(conn, revocation).await?;
    notifications::notify(conn, Channel::Revocations).await
}

/// The same for every access token of many sessions.
pub(crate) async fn insert_sessions(
    conn: &mut PgConnection,
    context: &Context,
    session_ids: &[Uuid],
) -> Result<()> {
    store::insert_sessions(conn, session_ids, expires_at(context)).await?;
    notifications::notify(conn, Channel::Revocations).await
}

/// When every token that is issued now has expired by itself.
fn expires_at(context: &Context) -> DateTime<Utc> {
    context.now() + context.access_lifetime() + MARGIN
}
