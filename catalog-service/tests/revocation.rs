//! What is revoked at auth-service is dead at catalog-service within a second.

use std::time::{Duration, Instant};

use auth_service::config::IdentityConfig;
use clap::Parser;
use ihuman_proto::{
    access::v1::Role as PbRole,
    auth::v1::{
        self as auth, api_key_service_client::ApiKeyServiceClient,
        auth_service_client::AuthServiceClient,
        signing_key_service_client::SigningKeyServiceClient,
        user_service_client::UserServiceClient,
    },
    catalog::v1::{self as pb, ListSkillsRequest, skill_service_client::SkillServiceClient},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, TestService, reason},
};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    scene::{Executions, executions, next_change, object, publish, snapshot, watch},
    support::Catalog,
};

const WITHIN: Duration = Duration::from_secs(1);
const PASSWORD: &str = "a long enough password";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    identity: IdentityConfig,
}

/// Both services on one database.
struct Pair {
    auth: TestService,
    catalog: Catalog,
}

impl Pair {
    async fn start() -> Self {
        let catalog = Catalog::start().await;
        let identity = Command::parse_from(["test"]).identity;
        let stack = async |platform: &_| auth_service::stack(platform, &identity).await;
        let auth = TestService::start(auth_service::SERVICE, &catalog.database, &[], stack).await;
        Self { auth, catalog }
    }

    /// A developer who registered and logged in.
    async fn developer(&self) -> Caller {
        self.developer_of(&format!("{}@example.com", Uuid::now_v7())).await
    }

    async fn developer_of(&self, email: &str) -> Caller {
        let mut client = AuthServiceClient::new(self.auth.channel.clone());
        let registered = client
            .register(auth::RegisterRequest {
                email: email.to_owned(),
                password: PASSWORD.to_owned(),
                display_name: "Dev".to_owned(),
                request_id: String::new(),
            })
            .await
            .unwrap()
            .into_inner();
        let user_id: Uuid = registered.user.unwrap().id.parse().unwrap();
        sqlx::query("update auth.users set role = 'developer' where user_id = $1")
            .bind(user_id)
            .execute(&self.catalog.database.superuser)
            .await
            .unwrap();
        self.log_in(email).await
    }

    async fn log_in(&self, email: &str) -> Caller {
        let login = auth::LoginRequest {
            email: email.to_owned(),
            password: PASSWORD.to_owned(),
            ..auth::LoginRequest::default()
        };
        let mut client = AuthServiceClient::new(self.auth.channel.clone());
        let login = client.login(login).await.unwrap().into_inner();
        let tokens = login.tokens.unwrap();
        Caller {
            user_id: login.user.unwrap().id.parse().unwrap(),
            session_id: Some(tokens.session_id.parse().unwrap()),
            api_key_id: None,
            authorization: format!("Bearer {}", tokens.access_token),
        }
    }

    async fn set_role(&self, caller: &Caller, role: PbRole) {
        let admin = self.catalog.credentials.person(Role::Admin).await;
        let mut users = UserServiceClient::with_interceptor(self.auth.channel.clone(), admin);
        let user_id = caller.user_id.to_string();
        let request = auth::SetUserRoleRequest { user_id, role: role.into() };
        users.set_user_role(request).await.unwrap();
    }

    /// An execution that the caller has queued.
    async fn execution_of(&self, caller: &Caller) -> (String, Executions) {
        let name = format!("skill-{}", Uuid::now_v7());
        let skill_id = publish(&self.catalog.database, caller.user_id, &name).await.to_string();
        let mut executions = executions(&self.catalog.service, caller);
        let parameters = Some(object(json!({"name": "Ada"})));
        let request = pb::CreateExecutionRequest { skill_id, parameters, ..Default::default() };
        let created = executions.create_execution(request).await.unwrap().into_inner();
        (created.execution.unwrap().id, executions)
    }

    async fn works_at_the_catalog(&self, caller: &Caller) -> Result<(), Reason> {
        let channel = self.catalog.service.channel.clone();
        let mut skills = SkillServiceClient::with_interceptor(channel, caller.clone());
        let listed = skills.list_skills(ListSkillsRequest::default()).await;
        listed.map(drop).map_err(|status| reason(&status))
    }

    /// How long the catalog goes on to let the caller in.
    async fn dead_after(&self, caller: &Caller) -> Duration {
        let since = Instant::now();
        while since.elapsed() < 5 * WITHIN {
            match self.works_at_the_catalog(caller).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(reason) => {
                    assert_eq!(reason, Reason::CredentialsRevoked);
                    return since.elapsed();
                }
            }
        }
        panic!("the catalog still lets the caller in");
    }

    async fn refused_within_a_second(&self, caller: &Caller) -> Reason {
        let since = Instant::now();
        loop {
            match self.works_at_the_catalog(caller).await {
                Err(reason) => return reason,
                Ok(()) => assert!(since.elapsed() < WITHIN, "the catalog lets the caller in"),
            }
        }
    }
}

#[tokio::test]
async fn logging_out_ends_the_token_at_the_other_service_within_a_second() {
    let pair = Pair::start().await;
    let caller = pair.developer().await;
    assert_eq!(pair.works_at_the_catalog(&caller).await, Ok(()));

    let mut client = AuthServiceClient::with_interceptor(pair.auth.channel.clone(), caller.clone());
    client.logout(auth::LogoutRequest {}).await.unwrap();

    assert!(pair.dead_after(&caller).await < WITHIN);
}

#[tokio::test]
async fn a_watch_ends_with_the_session_that_it_began_with_within_a_second() {
    let pair = Pair::start().await;
    let caller = pair.developer().await;
    let (id, mut executions) = pair.execution_of(&caller).await;
    let mut watched = watch(&mut executions, &id, 0).await.unwrap();
    snapshot(&mut watched).await;

    let mut client = AuthServiceClient::with_interceptor(pair.auth.channel.clone(), caller.clone());
    client.logout(auth::LogoutRequest {}).await.unwrap();

    let ended = timeout(WITHIN, watched.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&ended), Reason::CredentialsRevoked);
}

#[tokio::test]
async fn a_watch_ends_with_a_change_of_what_its_caller_may_do_and_no_other() {
    let pair = Pair::start().await;
    let (one, other) = (pair.developer().await, pair.developer().await);
    let mut watches = Vec::new();
    for caller in [&one, &other] {
        let (id, mut executions) = pair.execution_of(caller).await;
        let mut watched = watch(&mut executions, &id, 0).await.unwrap();
        snapshot(&mut watched).await;
        watches.push((id, executions, watched));
    }

    pair.set_role(&one, PbRole::Viewer).await;

    let ended = timeout(WITHIN, watches[0].2.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&ended), Reason::CredentialsRevoked);
    let (id, executions, watched) = &mut watches[1];
    let request = pb::CancelExecutionRequest { execution_id: id.clone() };
    executions.cancel_execution(request).await.unwrap();
    assert!(next_change(watched).await.is_some());
}

#[tokio::test]
async fn a_new_role_ends_the_token_at_the_other_service_within_a_second() {
    let pair = Pair::start().await;
    let caller = pair.developer().await;
    assert_eq!(pair.works_at_the_catalog(&caller).await, Ok(()));

    pair.set_role(&caller, PbRole::Viewer).await;

    assert!(pair.dead_after(&caller).await < WITHIN);
}

#[tokio::test]
async fn revoking_a_key_ends_it_at_the_other_service_within_a_second() {
    let pair = Pair::start().await;
    let owner = pair.developer().await;
    let mut keys = ApiKeyServiceClient::with_interceptor(pair.auth.channel.clone(), owner.clone());
    let created = keys
        .create_api_key(auth::CreateApiKeyRequest {
            name: "ci".to_owned(),
            scopes: vec!["skills:*".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let api_key_id = created.api_key.unwrap().id;
    let key = Caller { authorization: format!("ApiKey {}", created.key), ..owner };
    assert_eq!(pair.works_at_the_catalog(&key).await, Ok(()));

    keys.revoke_api_key(auth::RevokeApiKeyRequest { api_key_id }).await.unwrap();

    assert!(pair.dead_after(&key).await < WITHIN);
}

#[tokio::test]
async fn demoting_an_owner_shrinks_the_owners_keys_at_the_other_service_within_a_second() {
    let pair = Pair::start().await;
    let owner = pair.developer().await;
    let admin = pair.catalog.credentials.person(Role::Admin).await;
    let scopes = ["skills:read".to_owned()];
    let key = pair.catalog.credentials.api_key(owner.user_id, &scopes).await;
    assert_eq!(pair.works_at_the_catalog(&key).await, Ok(()));

    let mut users = UserServiceClient::with_interceptor(pair.auth.channel.clone(), admin);
    let request = auth::SetUserRoleRequest {
        user_id: owner.user_id.to_string(),
        role: PbRole::Service.into(),
    };
    users.set_user_role(request).await.unwrap();

    let since = Instant::now();
    while pair.works_at_the_catalog(&key).await == Ok(()) {
        assert!(since.elapsed() < WITHIN, "the key still reads skills");
    }
    assert_eq!(pair.works_at_the_catalog(&key).await, Err(Reason::PermissionMissing));
}

#[tokio::test]
async fn narrowing_and_rotating_a_key_reaches_the_other_service_within_a_second() {
    let pair = Pair::start().await;
    let owner = pair.developer().await;
    let mut keys = ApiKeyServiceClient::with_interceptor(pair.auth.channel.clone(), owner.clone());
    let order = auth::CreateApiKeyRequest {
        name: "ci".to_owned(),
        scopes: vec!["skills:read".to_owned()],
        ..Default::default()
    };
    let created = keys.create_api_key(order).await.unwrap().into_inner();
    let api_key = created.api_key.unwrap();
    let key = Caller { authorization: format!("ApiKey {}", created.key), ..owner };
    assert_eq!(pair.works_at_the_catalog(&key).await, Ok(()));

    let away = auth::UpdateApiKeyRequest {
        api_key: Some(auth::ApiKey {
            ip_allow_list: vec!["192.0.2.0/24".to_owned()],
            ..api_key.clone()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["ip_allow_list".to_owned()] }),
    };
    keys.update_api_key(away).await.unwrap();
    assert_eq!(pair.refused_within_a_second(&key).await, Reason::AddressNotAllowed);
    let rotate = auth::RotateApiKeyRequest { api_key_id: api_key.id, ..Default::default() };
    keys.rotate_api_key(rotate).await.unwrap();
    let since = Instant::now();
    while pair.works_at_the_catalog(&key).await != Err(Reason::CredentialsExpired) {
        assert!(since.elapsed() < WITHIN, "the old secret is still known");
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_key_is_narrowed_or_rotated() {
    let pair = Pair::start().await;
    let owner = pair.developer().await;
    let mut keys = ApiKeyServiceClient::with_interceptor(pair.auth.channel.clone(), owner.clone());
    let mut watches = Vec::new();
    for _ in 0..2 {
        let scopes = ["skills:*".to_owned(), "executions:*".to_owned()];
        let key = pair.catalog.credentials.api_key(owner.user_id, &scopes).await;
        let (id, mut executions) = pair.execution_of(&key).await;
        let mut watched = watch(&mut executions, &id, 0).await.unwrap();
        snapshot(&mut watched).await;
        watches.push((key.api_key_id.unwrap().to_string(), watched));
    }

    let narrow = auth::UpdateApiKeyRequest {
        api_key: Some(auth::ApiKey {
            id: watches[0].0.clone(),
            scopes: vec!["skills:read".to_owned()],
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["scopes".to_owned()] }),
    };
    keys.update_api_key(narrow).await.unwrap();
    let api_key_id = watches[1].0.clone();
    let rotate = auth::RotateApiKeyRequest { api_key_id, ..Default::default() };
    keys.rotate_api_key(rotate).await.unwrap();

    for (_, watched) in &mut watches {
        let ended = timeout(WITHIN, watched.message()).await.unwrap().unwrap_err();
        assert_eq!(reason(&ended), Reason::CredentialsRevoked);
    }
}

#[tokio::test]
async fn a_revoked_signing_key_is_dead_at_the_other_service_within_a_second_and_the_next_is_known()
{
    let pair = Pair::start().await;
    let caller = pair.developer_of("ann@example.com").await;
    let (id, mut executions) = pair.execution_of(&caller).await;
    let mut watched = watch(&mut executions, &id, 0).await.unwrap();
    snapshot(&mut watched).await;
    let admin = pair.catalog.credentials.person(Role::Admin).await;
    let mut keys = SigningKeyServiceClient::with_interceptor(pair.auth.channel.clone(), admin);
    let listed = keys.list_signing_keys(auth::ListSigningKeysRequest {}).await.unwrap();
    let listed = listed.into_inner().signing_keys.into_iter();
    let mut active = listed.filter(|it| it.state() == auth::SigningKeyState::Active);

    let request = auth::RevokeSigningKeyRequest { kid: active.next().unwrap().kid };
    keys.revoke_signing_key(request).await.unwrap();

    let ended = timeout(WITHIN, watched.message()).await.unwrap().unwrap_err();
    assert_eq!(reason(&ended), Reason::CredentialsRevoked);
    assert!(pair.dead_after(&caller).await < WITHIN);
    let again = pair.log_in("ann@example.com").await;
    assert_eq!(pair.works_at_the_catalog(&again).await, Ok(()));
}
