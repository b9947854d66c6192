//! Hints that executions changed: to waiters in this process at once, and to the
//! other replicas in batches.
//!
//! A hint that is lost costs time and nothing else: whoever waits also looks at
//! times of its own.

use std::{fmt::Write as _, time::Duration};

use ihuman_shared::{
    Result,
    notifications::{Channel, Hints},
    platform::Platform,
    server::Shutdown,
};
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{Changed, State, store, watch::Hub};

/// How long changes are gathered before they are sent on: each NOTIFY takes a lock
/// of the whole database when it commits.
const GATHER: Duration = Duration::from_millis(10);
/// How many changes may wait to be sent on; those above it are not.
const WAITING_MAX: usize = 8192;
/// PostgreSQL takes less than 8,000 bytes.
const PAYLOAD_MAX: usize = 7_900;

/// Where changes are announced and waited for.
#[derive(Clone)]
pub struct Changes {
    pub(super) hub: Hub,
    queue: watch::Sender<()>,
    outbox: mpsc::Sender<Changed>,
}

impl Changes {
    /// Begins to pass hints on, until the service stops.
    pub fn start(platform: &Platform) -> Self {
        let (outbox, inbox) = mpsc::channel(WAITING_MAX);
        let changes = Changes { hub: Hub::default(), queue: watch::Sender::new(()), outbox };
        let executions = platform.notifications.subscribe(Channel::Executions);
        let queue = platform.notifications.subscribe(Channel::Queue);
        let (db, shutdown) = (platform.db.clone(), platform.shutdown.clone());

        tokio::spawn(changes.hub.clone().run(db.clone(), executions, shutdown.clone()));
        tokio::spawn(forward(queue, changes.queue.clone(), shutdown));
        tokio::spawn(send(db, inbox));
        changes
    }

    /// Tells who waits that these changes were committed.
    pub fn announce(&self, changes: &[Changed]) {
        if changes.iter().any(|it| it.state == State::Queued) {
            self.queue.send_replace(());
        }
        for it in changes {
            self.hub.saw(it.execution_id, it.revision);
            // Full when the database is slow, and then other replicas look later.
            let _ = self.outbox.try_send(*it);
        }
    }

    /// Changes whenever there may be something new in the queue.
    pub fn queue(&self) -> watch::Receiver<()> {
        self.queue.subscribe()
    }
}

async fn forward(mut hints: Hints, queue: watch::Sender<()>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            _ = hints.next() => {}
        }
        queue.send_replace(());
    }
}

/// Sends on what was announced, until nobody is left who could announce.
async fn send(db: PgPool, mut inbox: mpsc::Receiver<Changed>) {
    let mut batch = Vec::new();
    while inbox.recv_many(&mut batch, WAITING_MAX).await > 0 {
        sleep(GATHER).await;
        while let Ok(more) = inbox.try_recv() {
            batch.push(more);
        }
        if let Err(error) = notify(&db, &batch).await {
            tracing::debug!(error = error.with_cause(), "other replicas were not told of changes");
        }
        batch.clear();
    }
}

async fn notify(db: &PgPool, batch: &[Changed]) -> Result<()> {
    let mut payloads = payloads(batch);
    let mut channels = vec![Channel::Executions.name().to_owned(); payloads.len()];
    if batch.iter().any(|it| it.state == State::Queued) {
        channels.push(Channel::Queue.name().to_owned());
        payloads.push(String::new());
    }
    let mut conn = db.acquire().await?;
    store::notify(&mut conn, &channels, &payloads).await
}

/// The ids and revisions as payloads of [`Channel::Executions`].
fn payloads(batch: &[Changed]) -> Vec<String> {
    let mut payloads = vec![String::new()];
    for Changed { execution_id, revision, .. } in batch {
        let next = format!("{execution_id}:{revision}");
        match payloads.last_mut() {
            Some(last) if last.len() + 1 + next.len() <= PAYLOAD_MAX => {
                let comma = if last.is_empty() { "" } else { "," };
                // Writing to a String never fails.
                let _ = write!(last, "{comma}{next}");
            }
            _ => payloads.push(next),
        }
    }
    payloads
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_change_is_in_a_payload_that_postgresql_takes() {
        let (state, attempt) = (State::Running, 1);
        let batch: Vec<_> = (0..1000)
            .map(|revision| Changed { execution_id: Uuid::now_v7(), revision, state, attempt })
            .collect();

        let payloads = payloads(&batch);

        assert!(payloads.iter().all(|it| it.len() <= PAYLOAD_MAX));
        let read = payloads.iter().flat_map(|it| super::super::watch::parse(it));
        assert!(read.eq(batch.iter().map(|it| (it.execution_id, it.revision))));
    }
}
