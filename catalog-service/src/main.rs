//! The catalog-service program.

use catalog_service::{
    SERVICE,
    config::{Command, Config},
};
use ihuman_shared::{config, probe::probe};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = config::parse();
    match config.command {
        None => {
            SERVICE
                .run(config.listen, config.platform, &config.telemetry, catalog_service::stack)
                .await
        }
        Some(Command::Probe) => probe(config.listen, &config.platform.server).await,
    }
}
