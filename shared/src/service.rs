//! The life of a service's process, from its configuration to its last request.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::{
    clock::Clock,
    platform::{Platform, PlatformConfig},
    server::{Shutdown, Stack},
    telemetry::{self, TelemetryConfig},
};

/// What names a service.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name, such as `auth-service`.
    pub name: &'static str,
    /// The schema of its own tables.
    pub schema: &'static str,
    /// A table that its role alone may write to.
    pub own_table: &'static str,
    /// The package of its RPCs.
    pub package: &'static str,
}

impl Service {
    /// Runs the service at `listen` until it is told to stop. `stack` lists what
    /// it serves, and may start what it does besides.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub async fn run(
        self,
        listen: SocketAddr,
        platform: PlatformConfig,
        telemetry: &TelemetryConfig,
        stack: impl AsyncFnOnce(&Platform) -> anyhow::Result<Stack>,
    ) -> anyhow::Result<()> {
        // Before anything is written or bound.
        platform.server.check()?;
        let telemetry = telemetry::init(telemetry, self.name)?;
        let shutdown = Shutdown::on_signal()?;
        let listener = TcpListener::bind(listen).await;
        let listener = listener.with_context(|| format!("can't listen at {listen}"))?;
        let platform = self.connect(platform, Clock::default(), shutdown).await?;
        let stack = stack(&platform).await?;

        platform.serve(self.package, listener, stack).await?;
        telemetry.flush().await;
        Ok(())
    }

    /// Connects what the service stands on.
    ///
    /// # Errors
    /// As [`Platform::connect`].
    pub async fn connect(
        self,
        config: PlatformConfig,
        clock: Clock,
        shutdown: Shutdown,
    ) -> anyhow::Result<Platform> {
        Platform::connect(self, config, clock, shutdown).await
    }
}
