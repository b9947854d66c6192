//! Changing a key that stays the same key: its terms, or its secret.

use std::time::Duration;

use ihuman_shared::{
    Error, Result,
    access::{Permissions, Principal},
    audit::{self, Actor, Change},
    credentials::{self, Secret},
    idempotency::{self, Key},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    AllowList, ApiKey, Expiry, KeyName, Metadata, RequestRate, Scopes, again, lock_owner, present,
    store, visible,
};
use crate::{
    context::Context,
    revocations::{self, Revoked},
    users,
};

/// What to change of a key; none stays as it is.
#[derive(Debug, Default)]
pub(crate) struct Update {
    pub(crate) name: Option<KeyName>,
    pub(crate) scopes: Option<Scopes>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) ip_allow_list: Option<AllowList>,
    /// The inner none is the limit of the service.
    pub(crate) rate_limit: Option<Option<RequestRate>>,
    pub(crate) metadata: Option<Metadata>,
}

/// How to renew a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// For how long the present secret works too.
    pub(crate) overlap: Duration,
    /// When the key stops working; none for when it does already.
    pub(crate) expiry: Option<Expiry>,
}

/// Changes a key, on every replica of both services within a second.
pub(crate) async fn update(
    context: &Context,
    caller: &Principal,
    api_key_id: Uuid,
    update: Update,
) -> Result<ApiKey> {
    let mut tx = context.db.begin().await?;
    let (old, rights) = lock_live(&mut tx, context, caller, api_key_id).await?;
    if let Some(scopes) = &update.scopes {
        scopes.check_within("api_key.scopes", rights)?;
        users::check_given_by(caller, scopes.grants(), old.grants())?;
    }
    if update.expiry.is_some_and(|it| old.expires_at.is_some_and(|old| it.at() > old)) {
        // To let it live longer is to issue it once more.
        users::check_given_by(caller, old.grants().intersection(rights), Permissions::default())?;
    }
    let new_rate = update.rate_limit.flatten().filter(|it| !it.is(&old));
    if let Some(rate) = new_rate {
        rate.check_for(caller, context.key_quota)?;
    }
    let new = update.applied_to(old.clone());
    if new.name != old.name {
        let (name, now) = (&new.name, context.now());
        let others = store::count_live(&mut tx, old.user_id, name, api_key_id, now).await?;
        if others.has_name {
            return Err(Error::AlreadyExists("api_key"));
        }
    }

    let version = store::update(&mut tx, api_key_id, new.mutable()).await?;
    let revoked = [Revoked::ApiKeyBefore { api_key_id, version }];
    revocations::insert(&mut tx, context, &revoked).await?;
    let change = Change::changed(
        "api_key.update",
        "api_key",
        api_key_id,
        old.audited_terms(),
        new.audited_terms(),
    );
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(new)
}

/// Gives a key a new secret, and the caller all that it may do.
pub(crate) async fn rotate(
    context: &Context,
    caller: &Principal,
    api_key_id: Uuid,
    rotation: Rotation,
    key: Option<Key>,
) -> Result<(ApiKey, Secret)> {
    let credential = credentials::ApiKey::generate(&context.config.api_key_prefix, api_key_id)?;
    let text = credential.text();
    let sealed = context.answers.seal(&api_key_id.to_string(), text.as_bytes())?;

    let mut tx = context.db.begin().await?;
    let claimed = idempotency::claim(&mut tx, key.as_ref(), api_key_id, Some(&sealed)).await?;
    if let Some(earlier) = claimed {
        return again(&mut tx, context, earlier).await;
    }
    let (old, rights) = lock_live(&mut tx, context, caller, api_key_id).await?;
    users::check_given_by(caller, old.grants().intersection(rights), Permissions::default())?;
    let expires_at = rotation.expiry.map(Expiry::at).or(old.expires_at);
    // No secret outlives the key.
    let overlapped = context.now() + rotation.overlap;
    let previous_expires_at = expires_at.map_or(overlapped, |it| it.min(overlapped));
    let hash = context.api_keys.hash(&credential);
    let version =
        store::rotate(&mut tx, api_key_id, &hash, previous_expires_at, expires_at).await?;
    let revoked = [Revoked::ApiKeyBefore { api_key_id, version }];
    revocations::insert(&mut tx, context, &revoked).await?;
    let before = json!({"expire_time": old.expires_at});
    let new = json!({
        "previous_secret_expire_time": previous_expires_at,
        "expire_time": expires_at,
    });
    let change = Change::changed("api_key.rotate", "api_key", api_key_id, before, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    let api_key = present(&mut tx, api_key_id).await?;
    tx.commit().await?;
    Ok((api_key, text.into()))
}

/// A key that the caller may change, with the rights of its owner. Nobody else
/// changes either until the transaction ends.
async fn lock_live(
    conn: &mut PgConnection,
    context: &Context,
    caller: &Principal,
    api_key_id: Uuid,
) -> Result<(ApiKey, Permissions)> {
    // The owner first, as in issuing a key: two that lock in one order can't
    // wait for each other.
    let found = visible(conn, api_key_id, caller).await?;
    let owner = lock_owner(conn, caller, Some(found.user_id)).await?;
    store::lock(conn, api_key_id).await?;
    let api_key = present(conn, api_key_id).await?;
    if let Some(description) = api_key.ended(context.now()) {
        let description = description.to_owned();
        return Err(Error::WrongState { subject: "api_key", description });
    }
    Ok((api_key, owner.rights()))
}

impl Update {
    fn applied_to(self, mut api_key: ApiKey) -> ApiKey {
        if let Some(name) = self.name {
            name.as_str().clone_into(&mut api_key.name);
        }
        if let Some(expiry) = self.expiry {
            api_key.expires_at = Some(expiry.at());
            // As the store does.
            api_key.previous_expires_at = api_key.previous_expires_at.map(|it| it.min(expiry.at()));
        }
        if let Some(scopes) = self.scopes {
            api_key.scopes = scopes.texts();
        }
        if let Some(ip_allow_list) = self.ip_allow_list {
            api_key.ip_allow_list = ip_allow_list.texts();
        }
        if let Some(rate_limit) = self.rate_limit {
            (api_key.rate_limit_requests, api_key.rate_limit_window_ms) =
                RequestRate::columns(rate_limit);
        }
        if let Some(metadata) = self.metadata {
            api_key.metadata.0 = metadata.into_map();
        }
        api_key
    }
}
