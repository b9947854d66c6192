//! What an account may do beyond its role, and who may give it that.

use ihuman_shared::{
    Error, Result,
    access::{Permission, Permissions, Principal, Scope},
    audit::{self, Actor, Change},
    error::Violation,
};
use serde_json::json;
use uuid::Uuid;

use super::store::{self, Kind, User};
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
        let scopes: Vec<_> = texts.iter().map(|it| Scope::parse(it)).collect();
        let bad = scopes.iter().enumerate().filter(|(_, it)| it.is_none());
        let violations: Vec<_> = bad
            .map(|(at, _)| Violation {
                field: format!("{field}[{at}]"),
                description: "must be a permission such as \"skills:read\", or \"skills:*\""
                    .to_owned(),
            })
            .collect();
        if !violations.is_empty() {
            return Err(Error::InvalidFields(violations));
        }
        let granted = scopes.into_iter().flatten().map(|it| it.grants());
        Ok(ExtraPermissions(granted.fold(Permissions::default(), Permissions::union)))
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
    if wanted.contains(Permission::ADMIN_FULL) && user.kind == Kind::ServiceAccount {
        let problem = "must not have \"admin:full\" for a service account";
        return Err(Error::invalid("permissions", problem));
    }
    // What the account has of it already is not given, so that taking one away does
    // not ask for the others.
    let given = Permission::all().filter(|it| wanted.contains(*it) && !user.rights().contains(*it));
    if let Some(missing) = given.into_iter().find(|it| !caller.may(*it)) {
        return Err(Error::PermissionMissing(missing));
    }
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
