//! Who may act upon whom, and what one may give.

use ihuman_shared::{
    Error, Result,
    access::{Permission, Permissions, Principal},
};

use super::store::{Kind, User};

impl User {
    /// Who manages users does not act upon an account that may do everything: it
    /// would soon be theirs.
    ///
    /// # Errors
    /// `NotAllowed`
    pub(crate) fn check_managed_by(&self, caller: &Principal) -> Result<()> {
        match self.is_administrator() && !caller.is_admin() {
            true => Err(Error::NotAllowed("only administrators may act upon an administrator")),
            false => Ok(()),
        }
    }
}

/// One gives only what one has. What the account `had` already is not given, so that
/// taking a part of it away does not ask for the rest.
///
/// # Errors
/// `PermissionMissing`, for the first that the caller lacks.
pub(crate) fn check_given_by(
    caller: &Principal,
    given: Permissions,
    had: Permissions,
) -> Result<()> {
    match given.without(had).without(caller.permissions).first() {
        Some(missing) => Err(Error::PermissionMissing(missing)),
        None => Ok(()),
    }
}

/// What a program holds is as easily copied as a file: none is an administrator.
///
/// # Errors
/// `InvalidFields`, when `given` in `field` would make it one.
pub(super) fn check_bearable(kind: Kind, field: &str, given: Permissions) -> Result<()> {
    match kind == Kind::ServiceAccount && given.contains(Permission::ADMIN_FULL) {
        true => Err(Error::invalid(field, "must not grant \"admin:full\" to a service account")),
        false => Ok(()),
    }
}
