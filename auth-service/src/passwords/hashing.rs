//! Hashing with Argon2id (RFC 9106), off the runtime and never more at once than there are cores.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
};
use aws_lc_rs::digest::{SHA256, digest};
use ihuman_shared::{
    Error, Result,
    credentials::{MasterKey, Secret},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{sleep_until, timeout},
};
use uuid::Uuid;

use super::{
    Attempt, Password, UNUSABLE,
    stored::{self, PEPPERED, Salt, Stored},
    threads::Threads,
};
use crate::config::PasswordConfig;

/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How many requests wait for each core.
const WAITING_PER_CORE: usize = 4;
/// When to come again after being turned away.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a refusal is held back at the most, so that it takes as long as others.
const HELD_BACK_MAX: Duration = Duration::from_secs(2);

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(crate) struct Hasher {
    own: Own,
    // The hash of a password that nobody knows.
    dummy: Arc<str>,
    // How many milliseconds the slowest foreign hash took.
    slowest_ms: Arc<AtomicU64>,
    threads: Threads,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    importing: Arc<Semaphore>,
}

/// Hashes for one batch of accounts, one after another.
pub(crate) struct Importing<'a> {
    hasher: &'a Hasher,
    _turn: SemaphorePermit<'a>,
}

/// What comparing an attempt with a stored hash says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not the password.
    Wrong,
    /// It is; and if the hash is not of the present form, this one is.
    Good { renewed: Option<String> },
}

/// The form in which passwords are stored from now on.
#[derive(Clone)]
struct Own {
    params: Params,
    pepper: Arc<[u8; 32]>,
    is_peppered: bool,
}

impl Hasher {
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn new(config: &PasswordConfig, master_key: &MasterKey) -> anyhow::Result<Self> {
        let PasswordConfig { argon2_memory_kib: m, argon2_passes: t, argon2_lanes: p, .. } =
            *config;
        let params = Params::new(m, t, p, None)?;
        let pepper = Arc::new(master_key.derive("password pepper"));
        let own = Own { params, pepper, is_peppered: config.password_pepper };
        let cores = available_parallelism()?.get();
        Ok(Self {
            dummy: own.hash(Uuid::new_v4().as_bytes())?.into(),
            own,
            slowest_ms: Arc::default(),
            threads: Threads::start(cores)?,
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(cores * WAITING_PER_CORE)),
            importing: Arc::new(Semaphore::new(1)),
        })
    }

    /// The hash to store.
    ///
    /// # Errors
    /// `Overloaded`, when too many others are waiting.
    pub(crate) async fn hash(&self, password: &Password) -> Result<String> {
        let (own, password) = (self.own.clone(), password.0.clone());
        self.run(move || own.hash(password.reveal().as_bytes())).await?
    }

    /// The one place for a batch of accounts from another system.
    ///
    /// # Errors
    /// `Overloaded`, when another batch has it.
    pub(crate) fn importing(&self) -> Result<Importing<'_>> {
        let turn = self.importing.try_acquire();
        let turn = turn.map_err(|_| Error::Overloaded { retry_after: RETRY_AFTER })?;
        Ok(Importing { hasher: self, _turn: turn })
    }

    /// Whether `attempt` is the password of `hash`. Without a hash it is not, and
    /// to find that out takes as long.
    ///
    /// # Errors
    /// `Overloaded`, when too many others are waiting.
    pub(crate) async fn verify(&self, attempt: &Attempt, hash: Option<&str>) -> Result<Verdict> {
        let (started, verdict) = self.find_out(attempt, hash).await?;
        if verdict == Verdict::Wrong {
            self.hold_back(started).await;
        }
        Ok(verdict)
    }

    /// The same for an account that is refused whatever the password is: a right one
    /// takes as long as a wrong one.
    ///
    /// # Errors
    /// `Overloaded`, when too many others are waiting.
    pub(crate) async fn verify_refused(
        &self,
        attempt: &Attempt,
        hash: Option<&str>,
    ) -> Result<Verdict> {
        let (started, verdict) = self.find_out(attempt, hash).await?;
        self.hold_back(started).await;
        Ok(verdict)
    }

    /// The refusal of an account with a slow foreign hash must look like any other.
    async fn hold_back(&self, started: Instant) {
        let held_back = Duration::from_millis(self.slowest_ms.load(Ordering::Relaxed));
        sleep_until((started + held_back).into()).await;
    }

    /// Also says when it began to be found out.
    async fn find_out(&self, attempt: &Attempt, hash: Option<&str>) -> Result<(Instant, Verdict)> {
        let usable = hash.and_then(|it| {
            let stored = Stored::read(it);
            if stored.is_none() && it != UNUSABLE {
                tracing::error!("the password hash of an account can't be used");
            }
            stored
        });
        let is_real = usable.is_some();
        let stored = usable.or_else(|| Stored::read(&self.dummy));
        let stored = stored.ok_or_else(|| Error::internal(anyhow::anyhow!("the dummy hash")))?;

        let (own, attempt, slowest_ms) =
            (self.own.clone(), attempt.clone(), self.slowest_ms.clone());
        let verify = move || -> Result<(Instant, Verdict)> {
            let started = Instant::now();
            let is_current = own.is_current(&stored);
            let is_good = own.verifies(&attempt, &stored) && is_real;
            if !is_current {
                let took = started.elapsed().min(HELD_BACK_MAX).as_millis();
                slowest_ms.fetch_max(took.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            match (is_good, is_current) {
                (false, _) => Ok((started, Verdict::Wrong)),
                (true, true) => Ok((started, Verdict::Good { renewed: None })),
                // Under the same permit, so that nobody waits twice for a turn.
                (true, false) => {
                    let renewed = Some(own.hash(attempt.normal.reveal().as_bytes())?);
                    Ok((started, Verdict::Good { renewed }))
                }
            }
        };
        self.run(verify).await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permit().await?;
        self.under(permit, work).await
    }

    async fn under<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let work = move || {
            // Given back when the work is done, and not when the request that asked for
            // it is cancelled.
            let _permit = permit;
            work()
        };
        self.threads.run(work).await
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

impl Importing<'_> {
    /// The hash to store for an account that comes with a SHA-256: alone it would be
    /// guessed too fast. Waits for its turn as long as it takes, behind who waits already.
    pub(crate) async fn wrap_sha256(&self, digest: [u8; 32], salt: Salt) -> Result<String> {
        let params = self.hasher.own.params.clone();
        let permit = Arc::clone(&self.hasher.running).acquire_owned().await;
        let wrap = move || {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let hash = argon2.hash_password(hex(&digest).as_bytes()).map_err(Error::internal)?;
            Ok(stored::over_sha256(&salt, &hash))
        };
        self.hasher.under(permit.map_err(Error::internal)?, wrap).await?
    }
}

impl Verdict {
    /// Whether it is the password.
    pub(crate) fn is_good(&self) -> bool {
        *self != Verdict::Wrong
    }
}

impl Own {
    fn hash(&self, password: &[u8]) -> Result<String> {
        let argon2 = self.argon2(self.is_peppered)?;
        let hash = argon2.hash_password(password).map_err(Error::internal)?;
        Ok(if self.is_peppered { format!("{PEPPERED}{hash}") } else { hash.to_string() })
    }

    fn argon2(&self, peppered: bool) -> Result<Argon2<'_>> {
        // Argon2's own secret input (RFC 9106 section 3.1).
        let secret: &[u8] = if peppered { self.pepper.as_slice() } else { &[] };
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        Argon2::new_with_secret(secret, algorithm, version, self.params.clone())
            .map_err(Error::internal)
    }

    /// Whether `stored` is what [`hash`](Self::hash) makes now.
    fn is_current(&self, stored: &Stored) -> bool {
        let Stored::Own { peppered, hash } = stored else { return false };
        let same = |it: Params| {
            let costs = |it: &Params| (it.m_cost(), it.t_cost(), it.p_cost());
            costs(&it) == costs(&self.params)
        };
        *peppered == self.is_peppered
            && hash.algorithm.as_str() == "argon2id"
            && Params::try_from(hash).is_ok_and(same)
    }

    fn verifies(&self, attempt: &Attempt, stored: &Stored) -> bool {
        let typed = attempt.typed.reveal().as_bytes();
        let argon2 = |peppered, password: &[u8], hash: &PasswordHash| {
            let argon2 = self.argon2(peppered);
            argon2.is_ok_and(|it| it.verify_password(password, hash).is_ok())
        };
        match stored {
            Stored::Own { peppered, hash } => {
                argon2(*peppered, attempt.normal.reveal().as_bytes(), hash)
            }
            Stored::Argon2(hash) => argon2(false, typed, hash),
            Stored::Bcrypt(hash) => bcrypt::verify(typed, hash).unwrap_or(false),
            Stored::Sha256 { salt, hash } => {
                argon2(false, sha256(salt, &attempt.typed).as_bytes(), hash)
            }
        }
    }
}

fn sha256(salt: &Salt, password: &Secret) -> String {
    let password = password.reveal().as_bytes();
    let text = match salt.is_suffix {
        true => [password, &salt.bytes].concat(),
        false => [&salt.bytes, password].concat(),
    };
    hex(digest(&SHA256, &text).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Candidate, *};
    use crate::passwords::Owner;

    const PASSWORD: &str = "a lamp for the blue attic";

    fn hasher(config: PasswordConfig) -> Hasher {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        Hasher::new(&config, &key).unwrap()
    }

    const PLAIN: PasswordConfig = PasswordConfig {
        argon2_memory_kib: 19_456,
        argon2_passes: 2,
        argon2_lanes: 1,
        password_pepper: false,
    };

    async fn hash(hasher: &Hasher) -> String {
        let owner = Owner { email: "ann@example.com", display_name: "Ann" };
        let password = Candidate::parse("it", PASSWORD.to_owned()).unwrap().of(owner).unwrap();
        hasher.hash(&password).await.unwrap()
    }

    async fn verify(hasher: &Hasher, text: &str, hash: Option<&str>) -> Verdict {
        let attempt = Attempt::parse("it", text.to_owned()).unwrap();
        hasher.verify(&attempt, hash).await.unwrap()
    }

    #[tokio::test]
    async fn a_hash_is_of_its_password_and_of_no_other() {
        let hasher = hasher(PLAIN);
        let hash = hash(&hasher).await;

        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let good = Verdict::Good { renewed: None };
        assert_eq!(verify(&hasher, PASSWORD, Some(&hash)).await, good);
        assert_eq!(verify(&hasher, "a lamp for the blue attik", Some(&hash)).await, Verdict::Wrong);
        assert_eq!(verify(&hasher, PASSWORD, None).await, Verdict::Wrong);
        assert_eq!(verify(&hasher, PASSWORD, Some("not a hash")).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_of_another_form_is_renewed_and_under_another_pepper_is_worth_nothing() {
        let plain = hasher(PLAIN);
        let peppered = hasher(PasswordConfig { password_pepper: true, ..PLAIN });
        let stronger = hasher(PasswordConfig { argon2_passes: 3, ..PLAIN });
        let hash = hash(&plain).await;

        for other in [&peppered, &stronger] {
            let verdict = verify(other, PASSWORD, Some(&hash)).await;
            let Verdict::Good { renewed: Some(renewed) } = verdict else { panic!("{verdict:?}") };
            let again = verify(other, PASSWORD, Some(&renewed)).await;
            assert_eq!(again, Verdict::Good { renewed: None });
            // Turned off again, what was stored under it still counts.
            assert!(verify(&plain, PASSWORD, Some(&renewed)).await.is_good());
            let without = renewed.replace(PEPPERED, "");
            let counts = verify(&plain, PASSWORD, Some(&without)).await.is_good();
            assert_eq!(counts, without == renewed);
        }
    }

    #[tokio::test]
    async fn a_right_password_that_is_refused_takes_as_long_as_a_wrong_one() {
        let hasher = hasher(PLAIN);
        hasher.slowest_ms.store(500, Ordering::Relaxed);
        let attempt = Attempt::parse("it", PASSWORD.to_owned()).unwrap();
        let hash = hasher.own.hash(PASSWORD.as_bytes()).unwrap();
        let started = Instant::now();
        assert!(hasher.verify_refused(&attempt, Some(&hash)).await.unwrap().is_good());
        assert!(started.elapsed() >= Duration::from_millis(500));
    }

    #[tokio::test]
    async fn foreign_hashes_are_of_the_password_as_it_was_typed() {
        let hasher = hasher(PLAIN);
        let typed = "ﬁve cafe\u{301}s";
        let bcrypt = bcrypt::hash(typed, 4).unwrap();
        let argon2 = Argon2::default().hash_password(typed.as_bytes()).unwrap().to_string();
        let mut hashes =
            vec![stored::import_bcrypt(&bcrypt).unwrap(), stored::import_argon2(&argon2).unwrap()];
        for is_suffix in [false, true] {
            let salt = Salt { bytes: b"salt".to_vec(), is_suffix };
            let text = if is_suffix { format!("{typed}salt") } else { format!("salt{typed}") };
            let digest = digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap();
            hashes.push(hasher.importing().unwrap().wrap_sha256(digest, salt).await.unwrap());
        }

        for hash in hashes {
            let verdict = verify(&hasher, typed, Some(&hash)).await;
            let Verdict::Good { renewed: Some(renewed) } = verdict else { panic!("{hash}") };
            assert_eq!(verify(&hasher, "five cafés", Some(&hash)).await, Verdict::Wrong);
            assert!(verify(&hasher, "five cafés", Some(&renewed)).await.is_good());
        }
    }
}
