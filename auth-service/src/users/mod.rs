//! Accounts: who they are, what they may do, and who may change that.

pub(crate) mod administrator;
mod avatar;
mod delegation;
mod deletion;
mod names;
mod permissions;
mod profile;
pub(crate) mod recovery;
pub(crate) mod rpc;
mod statistics;
pub(crate) mod store;
mod visible;

use ihuman_shared::{
    Error, Result,
    access::{Permissions, Principal, Role},
    audit::{self, Actor, Change},
    idempotency::{self, Key},
    page::Page,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::{Filter, Kind, NewUser, State, User};
pub(crate) use self::{
    avatar::AvatarUrl,
    delegation::check_given_by,
    deletion::delete,
    names::{DisplayName, Email, Query, email_key},
    permissions::{ExtraPermissions, set_permissions},
    profile::{Profile, update},
    statistics::{Statistics, statistics},
};
use crate::{
    context::Context,
    revocations::{self, Revoked},
    sessions,
};

/// The account.
pub(crate) async fn get(context: &Context, user_id: Uuid) -> Result<User> {
    let mut conn = context.db.acquire().await?;
    store::get(&mut conn, user_id).await
}

/// The accounts that `filter` lets through, and that `query` finds if there is one.
pub(crate) async fn list(
    context: &Context,
    filter: Filter,
    query: Option<Query>,
    page: Page<Uuid>,
) -> Result<(Vec<User>, String)> {
    let mut tx = context.db.begin_with(store::READ).await?;
    let (after, limit) = (page.after, page.limit());
    let users = match query {
        Some(query) => store::search::search(&mut tx, query.as_str(), filter, after, limit).await?,
        None => store::list(&mut tx, filter, after, limit).await?,
    };
    tx.commit().await?;
    page.cut(users, |last| last.user_id)
}

/// Gives an account another role; its tokens must be refreshed.
pub(crate) async fn set_role(
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
    role: Role,
) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let (user, has_others) = lock(&mut tx, caller, user_id).await?;
    check_given_by(caller, role.permissions(), user.rights())?;
    delegation::check_bearable(user.kind, "role", role.permissions())?;
    user.check_not_deleted()?;
    if role == user.role {
        return Ok(user);
    }
    keep_an_administrator(&user, has_others)?;

    let old = json!({"role": user.role.text()});
    let user = store::update_role(&mut tx, user_id, role).await?;
    let new = json!({"role": user.role.text()});
    revoke_tokens(&mut tx, context, &user).await?;
    let change = Change::changed("user.set_role", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}

/// Closes an account: nothing of it works any more.
pub(crate) async fn deactivate(
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let (user, has_others) = lock(&mut tx, caller, user_id).await?;
    if user.state != State::Active {
        user.check_not_deleted()?;
        return Ok(user);
    }
    keep_an_administrator(&user, has_others)?;

    let user = store::update_state(&mut tx, user_id, State::Deactivated).await?;
    let sessions = sessions::store::revoke_all(&mut tx, user_id, context.now()).await?;
    revoke_tokens(&mut tx, context, &user).await?;
    let (old, new) = (
        json!({"state": State::Active}),
        json!({"state": user.state, "revoked_sessions": sessions}),
    );
    let change = Change::changed("user.deactivate", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}

/// Opens a closed account again.
pub(crate) async fn reactivate(
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let (user, _) = lock(&mut tx, caller, user_id).await?;
    user.check_not_deleted()?;
    if user.state == State::Active {
        return Ok(user);
    }

    let user = store::update_state(&mut tx, user_id, State::Active).await?;
    let (old, new) = (json!({"state": State::Deactivated}), json!({"state": user.state}));
    let change = Change::changed("user.reactivate", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}

/// Opens an account for a program.
pub(crate) async fn create_service_account(
    context: &Context,
    caller: &Principal,
    display_name: DisplayName,
    role: Role,
    key: Option<Key>,
) -> Result<User> {
    check_given_by(caller, role.permissions(), Permissions::default())?;
    delegation::check_bearable(Kind::ServiceAccount, "role", role.permissions())?;
    let user_id = Uuid::now_v7();
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), user_id, None).await? {
        return store::get(&mut tx, earlier.entity_id).await;
    }
    let new = NewUser {
        user_id,
        kind: Kind::ServiceAccount,
        email: None,
        email_key: None,
        display_name: display_name.as_str(),
        password_hash: None,
        role,
    };
    let user = store::insert(&mut tx, new).await?;
    let change = Change::created("user.create_service_account", "user", user_id, new.recorded());
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}

impl NewUser<'_> {
    /// What the audit trail keeps of a new account.
    pub(crate) fn recorded(&self) -> Value {
        json!({
            "kind": self.kind,
            "email": self.email,
            "display_name": self.display_name,
            "role": self.role.text(),
        })
    }
}

/// The account to change, and whether there are active administrators beside it.
/// Both stay so until the transaction ends.
async fn lock(conn: &mut PgConnection, caller: &Principal, user_id: Uuid) -> Result<(User, bool)> {
    let mut users = store::lock_with_administrators(conn, user_id).await?;
    let at = users.iter().position(|it| it.user_id == user_id);
    let user = users.swap_remove(at.ok_or(Error::NotFound("user"))?);
    user.check_managed_by(caller)?;
    Ok((user, !users.is_empty()))
}

impl User {
    /// # Errors
    /// `WrongState`, when nothing can change the account any more.
    fn check_not_deleted(&self) -> Result<()> {
        match self.state {
            State::Deleted => {
                let description = "is deleted".to_owned();
                Err(Error::WrongState { subject: "user", description })
            }
            State::Active | State::Deactivated => Ok(()),
        }
    }
}

fn keep_an_administrator(user: &User, has_others: bool) -> Result<()> {
    let counts = user.role == Role::Admin && user.state == State::Active;
    if counts && !has_others { Err(Error::LastAdministrator) } else { Ok(()) }
}

async fn revoke_tokens(conn: &mut PgConnection, context: &Context, user: &User) -> Result<()> {
    let User { user_id, token_version, .. } = *user;
    revocations::insert(conn, context, &[Revoked::User { user_id, token_version }]).await
}
