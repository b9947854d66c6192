//! catalog-service: skills, executions, workers and the audit trail.

pub mod config;

use ihuman_shared::{platform::Platform, server::Stack, service::Service};

/// What names the service.
pub const SERVICE: Service =
    Service { name: "catalog-service", schema: "catalog", package: "ihuman.catalog.v1" };

/// The list of what the service serves.
///
/// # Errors
/// Whatever keeps a part from starting.
pub async fn stack(_platform: &Platform) -> anyhow::Result<Stack> {
    Ok(Stack::new())
}
