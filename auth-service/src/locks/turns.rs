//! Turns: in one process, the attempts of a subject are made one after another.
//!
//! Each attempt is counted as a failure until it is known to be none, so without turns
//! a few good logins at the same moment would make each other wait.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Enough that strangers seldom share one, which would only make them wait for a hash.
const COUNT: usize = 1024;

pub(super) struct Turns(Box<[Arc<Mutex<()>>]>);

/// Whoever holds it may try.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    pub(super) fn new() -> Self {
        Turns((0..COUNT).map(|_| Arc::default()).collect())
    }

    /// Waits for those who came before. Nobody takes a second turn while holding one,
    /// which could be the same.
    pub(super) async fn take(&self, subject_hash: &[u8]) -> Turn {
        let number = subject_hash.iter().take(2).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Arc::clone(&self.0[number % COUNT]).lock_owned().await
    }
}
