//! Everything that differs between one deployment of catalog-service and another.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use ihuman_shared::{platform::PlatformConfig, telemetry::TelemetryConfig};

/// Skills, executions, workers and the audit trail over gRPC, gRPC-Web and JSON.
#[derive(Parser)]
#[command(name = "catalog-service", version)]
pub struct Config {
    /// The address to serve at.
    #[arg(long, env, default_value = "127.0.0.1:50052")]
    pub listen: SocketAddr,

    /// What both services are configured with.
    #[command(flatten)]
    pub platform: PlatformConfig,

    /// What to log, and where to send traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Subcommand)]
pub enum Command {
    /// Asks the service at the configured address whether it is ready, for a
    /// container's health check.
    Probe,
}
