//! Which credentials are dead although they have not expired: in memory, a second old at the most.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{interval, timeout},
};
use uuid::Uuid;

use super::{access_token::Verified, store};
use crate::{
    Error, Result,
    access::{Credential, Principal},
    error::Reason,
    notifications::{Channel, Notifications},
};

/// The guarantee; a notification is only a hint that makes it faster.
const POLL_EVERY: Duration = Duration::from_millis(400);
/// A copy older than this is not trusted: better to refuse than to let in the revoked.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// The live revocations. They are as few as what was revoked within the lifetime
/// of an access token.
#[derive(Clone)]
pub struct Revocations(Arc<RwLock<Live>>);

struct Live {
    sessions: HashMap<Uuid, DateTime<Utc>>,
    api_keys: HashMap<Uuid, DateTime<Utc>>,
    users: HashMap<Uuid, User>,
    changed_api_keys: HashMap<Uuid, ChangedApiKey>,
    signing_keys: HashMap<Uuid, DateTime<Utc>>,
    // Transactions from here on may not have been seen.
    next_xact: i64,
    read_at: Instant,
    // How often something new was read.
    news: watch::Sender<u64>,
}

struct User {
    version: i64,
    seen_at: Instant,
    expires_at: DateTime<Utc>,
}

struct ChangedApiKey {
    version: i64,
    expires_at: DateTime<Utc>,
}

impl Revocations {
    /// Reads what is revoked, and keeps reading it until every clone is dropped.
    ///
    /// # Errors
    /// When the first reading fails.
    pub async fn follow(db: PgPool, notifications: &Notifications) -> Result<Self> {
        let revocations = Revocations(Arc::new(RwLock::new(Live {
            sessions: HashMap::new(),
            api_keys: HashMap::new(),
            users: HashMap::new(),
            changed_api_keys: HashMap::new(),
            signing_keys: HashMap::new(),
            next_xact: 0,
            read_at: Instant::now(),
            news: watch::Sender::new(0),
        })));
        revocations.read(&db).await?;
        tokio::spawn(keep_reading(Arc::downgrade(&revocations.0), db, notifications.clone()));
        Ok(revocations)
    }

    /// Changes each time that new revocations were read.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.known().news.subscribe()
    }

    /// Whether a token is still good.
    pub(super) fn check_token(&self, token: &Verified) -> Result<()> {
        let live = self.trusted()?;
        let is_old = live.users.get(&token.user_id).is_some_and(|it| token.version < it.version);
        match is_old || live.has_session_ended(token.session_id, token.signing_key) {
            true => Err(Error::Unauthenticated(Reason::CredentialsRevoked)),
            false => Ok(()),
        }
    }

    /// Whether an API key is still good.
    pub(super) fn check_api_key(&self, id: Uuid) -> Result<()> {
        match self.trusted()?.api_keys.contains_key(&id) {
            true => Err(Error::Unauthenticated(Reason::CredentialsRevoked)),
            false => Ok(()),
        }
    }

    /// Whether `credential`, of `user_id`, may allow something else than when it was
    /// verified.
    pub(super) fn has_changed(&self, user_id: Uuid, credential: &Credential) -> bool {
        self.known().has_changed(user_id, credential)
    }

    /// Whether the credential of `caller`, which was good when the caller was let in, is
    /// dead or may allow something else by now: for who goes on without asking again.
    pub fn ended(&self, caller: &Principal) -> bool {
        let live = self.known();
        let is_revoked = match caller.credential {
            Credential::Session { session_id, signing_key, .. } => {
                live.has_session_ended(session_id, signing_key)
            }
            Credential::ApiKey { api_key_id, .. } => live.api_keys.contains_key(&api_key_id),
        };
        is_revoked || live.has_changed(caller.user_id, &caller.credential)
    }

    /// Whether what a key signed is dead.
    pub fn is_dead_key(&self, signing_key: Uuid) -> bool {
        self.known().signing_keys.contains_key(&signing_key)
    }

    fn known(&self) -> RwLockReadGuard<'_, Live> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn trusted(&self) -> Result<RwLockReadGuard<'_, Live>> {
        let live = self.known();
        match live.read_at.elapsed() {
            age if age > TRUSTED_FOR => Err(Error::Unavailable),
            _ => Ok(live),
        }
    }

    async fn read(&self, db: &PgPool) -> Result<()> {
        let after = self.known().next_xact;
        let asked_at = Instant::now();
        let mut conn = db.acquire().await?;
        let (next_xact, rows) = store::list_revocations(&mut conn, after).await?;

        let mut live = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Each row must be added: the same one may be read twice.
        let news = rows.into_iter().filter(|it| live.add(it)).count();
        if news > 0 {
            live.news.send_modify(|it| *it += 1);
        }
        live.forget_expired(Utc::now());
        live.next_xact = next_xact;
        live.read_at = asked_at;
        Ok(())
    }
}

impl Live {
    /// Whether the tokens of a session are dead that a key signed.
    fn has_session_ended(&self, session_id: Uuid, signing_key: Option<Uuid>) -> bool {
        self.sessions.contains_key(&session_id)
            || signing_key.is_some_and(|it| self.signing_keys.contains_key(&it))
    }

    fn has_changed(&self, user_id: Uuid, credential: &Credential) -> bool {
        let user = self.users.get(&user_id);
        match *credential {
            Credential::Session { version, .. } => user.is_some_and(|it| version < it.version),
            Credential::ApiKey { api_key_id, version, read_at, .. } => {
                let changed = self.changed_api_keys.get(&api_key_id);
                changed.is_some_and(|it| version < it.version)
                    || user.is_some_and(|it| it.seen_at >= read_at)
            }
        }
    }

    /// Whether it was not known before.
    fn add(&mut self, row: &store::Revocation) -> bool {
        match (row.kind.as_str(), row.token_version) {
            ("session", _) => self.sessions.insert(row.subject_id, row.expires_at).is_none(),
            ("api_key", _) => self.api_keys.insert(row.subject_id, row.expires_at).is_none(),
            ("user", Some(version)) => {
                let known = self.users.get(&row.subject_id).map_or(0, |it| it.version);
                let is_news = version > known;
                // Only news makes cached keys stale.
                if is_news {
                    let user =
                        User { version, seen_at: Instant::now(), expires_at: row.expires_at };
                    self.users.insert(row.subject_id, user);
                }
                is_news
            }
            ("api_key_change", Some(version)) => {
                let known = self.changed_api_keys.get(&row.subject_id).map_or(0, |it| it.version);
                let is_news = version > known;
                if is_news {
                    let changed = ChangedApiKey { version, expires_at: row.expires_at };
                    self.changed_api_keys.insert(row.subject_id, changed);
                }
                is_news
            }
            ("signing_key", _) => {
                self.signing_keys.insert(row.subject_id, row.expires_at).is_none()
            }
            (kind, _) => {
                tracing::warn!(kind, "a revocation of an unknown kind");
                false
            }
        }
    }

    fn forget_expired(&mut self, now: DateTime<Utc>) {
        self.sessions.retain(|_, expires_at| *expires_at > now);
        self.api_keys.retain(|_, expires_at| *expires_at > now);
        self.users.retain(|_, user| user.expires_at > now);
        self.changed_api_keys.retain(|_, key| key.expires_at > now);
        self.signing_keys.retain(|_, expires_at| *expires_at > now);
    }
}

async fn keep_reading(
    live: std::sync::Weak<RwLock<Live>>,
    db: PgPool,
    notifications: Notifications,
) {
    let mut hints = notifications.subscribe(Channel::Revocations);
    let mut ticks = interval(POLL_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = hints.next_batch() => {}
        }
        let Some(live) = live.upgrade() else { return };
        let read = timeout(TRUSTED_FOR, Revocations(live).read(&db)).await;
        match read {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = error.with_cause(), "can't read revocations"),
            Err(_) => tracing::warn!("reading revocations takes too long"),
        }
    }
}
