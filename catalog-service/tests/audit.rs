//! AuditService, and the records that changes of skills leave.

mod list;
mod records;

use ihuman_proto::catalog::v1::{
    AuditRecord, ListAuditRecordsRequest, audit_service_client::AuditServiceClient,
};
use ihuman_shared::testing::Caller;
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};

use crate::support::Catalog;

type Audit = AuditServiceClient<InterceptedService<Channel, Caller>>;

fn audit(catalog: &Catalog, caller: &Caller) -> Audit {
    AuditServiceClient::with_interceptor(catalog.service.channel.clone(), caller.clone())
}

async fn list(
    client: &mut Audit,
    request: ListAuditRecordsRequest,
) -> Result<Vec<AuditRecord>, Status> {
    Ok(client.list_audit_records(request).await?.into_inner().audit_records)
}
