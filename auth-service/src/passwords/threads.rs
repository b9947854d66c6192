//! The threads that hash: of their own, so that they step back for everything else.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use ihuman_shared::{Error, Result};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// So many threads, until every clone is dropped.
#[derive(Clone)]
pub(super) struct Threads(Sender<Job>);

impl Threads {
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn start(count: usize) -> anyhow::Result<Self> {
        let (sender, jobs) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..count {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new().name(format!("hash-{number}"));
            thread.spawn(move || work_off(&jobs))?;
        }
        Ok(Threads(sender))
    }

    /// Does `work` on the next thread that is free.
    ///
    /// # Errors
    /// `Internal`, when it panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        // Nobody may be waiting for it any more.
        let sent = self.0.send(Box::new(move || drop(done.send(work()))));
        sent.map_err(|_| Error::internal(anyhow::anyhow!("the threads that hash are gone")))?;
        result.await.map_err(Error::internal)
    }
}

fn work_off(jobs: &Mutex<Receiver<Job>>) {
    step_back();
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(job) = next() {
        // Its own request learns that it panicked; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// A hash takes a core for many milliseconds, which a request with a token must not
/// wait for: where both want the core, the request gets it. Only Linux has a niceness
/// for each thread.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "logins may slow other requests down");
    }
}

/// A tenth of a core, where something else wants the rest.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_hashes_steps_back_and_who_waits_for_it_does_not() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let threads = Threads::start(1).unwrap();

        assert_eq!(threads.run(niceness).await.unwrap(), NICENESS);
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn work_that_panics_fails_alone() {
        let threads = Threads::start(1).unwrap();

        assert!(threads.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }
}
