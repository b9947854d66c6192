//! The public keys, as everybody may have them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ihuman_shared::{Result, platform::Platform};
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::store::{self, PublicKey};

/// How old the answer to who asks for the public keys may be. Anyone may ask, and
/// must not make us ask the database each time.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// One public key with the members of RFC 7517 section 4 and RFC 8037 section 2.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct JsonWebKey {
    pub(crate) kid: String,
    pub(crate) kty: &'static str,
    pub(crate) crv: &'static str,
    pub(crate) x: String,
    pub(crate) alg: &'static str,
    pub(crate) r#use: &'static str,
}

impl From<PublicKey> for JsonWebKey {
    fn from(key: PublicKey) -> Self {
        JsonWebKey {
            kid: key.kid,
            kty: "OKP",
            crv: "Ed25519",
            x: BASE64.encode(key.public_key),
            alg: "EdDSA",
            r#use: "sig",
        }
    }
}

/// Every public key that a live token may be signed with.
pub(crate) struct KeySet {
    db: PgPool,
    // Tokens that are signed with a shared secret have no public key.
    has_shared_secret: bool,
    read: Mutex<Option<(Instant, Arc<Vec<JsonWebKey>>)>>,
}

impl KeySet {
    pub(crate) fn new(platform: &Platform) -> Self {
        let has_shared_secret = platform.tokens().jwt_secret.is_some();
        KeySet { db: platform.db.clone(), has_shared_secret, read: Mutex::new(None) }
    }

    /// Has the keys read again by the next who asks.
    pub(crate) async fn forget(&self) {
        *self.read.lock().await = None;
    }

    /// The keys, newest first.
    pub(crate) async fn list(&self) -> Result<Arc<Vec<JsonWebKey>>> {
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
        let keys = store::list_public(&mut conn).await?;
        let keys: Arc<Vec<JsonWebKey>> = Arc::new(keys.into_iter().map(Into::into).collect());
        *read = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}
