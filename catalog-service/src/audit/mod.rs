//! Reading the audit trail, which the service may only add to by itself.

pub mod rpc;
pub mod store;

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, page::Page, parse};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

pub use self::store::AuditRecord;

/// Which records to list; what is not set does not matter.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the contract describes each")]
pub struct Filter {
    pub actor_id: Option<Uuid>,
    pub action: Option<String>,
    pub entity: Option<Entity>,
    pub outcome: Option<Outcome>,
    pub start_time: Option<DateTime<Utc>>,
    pub end_time: Option<DateTime<Utc>>,
}

/// A kind of thing, or one thing of that kind.
#[derive(Clone, Debug, Serialize)]
pub struct Entity {
    entity_type: String,
    entity_id: Option<String>,
}

impl Entity {
    /// The kind, of at most 64 characters, and the thing, of at most 200.
    ///
    /// # Errors
    /// `InvalidFields`, also for a thing without its kind.
    pub fn parse(entity_type: String, entity_id: String) -> Result<Option<Self>> {
        if entity_type.is_empty() {
            if entity_id.is_empty() {
                return Ok(None);
            }
            return Err(Error::invalid("entity_id", "needs entity_type"));
        }
        let entity_type = parse::text("entity_type", entity_type, 1, 64)?;
        let entity_id = parse::text("entity_id", entity_id, 0, 200)?;
        let entity_id = (!entity_id.is_empty()).then_some(entity_id);
        Ok(Some(Entity { entity_type, entity_id }))
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the contract describes each")]
pub enum Outcome {
    Succeeded,
    Denied,
}

/// A page of records, newest first, and the token of the next.
pub async fn list(
    db: &PgPool,
    filter: &Filter,
    page: &Page<Uuid>,
) -> Result<(Vec<AuditRecord>, String)> {
    let mut tx = db.begin_with(store::READ).await?;
    let records = store::list(&mut tx, filter, page.after, page.limit()).await?;
    tx.commit().await?;

    page.cut_to_fit(records, AuditRecord::bytes, |last| last.audit_log_id)
}

impl AuditRecord {
    /// How many bytes its values have, about.
    fn bytes(&self) -> usize {
        let values = self.old_values.iter().chain(&self.new_values);
        values.map(|it| it.to_string().len()).sum()
    }
}
