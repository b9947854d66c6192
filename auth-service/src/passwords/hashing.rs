//! Hashing with Argon2id (RFC 9106), off the runtime and never more at once than there are cores.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
};
use ihuman_shared::{Error, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use uuid::Uuid;

use super::{Attempt, Password};

/// KiB of memory, passes and lanes: the first choice of the OWASP Password
/// Storage Cheat Sheet.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// What a stored hash may ask for at the most, in the same units: it must not
/// take the machine down.
const MEMORY_MAX: u32 = 128 << 10;
const PASSES_MAX: u32 = 10;
const LANES_MAX: u32 = 8;

/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How many requests wait for each core.
const WAITING_PER_CORE: usize = 4;
/// When to come again after being turned away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    // The hash of a password that nobody knows.
    dummy: Arc<str>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hasher {
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let params = Params::new(MEMORY, PASSES, LANES, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = argon2.hash_password(Uuid::new_v4().as_bytes())?.to_string();
        let cores = available_parallelism()?.get();
        Ok(Self {
            argon2,
            dummy: dummy.into(),
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(cores * WAITING_PER_CORE)),
        })
    }

    /// The hash to store, as a PHC string.
    ///
    /// # Errors
    /// `Overloaded`, when too many others are waiting.
    pub(crate) async fn hash(&self, password: &Password) -> Result<String> {
        let (argon2, password) = (self.argon2.clone(), password.0.clone());
        let hash = move || argon2.hash_password(password.reveal().as_bytes());
        let hash = self.run(hash).await?.map_err(Error::internal)?;
        Ok(hash.to_string())
    }

    /// Whether `attempt` is the password of `hash`. Without a hash it is not, and
    /// to find that out takes as long.
    ///
    /// # Errors
    /// `Overloaded`, when too many others are waiting.
    pub(crate) async fn verify(&self, attempt: &Attempt, hash: Option<&str>) -> Result<bool> {
        let usable = hash.and_then(readable);
        let dummy = || PasswordHash::new(&self.dummy).map_err(Error::internal);
        let (is_real, hash) = match usable {
            Some(hash) => (true, hash),
            None => (false, dummy()?),
        };
        let (argon2, attempt) = (self.argon2.clone(), attempt.0.clone());
        let verify = move || argon2.verify_password(attempt.reveal().as_bytes(), &hash).is_ok();
        Ok(self.run(verify).await? && is_real)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permit().await?;
        let done = spawn_blocking(move || {
            // Given back when the work is done, and not when the request that
            // asked for it is cancelled.
            let _permit = permit;
            work()
        });
        done.await.map_err(Error::internal)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let overloaded = Error::Overloaded { retry_after: RETRY_AFTER };
        let Ok(_place) = self.waiting.try_acquire() else { return Err(overloaded) };
        match timeout(WAIT_MAX, Arc::clone(&self.running).acquire_owned()).await {
            Ok(permit) => permit.map_err(Error::internal),
            Err(_) => Err(overloaded),
        }
    }
}

/// A stored hash, if it can be read and does not ask for too much.
fn readable(hash: &str) -> Option<PasswordHash> {
    let hash = PasswordHash::new(hash).ok();
    let usable = hash.filter(|it| Params::try_from(it).is_ok_and(|it| is_bounded(&it)));
    if usable.is_none() {
        tracing::error!("the password hash of an account can't be used");
    }
    usable
}

fn is_bounded(params: &Params) -> bool {
    params.m_cost() <= MEMORY_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse battery";

    #[tokio::test]
    async fn a_hash_is_of_its_password_and_of_no_other() {
        let hasher = Hasher::new().unwrap();
        let hash = hasher.hash(&Password::parse("it", PASSWORD.to_owned()).unwrap()).await.unwrap();
        let verify = async |text: &str, hash| {
            let attempt = Attempt::parse("it", text.to_owned()).unwrap();
            hasher.verify(&attempt, hash).await.unwrap()
        };

        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(PASSWORD, Some(&hash)).await);
        assert!(!verify("correct horse batterz", Some(&hash)).await);
        assert!(!verify(PASSWORD, None).await);
        assert!(!verify(PASSWORD, Some("not a hash")).await);
    }

    #[test]
    fn a_stored_hash_can_not_ask_for_too_much() {
        let hash = |params| format!("$argon2id$v=19${params}$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA");

        assert!(readable(&hash("m=131072,t=10,p=8")).is_some());
        assert!(readable(&hash("m=131073,t=1,p=1")).is_none());
        assert!(readable(&hash("m=19456,t=11,p=1")).is_none());
        assert!(readable(&hash("m=19456,t=2,p=9")).is_none());
    }
}
