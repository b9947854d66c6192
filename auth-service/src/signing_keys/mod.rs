//! The Ed25519 keys (RFC 8032) that access tokens are signed with, and their public halves.

pub(crate) mod rpc;
mod store;
pub(crate) mod web;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use ihuman_shared::{
    Error, Result,
    audit::{self, Actor, Change},
    credentials::{Sealer, Signer},
    platform::Platform,
};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;

use self::store::PublicKey;

/// How old the answer to who asks for the public keys may be. Anyone may ask, and
/// must not make us ask the database each time.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// What signs access tokens: the shared secret if there is one, else the newest
/// key that the master key opens, which is made if there is none.
///
/// # Errors
/// When the keys can't be read or made.
pub(crate) async fn signer(platform: &Platform) -> Result<Signer> {
    if let Some(secret) = &platform.tokens().jwt_secret {
        return Ok(Signer::shared_secret(secret));
    }
    let sealer = Sealer::new(&platform.master_key, "signing key");
    let mut tx = platform.db.begin().await?;
    // Replicas that start together must not each make a key.
    store::lock_creation(&mut tx).await?;
    for key in store::list(&mut tx).await? {
        // Another master key may have sealed it; its tokens are good all the same.
        if let Ok(pkcs8) = sealer.open(&key.kid, &key.private_key_sealed) {
            return Ok(Signer::ed25519(key.kid, &pkcs8));
        }
    }
    let signer = create(&mut tx, &sealer).await?;
    tx.commit().await?;
    Ok(signer)
}

async fn create(conn: &mut PgConnection, sealer: &Sealer) -> Result<Signer> {
    let failed = |_| Error::internal(anyhow::anyhow!("an Ed25519 key can't be made"));
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(Error::internal)?;

    let kid = Uuid::now_v7().to_string();
    let sealed = sealer.seal(&kid, pkcs8.as_ref())?;
    store::insert(conn, &kid, pair.public_key().as_ref(), &sealed).await?;
    let change =
        Change::created("signing_key.create", "signing_key", &kid, json!({"algorithm": "EdDSA"}));
    audit::record(conn, &Actor::system(), change).await?;
    tracing::info!(kid, "made a signing key");
    Ok(Signer::ed25519(kid, pkcs8.as_ref()))
}

/// Every public key that a live token may be signed with.
pub(crate) struct KeySet {
    db: PgPool,
    // Tokens that are signed with a shared secret have no public key.
    has_shared_secret: bool,
    read: Mutex<Option<(Instant, Arc<Vec<PublicKey>>)>>,
}

impl KeySet {
    pub(crate) fn new(platform: &Platform) -> Self {
        let has_shared_secret = platform.tokens().jwt_secret.is_some();
        KeySet { db: platform.db.clone(), has_shared_secret, read: Mutex::new(None) }
    }

    /// The keys, newest first.
    pub(crate) async fn list(&self) -> Result<Arc<Vec<PublicKey>>> {
        if self.has_shared_secret {
            return Ok(Arc::default());
        }
        // Locked while reading, so that of many who ask one reads.
        let mut read = self.read.lock().await;
        if let Some((at, keys)) = &*read
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(keys));
        }
        let mut conn = self.db.acquire().await?;
        let keys = Arc::new(store::list_public(&mut conn).await?);
        *read = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}
