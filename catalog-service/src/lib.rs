//! catalog-service: skills, executions, workers and the audit trail.

pub mod audit;
pub mod config;
pub mod executions;
pub mod skills;
pub mod workers;

use ihuman_shared::{platform::Platform, server::Stack, service::Service};

/// What names the service.
pub const SERVICE: Service = Service {
    name: "catalog-service",
    schema: "catalog",
    own_table: "catalog.skills",
    package: "ihuman.catalog.v1",
};

/// The list of what the service serves.
///
/// # Errors
/// Whatever keeps a part from starting.
pub async fn stack(platform: &Platform) -> anyhow::Result<Stack> {
    let changes = executions::Changes::start(platform);
    skills::housekeeping::start(platform);
    workers::expiry::start(platform, &changes);
    Ok(Stack::new()
        .service(skills::rpc::server(platform))
        .service(executions::rpc::server(platform, &changes))
        .service(workers::rpc::server(platform, &changes))
        .service(audit::rpc::server(platform)))
}
