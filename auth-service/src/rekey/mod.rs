//! Putting everything that is sealed under another master key, in one transaction.

mod claim;
mod store;

use ihuman_shared::{
    Error, Result,
    audit::{self, Actor, Change},
    credentials::{ApiKeyHasher, MasterKey, Sealer},
    platform::Platform,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub use self::claim::claim_master_key;
use self::store::{Sealed, Table};
use crate::{auth, context, mfa, signing_keys};

/// How many values were sealed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Private halves of signing keys.
    pub signing_keys: usize,
    /// Successors of refresh tokens that are kept for a retry.
    pub refresh_tokens: usize,
    /// Answers that are kept for a retry.
    pub answers: usize,
    /// Secrets of authenticators.
    pub mfa_secrets: usize,
    /// Keys that API keys were hashed with under earlier master keys.
    pub api_key_hash_keys: usize,
}

/// The two keys.
struct Keys<'a> {
    old: &'a MasterKey,
    new: &'a MasterKey,
}

/// Seals under `new` what is sealed under the master key of `platform`. API keys
/// stay as they are: what they are hashed with is kept, sealed under `new`.
///
/// Services that run meanwhile go on with the old key, and what they seal after this
/// can't be opened with the new one: stop auth-service before, and start both
/// services with the new key after.
///
/// # Errors
/// `InvalidFields`, when the keys are the same; `WrongState`, while an account has a
/// peppered password, which the new key would make worthless; `Internal`, when something is sealed
/// under neither. Nothing is changed then.
pub async fn rekey(platform: &Platform, new: &MasterKey) -> Result<Rekeyed> {
    let old = &platform.master_key;
    if old.is(new) {
        let problem = "must not be the master key of today";
        return Err(Error::invalid("new_master_key", problem));
    }
    let keys = Keys { old, new };
    let mut tx = platform.db.begin().await?;
    signing_keys::store::lock(&mut tx).await?;
    if store::has_peppered_passwords(&mut tx).await? {
        let description = "are hashed with a pepper of the master key, and can't be hashed again \
                           without their text";
        return Err(Error::WrongState {
            subject: "passwords",
            description: description.to_owned(),
        });
    }
    let rekeyed = Rekeyed {
        signing_keys: keys.reseal(&mut tx, Table::SigningKeys, signing_keys::PURPOSE).await?,
        refresh_tokens: keys.reseal(&mut tx, Table::RefreshTokens, auth::SUCCESSORS).await?,
        answers: keys.reseal(&mut tx, Table::IdempotencyKeys, context::ANSWERS).await?,
        mfa_secrets: keys.reseal(&mut tx, Table::Totps, mfa::MFA_SECRETS).await?,
        api_key_hash_keys: keys.reseal_hash_keys(&mut tx).await?,
    };
    store::put_check_value(&mut tx, &new.check_value()).await?;
    let Rekeyed { signing_keys, refresh_tokens, answers, mfa_secrets, api_key_hash_keys } = rekeyed;
    let new = json!({
        "signing_keys": signing_keys,
        "refresh_tokens": refresh_tokens,
        "answers": answers,
        "mfa_secrets": mfa_secrets,
        "api_key_hash_keys": api_key_hash_keys,
    });
    let change = Change::created("master_key.rekey", "master_key", "", new);
    audit::record(&mut tx, &Actor::system(), change).await?;
    tx.commit().await?;
    Ok(rekeyed)
}

impl Keys<'_> {
    async fn reseal(&self, conn: &mut PgConnection, table: Table, purpose: &str) -> Result<usize> {
        let (old, new) = (Sealer::new(self.old, purpose), Sealer::new(self.new, purpose));
        self.reseal_with(conn, table, &old, &new).await
    }

    /// Those of earlier master keys, and that of the old one.
    async fn reseal_hash_keys(&self, conn: &mut PgConnection) -> Result<usize> {
        let (old, new) = (ApiKeyHasher::earlier(self.old), ApiKeyHasher::earlier(self.new));
        let count = self.reseal_with(conn, Table::ApiKeyHashKeys, &old, &new).await?;
        let id = Uuid::now_v7();
        store::insert_hash_key(conn, id, &ApiKeyHasher::seal(self.old, self.new, id)?).await?;
        Ok(count + 1)
    }

    async fn reseal_with(
        &self,
        conn: &mut PgConnection,
        table: Table,
        old: &Sealer,
        new: &Sealer,
    ) -> Result<usize> {
        let reseal = |it: Sealed| {
            let opened = old.open(&it.belongs_to, &it.sealed).map_err(|_| {
                let problem = "is not sealed under the master key of today";
                Error::internal(anyhow::anyhow!("{table:?} of {} {problem}", it.belongs_to))
            })?;
            let sealed = new.seal(&it.belongs_to, &opened)?;
            Ok(Sealed { sealed, ..it })
        };
        let rows = store::list(conn, table).await?;
        let rows = rows.into_iter().map(reseal).collect::<Result<Vec<_>>>()?;
        let count = rows.len();
        store::update(conn, table, rows).await?;
        Ok(count)
    }
}
