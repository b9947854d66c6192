//! Callers that call again and again, and what their calls took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;

/// What calls took, and how many there were.
pub(super) struct Measured {
    took: Vec<Duration>,
    over: Duration,
}

impl Measured {
    /// What these calls took, which were made in so long a time.
    pub(super) fn of(mut took: Vec<Duration>, over: Duration) -> Self {
        took.sort_unstable();
        Self { took, over }
    }

    /// Calls a second.
    pub(super) fn rate(&self) -> f64 {
        self.took.len() as f64 / self.over.as_secs_f64()
    }

    /// What that many of a hundred calls took at the most, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: usize) -> f64 {
        let last = self.took.len().saturating_sub(1);
        let at = (self.took.len() * percent / 100).min(last);
        self.took.get(at).map_or(0.0, |it| it.as_secs_f64() * 1000.0)
    }
}

/// Lets each caller call, and wait for `pause` in between, until the time is over.
///
/// # Errors
/// When a call fails, or none was made.
pub(super) async fn measure<C, F>(
    callers: Vec<C>,
    lasts: Duration,
    pause: Duration,
    call: impl Fn(C) -> F + Clone + Send + 'static,
) -> Result<Measured>
where
    C: Send + 'static,
    F: Future<Output = Result<C>> + Send,
{
    let started = Instant::now();
    let mut running = JoinSet::new();
    for mut caller in callers {
        let call = call.clone();
        running.spawn(async move {
            let mut took = Vec::new();
            while started.elapsed() < lasts {
                let began = Instant::now();
                caller = call(caller).await?;
                took.push(began.elapsed());
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(ended) = running.join_next().await {
        took.extend(ended??);
    }
    if took.is_empty() {
        bail!("no call was made in {lasts:?}");
    }
    Ok(Measured::of(took, started.elapsed()))
}
