//! The audit trail: every change and every refusal of a known caller, with who, what and from where.

mod store;

use std::{net::IpAddr, sync::Arc};

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Result,
    access::{Origin, Principal},
    error::{self, Reason},
};

/// Who acts, and from where.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    user_id: Option<Uuid>,
    session_id: Option<Uuid>,
    api_key_id: Option<Uuid>,
    origin: Arc<Origin>,
}

/// One change of one thing.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is done, such as `skill.create`.
    pub action: &'static str,
    /// The kind of thing, such as `skill`.
    pub entity_type: &'static str,
    /// Which one: an id, or a name.
    pub entity_id: String,
    /// What was, in the fields that change; null when the thing is new.
    pub old_values: Value,
    /// What is, in the fields that change; null when the thing is gone.
    pub new_values: Value,
}

impl Actor {
    /// A user who acts before there is a session, as at login.
    pub fn user(user_id: Uuid, origin: &Arc<Origin>) -> Self {
        Actor { user_id: Some(user_id), origin: Arc::clone(origin), ..Actor::default() }
    }

    /// The same, in a session.
    pub fn session(user_id: Uuid, session_id: Uuid, origin: &Arc<Origin>) -> Self {
        Actor { session_id: Some(session_id), ..Actor::user(user_id, origin) }
    }

    /// Somebody of whom only the origin is known.
    pub fn nobody(origin: &Arc<Origin>) -> Self {
        Actor { origin: Arc::clone(origin), ..Actor::default() }
    }

    /// The service itself.
    pub fn system() -> Self {
        Actor::default()
    }
}

impl From<&Principal> for Actor {
    fn from(caller: &Principal) -> Self {
        Actor {
            user_id: Some(caller.user_id),
            session_id: caller.session_id(),
            api_key_id: caller.api_key_id(),
            origin: Arc::clone(&caller.origin),
        }
    }
}

impl Change {
    /// A new thing, as it is.
    pub fn created(
        action: &'static str,
        entity_type: &'static str,
        entity_id: impl ToString,
        new_values: Value,
    ) -> Self {
        Self::changed(action, entity_type, entity_id, Value::Null, new_values)
    }

    /// A thing that was and is another way.
    pub fn changed(
        action: &'static str,
        entity_type: &'static str,
        entity_id: impl ToString,
        old_values: Value,
        new_values: Value,
    ) -> Self {
        Change { action, entity_type, entity_id: entity_id.to_string(), old_values, new_values }
    }
}

/// Records one change. Call it in the transaction that makes the change.
pub async fn record(conn: &mut PgConnection, actor: &Actor, change: Change) -> Result<()> {
    record_all(conn, actor, vec![change]).await
}

/// Records many changes in one statement.
pub async fn record_all(
    conn: &mut PgConnection,
    actor: &Actor,
    changes: Vec<Change>,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    store::insert(conn, actor, &changes).await
}

/// Records that a known caller was refused an RPC.
pub async fn refuse(
    conn: &mut PgConnection,
    actor: &Actor,
    path: &str,
    reason: Reason,
) -> Result<()> {
    store::insert_refusal(conn, actor, path, error::name(reason)).await
}

impl Actor {
    fn ip_address(&self) -> Option<ipnet::IpNet> {
        self.origin.ip_address.map(|it: IpAddr| it.into())
    }
}
