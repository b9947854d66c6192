//! The access rule of each RPC, read from the contract.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};
use ihuman_proto::{DESCRIPTORS, access::v1 as pb};
use prost::Message as _;
use prost_reflect::{DescriptorPool, Value};

use super::{Credential, Permission, Permissions, Principal, Role};
use crate::{Error, Result};

/// How long a session's proof counts as recent.
pub const RECENT_AUTHENTICATION: Duration = Duration::from_secs(15 * 60);

/// What each RPC asks of its caller, by path (`/package.Service/Method`).
///
/// Invariant: a path is in the map only if its access was declared on purpose.
#[derive(Clone, Debug)]
pub struct Rules(BTreeMap<String, Rule>);

/// What one RPC asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who may call.
    pub grant: Grant,
    /// No API key may call.
    pub session_only: bool,
    /// The session must have proved its factors within [`RECENT_AUTHENTICATION`].
    pub recent_authentication: bool,
    /// No session may call.
    pub api_key_only: bool,
}

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Anyone; credentials are not looked at.
    Public,
    /// Whoever has valid credentials.
    Authenticated,
    /// Whose effective permissions contain this one.
    Permission(Permission),
}

/// An RPC without a rule.
#[derive(Debug, thiserror::Error)]
#[error("{0} declares no access rule")]
pub struct UndeclaredAccess(String);

impl Rules {
    /// Reads the `access` option of every RPC of `packages`, such as `ihuman.auth.v1`.
    ///
    /// # Errors
    /// [`UndeclaredAccess`] for the first RPC that does not set it.
    pub fn of_packages(packages: &[&str]) -> Result<Self, UndeclaredAccess> {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build wrote the descriptors");
        Self::read(&pool, packages)
    }

    fn read(pool: &DescriptorPool, packages: &[&str]) -> Result<Self, UndeclaredAccess> {
        let option = pool
            .get_extension_by_name("ihuman.access.v1.access")
            .expect("the contract defines its own option");

        let mut rules = BTreeMap::new();
        for service in pool.services().filter(|it| packages.contains(&it.package_name())) {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let rule = match method.options().get_extension(&option).as_ref() {
                    Value::Message(message) => Rule::parse(&message.encode_to_vec()),
                    _ => None,
                };
                match rule {
                    Some(rule) => rules.insert(path, rule),
                    None => return Err(UndeclaredAccess(path)),
                };
            }
        }
        Ok(Rules(rules))
    }

    /// The rule of `path`; none for an RPC that was not declared.
    pub fn get(&self, path: &str) -> Option<Rule> {
        self.0.get(path).copied()
    }

    /// Every path with its rule, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Rule)> {
        self.0.iter().map(|(path, rule)| (path.as_str(), *rule))
    }
}

impl Rule {
    fn parse(encoded: &[u8]) -> Option<Self> {
        let access = pb::Access::decode(encoded).ok()?;
        let grant = match access.rule? {
            pb::access::Rule::Public(_) => Grant::Public,
            pb::access::Rule::Authenticated(_) => Grant::Authenticated,
            pb::access::Rule::Permission(it) => Grant::Permission(Permission::from_contract(it)?),
        };
        let pb::Access { session_only, recent_authentication, api_key_only, .. } = access;
        // Nobody could call what takes neither a session nor a key.
        let is_possible = !(api_key_only && (session_only || recent_authentication));
        let rule = Rule { grant, session_only, recent_authentication, api_key_only };
        is_possible.then_some(rule)
    }

    /// Whether `caller` may, at `now`.
    ///
    /// # Errors
    /// What is missing: a permission first, as it says least about the account.
    pub fn check(&self, caller: &Principal, now: DateTime<Utc>) -> Result<()> {
        self.check_permissions(caller.permissions)?;
        match caller.credential {
            Credential::ApiKey { .. } => self.check_credential(None, now),
            Credential::Session { auth_time, .. } => self.check_credential(Some(auth_time), now),
        }
    }

    /// Whether the kind of credential is right, whatever it permits: a session that
    /// proved its factors at `auth_time`, or an API key, which never did.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_credential(
        &self,
        auth_time: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        match auth_time {
            None if self.session_only || self.recent_authentication => Err(Error::SessionRequired),
            Some(_) if self.api_key_only => Err(Error::ApiKeyRequired),
            Some(auth_time)
                if self.recent_authentication
                    && (now - auth_time).to_std().is_ok_and(|age| age > RECENT_AUTHENTICATION) =>
            {
                Err(Error::RecentAuthenticationRequired(RECENT_AUTHENTICATION))
            }
            _ => Ok(()),
        }
    }

    /// Whether these permissions are enough, whatever the credential.
    ///
    /// # Errors
    /// The permission that is missing.
    pub fn check_permissions(&self, permissions: Permissions) -> Result<()> {
        match self.grant {
            Grant::Permission(needed) if !permissions.contains(needed) => {
                Err(Error::PermissionMissing(needed))
            }
            _ => Ok(()),
        }
    }
}

/// One line an RPC, one column a caller: the table that a reviewer reads.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<56}{:>8}", "RPC", "nobody")?;
        for role in Role::ALL {
            write!(f, "{:>11}", role.text())?;
        }
        write!(f, "  credential")?;
        for (path, rule) in self.iter() {
            let mark = |allowed: bool| if allowed { "yes" } else { "." };
            write!(f, "\n{path:<56}{:>8}", mark(rule.grant == Grant::Public))?;
            for role in Role::ALL {
                let allowed = rule.check_permissions(role.permissions()).is_ok();
                write!(f, "{:>11}", mark(allowed))?;
            }
            let credential = match rule {
                Rule { grant: Grant::Public, .. } => "none",
                Rule { recent_authentication: true, .. } => "recent session",
                Rule { session_only: true, .. } => "session",
                Rule { api_key_only: true, .. } => "key",
                _ => "session or key",
            };
            write!(f, "  {credential}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::prost_types::{
        FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto,
    };

    use super::*;

    #[test]
    fn a_rule_that_nobody_could_satisfy_is_none() {
        let rule = Some(pb::access::Rule::Authenticated(pb::access::Authenticated {}));
        let keyed = pb::Access { rule, api_key_only: true, ..pb::Access::default() };
        let contradictory = pb::Access { session_only: true, ..keyed };

        assert!(Rule::parse(&keyed.encode_to_vec()).unwrap().api_key_only);
        assert_eq!(Rule::parse(&contradictory.encode_to_vec()), None);
    }

    #[test]
    fn a_service_with_an_rpc_that_declares_no_access_does_not_start() {
        let mut pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let message = Some(".ihuman.auth.v1.LogoutRequest".to_owned());
        let ping = MethodDescriptorProto {
            name: Some("Ping".to_owned()),
            input_type: message.clone(),
            output_type: message,
            ..Default::default()
        };
        let service = ServiceDescriptorProto {
            name: Some("PingService".to_owned()),
            method: vec![ping],
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: Some("ihuman/ping/v1/ping.proto".to_owned()),
            package: Some("ihuman.ping.v1".to_owned()),
            dependency: vec!["ihuman/auth/v1/auth.proto".to_owned()],
            service: vec![service],
            ..Default::default()
        };
        pool.add_file_descriptor_proto(file).unwrap();

        let refused = Rules::read(&pool, &["ihuman.ping.v1"]).unwrap_err();

        assert_eq!(refused.0, "/ihuman.ping.v1.PingService/Ping");
    }
}
