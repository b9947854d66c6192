//! The catalog-service program.

use std::process::ExitCode;

use catalog_service::{
    SERVICE,
    config::{Command, Config},
};
use ihuman_shared::{config, probe::probe};

#[tokio::main]
async fn main() -> ExitCode {
    config::exit_code(run(config::parse()).await)
}

async fn run(config: Config) -> anyhow::Result<()> {
    match config.command {
        None => {
            SERVICE
                .run(config.listen, config.platform, &config.telemetry, catalog_service::stack)
                .await
        }
        Some(Command::Probe) => probe(config.listen, &config.platform.server).await,
    }
}
