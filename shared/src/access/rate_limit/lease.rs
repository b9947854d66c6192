//! The requests that this replica has leased for one subject.

use std::time::{Duration, Instant};

use super::{Quota, Standing};

/// A lease that is spent within this time is followed by one of twice the size.
const SPENT_FAST: Duration = Duration::from_secs(1);
/// And one that lasts for longer than this by one of half the size.
const SPENT_SLOWLY: Duration = Duration::from_secs(10);

/// What the database granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) granted: u32,
    /// What is left for everybody after it.
    pub(super) remaining: u32,
    /// When the subject's window ends, from when it was asked.
    pub(super) resets_in: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is allowed, or the quota is used up.
    Decided {
        standing: Standing,
        /// Whether it is time to lease more.
        low: bool,
    },
    /// Nothing is leased; the database may grant more.
    Nothing,
}

/// The requests that are leased, of the window that ends at `ends_at`.
#[derive(Debug, Default)]
pub(super) struct Lease {
    window: Option<Window>,
    chunk: u32,
    leased_at: Option<Instant>,
}

#[derive(Debug)]
struct Window {
    quota: Quota,
    ends_at: Instant,
    left: u32,
    // What the database had left when it was last asked.
    elsewhere: u32,
}

impl Lease {
    /// Spends one request, if one is leased.
    pub(super) fn take(&mut self, quota: Quota, now: Instant) -> Taken {
        let chunk = self.chunk;
        let Some(window) = self.current(quota, now) else { return Taken::Nothing };
        match window.left.checked_sub(1) {
            None if window.elsewhere == 0 => {
                Taken::Decided { standing: window.standing(false, now), low: false }
            }
            None => Taken::Nothing,
            Some(left) => {
                window.left = left;
                let low = left < chunk.div_ceil(2) && window.elsewhere > 0;
                Taken::Decided { standing: window.standing(true, now), low }
            }
        }
    }

    /// The standing, if the whole quota is used up.
    pub(super) fn used_up(&mut self, quota: Quota, now: Instant) -> Option<Standing> {
        let window = self.current(quota, now)?;
        (window.left == 0 && window.elsewhere == 0).then(|| window.standing(false, now))
    }

    /// How many to ask for: few at first and more as they are spent faster, but
    /// never more than a twentieth of the quota, which another replica may miss.
    pub(super) fn wanted(&mut self, quota: Quota, now: Instant) -> u32 {
        let (least, most) = ((quota.max_requests / 100).max(1), (quota.max_requests / 20).max(1));
        let lasted = self.leased_at.map(|it| now.duration_since(it));
        self.chunk = match lasted {
            Some(it) if it < SPENT_FAST => self.chunk.saturating_mul(2),
            Some(it) if it > SPENT_SLOWLY => self.chunk / 2,
            _ => self.chunk,
        };
        self.chunk = self.chunk.clamp(least, most);
        self.chunk
    }

    /// Adds what was granted to a lease that was asked for at `asked_at`.
    pub(super) fn add(&mut self, quota: Quota, grant: Grant, asked_at: Instant) {
        self.leased_at = Some(asked_at);
        let ends_at = asked_at + grant.resets_in;
        // The answer may be of the next window already: what was left is void then.
        let same = |it: &&mut Window| ends_at < it.ends_at + quota.window / 2;
        match self.current(quota, asked_at).filter(same) {
            Some(window) => {
                window.left = window.left.saturating_add(grant.granted);
                window.elsewhere = grant.remaining;
                window.ends_at = ends_at;
            }
            None => {
                let (left, elsewhere) = (grant.granted, grant.remaining);
                self.window = Some(Window { quota, ends_at, left, elsewhere });
            }
        }
    }

    /// The window, if it has not ended and is of this quota.
    fn current(&mut self, quota: Quota, now: Instant) -> Option<&mut Window> {
        self.window.as_mut().filter(|it| it.quota == quota && it.ends_at > now)
    }
}

impl Window {
    fn standing(&self, allowed: bool, now: Instant) -> Standing {
        Standing {
            allowed,
            limit: self.quota.max_requests,
            remaining: self.left.saturating_add(self.elsewhere),
            resets_in: self.ends_at.duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { max_requests: 2000, window: Duration::from_secs(60) };

    fn grant(granted: u32, remaining: u32) -> Grant {
        Grant { granted, remaining, resets_in: QUOTA.window }
    }

    fn allowed(lease: &mut Lease, quota: Quota, now: Instant) -> Option<bool> {
        match lease.take(quota, now) {
            Taken::Decided { standing, .. } => Some(standing.allowed),
            Taken::Nothing => None,
        }
    }

    #[test]
    fn what_is_leased_is_spent_without_asking_and_no_more() {
        let (mut lease, now) = (Lease::default(), Instant::now());
        assert_eq!(allowed(&mut lease, QUOTA, now), None);

        lease.add(QUOTA, grant(2, 5), now);

        assert_eq!(allowed(&mut lease, QUOTA, now), Some(true));
        assert_eq!(allowed(&mut lease, QUOTA, now), Some(true));
        assert_eq!(allowed(&mut lease, QUOTA, now), None);
        assert!(lease.used_up(QUOTA, now).is_none());
    }

    #[test]
    fn who_used_up_the_quota_waits_for_the_next_window() {
        let (mut lease, now) = (Lease::default(), Instant::now());
        lease.add(QUOTA, grant(1, 0), now);

        assert_eq!(allowed(&mut lease, QUOTA, now), Some(true));
        assert_eq!(allowed(&mut lease, QUOTA, now), Some(false));
        let standing = lease.used_up(QUOTA, now + QUOTA.window / 3).unwrap();
        assert_eq!((standing.remaining, standing.resets_in), (0, QUOTA.window * 2 / 3));
        assert_eq!(allowed(&mut lease, QUOTA, now + QUOTA.window), None);
    }

    #[test]
    fn nothing_is_taken_into_the_next_window() {
        let (mut lease, now) = (Lease::default(), Instant::now());
        lease.add(QUOTA, grant(100, 0), now);
        let late = now + QUOTA.window - Duration::from_millis(1);

        lease.add(QUOTA, grant(1, 5), late);

        assert_eq!(allowed(&mut lease, QUOTA, late), Some(true));
        assert_eq!(allowed(&mut lease, QUOTA, late), None);
    }

    #[test]
    fn another_quota_is_not_the_one_that_was_leased_under() {
        let (mut lease, now) = (Lease::default(), Instant::now());
        lease.add(QUOTA, grant(1, 0), now);

        let greater = Quota { max_requests: 3000, ..QUOTA };

        assert_eq!(allowed(&mut lease, greater, now), None);
    }

    #[test]
    fn more_is_leased_before_the_last_request_is_spent() {
        let (mut lease, now) = (Lease::default(), Instant::now());
        let wanted = lease.wanted(QUOTA, now);
        lease.add(QUOTA, grant(wanted, 1000), now);

        let low = (0..wanted)
            .filter(|_| matches!(lease.take(QUOTA, now), Taken::Decided { low: true, .. }));

        assert_eq!(low.count(), 10);
    }

    #[test]
    fn leases_grow_and_shrink_with_the_demand_within_bounds() {
        let (mut lease, mut now) = (Lease::default(), Instant::now());
        let mut sizes = Vec::new();
        for lasts in [0, 0, 0, 0, 5, 20, 20, 20, 20].map(Duration::from_secs) {
            now += lasts;
            let wanted = lease.wanted(QUOTA, now);
            lease.add(QUOTA, grant(wanted, 1000), now);
            sizes.push(wanted);
        }

        assert_eq!(sizes, [20, 40, 80, 100, 100, 50, 25, 20, 20]);
    }
}
