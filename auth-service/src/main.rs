//! The auth-service program.

use auth_service::{
    SERVICE,
    config::{Command, Config},
};
use ihuman_shared::config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = config::parse();
    match config.command {
        None => {
            let stack = async |platform: &_| auth_service::stack(platform, &config.identity).await;
            SERVICE.run(config.listen, config.platform, &config.telemetry, stack).await
        }
        Some(Command::CreateAdmin { .. }) | Some(Command::Probe) => Ok(()),
    }
}
