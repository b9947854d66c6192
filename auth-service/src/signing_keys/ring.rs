//! The private keys in memory, of which the clock says the one that signs.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    audit::Actor,
    credentials::{Claims, Revocations, Sealer, Signer},
    platform::Platform,
};
use sqlx::PgPool;
use uuid::Uuid;

use super::store::{self, Row};

/// What signs access tokens: the shared secret if there is one, else the newest key
/// whose time has come. Keys are published long before they sign, so that every
/// replica has read a key before its time, and none asks the database for each token.
#[derive(Clone)]
pub(crate) struct KeyRing(Arc<Kind>);

enum Kind {
    SharedSecret(Box<Signer>),
    Rotating {
        sealer: Sealer,
        // The latest first.
        keys: RwLock<Vec<Arc<Held>>>,
        revocations: Revocations,
    },
}

struct Held {
    kid: String,
    // The same, where it is one of ours.
    id: Option<Uuid>,
    activates_at: DateTime<Utc>,
    signer: Signer,
}

impl KeyRing {
    /// Reads the keys, and makes the first if none that the master key opens signs yet.
    ///
    /// # Errors
    /// When the keys can't be read or made.
    pub(crate) async fn open(platform: &Platform) -> Result<Self> {
        if let Some(secret) = &platform.tokens().jwt_secret {
            let signer = Box::new(Signer::shared_secret(secret));
            return Ok(KeyRing(Arc::new(Kind::SharedSecret(signer))));
        }
        let sealer = Sealer::new(&platform.master_key, super::PURPOSE);
        let mut tx = platform.db.begin().await?;
        // Replicas that start together must not each make a key.
        store::lock(&mut tx).await?;
        let now = platform.clock.now();
        let mut keys = held(store::list(&mut tx).await?, &sealer, &[]);
        if !keys.iter().any(|it| it.activates_at <= now) {
            super::create(&mut tx, &sealer, Uuid::now_v7(), now, now, &Actor::system()).await?;
            keys = held(store::list(&mut tx).await?, &sealer, &keys);
        }
        tx.commit().await?;
        let (keys, revocations) = (RwLock::new(keys), platform.authenticator.revocations().clone());
        Ok(KeyRing(Arc::new(Kind::Rotating { sealer, keys, revocations })))
    }

    /// Reads the keys again. One that is there still keeps what it was opened to.
    pub(crate) async fn reload(&self, db: &PgPool) -> Result<()> {
        let Kind::Rotating { sealer, keys, .. } = &*self.0 else { return Ok(()) };
        let rows = {
            let mut conn = db.acquire().await?;
            store::list(&mut conn).await?
        };
        let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
        // None, rather than one that is not published any more: nobody takes its tokens.
        *keys = held(rows, sealer, &keys);
        Ok(())
    }

    /// Whether a key that is held has been revoked.
    pub(crate) fn holds_a_dead_key(&self) -> bool {
        let Kind::Rotating { keys, revocations, .. } = &*self.0 else { return false };
        let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter_map(|it| it.id).any(|it| revocations.is_dead_key(it))
    }

    /// The token that says `claims`, signed with the key of `now`.
    pub(crate) fn sign(&self, claims: &Claims, now: DateTime<Utc>) -> Result<String> {
        let (keys, revocations) = match &*self.0 {
            Kind::SharedSecret(signer) => return signer.sign(claims),
            Kind::Rotating { keys, revocations, .. } => (keys, revocations),
        };
        let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
        // What one that was revoked signs is dead at once; the copy may be older than that.
        let is_good = |it: &&Arc<Held>| !it.id.is_some_and(|id| revocations.is_dead_key(id));
        let mut good = keys.iter().filter(is_good);
        let newest = good.clone().find(|it| it.activates_at <= now);
        // The earliest, if the clock was set back to before any.
        let key = newest.or_else(|| good.next_back());
        let key = key.ok_or_else(|| Error::internal(anyhow::anyhow!("there is no signing key")))?;
        key.signer.sign(claims)
    }

    /// Whether there are no keys to speak of.
    pub(crate) fn has_shared_secret(&self) -> bool {
        self.sealer().is_none()
    }

    /// What seals new keys; none with a shared secret.
    pub(crate) fn sealer(&self) -> Option<&Sealer> {
        match &*self.0 {
            Kind::SharedSecret(_) => None,
            Kind::Rotating { sealer, .. } => Some(sealer),
        }
    }
}

/// Those of `rows` that sign, now or later, and that can be opened.
fn held(rows: Vec<Row>, sealer: &Sealer, known: &[Arc<Held>]) -> Vec<Arc<Held>> {
    let hold = |row: Row| {
        let activates_at = row.activates_at?;
        let is_same = |it: &&Arc<Held>| it.kid == row.kid && it.activates_at == activates_at;
        if let Some(held) = known.iter().find(is_same) {
            return Some(Arc::clone(held));
        }
        // Another master key may have sealed it; its tokens are good all the same.
        let Ok(pkcs8) = sealer.open(&row.kid, &row.private_key_sealed) else {
            tracing::warn!(kid = row.kid, "the master key does not open a signing key");
            return None;
        };
        let signer = Signer::ed25519(row.kid.clone(), &pkcs8);
        let id = row.kid.parse().ok();
        Some(Arc::new(Held { kid: row.kid, id, activates_at, signer }))
    };
    let mut held: Vec<_> = rows.into_iter().filter_map(hold).collect();
    held.sort_by_key(|it| std::cmp::Reverse(it.activates_at));
    held
}
