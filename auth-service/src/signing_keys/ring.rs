//! The private keys in memory, of which the clock says the one that signs.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    audit::Actor,
    credentials::{Claims, Sealer, Signer},
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
    },
}

struct Held {
    kid: String,
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
        Ok(KeyRing(Arc::new(Kind::Rotating { sealer, keys: RwLock::new(keys) })))
    }

    /// Reads the keys again. One that is there still keeps what it was opened to.
    pub(crate) async fn reload(&self, db: &PgPool) -> Result<()> {
        let Kind::Rotating { sealer, keys } = &*self.0 else { return Ok(()) };
        let rows = {
            let mut conn = db.acquire().await?;
            store::list(&mut conn).await?
        };
        let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
        // None, rather than one that is not published any more: nobody takes its tokens.
        *keys = held(rows, sealer, &keys);
        Ok(())
    }

    /// The token that says `claims`, signed with the key of `now`.
    pub(crate) fn sign(&self, claims: &Claims, now: DateTime<Utc>) -> Result<String> {
        let keys = match &*self.0 {
            Kind::SharedSecret(signer) => return signer.sign(claims),
            Kind::Rotating { keys, .. } => keys,
        };
        let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
        // The earliest, if the clock was set back to before any.
        let key = keys.iter().find(|it| it.activates_at <= now).or(keys.last());
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
        if let Some(held) = known.iter().find(|it| it.kid == row.kid) {
            return Some(Arc::clone(held));
        }
        let activates_at = row.activates_at?;
        // Another master key may have sealed it; its tokens are good all the same.
        let Ok(pkcs8) = sealer.open(&row.kid, &row.private_key_sealed) else {
            tracing::warn!(kid = row.kid, "the master key does not open a signing key");
            return None;
        };
        let signer = Signer::ed25519(row.kid.clone(), &pkcs8);
        Some(Arc::new(Held { kid: row.kid, activates_at, signer }))
    };
    let mut held: Vec<_> = rows.into_iter().filter_map(hold).collect();
    held.sort_by_key(|it| std::cmp::Reverse(it.activates_at));
    held
}
