//! What an account may do beyond its role, and who may give it that.

use ihuman_shared::{
    Error, Result,
    access::{Permissions, Principal, Scope},
    audit::{self, Actor, Change},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    delegation::{check_bearable, check_given_by},
    store::{self, User},
};
use crate::context::Context;

/// How many texts one request has at the most.
const COUNT_MAX: usize = 32;

/// What an account is to have beyond its role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtraPermissions(Permissions);

impl ExtraPermissions {
    /// # Errors
    /// `InvalidFields`, which names each text that is no permission.
    pub(crate) fn parse(field: &str, texts: &[String]) -> Result<Self> {
        if texts.len() > COUNT_MAX {
            return Err(Error::invalid(field, format!("must have at most {COUNT_MAX} items")));
        }
        Ok(ExtraPermissions(Permissions::granted_by(Scope::parse_all(field, texts)?)))
    }
}

/// Replaces the extra permissions of an account; its tokens must be refreshed.
pub(crate) async fn set_permissions(
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
    ExtraPermissions(wanted): ExtraPermissions,
) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let (user, _) = super::lock(&mut tx, caller, user_id).await?;
    user.check_not_deleted()?;
    check_given_by(caller, wanted, user.rights())?;
    check_bearable(user.kind, "permissions", wanted)?;
    let texts = wanted.texts();
    if texts == user.permissions {
        return Ok(user);
    }

    let old = json!({"extra_permissions": user.permissions});
    let user = store::profile::update_permissions(&mut tx, user_id, &texts).await?;
    let new = json!({"extra_permissions": user.permissions});
    super::revoke_tokens(&mut tx, context, &user).await?;
    let change = Change::changed("user.set_permissions", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}
