//! Which credentials are dead although they have not expired: in memory, a second old at the most.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
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
        self.0.read().unwrap_or_else(PoisonError::into_inner).news.subscribe()
    }

    /// Whether a token is still good.
    pub(super) fn check_token(&self, token: &Verified) -> Result<()> {
        let live = self.trusted()?;
        let user = live.users.get(&token.user_id);
        if live.sessions.contains_key(&token.session_id)
            || user.is_some_and(|it| token.version < it.version)
        {
            return Err(Error::Unauthenticated(Reason::CredentialsRevoked));
        }
        Ok(())
    }

    /// Whether an API key is still good.
    pub(super) fn check_api_key(&self, id: Uuid) -> Result<()> {
        match self.trusted()?.api_keys.contains_key(&id) {
            true => Err(Error::Unauthenticated(Reason::CredentialsRevoked)),
            false => Ok(()),
        }
    }

    /// Whether the rights of a user have changed since `read_at`.
    pub(super) fn changed_since(&self, user_id: Uuid, read_at: Instant) -> bool {
        let live = self.0.read().unwrap_or_else(PoisonError::into_inner);
        live.users.get(&user_id).is_some_and(|it| it.seen_at >= read_at)
    }

    /// Whether the credentials of `caller`, which were good at `since`, are dead or may
    /// allow something else by now: for who goes on without asking again.
    pub fn ended_since(&self, caller: &Principal, since: Instant) -> bool {
        let is_revoked = {
            let live = self.0.read().unwrap_or_else(PoisonError::into_inner);
            match caller.credential {
                Credential::Session { session_id, .. } => live.sessions.contains_key(&session_id),
                Credential::ApiKey { api_key_id, .. } => live.api_keys.contains_key(&api_key_id),
            }
        };
        is_revoked || self.changed_since(caller.user_id, since)
    }

    /// Whether an API key has changed since it had `version`.
    pub(super) fn api_key_changed(&self, id: Uuid, version: i64) -> bool {
        let live = self.0.read().unwrap_or_else(PoisonError::into_inner);
        live.changed_api_keys.get(&id).is_some_and(|it| it.version > version)
    }

    fn trusted(&self) -> Result<std::sync::RwLockReadGuard<'_, Live>> {
        let live = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match live.read_at.elapsed() {
            age if age > TRUSTED_FOR => Err(Error::Unavailable),
            _ => Ok(live),
        }
    }

    async fn read(&self, db: &PgPool) -> Result<()> {
        let after = self.0.read().unwrap_or_else(PoisonError::into_inner).next_xact;
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
                let changed = ChangedApiKey { version, expires_at: row.expires_at };
                let known = self.changed_api_keys.entry(row.subject_id).or_insert(changed);
                known.version = known.version.max(version);
                known.expires_at = known.expires_at.max(row.expires_at);
                false
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
