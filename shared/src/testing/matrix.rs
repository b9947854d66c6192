//! Every RPC of a service, called by every kind of caller over a real socket.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use ihuman_proto::error::v1::ErrorReason as Reason;
use tonic::{Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::{Caller, Credentials, TestService, reason};
use crate::access::{Grant, Permission, Role, Rule, Rules};

/// When every replica must know of a revocation.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// A kind of caller, apart from the rules that are put to it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Nobody,
    Garbage,
    Expired,
    LoggedOut,
    Person(Role),
    // A person who logged in longer ago than counts as recent.
    Idle(Role),
    // A key of everything that the owner's role grants.
    Key(Role),
    // A key of an administrator, for one permission that the RPC does not ask for.
    KeyOfAnotherScope,
    RevokedKey,
}

/// Calls every RPC of `package` as every kind of caller, and returns each answer
/// that is not what the rule of the RPC says; none is what a test wants to see.
pub async fn violations_of_access(
    service: &TestService,
    credentials: &Credentials,
    package: &str,
) -> Vec<String> {
    let rules = Rules::of_packages(&[package]).expect("every RPC declares its access");
    let revoked = Revoked::new(credentials).await;
    let mut wrong = Vec::new();
    for (path, rule) in rules.iter() {
        // What a public RPC says of its own fields is the same for everybody.
        let to_nobody = call(&service.channel, path, None).await;
        for kind in kinds() {
            // A caller of its own for each call: some RPCs end the caller's session.
            let authorization = credentials.present(kind, rule, &revoked).await;
            let seen = call(&service.channel, path, authorization).await;
            let expected = match rule.grant {
                Grant::Public => to_nobody.filter(|it| *it == Reason::CredentialsInvalid),
                _ => kind.refusal(rule),
            };
            if seen != expected {
                wrong.push(format!("{path} as {kind:?}: {seen:?} instead of {expected:?}"));
            }
        }
    }
    wrong
}

fn kinds() -> Vec<Kind> {
    use Kind::{
        Expired, Garbage, Idle, Key, KeyOfAnotherScope, LoggedOut, Nobody, Person, RevokedKey,
    };
    let mut kinds = vec![Nobody, Garbage, Expired, LoggedOut, KeyOfAnotherScope, RevokedKey];
    kinds.extend(Role::ALL.iter().flat_map(|role| [Person(*role), Idle(*role), Key(*role)]));
    kinds
}

impl Kind {
    /// Why the gate should refuse this caller an RPC that is not public; none where it
    /// should not.
    fn refusal(self, rule: Rule) -> Option<Reason> {
        let granted = |role: Role| match rule.grant {
            Grant::Permission(permission) => role.permissions().contains(permission),
            _ => true,
        };
        let needs_session = rule.session_only || rule.recent_authentication;
        match self {
            Kind::Nobody => Some(Reason::CredentialsMissing),
            Kind::Garbage => Some(Reason::CredentialsInvalid),
            Kind::Expired => Some(Reason::CredentialsExpired),
            Kind::LoggedOut | Kind::RevokedKey => Some(Reason::CredentialsRevoked),
            Kind::Person(role) | Kind::Idle(role) | Kind::Key(role) if !granted(role) => {
                Some(Reason::PermissionMissing)
            }
            Kind::Person(_) | Kind::Idle(_) if rule.api_key_only => Some(Reason::ApiKeyRequired),
            Kind::Person(_) => None,
            Kind::Idle(_) => {
                rule.recent_authentication.then_some(Reason::RecentAuthenticationRequired)
            }
            Kind::KeyOfAnotherScope if rule.grant != Grant::Authenticated => {
                Some(Reason::PermissionMissing)
            }
            Kind::Key(_) | Kind::KeyOfAnotherScope => {
                needs_session.then_some(Reason::SessionRequired)
            }
        }
    }
}

/// Administrators whose credentials every service knows to be revoked.
struct Revoked {
    session: Caller,
    key: Caller,
}

impl Revoked {
    async fn new(credentials: &Credentials) -> Self {
        let session = credentials.person(Role::Admin).await;
        let key = credentials.key(Role::Admin, &["admin:full".to_owned()]).await;
        credentials.revoke("session", session.session_id).await;
        credentials.revoke("api_key", key.api_key_id).await;
        tokio::time::sleep(REVOKED_WITHIN).await;
        Revoked { session, key }
    }
}

impl Credentials {
    async fn present(&self, kind: Kind, rule: Rule, revoked: &Revoked) -> Option<String> {
        let caller = match kind {
            Kind::Nobody => return None,
            Kind::Garbage => return Some("Bearer not.a.token".to_owned()),
            Kind::Expired => self.person_at(Role::Admin, Utc::now() - TimeDelta::hours(2)).await,
            Kind::LoggedOut => revoked.session.clone(),
            Kind::RevokedKey => revoked.key.clone(),
            Kind::Person(role) => self.person(role).await,
            Kind::Idle(role) => self.person_at(role, Utc::now() - TimeDelta::minutes(16)).await,
            Kind::Key(role) => self.key(role, &role.permissions().texts()).await,
            Kind::KeyOfAnotherScope => {
                let other = Permission::all().find(|it| {
                    *it != Permission::ADMIN_FULL && rule.grant != Grant::Permission(*it)
                });
                let scope = other.expect("there are several permissions").text();
                self.key(Role::Admin, &[scope]).await
            }
        };
        Some(caller.authorization)
    }

    async fn key(&self, role: Role, scopes: &[String]) -> Caller {
        let owner = self.person(role).await;
        self.api_key(owner.user_id, scopes).await
    }
}

/// Calls the RPC with an empty message; returns why it was refused at the gate.
async fn call(channel: &Channel, path: &str, authorization: Option<String>) -> Option<Reason> {
    let mut request = Request::new(());
    if let Some(value) = authorization {
        let value = value.parse().expect("credentials are ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    let path = path.parse().expect("a path of the contract");
    let status = first_message(channel, request, path).await.err()?;
    // A handler's own refusals have other reasons: the message is empty.
    Some(reason(&status)).filter(|it| {
        matches!(
            it,
            Reason::CredentialsMissing
                | Reason::CredentialsInvalid
                | Reason::CredentialsExpired
                | Reason::CredentialsRevoked
                | Reason::PermissionMissing
                | Reason::SessionRequired
                | Reason::ApiKeyRequired
                | Reason::RecentAuthenticationRequired
                | Reason::UnknownMethod
                | Reason::Internal
        )
    })
}

/// A stream of one is what a unary answer looks like.
async fn first_message(
    channel: &Channel,
    request: Request<()>,
    path: http::uri::PathAndQuery,
) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let codec = ProstCodec::<(), ()>::default();
    let mut stream = client.server_streaming(request, path, codec).await?.into_inner();
    stream.message().await?;
    Ok(())
}
