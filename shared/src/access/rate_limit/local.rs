//! The limit that one replica keeps by itself, while the database is away.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;

use super::{Quota, REMEMBERED_FOR, SUBJECTS_MAX, Standing, Subject};

/// The generic cell rate algorithm: a subject may send all of its requests at
/// once, and earns them back evenly over the window.
#[derive(Clone)]
pub(super) struct LocalLimit {
    // The time at which a subject's requests so far are earned back.
    earned_back: Cache<Subject, Arc<Mutex<Instant>>>,
}

impl LocalLimit {
    pub(super) fn new() -> Self {
        let earned_back = Cache::builder().max_capacity(SUBJECTS_MAX).time_to_idle(REMEMBERED_FOR);
        Self { earned_back: earned_back.build() }
    }

    /// Counts one request of `subject` at `now`, if it is allowed.
    pub(super) fn take(&self, subject: Subject, quota: Quota, now: Instant) -> Standing {
        let interval = quota.window / quota.max_requests;
        let entry = self.earned_back.get_with(subject, || Arc::new(Mutex::new(now)));
        let mut earned_back = entry.lock().unwrap_or_else(PoisonError::into_inner);

        let next = (*earned_back).max(now) + interval;
        let waits = next.duration_since(now).saturating_sub(quota.window);
        let allowed = waits.is_zero();
        if allowed {
            *earned_back = next;
        }
        let owed = earned_back.saturating_duration_since(now);
        Standing {
            allowed,
            limit: quota.max_requests,
            remaining: free(quota, interval, owed),
            resets_in: if allowed { owed } else { waits },
        }
    }
}

/// How many more requests are earned already.
fn free(quota: Quota, interval: Duration, owed: Duration) -> u32 {
    let used = owed.as_nanos().div_ceil(interval.as_nanos().max(1));
    quota.max_requests.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const QUOTA: Quota = Quota { max_requests: 10, window: Duration::from_secs(1) };

    #[test]
    fn a_burst_of_the_whole_window_passes_and_no_more() {
        let (limit, now) = (LocalLimit::new(), Instant::now());
        let subject = Subject::User(Uuid::nil());

        let standings: Vec<_> = (0..100).map(|_| limit.take(subject, QUOTA, now)).collect();

        assert_eq!(standings.iter().filter(|it| it.allowed).count(), 10);
        assert_eq!(standings[0].remaining, 9);
        assert_eq!(standings[9].remaining, 0);
        assert!(limit.take(Subject::Address(None), QUOTA, now).allowed);
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in_again() {
        let (limit, now) = (LocalLimit::new(), Instant::now());
        let subject = Subject::ApiKey(Uuid::nil());
        while limit.take(subject, QUOTA, now).allowed {}

        let refused = limit.take(subject, QUOTA, now);

        assert!(refused.resets_in <= QUOTA.window / 10);
        assert!(limit.take(subject, QUOTA, now + refused.resets_in).allowed);
        assert!(!limit.take(subject, QUOTA, now + refused.resets_in).allowed);
    }
}
