//! Roles, permissions and scopes, and which grants which.

use std::{borrow::Borrow, fmt};

use ihuman_proto::access::v1 as pb;

use crate::{Error, Result, parse};

/// One right, as an RPC may ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission(pb::Permission);

/// A named set of permissions; every user has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the contract describes each role")]
pub enum Role {
    Admin,
    Developer,
    Executor,
    Viewer,
    Service,
}

/// A set of permissions. One that has `admin:full` has every other.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u32);

/// What an API key may do at the most: a permission, or all of one noun, as in `skills:*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    text: String,
    grants: Permissions,
}

impl Permission {
    /// `admin:full`, which grants every other.
    pub const ADMIN_FULL: Permission = Permission(pb::Permission::AdminFull);
    /// `users:manage`, which reads and changes accounts.
    pub const USERS_MANAGE: Permission = Permission(pb::Permission::UsersManage);

    /// Every permission, in the order of the contract.
    pub fn all() -> impl Iterator<Item = Permission> {
        (1..).map_while(|number| pb::Permission::try_from(number).ok()).map(Permission)
    }

    /// The permission of the contract; `PERMISSION_UNSPECIFIED` is none.
    pub fn from_contract(number: i32) -> Option<Permission> {
        Self::all().find(|it| it.0 as i32 == number)
    }

    /// The text form: `PERMISSION_API_KEYS_READ` is `api-keys:read`.
    pub fn text(self) -> String {
        let name = self.0.as_str_name().trim_start_matches("PERMISSION_");
        let (noun, verb) = name.rsplit_once('_').expect("every permission is a noun and a verb");
        format!("{}:{}", noun.to_lowercase().replace('_', "-"), verb.to_lowercase())
    }

    fn bit(self) -> u32 {
        1 << (self.0 as i32)
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] =
        [Role::Admin, Role::Developer, Role::Executor, Role::Viewer, Role::Service];

    /// The text form, as in tokens and in the database.
    pub fn text(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Developer => "developer",
            Role::Executor => "executor",
            Role::Viewer => "viewer",
            Role::Service => "service",
        }
    }

    /// The role of a text form.
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|it| it.text() == text)
    }

    /// The role of a request's field, or none if it is not set.
    pub fn from_optional(field: &str, number: i32) -> Result<Option<Role>> {
        if number == 0 { Ok(None) } else { Role::from_contract(field, number).map(Some) }
    }

    /// The role of a request's field, which must be set.
    pub fn from_contract(field: &str, number: i32) -> Result<Role> {
        match pb::Role::try_from(number) {
            Ok(pb::Role::Admin) => Ok(Role::Admin),
            Ok(pb::Role::Developer) => Ok(Role::Developer),
            Ok(pb::Role::Executor) => Ok(Role::Executor),
            Ok(pb::Role::Viewer) => Ok(Role::Viewer),
            Ok(pb::Role::Service) => Ok(Role::Service),
            Ok(pb::Role::Unspecified) | Err(_) => Err(Error::invalid(
                field,
                "must be one of ROLE_ADMIN, ROLE_DEVELOPER, ROLE_EXECUTOR, ROLE_VIEWER, ROLE_SERVICE",
            )),
        }
    }

    /// The number of the role in the contract.
    pub fn to_contract(self) -> i32 {
        (match self {
            Role::Admin => pb::Role::Admin,
            Role::Developer => pb::Role::Developer,
            Role::Executor => pb::Role::Executor,
            Role::Viewer => pb::Role::Viewer,
            Role::Service => pb::Role::Service,
        }) as i32
    }

    /// What the role grants.
    pub fn permissions(self) -> Permissions {
        Permissions::of(Permission::all().filter(|it| self.grants(*it)))
    }

    /// The matrix of roles and permissions. There is no `_` arm: a new permission
    /// does not compile until somebody decides who has it.
    fn grants(self, permission: Permission) -> bool {
        use Role::{Admin, Developer, Executor, Service, Viewer};
        use pb::Permission as P;
        match permission.0 {
            P::Unspecified => false,
            P::AdminFull | P::UsersManage | P::RevocationsRead => {
                matches!(self, Admin)
            }
            P::SkillsRead | P::ExecutionsRead | P::WorkflowsRead | P::AnalyticsRead => {
                matches!(self, Admin | Developer | Executor | Viewer)
            }
            P::SkillsWrite | P::WorkflowsWrite | P::WorkflowsExecute => {
                matches!(self, Admin | Developer)
            }
            P::ApiKeysRead | P::ApiKeysWrite => matches!(self, Admin | Developer),
            P::SkillsExecute | P::ExecutionsWrite => {
                matches!(self, Admin | Developer | Executor | Service)
            }
            P::WebhooksTrigger => matches!(self, Admin | Service),
        }
    }
}

impl Permissions {
    /// The set of these permissions, and of what they grant.
    pub fn of(permissions: impl IntoIterator<Item = Permission>) -> Self {
        let bits = permissions.into_iter().fold(0, |bits, it| bits | it.bit());
        if bits & Permission::ADMIN_FULL.bit() == 0 {
            return Permissions(bits);
        }
        Permissions(Permission::all().fold(0, |bits, it| bits | it.bit()))
    }

    /// What scopes grant together.
    pub fn granted_by(scopes: impl IntoIterator<Item = impl Borrow<Scope>>) -> Self {
        let granted = scopes.into_iter().map(|it| it.borrow().grants);
        granted.fold(Permissions::default(), Permissions::union)
    }

    /// Whether the set grants `permission`.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether the set grants all that `other` does.
    pub fn contains_all(self, other: Permissions) -> bool {
        other.0 & !self.0 == 0
    }

    /// What either grants.
    pub fn union(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }

    /// What this grants and `other` does not.
    pub fn without(self, other: Permissions) -> Permissions {
        Permissions(self.0 & !other.0)
    }

    /// What both grant.
    pub fn intersection(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }

    /// The first in the order of the contract, if there is any.
    pub fn first(self) -> Option<Permission> {
        Permission::all().find(|it| self.contains(*it))
    }

    /// Each in text form; `admin:full` stands for all.
    pub fn texts(self) -> Vec<String> {
        if self.contains(Permission::ADMIN_FULL) {
            return vec![Permission::ADMIN_FULL.text()];
        }
        Permission::all().filter(|it| self.contains(*it)).map(Permission::text).collect()
    }

    /// The set of these text forms. Unknown ones, which a newer release may have
    /// written, grant nothing.
    pub fn from_texts<T: AsRef<str>>(texts: &[T]) -> Self {
        Self::of(Permission::all().filter(|it| texts.iter().any(|text| text.as_ref() == it.text())))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts()).finish()
    }
}

impl Scope {
    /// A permission in text form, or a noun with the wildcard verb, as in `skills:*`.
    pub fn parse(text: &str) -> Option<Scope> {
        let named = |it: &Permission| match text.strip_suffix(":*") {
            Some(noun) => it.text().split(':').next() == Some(noun),
            None => it.text() == text,
        };
        let mut granted = Permission::all().filter(named).peekable();
        granted.peek()?;
        Some(Scope { text: text.to_owned(), grants: Permissions::of(granted) })
    }

    /// Those of a list.
    ///
    /// # Errors
    /// `InvalidFields`, which names each text that is no scope.
    pub fn parse_all(field: &str, texts: &[String]) -> Result<Vec<Scope>> {
        let allowed = "must be a permission such as \"skills:read\", or \"skills:*\"";
        parse::items(field, texts.iter().map(|it| Scope::parse(it)), allowed)
    }

    /// The text form.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the scope grants to who may do it.
    pub fn grants(&self) -> Permissions {
        self.grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_grants_as_many_permissions_as_it_is_said_to() {
        let count = |role: Role| role.permissions().texts().len();

        assert_eq!(Role::Admin.permissions().texts(), ["admin:full"]);
        assert_eq!(count(Role::Developer), 11);
        assert_eq!(count(Role::Executor), 6);
        assert_eq!(count(Role::Viewer), 4);
        assert_eq!(count(Role::Service), 3);
    }

    #[test]
    fn full_administration_grants_every_permission() {
        let all = Role::Admin.permissions();

        assert!(Permission::all().all(|it| all.contains(it)));
    }

    #[test]
    fn a_wildcard_grants_every_verb_of_its_noun_and_no_other() {
        let scope = Scope::parse("api-keys:*").unwrap();

        assert_eq!(scope.grants().texts(), ["api-keys:read", "api-keys:write"]);
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for text in ["", "*", ":*", "skills", "skills:", "skills:fly", "skill:*", "Skills:read"] {
            assert_eq!(Scope::parse(text), None, "{text:?}");
        }
    }
}
