//! What time it is, for rules about time, so that a test can set it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// The system's clock, plus what a test moved it by.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The current time, in microseconds: as exact as PostgreSQL keeps it, so that a
    /// time is the same before it was stored and after.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
            + TimeDelta::milliseconds(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves this clock and its clones ahead.
    pub fn advance(&self, by: TimeDelta) {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}
