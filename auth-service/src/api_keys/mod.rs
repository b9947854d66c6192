//! API keys: who may issue which, for whom, and how they end.

mod change;
mod request;
pub(crate) mod rpc;
pub(crate) mod store;
mod terms;

use std::time::Duration;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Permission, Permissions, Principal, Scope},
    audit::{self, Actor, Change},
    credentials::{self, Secret},
    idempotency::{self, Earlier, Key},
    page::Page,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::{ApiKey, Mutable, NewApiKey};
pub(crate) use self::{
    change::{Rotation, Update, rotate, update},
    request::{Expiry, KeyName, Scopes},
    terms::{AllowList, Metadata, RequestRate},
};
use crate::{
    context::Context,
    revocations::{self, Revoked},
    users::{
        self,
        store::{Kind, State, User},
    },
};

/// How many live keys an account has at the most.
const COUNT_MAX: i64 = 100;

/// The key to issue.
pub(crate) struct Order {
    pub(crate) name: KeyName,
    pub(crate) scopes: Scopes,
    pub(crate) expiry: Expiry,
    pub(crate) ip_allow_list: AllowList,
    pub(crate) rate_limit: Option<RequestRate>,
    pub(crate) metadata: Metadata,
    /// The account to issue it for; none for the caller.
    pub(crate) owner: Option<Uuid>,
}

/// Issues a key; its text is in the answer and nowhere else.
pub(crate) async fn create(
    context: &Context,
    caller: &Principal,
    order: Order,
    key: Option<Key>,
) -> Result<(ApiKey, Secret)> {
    let api_key_id = Uuid::now_v7();
    let credential = credentials::ApiKey::generate(&context.config.api_key_prefix, api_key_id)?;
    let text = credential.text();
    let sealed = context.answers.seal(&api_key_id.to_string(), text.as_bytes())?;

    let mut tx = context.db.begin().await?;
    let claimed = idempotency::claim(&mut tx, key.as_ref(), api_key_id, Some(&sealed)).await?;
    if let Some(earlier) = claimed {
        return again(&mut tx, context, earlier).await;
    }
    let owner = lock_owner(&mut tx, caller, order.owner).await?;
    order.scopes.check_within("scopes", owner.rights())?;
    users::check_given_by(caller, order.scopes.grants(), Permissions::default())?;
    if let Some(rate) = order.rate_limit {
        rate.check_for(caller, context.key_quota)?;
    }
    let name = order.name.as_str();
    let live = store::count_live(&mut tx, owner.user_id, name, api_key_id, context.now()).await?;
    if live.has_name {
        return Err(Error::AlreadyExists("api_key"));
    }
    if live.count >= COUNT_MAX {
        let description = format!("an account has at most {COUNT_MAX} live ones");
        return Err(Error::QuotaExceeded { subject: "api_keys", description });
    }
    let hash = context.api_keys.hash(&credential);
    insert(&mut tx, api_key_id, owner.user_id, &hash, order).await?;
    let api_key = present(&mut tx, api_key_id).await?;
    let mut new = api_key.audited_terms();
    new["user_id"] = json!(api_key.user_id);
    let change = Change::created("api_key.create", "api_key", api_key_id, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok((api_key, text.into()))
}

async fn insert(
    conn: &mut PgConnection,
    api_key_id: Uuid,
    user_id: Uuid,
    secret_hash: &[u8],
    order: Order,
) -> Result<()> {
    let (rate_limit_requests, rate_limit_window_ms) = RequestRate::columns(order.rate_limit);
    let new = NewApiKey {
        api_key_id,
        user_id,
        secret_hash,
        mutable: Mutable {
            name: order.name.as_str(),
            scopes: &order.scopes.texts(),
            expires_at: Some(order.expiry.at()),
            ip_allow_list: &order.ip_allow_list.texts(),
            rate_limit_requests,
            rate_limit_window_ms,
            metadata: &order.metadata.into_map(),
        },
    };
    store::insert(conn, new).await
}

/// A key that is known to be there.
async fn present(conn: &mut PgConnection, api_key_id: Uuid) -> Result<ApiKey> {
    store::find(conn, api_key_id).await?.ok_or(Error::NotFound("api_key"))
}

/// The key that an earlier request with the same `request_id` issued.
async fn again(
    conn: &mut PgConnection,
    context: &Context,
    earlier: Earlier,
) -> Result<(ApiKey, Secret)> {
    let api_key = present(conn, earlier.entity_id).await?;
    let sealed = earlier.sealed.unwrap_or_default();
    let text = context.answers.open(&earlier.entity_id.to_string(), &sealed)?;
    Ok((api_key, String::from_utf8(text).map_err(Error::internal)?.into()))
}

/// The account to issue a key for: the caller's, or a service account that the
/// caller manages. Nobody else issues one for it until the transaction ends.
async fn lock_owner(
    conn: &mut PgConnection,
    caller: &Principal,
    owner: Option<Uuid>,
) -> Result<User> {
    let Some(user_id) = owner.filter(|it| *it != caller.user_id) else {
        return users::store::lock(conn, caller.user_id).await;
    };
    if !caller.may(Permission::USERS_MANAGE) {
        return Err(Error::PermissionMissing(Permission::USERS_MANAGE));
    }
    let user = users::store::lock(conn, user_id).await?;
    if user.kind != Kind::ServiceAccount {
        return Err(Error::NotAllowed("a key can be issued for oneself or a service account"));
    }
    if user.state != State::Active {
        let description = "is deactivated".to_owned();
        return Err(Error::WrongState { subject: "user", description });
    }
    Ok(user)
}

/// One key of the caller's, or of an account that the caller manages.
pub(crate) async fn get(context: &Context, caller: &Principal, api_key_id: Uuid) -> Result<ApiKey> {
    let mut conn = context.db.acquire().await?;
    visible(&mut conn, api_key_id, caller).await
}

/// The keys of the caller, or of `owner` for who manages that account: all, or those that
/// stop working by themselves within a time.
pub(crate) async fn list(
    context: &Context,
    caller: &Principal,
    owner: Option<Uuid>,
    expiring_within: Option<Duration>,
    page: Page<Uuid>,
) -> Result<(Vec<ApiKey>, String)> {
    let user_id = owner.unwrap_or(caller.user_id);
    if user_id != caller.user_id && !caller.may(Permission::USERS_MANAGE) {
        return Err(Error::PermissionMissing(Permission::USERS_MANAGE));
    }
    let expiring = expiring_within.map(|it| (context.now(), context.now() + it));
    let mut conn = context.db.acquire().await?;
    if user_id != caller.user_id {
        users::store::get(&mut conn, user_id).await?.check_managed_by(caller)?;
    }
    let api_keys = store::list(&mut conn, user_id, expiring, page.after, page.limit()).await?;
    page.cut(api_keys, |last| last.api_key_id)
}

/// Ends a key for good. One that has ended stays as it is.
pub(crate) async fn revoke(
    context: &Context,
    caller: &Principal,
    api_key_id: Uuid,
) -> Result<ApiKey> {
    let mut tx = context.db.begin().await?;
    store::lock(&mut tx, api_key_id).await?;
    let api_key = visible(&mut tx, api_key_id, caller).await?;
    if api_key.revoked_at.is_some() {
        return Ok(api_key);
    }
    store::revoke(&mut tx, api_key_id, context.now()).await?;
    revocations::insert(&mut tx, context, &[Revoked::ApiKey(api_key_id)]).await?;
    let api_key = present(&mut tx, api_key_id).await?;
    let (old, new) = (json!({"revoke_time": null}), json!({"revoke_time": api_key.revoked_at}));
    let change = Change::changed("api_key.revoke", "api_key", api_key_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(api_key)
}

/// Ends the key that the caller holds: holding it is right enough.
pub(crate) async fn revoke_current(context: &Context, caller: &Principal) -> Result<ApiKey> {
    let api_key_id = caller.api_key_id().ok_or(Error::ApiKeyRequired)?;
    revoke(context, caller, api_key_id).await
}

/// A key of the caller's, or of an account that the caller manages. To everybody else
/// it is not there.
async fn visible(conn: &mut PgConnection, api_key_id: Uuid, caller: &Principal) -> Result<ApiKey> {
    let api_key = present(conn, api_key_id).await?;
    if api_key.user_id != caller.user_id {
        if !caller.may(Permission::USERS_MANAGE) {
            return Err(Error::NotFound("api_key"));
        }
        users::store::get(conn, api_key.user_id).await?.check_managed_by(caller)?;
    }
    Ok(api_key)
}

impl ApiKey {
    /// How it has ended, if it has.
    pub(crate) fn ended(&self, now: DateTime<Utc>) -> Option<&'static str> {
        match self.revoked_at {
            Some(_) => Some("is revoked"),
            None => self.expires_at.is_some_and(|it| it <= now).then_some("has expired"),
        }
    }

    /// What it grants to who may do it.
    pub(crate) fn grants(&self) -> Permissions {
        Permissions::granted_by(self.scopes.iter().filter_map(|it| Scope::parse(it)))
    }

    fn mutable(&self) -> Mutable<'_> {
        Mutable {
            name: &self.name,
            scopes: &self.scopes,
            expires_at: self.expires_at,
            ip_allow_list: &self.ip_allow_list,
            rate_limit_requests: self.rate_limit_requests,
            rate_limit_window_ms: self.rate_limit_window_ms,
            metadata: &self.metadata,
        }
    }

    /// What the audit trail tells of what can be changed. Metadata are the
    /// owner's, who may have noted a secret there: only their names are told.
    fn audited_terms(&self) -> Value {
        json!({
            "name": self.name,
            "scopes": self.scopes,
            "expire_time": self.expires_at,
            "ip_allow_list": self.ip_allow_list,
            "rate_limit_requests": self.rate_limit_requests,
            "rate_limit_window_ms": self.rate_limit_window_ms,
            "metadata_names": self.metadata.keys().collect::<Vec<_>>(),
        })
    }
}
