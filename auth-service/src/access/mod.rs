//! Who may call what, and why not: the rules of the gate, put into words.

pub(crate) mod rpc;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::{
        Credential, Grant, Permission, Permissions, Principal, Role, Rule, Rules, UndeclaredAccess,
    },
};
use uuid::Uuid;

use crate::{
    api_keys,
    context::Context,
    users::{
        self,
        store::{Kind, State, User},
    },
};

/// The packages whose rules are known here.
const PACKAGES: [&str; 2] = ["ihuman.auth.v1", "ihuman.catalog.v1"];

/// Puts the rules of both services into words.
pub(crate) struct Explainer {
    context: Arc<Context>,
    rules: Rules,
}

/// Whose call is explained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// The caller, with the credentials of this call.
    Caller,
    /// A person who has just logged in, or a service account with a key of every scope.
    User(Uuid),
    /// An API key.
    ApiKey(Uuid),
}

/// What allows a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Public,
    Authenticated,
    Role(Permission),
    ExtraPermissions(Permission),
}

/// What denies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    AccountClosed,
    ApiKeyEnded,
    Permissions(Permission),
    ApiKeyScopes(Permission),
    SessionRequired,
    ApiKeyRequired,
    RecentAuthenticationRequired,
}

/// What a rule is put to.
struct Standing {
    role: Role,
    /// What the account may do.
    rights: Permissions,
    /// What the key may do at the most; none without a key.
    scopes: Option<Permissions>,
    /// When the session proved its factors; none without a session.
    auth_time: Option<DateTime<Utc>>,
    is_open: bool,
    /// Whether the credential has not ended.
    is_live: bool,
}

impl Explainer {
    /// # Errors
    /// When an RPC declares no rule.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, UndeclaredAccess> {
        let rules = Rules::of_packages(&PACKAGES)?;
        Ok(Explainer { context: Arc::clone(context), rules })
    }

    /// Every RPC that the caller may call now, and what allows it.
    pub(crate) async fn methods(&self, caller: &Principal) -> Result<Vec<(&str, Allowed)>> {
        let (standing, now) = (self.standing(caller, Subject::Caller).await?, self.context.now());
        let allowed = |rule: Rule| standing.judge(rule, now).ok();
        Ok(self.rules.iter().filter_map(|(path, rule)| Some((path, allowed(rule)?))).collect())
    }

    /// Whether `subject` may call the RPC at `path`.
    ///
    /// # Errors
    /// `NotFound`, when there is no such RPC, or no such subject that is the caller's to
    /// see; `NotAllowed` for the key of an administrator.
    pub(crate) async fn explain(
        &self,
        caller: &Principal,
        path: &str,
        subject: Subject,
    ) -> Result<Result<Allowed, Denied>> {
        let rule = self.rules.get(path).ok_or(Error::NotFound("method"))?;
        let standing = self.standing(caller, subject).await?;
        Ok(standing.judge(rule, self.context.now()))
    }

    async fn standing(&self, caller: &Principal, subject: Subject) -> Result<Standing> {
        match (subject, caller.credential) {
            (Subject::Caller, Credential::Session { auth_time, .. }) => Ok(Standing {
                role: caller.role,
                rights: caller.permissions,
                scopes: None,
                auth_time: Some(auth_time),
                is_open: true,
                is_live: true,
            }),
            (Subject::Caller, Credential::ApiKey { api_key_id, .. })
            | (Subject::ApiKey(api_key_id), _) => self.api_key(caller, api_key_id).await,
            (Subject::User(user_id), _) => self.user(caller, user_id).await,
        }
    }

    async fn user(&self, caller: &Principal, user_id: Uuid) -> Result<Standing> {
        if user_id != caller.user_id && !caller.may(Permission::USERS_MANAGE) {
            return Err(Error::NotFound("user"));
        }
        let user = users::get(&self.context, user_id).await?;
        Ok(match user.kind {
            Kind::Person => Standing::of(&user, None, Some(self.context.now())),
            Kind::ServiceAccount => Standing::of(&user, Some(user.rights()), None),
        })
    }

    async fn api_key(&self, caller: &Principal, api_key_id: Uuid) -> Result<Standing> {
        let api_key = api_keys::get(&self.context, caller, api_key_id).await?;
        let user = users::get(&self.context, api_key.user_id).await?;
        let is_live = api_key.ended(self.context.now()).is_none();
        Ok(Standing { is_live, ..Standing::of(&user, Some(api_key.grants()), None) })
    }
}

impl Standing {
    fn of(user: &User, scopes: Option<Permissions>, auth_time: Option<DateTime<Utc>>) -> Self {
        let is_open = user.state == State::Active;
        Standing {
            role: user.role,
            rights: user.rights(),
            scopes,
            auth_time,
            is_open,
            is_live: true,
        }
    }

    /// What `rule` says at `now`. The gate itself has the last word: this only says
    /// which part of the account or the credential its word comes from.
    fn judge(&self, rule: Rule, now: DateTime<Utc>) -> Result<Allowed, Denied> {
        if rule.grant == Grant::Public {
            return Ok(Allowed::Public);
        }
        if !self.is_open {
            return Err(Denied::AccountClosed);
        }
        if !self.is_live {
            return Err(Denied::ApiKeyEnded);
        }
        if let Err(Error::PermissionMissing(missing)) = rule.check_permissions(self.rights) {
            return Err(Denied::Permissions(missing));
        }
        let usable = self.scopes.map_or(self.rights, |it| it.intersection(self.rights));
        if let Err(Error::PermissionMissing(missing)) = rule.check_permissions(usable) {
            return Err(Denied::ApiKeyScopes(missing));
        }
        match rule.check_credential(self.auth_time, now) {
            Err(Error::RecentAuthenticationRequired(_)) => {
                return Err(Denied::RecentAuthenticationRequired);
            }
            Err(Error::ApiKeyRequired) => return Err(Denied::ApiKeyRequired),
            Err(_) => return Err(Denied::SessionRequired),
            Ok(()) => {}
        }
        Ok(match rule.grant {
            Grant::Permission(it) if self.role.permissions().contains(it) => Allowed::Role(it),
            Grant::Permission(it) => Allowed::ExtraPermissions(it),
            Grant::Authenticated | Grant::Public => Allowed::Authenticated,
        })
    }
}
