//! Telling third parties what is revoked, from the table, in the order of its transactions.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, stream};
use ihuman_shared::{
    Error, Result, access::Principal, clock::Clock, credentials::Revocations, error::Reason,
    platform::Platform, server::Shutdown,
};
use sqlx::PgPool;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use uuid::Uuid;

use super::{
    cursor::Cursor,
    store::{self, Place, Revocation},
};

/// How often a watcher hears that the stream is alive.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// How many watch one process at the most, and when to come again.
const WATCHERS_MAX: usize = 100;
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How many revocations are read at once.
const BATCH: i64 = 500;
/// How many are remembered as sent although a transaction before them has not ended.
/// Beyond it, some are sent twice.
const SENT_MAX: usize = 10_000;

/// What every watch needs of the service.
#[derive(Clone)]
pub(super) struct Source {
    db: PgPool,
    clock: Clock,
    revocations: Revocations,
    shutdown: Shutdown,
    watchers: Arc<Semaphore>,
}

/// One thing to tell a watcher, and where to go on after it.
#[derive(Debug)]
pub(super) struct Update {
    /// None when everything has been sent.
    pub(super) revocation: Option<Revocation>,
    pub(super) cursor: Cursor,
}

/// One watch, between two updates.
struct Watch {
    source: Source,
    caller: Principal,
    news: watch::Receiver<u64>,
    /// Everything below has been sent.
    cursor: Cursor,
    /// The reading that goes on, if one does.
    reading: Option<Reading>,
    batch: VecDeque<Revocation>,
    /// What was sent of transactions that are not below the cursor, and of which.
    sent: HashMap<Uuid, i64>,
    is_first_reading: bool,
    _permit: OwnedSemaphorePermit,
}

/// One walk through the table, a batch at a time.
struct Reading {
    /// The cursor when it is done.
    until: Cursor,
    after: Option<Place>,
    is_last_batch: bool,
    has_news: bool,
}

impl Source {
    pub(super) fn new(platform: &Platform) -> Self {
        Source {
            db: platform.db.clone(),
            clock: platform.clock.clone(),
            revocations: platform.authenticator.revocations().clone(),
            shutdown: platform.shutdown.clone(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        }
    }

    /// What is revoked and not below `cursor`, and then whatever will be.
    ///
    /// # Errors
    /// `InvalidFields` for a cursor that has not been; `Overloaded` with too many
    /// watchers. As items: `Unavailable` when the service stops, `Unauthenticated` when
    /// the caller's credential ends.
    pub(super) async fn watch(
        &self,
        caller: &Principal,
        cursor: Cursor,
    ) -> Result<impl Stream<Item = Result<Update>> + use<>> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| Error::Overloaded { retry_after: RETRY_AFTER })?;
        let mut conn = self.db.acquire().await?;
        // A restored database may not have come to where the cursor is from.
        if cursor.0 > store::next_xact(&mut conn).await? {
            return Err(Cursor::refused("cursor"));
        }
        let watch = Watch {
            // Before the first reading, so that nothing falls between the two.
            news: self.revocations.news(),
            source: self.clone(),
            caller: caller.clone(),
            cursor,
            reading: None,
            batch: VecDeque::new(),
            sent: HashMap::new(),
            is_first_reading: true,
            _permit: permit,
        };
        Ok(stream::try_unfold(watch, Watch::next))
    }
}

impl Watch {
    /// Reads on demand only: a slow reader makes nothing pile up.
    async fn next(mut self) -> Result<Option<(Update, Self)>> {
        loop {
            self.check()?;
            if let Some(revocation) = self.batch.pop_front() {
                let update = Update { revocation: Some(revocation), cursor: self.cursor };
                return Ok(Some((update, self)));
            }
            match &self.reading {
                Some(reading) if reading.is_last_batch => {
                    self.cursor = reading.until;
                    self.sent.retain(|_, xact| *xact >= reading.until.0);
                    // A hint may be of what the reading before has found already.
                    let is_worth_a_word = reading.has_news || self.is_first_reading;
                    self.reading = None;
                    self.is_first_reading = false;
                    if !is_worth_a_word {
                        continue;
                    }
                    return Ok(Some((Update { revocation: None, cursor: self.cursor }, self)));
                }
                Some(_) => self.read().await?,
                None if self.is_first_reading => self.read().await?,
                None => {
                    if !self.wait().await? {
                        let update = Update { revocation: None, cursor: self.cursor };
                        return Ok(Some((update, self)));
                    }
                    self.read().await?;
                }
            }
        }
    }

    /// Whether there is news; if not, it is time to say that the stream is alive.
    async fn wait(&mut self) -> Result<bool> {
        let left = self.caller.expires_at().map(|it| (it - self.source.clock.now()).to_std());
        let expired = async {
            match left {
                None => std::future::pending().await,
                Some(left) => sleep(left.unwrap_or_default()).await,
            }
        };
        tokio::select! {
            biased;
            () = self.source.shutdown.begun() => Err(Error::Unavailable),
            () = expired => Err(Error::Unauthenticated(Reason::CredentialsExpired)),
            changed = self.news.changed() => match changed {
                Ok(()) => Ok(true),
                Err(_) => Err(Error::Unavailable),
            },
            () = sleep(HEARTBEAT_EVERY) => Ok(false),
        }
    }

    async fn read(&mut self) -> Result<()> {
        let mut conn = self.source.db.acquire().await?;
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => {
                // Before the rows, so that no transaction ends unseen in between.
                let until = Cursor(store::next_xact(&mut conn).await?);
                Reading { until, after: None, is_last_batch: false, has_news: false }
            }
        };
        let now = self.source.clock.now();
        let rows = store::list(&mut conn, self.cursor.0, reading.after, now, BATCH).await?;
        reading.is_last_batch = (rows.len() as i64) < BATCH;
        reading.after = rows.last().map(|it| it.place).or(reading.after);
        self.keep(rows, reading.until);
        reading.has_news |= !self.batch.is_empty();
        self.reading = Some(reading);
        Ok(())
    }

    /// Keeps what has not been sent. What is not below `until` will be read again.
    fn keep(&mut self, rows: Vec<Revocation>, until: Cursor) {
        for revocation in rows {
            let Place { xact, revocation_id } = revocation.place;
            if self.sent.contains_key(&revocation_id) {
                continue;
            }
            if self.sent.len() >= SENT_MAX {
                self.sent.clear();
            }
            if xact >= until.0 {
                self.sent.insert(revocation_id, xact);
            }
            self.batch.push_back(revocation);
        }
    }

    /// A watch does not outlive the credential that it was allowed with.
    fn check(&self) -> Result<()> {
        let Source { clock, revocations, shutdown, .. } = &self.source;
        if shutdown.has_begun() {
            return Err(Error::Unavailable);
        }
        if self.caller.expires_at().is_some_and(|it| it <= clock.now()) {
            return Err(Error::Unauthenticated(Reason::CredentialsExpired));
        }
        if revocations.ended(&self.caller) {
            return Err(Error::Unauthenticated(Reason::CredentialsRevoked));
        }
        Ok(())
    }
}
