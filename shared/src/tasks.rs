//! What goes on beside the requests, and is waited for when the service stops.

use tokio::sync::watch;

/// Runs tasks and knows whether any still runs.
#[derive(Clone, Debug, Default)]
pub struct Tasks(watch::Sender<()>);

impl Tasks {
    /// Runs `task` to its end, beside the caller.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = self.0.subscribe();
        tokio::spawn(async move {
            task.await;
            drop(running);
        });
    }

    /// Returns when none runs.
    pub async fn ended(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test]
    async fn the_end_comes_with_that_of_the_last_task_even_if_it_panics() {
        let tasks = Tasks::default();
        let (go, wait) = oneshot::channel::<()>();
        tasks.spawn(async {});
        tasks.spawn(async { wait.await.expect("a panic") });

        let moment = Duration::from_millis(20);
        assert!(timeout(moment, tasks.ended()).await.is_err());
        drop(go);
        tasks.ended().await;
    }
}
