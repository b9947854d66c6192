//! auth-service: accounts, sessions, tokens, API keys, users and settings.

pub mod config;

use ihuman_shared::{platform::Platform, server::Stack, service::Service};

use self::config::IdentityConfig;

/// What names the service.
pub const SERVICE: Service =
    Service { name: "auth-service", schema: "auth", package: "ihuman.auth.v1" };

/// The list of what the service serves.
///
/// # Errors
/// Whatever keeps a part from starting.
pub async fn stack(_platform: &Platform, _config: &IdentityConfig) -> anyhow::Result<Stack> {
    Ok(Stack::new())
}
