//! How many requests one principal or address may send in a time.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;
use uuid::Uuid;

use crate::{Error, Result};

/// How many subjects are remembered at once; the least used are forgotten first.
const SUBJECTS_MAX: u64 = 100_000;

/// The limit, with the same names as in the environment.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct RateLimitConfig {
    /// Over how many milliseconds requests are counted.
    #[arg(long, env, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    pub rate_limit_window_ms: u64,

    /// How many requests a principal, or an address without credentials, may send in the window.
    #[arg(long, env, default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit_max_requests: u32,
}

/// Whom requests are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, whatever the session.
    User(Uuid),
    /// An API key.
    ApiKey(Uuid),
    /// An address that has not proved who it is.
    Address(Option<IpAddr>),
}

/// The generic cell rate algorithm: a subject may send all of its requests at
/// once, and earns them back evenly over the window.
#[derive(Clone)]
pub struct RateLimit {
    interval: Duration,
    window: Duration,
    // The time at which a subject's requests so far are earned back.
    earned_back: Cache<Subject, Arc<Mutex<Instant>>>,
}

impl RateLimit {
    /// A limit of `config.rate_limit_max_requests` in each window.
    pub fn new(config: RateLimitConfig) -> Self {
        let window = Duration::from_millis(config.rate_limit_window_ms);
        let earned_back = Cache::builder().max_capacity(SUBJECTS_MAX).time_to_idle(window).build();
        Self { interval: window / config.rate_limit_max_requests, window, earned_back }
    }

    /// Counts one request of `subject` at `now`.
    ///
    /// # Errors
    /// `RateLimited`, with the time after which one more is allowed; it is not counted.
    pub fn take(&self, subject: Subject, now: Instant) -> Result<()> {
        self.admit(subject, now, self.interval)
    }

    /// Whether [`take`](Self::take) would succeed, without counting.
    ///
    /// # Errors
    /// As `take`.
    pub fn check(&self, subject: Subject, now: Instant) -> Result<()> {
        self.admit(subject, now, Duration::ZERO)
    }

    fn admit(&self, subject: Subject, now: Instant, cost: Duration) -> Result<()> {
        let entry = self.earned_back.get_with(subject, || Arc::new(Mutex::new(now)));
        let mut earned_back = entry.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*earned_back).max(now) + self.interval;
        match next.duration_since(now).checked_sub(self.window) {
            Some(retry_after) if !retry_after.is_zero() => Err(Error::RateLimited { retry_after }),
            _ => {
                *earned_back = (*earned_back).max(now) + cost;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    fn limit() -> RateLimit {
        RateLimit::new(RateLimitConfig { rate_limit_window_ms: 1000, rate_limit_max_requests: 10 })
    }

    #[test]
    fn a_burst_of_the_whole_window_passes_and_no_more() {
        let (limit, now) = (limit(), Instant::now());
        let subject = Subject::User(Uuid::nil());

        let passed = (0..100).filter(|_| limit.take(subject, now).is_ok()).count();

        assert_eq!(passed, 10);
        assert!(limit.check(subject, now).is_err());
        assert!(limit.take(Subject::Address(None), now).is_ok());
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in_again() {
        let (limit, now) = (limit(), Instant::now());
        let subject = Subject::ApiKey(Uuid::nil());
        while limit.take(subject, now).is_ok() {}

        let Err(Error::RateLimited { retry_after }) = limit.take(subject, now) else {
            panic!("the window is used up")
        };

        assert!(retry_after <= WINDOW / 10);
        assert!(limit.take(subject, now + retry_after).is_ok());
        assert!(limit.take(subject, now + retry_after).is_err());
    }
}
