//! `ihuman.catalog.v1.AuditService`.

use ihuman_proto::catalog::v1::{
    self as pb,
    audit_service_server::{AuditService, AuditServiceServer},
};
use ihuman_shared::{
    Result,
    page::Page,
    parse::{self, Fields},
    platform::Platform,
    server::Limited,
};
use sqlx::PgPool;
use tonic::{Request, Response, Status, codec::CompressionEncoding};
use uuid::Uuid;

use super::{AuditRecord, Entity, Filter, Outcome};

/// No request of this service is larger.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

struct Audit {
    db: PgPool,
}

/// The service on this platform.
pub fn server(platform: &Platform) -> Limited<AuditServiceServer<impl AuditService>> {
    Limited::new(REQUEST_BYTES_MAX, |longest| {
        AuditServiceServer::new(Audit { db: platform.db.clone() })
            .max_decoding_message_size(longest)
            .accept_compressed(CompressionEncoding::Gzip)
    })
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_records(
        &self,
        request: Request<pb::ListAuditRecordsRequest>,
    ) -> Result<Response<pb::ListAuditRecordsResponse>, Status> {
        let request = request.into_inner();
        let (size, token) = (request.page_size, request.page_token.clone());
        let filter = filter(request)?;
        let page = Page::parse("ListAuditRecords", size, &token, &filter)?;

        let (records, next_page_token) = super::list(&self.db, &filter, &page).await?;

        let audit_records = records.into_iter().map(pb::AuditRecord::from).collect();
        Ok(Response::new(pb::ListAuditRecordsResponse { audit_records, next_page_token }))
    }
}

fn filter(request: pb::ListAuditRecordsRequest) -> Result<Filter> {
    let mut fields = Fields::default();
    let actor_id = fields.take(parse::optional_uuid("actor_id", &request.actor_id));
    let action = fields.take(parse::text("action", request.action, 0, 200));
    let entity = fields.take(Entity::parse(request.entity_type, request.entity_id));
    let outcome = fields.take(parse::optional_enum("outcome", request.outcome));
    let outcome = outcome.map(|it| match it.unwrap_or_default() {
        pb::AuditOutcome::Unspecified => None,
        pb::AuditOutcome::Succeeded => Some(Outcome::Succeeded),
        pb::AuditOutcome::Denied => Some(Outcome::Denied),
    });
    let time = |field, time: Option<_>| time.map(|it| parse::time(field, it)).transpose();
    let start_time = fields.take(time("start_time", request.start_time));
    let end_time = fields.take(time("end_time", request.end_time));
    fields.finish((|| {
        Some(Filter {
            actor_id: actor_id?,
            action: action.filter(|it| !it.is_empty()),
            entity: entity?,
            outcome: outcome?,
            start_time: start_time?,
            end_time: end_time?,
        })
    })())
}

impl From<AuditRecord> for pb::AuditRecord {
    fn from(record: AuditRecord) -> Self {
        let text = |id: Option<Uuid>| id.map(|it| it.to_string()).unwrap_or_default();
        let outcome = match record.outcome {
            Outcome::Succeeded => pb::AuditOutcome::Succeeded,
            Outcome::Denied => pb::AuditOutcome::Denied,
        };
        pb::AuditRecord {
            id: record.audit_log_id.to_string(),
            create_time: Some(parse::timestamp(record.created_at)),
            actor_id: text(record.actor_id),
            session_id: text(record.session_id),
            api_key_id: text(record.api_key_id),
            action: record.action,
            entity_type: record.entity_type,
            entity_id: record.entity_id,
            old_values: record.old_values.map(parse::structure),
            new_values: record.new_values.map(parse::structure),
            ip_address: record.ip_address.unwrap_or_default(),
            user_agent: record.user_agent,
            request_id: record.request_id,
            outcome: outcome.into(),
            reason: record.reason,
        }
    }
}
