//! The one way to learn that the service is stopping.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every holder of a clone, once, that the service is stopping. A handler
/// that waits or streams for long holds one and ends on it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// One that begins only when [`Shutdown::begin`] is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that begins at the first SIGTERM or SIGINT. The second ends the
    /// process at once, for whoever does not want to wait.
    pub fn on_signal() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::new();
        let begins = shutdown.clone();
        tokio::spawn(async move {
            for times in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if times > 0 {
                    // 128 + SIGINT, as shells report it.
                    std::process::exit(130);
                }
                tracing::info!("stopping");
                begins.begin();
            }
        });
        Ok(shutdown)
    }

    /// Begins it, for all clones.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns when it has begun.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}
