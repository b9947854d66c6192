//! Following executions as they change: one hub a process, whatever the number of watchers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{Stream, stream};
use ihuman_shared::{
    Error, Result, access::Principal, clock::Clock, credentials::Revocations, error::Reason,
    notifications::Hints, server::Shutdown,
};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{Change, Execution, store};

/// How often the revisions of all watched executions are read, in one query. Hints
/// make it faster, and nothing depends on them.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How many changes are read at once; a watcher holds no more than these.
const CHANGES_MAX: i64 = 100;

/// The revisions of watched executions, as far as they are known.
#[derive(Clone, Default)]
pub(super) struct Hub(Arc<Mutex<HashMap<Uuid, watch::Sender<i64>>>>);

/// One watcher's place in the hub, which it leaves when dropped.
struct Following {
    hub: Hub,
    execution_id: Uuid,
    revision: watch::Receiver<i64>,
}

/// One thing to tell a watcher.
#[derive(Debug)]
pub enum Update {
    /// The execution as it was when the watch began.
    Snapshot(Execution),
    /// A change since.
    Change(Change),
}

/// What a watch needs of the service.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) db: PgPool,
    pub(super) hub: Hub,
    pub(super) clock: Clock,
    pub(super) revocations: Revocations,
    pub(super) shutdown: Shutdown,
}

/// One watch, between two updates.
struct Watch {
    source: Source,
    following: Following,
    caller: Principal,
    /// Changes when something was revoked.
    revoked: watch::Receiver<u64>,
    snapshot: Option<Execution>,
    changes: VecDeque<Change>,
    /// The last revision that the caller knows.
    sent: i64,
    /// The last revision that is known to exist.
    known: i64,
    is_over: bool,
}

/// The changes of an execution after a revision, and first the execution itself
/// when that is 0. Ends after the change to a final state.
///
/// The watch ends with the caller's credential, and with a change of what the caller
/// may do.
///
/// # Errors
/// `InvalidFields` for a revision that has not been. As items: `Unavailable` when
/// the service stops, `Unauthenticated` when the credential has ended.
pub(super) async fn watch(
    source: Source,
    caller: &Principal,
    execution_id: Uuid,
    after_revision: i64,
) -> Result<impl Stream<Item = Result<Update>> + use<>> {
    let revoked = source.revocations.news();
    // Before the execution is read, so that no change falls between the two.
    let following = source.hub.follow(execution_id);
    let execution = super::get(&source.db, caller, execution_id).await?;
    if !(0..=execution.revision).contains(&after_revision) {
        let problem = format!("must be 0 to {}, the revision it is at", execution.revision);
        return Err(Error::invalid("after_revision", problem));
    }
    let known = execution.revision;
    let (sent, snapshot) = match after_revision {
        0 => (known, Some(execution.clone())),
        _ => (after_revision, None),
    };
    let is_over = sent == known && execution.state.is_final();
    let watch = Watch {
        source,
        following,
        caller: caller.clone(),
        revoked,
        snapshot,
        changes: VecDeque::new(),
        sent,
        known,
        is_over,
    };
    Ok(stream::try_unfold(watch, Watch::next))
}

impl Watch {
    /// Reads on demand only: a slow reader makes nothing pile up.
    async fn next(mut self) -> Result<Option<(Update, Self)>> {
        if let Some(execution) = self.snapshot.take() {
            return Ok(Some((Update::Snapshot(execution), self)));
        }
        loop {
            if let Some(change) = self.changes.pop_front() {
                self.sent = change.revision;
                self.is_over = change.state.is_final();
                return Ok(Some((Update::Change(change), self)));
            }
            if self.is_over {
                return Ok(None);
            }
            self.wait().await?;
            self.read().await?;
        }
    }

    /// Returns when there is something that was not sent.
    async fn wait(&mut self) -> Result<()> {
        let left = self.caller.expires_at().map(|it| (it - self.source.clock.now()).to_std());
        let expired = async {
            match left {
                None => std::future::pending().await,
                Some(left) => sleep(left.unwrap_or_default()).await,
            }
        };
        let revoked = async {
            while !self.source.revocations.ended(&self.caller) {
                if self.revoked.changed().await.is_err() {
                    std::future::pending().await
                }
            }
        };
        let news = async {
            if self.known <= self.sent {
                self.known = self.following.beyond(self.sent).await;
            }
        };
        tokio::select! {
            biased;
            () = self.source.shutdown.begun() => Err(Error::Unavailable),
            () = expired => Err(Error::Unauthenticated(Reason::CredentialsExpired)),
            () = revoked => Err(Error::Unauthenticated(Reason::CredentialsRevoked)),
            () = news => Ok(()),
        }
    }

    async fn read(&mut self) -> Result<()> {
        let mut conn = self.source.db.acquire().await?;
        let id = self.following.execution_id;
        self.changes = store::history(&mut conn, id, self.sent, CHANGES_MAX).await?.into();
        drop(conn);
        if self.changes.is_empty() {
            // Some hint named a revision that is not there. It must not make the
            // watch ask without a pause.
            sleep(POLL_EVERY).await;
        }
        Ok(())
    }
}

impl Following {
    /// The latest revision, once it is beyond `sent`.
    async fn beyond(&mut self, sent: i64) -> i64 {
        let revision = self.revision.wait_for(|it| *it > sent).await.map(|it| *it);
        match revision {
            Ok(revision) => revision,
            // The hub keeps the sender for as long as somebody follows.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut watched = self.hub.lock();
        let is_last = |it: &watch::Sender<i64>| it.receiver_count() <= 1;
        if watched.get(&self.execution_id).is_some_and(is_last) {
            watched.remove(&self.execution_id);
        }
    }
}

impl Hub {
    fn follow(&self, execution_id: Uuid) -> Following {
        let revision = self.lock().entry(execution_id).or_default().subscribe();
        Following { hub: self.clone(), execution_id, revision }
    }

    /// Tells the watchers of an execution that it has come to `revision`.
    pub(super) fn saw(&self, execution_id: Uuid, revision: i64) {
        if let Some(known) = self.lock().get(&execution_id) {
            known.send_if_modified(|it| {
                let is_news = revision > *it;
                *it = revision.max(*it);
                is_news
            });
        }
    }

    /// Learns of changes from hints and by looking, until the service stops.
    pub(super) async fn run(self, db: PgPool, mut hints: Hints, shutdown: Shutdown) {
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hint = tokio::select! {
                () = shutdown.begun() => return,
                _ = ticks.tick() => None,
                hint = hints.next() => hint,
            };
            match hint {
                Some(payload) => parse(&payload).for_each(|(id, revision)| self.saw(id, revision)),
                None => {
                    if let Err(error) = self.poll(&db).await {
                        tracing::debug!(error = error.with_cause(), "can't look for changes");
                    }
                }
            }
        }
    }

    async fn poll(&self, db: &PgPool) -> Result<()> {
        let watched: Vec<Uuid> = self.lock().keys().copied().collect();
        if watched.is_empty() {
            return Ok(());
        }
        let mut conn = db.acquire().await?;
        for (execution_id, revision) in store::revisions(&mut conn, &watched).await? {
            self.saw(execution_id, revision);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids and revisions in a payload.
pub(super) fn parse(payload: &str) -> impl Iterator<Item = (Uuid, i64)> {
    payload.split(',').filter_map(|it| {
        let (id, revision) = it.split_once(':')?;
        Some((id.parse().ok()?, revision.parse().ok()?))
    })
}
