//! The `audit_logs` table, which may only be added to.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Actor, Change};
use crate::Result;

pub(super) async fn insert(
    conn: &mut PgConnection,
    actor: &Actor,
    changes: &[Change],
) -> Result<()> {
    let present = |it: &Value| (!it.is_null()).then(|| it.clone());
    let ids: Vec<Uuid> = changes.iter().map(|_| Uuid::now_v7()).collect();
    let actions: Vec<String> = changes.iter().map(|it| it.action.to_owned()).collect();
    let entity_types: Vec<String> = changes.iter().map(|it| it.entity_type.to_owned()).collect();
    let entity_ids: Vec<String> = changes.iter().map(|it| it.entity_id.clone()).collect();
    let old_values: Vec<Option<Value>> = changes.iter().map(|it| present(&it.old_values)).collect();
    let new_values: Vec<Option<Value>> = changes.iter().map(|it| present(&it.new_values)).collect();
    sqlx::query!(
        "insert into audit.audit_logs (audit_log_id, actor_id, session_id, api_key_id, action,
             entity_type, entity_id, old_values, new_values, ip_address, user_agent, request_id, outcome)
         select id, $1, $2, $3, action, entity_type, entity_id, old_values, new_values, $4, $5, $6, 'succeeded'
         from unnest($7::uuid[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[])
              as change (id, action, entity_type, entity_id, old_values, new_values)",
        actor.user_id,
        actor.session_id,
        actor.api_key_id,
        actor.ip_address(),
        actor.origin.user_agent,
        actor.origin.request_id,
        &ids,
        &actions,
        &entity_types,
        &entity_ids,
        &old_values as &[Option<Value>],
        &new_values as &[Option<Value>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_refusal(
    conn: &mut PgConnection,
    actor: &Actor,
    path: &str,
    reason: &str,
) -> Result<()> {
    sqlx::query!(
        "insert into audit.audit_logs (audit_log_id, actor_id, session_id, api_key_id, action,
             ip_address, user_agent, request_id, outcome, reason)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'denied', $9)",
        Uuid::now_v7(),
        actor.user_id,
        actor.session_id,
        actor.api_key_id,
        path,
        actor.ip_address(),
        actor.origin.user_agent,
        actor.origin.request_id,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}
