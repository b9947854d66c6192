//! How long to wait after how many failures (NIST SP 800-63B-4 section 3.2.2).

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};

use super::store::{Counting, Scope};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// What follows the failures that are free, in milliseconds; the last goes on.
const WAITS_MS: [i64; 9] = [
    SECOND,
    3 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
];
/// The first wait comes after so many failures on an account.
const OF_ACCOUNT: usize = 3;
/// The same for an address: an office behind one address mistypes more. One account
/// makes an address wait long before that, so these are failures on many.
const OF_ADDRESS: usize = 30;
/// An address that fails for so many accounts is more than an office that mistypes.
pub(super) const MANY_ACCOUNTS: i32 = 10;
/// NIST allows no more than so many in a row; then once a day.
const IN_A_ROW_MAX: i32 = 100;

/// How long a count of an account is kept without another failure.
pub(super) const KEPT_FOR: TimeDelta = TimeDelta::days(30);
/// The same for an address, whose users change.
const ADDRESS_KEPT_FOR: TimeDelta = TimeDelta::hours(1);

/// What an attempt at `now` is counted by.
pub(super) fn counting(scope: Scope, now: DateTime<Utc>) -> Counting {
    match scope {
        Scope::Account | Scope::Device | Scope::Session => Counting {
            now,
            waits_ms: waits(OF_ACCOUNT, &WAITS_MS),
            long_wait_from: IN_A_ROW_MAX,
            long_wait_until: next_day(now),
            forgotten_before: now - KEPT_FOR,
            is_afterwards: false,
        },
        Scope::Address => Counting {
            now,
            // Not the hour, and never a day: there may be others behind it.
            waits_ms: waits(OF_ADDRESS, &WAITS_MS[..8]),
            long_wait_from: i32::MAX,
            long_wait_until: now,
            forgotten_before: now - ADDRESS_KEPT_FOR,
            is_afterwards: true,
        },
    }
}

fn waits(first_after: usize, waits_ms: &[i64]) -> Vec<i64> {
    let mut waits = vec![0; first_after - 1];
    waits.extend(waits_ms);
    waits
}

/// The next midnight (UTC), or an hour from now if that is later.
fn next_day(now: DateTime<Utc>) -> DateTime<Utc> {
    let midnight = (now.date_naive() + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
    midnight.max(now + TimeDelta::milliseconds(HOUR))
}
