//! How many requests one principal or address may send in a time, counted over all replicas together.

mod lease;
mod local;
mod store;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use moka::sync::Cache;
use sqlx::PgPool;
use tokio::time::timeout;
use uuid::Uuid;

use self::{
    lease::{Lease, Taken},
    local::LocalLimit,
};
use crate::Error;

/// How many subjects are remembered at once; the least used are forgotten first.
const SUBJECTS_MAX: u64 = 100_000;
/// How long a subject that sends nothing is remembered; what it leased is lost then.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// How long a request waits for a lease before the local limit decides: as long as
/// for a connection. A database that is away says so sooner; one that is only slow
/// must not make each replica grant the whole quota by itself.
const LEASED_WITHIN: Duration = Duration::from_secs(3);
/// How long the database is left alone after it did not answer.
const AWAY_FOR: Duration = Duration::from_secs(5);

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The headers that tell a [`Standing`] (draft-ietf-httpapi-ratelimit-headers-07).
pub(crate) const HEADERS: [HeaderName; 3] = [LIMIT, REMAINING, RESET];

/// The limits, with the same names as in the environment.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct RateLimitConfig {
    /// Over how many milliseconds requests are counted.
    #[arg(long, env, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    pub rate_limit_window_ms: u64,

    /// How many requests a principal may send in the window.
    #[arg(long, env, default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_max_requests: u32,

    /// How many requests without valid credentials an address may send in the window,
    /// and how many that are denied a principal.
    #[arg(long, env, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_public_max_requests: u32,
}

impl RateLimitConfig {
    /// What who has proved who it is may send.
    pub fn of_principals(&self) -> Quota {
        self.quota(self.rate_limit_max_requests)
    }

    /// What an address may send without proving anything.
    pub fn of_addresses(&self) -> Quota {
        self.quota(self.rate_limit_public_max_requests)
    }

    fn quota(&self, max_requests: u32) -> Quota {
        Quota { max_requests, window: Duration::from_millis(self.rate_limit_window_ms) }
    }
}

/// How many requests may be sent in how long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many, 1 at the least.
    pub max_requests: u32,
    /// In how long a time.
    pub window: Duration,
}

/// Whom requests are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, whatever the session.
    User(Uuid),
    /// An API key.
    ApiKey(Uuid),
    /// An address that calls public RPCs; for IPv6 its /64 network, of which one
    /// subscriber has a whole one.
    Address(Option<IpAddr>),
    /// The same for credentials that are not good. Apart from the public RPCs,
    /// so that many logins from one address keep out nobody who is logged in.
    Failures(Option<IpAddr>),
    /// A user who calls what is not allowed, whatever the credential. Apart from
    /// what is allowed, which goes on.
    Denials(Uuid),
}

/// Where a subject stands after a request, as the `ratelimit-*` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may pass.
    pub allowed: bool,
    /// How many requests the window has.
    pub limit: u32,
    /// How many are left, as far as this replica knows.
    pub remaining: u32,
    /// When there are new ones.
    pub resets_in: Duration,
}

/// Limits that all replicas keep together: each leases requests from the database
/// in chunks, and spends them without asking. When the database is away, each
/// keeps the limit by itself.
#[derive(Clone)]
pub struct RateLimit {
    config: RateLimitConfig,
    entries: Cache<Subject, Arc<Entry>>,
    local: LocalLimit,
    away_until: Arc<Mutex<Option<Instant>>>,
    db: PgPool,
}

/// What is known of one subject.
#[derive(Default)]
struct Entry {
    lease: Mutex<Lease>,
    /// Who holds it asks the database; all others wait for what comes.
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl Standing {
    /// Adds the headers to an answer.
    pub(in crate::access) fn tell(self, headers: &mut HeaderMap) {
        // Whole seconds, and never too early.
        let seconds = self.resets_in.as_millis().div_ceil(1000);
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
}

impl From<Standing> for Error {
    fn from(standing: Standing) -> Self {
        Error::RateLimited { retry_after: standing.resets_in }
    }
}

impl Subject {
    /// Who calls public RPCs from `address`.
    pub fn address(address: Option<IpAddr>) -> Self {
        Subject::Address(address.map(subscriber))
    }

    /// Who fails to prove who it is from `address`.
    pub fn failures(address: Option<IpAddr>) -> Self {
        Subject::Failures(address.map(subscriber))
    }

    /// As the database knows it.
    fn text(self) -> String {
        let address = |it: Option<IpAddr>| it.map(|it| it.to_string()).unwrap_or_default();
        match self {
            Subject::User(id) => format!("user:{id}"),
            Subject::ApiKey(id) => format!("api_key:{id}"),
            Subject::Address(it) => format!("address:{}", address(it)),
            Subject::Failures(it) => format!("failures:{}", address(it)),
            Subject::Denials(id) => format!("denials:{id}"),
        }
    }
}

/// Who has this address: for IPv6 the /64 network, of which one has a whole one.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & (!0 << 64))),
        v4 => v4,
    }
}

impl RateLimit {
    /// Limits that are kept with the other replicas on `db`.
    pub fn new(config: RateLimitConfig, db: PgPool) -> Self {
        let entries = Cache::builder().max_capacity(SUBJECTS_MAX).time_to_idle(REMEMBERED_FOR);
        Self {
            config,
            entries: entries.build(),
            local: LocalLimit::new(),
            away_until: Arc::default(),
            db,
        }
    }

    /// What `subject` may send, unless it has a quota of its own.
    pub fn quota(&self, subject: Subject) -> Quota {
        match subject {
            Subject::Address(_) | Subject::Failures(_) | Subject::Denials(_) => {
                self.config.of_addresses()
            }
            Subject::User(_) | Subject::ApiKey(_) => self.config.of_principals(),
        }
    }

    /// Counts one request of `subject`. Waits for the database only when nothing
    /// is leased.
    pub async fn take(&self, subject: Subject, quota: Quota) -> Standing {
        let entry = self.entries.get_with(subject, Arc::default);
        match entry.take(quota) {
            Taken::Decided { standing, low } => {
                if low && !self.is_away() {
                    self.lease_ahead(subject, quota, &entry);
                }
                standing
            }
            Taken::Nothing => self.lease_and_take(subject, quota, &entry).await,
        }
    }

    /// Counts a refusal of what this user called, before it is recorded: nobody may
    /// fill the audit trail. For the user and not the address, so that a stranger
    /// behind the same one can't use it up.
    ///
    /// # Errors
    /// Where who had too many stands.
    pub async fn deny(&self, user_id: Uuid) -> Result<(), Standing> {
        let denials = Subject::Denials(user_id);
        let standing = self.take(denials, self.quota(denials)).await;
        if standing.allowed { Ok(()) } else { Err(standing) }
    }

    /// The standing of a subject that this replica knows to have used up its
    /// quota; none if it may have some. Counts nothing and asks nobody.
    pub fn used_up(&self, subject: Subject, quota: Quota) -> Option<Standing> {
        self.entries.get(&subject)?.lease().used_up(quota, Instant::now())
    }

    async fn lease_and_take(&self, subject: Subject, quota: Quota, entry: &Entry) -> Standing {
        // As many turns as requests wait for the same subject; each lease is
        // greater than the one before. Whether the database is away is asked again in
        // the turn: who waited for one that did not answer must not ask it once more.
        while !self.is_away() {
            let _asking = entry.asking.lock().await;
            if let Taken::Decided { standing, .. } = entry.take(quota) {
                return standing;
            }
            if self.is_away() || !self.lease(subject, quota, entry).await {
                break;
            }
            if let Taken::Decided { standing, .. } = entry.take(quota) {
                return standing;
            }
        }
        self.local.take(subject, quota, Instant::now())
    }

    /// Leases before the last request of the lease is spent, unless that is
    /// being done already.
    fn lease_ahead(&self, subject: Subject, quota: Quota, entry: &Arc<Entry>) {
        let Ok(asking) = Arc::clone(&entry.asking).try_lock_owned() else { return };
        let (limit, entry) = (self.clone(), Arc::clone(entry));
        tokio::spawn(async move {
            let _asking = asking;
            limit.lease(subject, quota, &entry).await;
        });
    }

    /// Whether the database answered.
    async fn lease(&self, subject: Subject, quota: Quota, entry: &Entry) -> bool {
        let asked_at = Instant::now();
        let wanted = entry.lease().wanted(quota, asked_at);
        let asked = timeout(LEASED_WITHIN, async {
            let mut conn = self.db.acquire().await?;
            store::lease_requests(&mut conn, &subject.text(), wanted, quota).await
        });
        match asked.await {
            Ok(Ok(grant)) => {
                // Counted from before the question, so that the window never ends
                // later here than in the database.
                entry.lease().add(quota, grant, asked_at);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = error.with_cause(),
                    "can't lease requests: each replica limits by itself"
                );
                self.set_away();
                false
            }
            Err(_) => {
                tracing::warn!("leasing requests takes too long: each replica limits by itself");
                self.set_away();
                false
            }
        }
    }

    fn is_away(&self) -> bool {
        let until = self.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|it| it > Instant::now())
    }

    fn set_away(&self) {
        let mut until = self.away_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + AWAY_FOR);
    }
}

impl Entry {
    fn take(&self, quota: Quota) -> Taken {
        self.lease().take(quota, Instant::now())
    }

    fn lease(&self) -> std::sync::MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(address: &str) -> Subject {
        Subject::address(Some(address.parse().unwrap()))
    }

    #[test]
    fn one_subscriber_is_one_subject() {
        assert_eq!(subject("2001:db8:0:7::1"), subject("2001:db8:0:7:ffff::2"));
        assert_ne!(subject("2001:db8:0:7::1"), subject("2001:db8:0:8::1"));
        assert_eq!(subject("::ffff:192.0.2.7"), subject("192.0.2.7"));
        assert_ne!(subject("192.0.2.7"), subject("192.0.2.8"));
    }
}
