//! auth-service on a real socket, with a database of the test's own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use auth_service::{SERVICE, config::IdentityConfig};
use clap::Parser;
use ihuman_proto::auth::v1::{
    self as pb, access_service_client::AccessServiceClient,
    api_key_service_client::ApiKeyServiceClient, auth_service_client::AuthServiceClient,
    email_service_client::EmailServiceClient, lock_service_client::LockServiceClient,
    passkey_service_client::PasskeyServiceClient,
    password_reset_service_client::PasswordResetServiceClient,
    revocation_service_client::RevocationServiceClient,
    session_service_client::SessionServiceClient, setting_service_client::SettingServiceClient,
    signing_key_service_client::SigningKeyServiceClient,
    user_import_service_client::UserImportServiceClient, user_service_client::UserServiceClient,
};
use ihuman_shared::testing::{Caller, Credentials, TestDatabase, TestService};
use serde_json::Value;
use sqlx::Row as _;
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

pub(crate) const EMAIL: &str = "ann@example.com";
pub(crate) const PASSWORD: &str = "a lamp that hums in the attic";

/// A running auth-service and what belongs to it.
pub(crate) struct Auth {
    pub(crate) service: TestService,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) database: Arc<TestDatabase>,
}

/// The channel of a client with credentials.
pub(crate) type Known = InterceptedService<Channel, Caller>;

/// A record of the audit trail.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) actor_id: Option<Uuid>,
    pub(crate) session_id: Option<Uuid>,
    pub(crate) entity: (String, String),
    pub(crate) old_values: Option<Value>,
    pub(crate) new_values: Option<Value>,
    pub(crate) ip_address: Option<String>,
    pub(crate) request_id: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
}

/// The rules of accounts, as they are configured.
#[derive(Parser)]
pub(crate) struct Command {
    #[command(flatten)]
    identity: IdentityConfig,
}

impl Auth {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further `arguments` for the platform.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        let credentials = Arc::new(Credentials::new(&database).await);
        let service = serve(&database, arguments, &[]).await;
        Self { service, credentials, database }
    }

    /// With further arguments for the rules of accounts.
    pub(crate) async fn start_identity(identity: &[&str]) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        let credentials = Arc::new(Credentials::new(&database).await);
        let service = serve(&database, &[], identity).await;
        Self { service, credentials, database }
    }

    /// Another replica on the same database.
    pub(crate) async fn replica(&self) -> Self {
        self.replica_with(&[]).await
    }

    /// The same, with further `arguments` for the platform.
    pub(crate) async fn replica_with(&self, arguments: &[&str]) -> Self {
        self.replica_configured(arguments, &[]).await
    }

    /// The same, with further arguments for the rules of accounts too.
    pub(crate) async fn replica_configured(&self, arguments: &[&str], identity: &[&str]) -> Self {
        let service = serve(&self.database, arguments, identity).await;
        let (credentials, database) = (Arc::clone(&self.credentials), Arc::clone(&self.database));
        Self { service, credentials, database }
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.service.channel.clone())
    }

    pub(crate) fn signing_keys(&self) -> SigningKeyServiceClient<Channel> {
        SigningKeyServiceClient::new(self.service.channel.clone())
    }

    pub(crate) fn auth_as(&self, caller: &Caller) -> AuthServiceClient<Known> {
        AuthServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn sessions(&self, caller: &Caller) -> SessionServiceClient<Known> {
        SessionServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn api_keys(&self, caller: &Caller) -> ApiKeyServiceClient<Known> {
        ApiKeyServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn users(&self, caller: &Caller) -> UserServiceClient<Known> {
        UserServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn locks(&self, caller: &Caller) -> LockServiceClient<Known> {
        LockServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn passkeys(&self, caller: &Caller) -> PasskeyServiceClient<Known> {
        PasskeyServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn user_imports(&self, caller: &Caller) -> UserImportServiceClient<Known> {
        UserImportServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn access(&self, caller: &Caller) -> AccessServiceClient<Known> {
        AccessServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn revocations(&self, caller: &Caller) -> RevocationServiceClient<Known> {
        RevocationServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn signing_keys_as(&self, caller: &Caller) -> SigningKeyServiceClient<Known> {
        SigningKeyServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn emails(&self) -> EmailServiceClient<Channel> {
        EmailServiceClient::new(self.service.channel.clone())
    }

    pub(crate) fn emails_as(&self, caller: &Caller) -> EmailServiceClient<Known> {
        EmailServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    pub(crate) fn password_resets(&self) -> PasswordResetServiceClient<Channel> {
        PasswordResetServiceClient::new(self.service.channel.clone())
    }

    pub(crate) fn settings(&self, caller: &Caller) -> SettingServiceClient<Known> {
        SettingServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    /// An account with [`PASSWORD`].
    pub(crate) async fn register(&self, email: &str) -> pb::User {
        let response = self.auth().register(registration(email)).await.unwrap();
        response.into_inner().user.unwrap()
    }

    pub(crate) async fn login(&self, email: &str) -> pb::Tokens {
        self.login_with(email, PASSWORD).await.unwrap()
    }

    pub(crate) async fn login_with(
        &self,
        email: &str,
        password: &str,
    ) -> Result<pb::Tokens, Status> {
        let request = login(email, password, "");
        Ok(self.auth().login(request).await?.into_inner().tokens.unwrap())
    }

    /// An account with [`PASSWORD`], logged in.
    pub(crate) async fn person(&self, email: &str) -> (pb::User, pb::Tokens) {
        (self.register(email).await, self.login(email).await)
    }

    pub(crate) async fn refresh(
        &self,
        token: &str,
        request_id: &str,
    ) -> Result<pb::Tokens, Status> {
        let (refresh_token, request_id) = (token.to_owned(), request_id.to_owned());
        let request = pb::RefreshTokenRequest { refresh_token, request_id };
        Ok(self.auth().refresh_token(request).await?.into_inner().tokens.unwrap())
    }

    /// Whether the credentials of `caller` are accepted.
    pub(crate) async fn accepts(
        &self,
        caller: &Caller,
    ) -> Result<pb::GetCurrentUserResponse, Status> {
        let response = self.auth_as(caller).get_current_user(pb::GetCurrentUserRequest {}).await;
        response.map(tonic::Response::into_inner)
    }

    /// Waits until the credentials of `caller` are refused; returns how they are,
    /// and fails after the second that the contract allows.
    pub(crate) async fn refuses_within_a_second(&self, caller: &Caller) -> Status {
        let started = Instant::now();
        loop {
            match self.accepts(caller).await {
                Err(status) => return status,
                Ok(_) => assert!(started.elapsed() < Duration::from_secs(1), "still accepted"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What `VerifyToken` says of `token`.
    pub(crate) async fn verify(&self, token: &str) -> pb::VerifyTokenResponse {
        self.verify_from(token, "").await.unwrap()
    }

    /// The same of `token` as `address` would present it.
    pub(crate) async fn verify_from(
        &self,
        token: &str,
        address: &str,
    ) -> Result<pb::VerifyTokenResponse, Status> {
        let caller = self.credentials.person(ihuman_shared::access::Role::Viewer).await;
        let (token, client_ip_address) = (token.to_owned(), address.to_owned());
        let request = pb::VerifyTokenRequest { token, client_ip_address };
        Ok(self.auth_as(&caller).verify_token(request).await?.into_inner())
    }

    /// The audit trail of one action, oldest first.
    pub(crate) async fn audit(&self, action: &str) -> Vec<Record> {
        let rows = sqlx::query(
            "select actor_id, session_id, entity_type, entity_id, old_values, new_values,
                 host(ip_address) as ip_address, request_id, outcome, reason
             from audit.audit_logs where action = $1 order by audit_log_id",
        )
        .bind(action)
        .fetch_all(&self.database.superuser)
        .await
        .unwrap();
        let record = |row: sqlx::postgres::PgRow| Record {
            actor_id: row.get("actor_id"),
            session_id: row.get("session_id"),
            entity: (row.get("entity_type"), row.get("entity_id")),
            old_values: row.get("old_values"),
            new_values: row.get("new_values"),
            ip_address: row.get("ip_address"),
            request_id: row.get("request_id"),
            outcome: row.get("outcome"),
            reason: row.get("reason"),
        };
        rows.into_iter().map(record).collect()
    }

    /// The one record of an action.
    pub(crate) async fn audited(&self, action: &str) -> Record {
        let mut records = self.audit(action).await;
        assert_eq!(records.len(), 1, "{action}: {records:?}");
        records.remove(0)
    }

    /// The first record of an action that is recorded beside its request.
    pub(crate) async fn recorded(&self, action: &str) -> Record {
        let started = Instant::now();
        loop {
            if let Some(record) = self.audit(action).await.into_iter().next() {
                return record;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{action} is not recorded");
        }
    }

    /// The whole audit trail as text, to search for what must not be in it.
    pub(crate) async fn audit_text(&self) -> String {
        self.scalar("select coalesce(string_agg(a::text, e'\\n'), '') from audit.audit_logs a")
            .await
    }

    /// One value from the database.
    pub(crate) async fn scalar<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql).fetch_one(&self.database.superuser).await.unwrap()
    }

    /// Changes facts behind the service's back.
    pub(crate) async fn execute(&self, sql: &'static str, id: Uuid) {
        sqlx::query(sql).bind(id).execute(&self.database.superuser).await.unwrap();
    }
}

/// The rules of accounts and credentials, as they are when nobody changes them.
pub(crate) fn identity() -> IdentityConfig {
    Command::parse_from(["test"]).identity
}

async fn serve(database: &TestDatabase, arguments: &[&str], identity: &[&str]) -> TestService {
    let identity = Command::parse_from(["test"].iter().chain(identity)).identity;
    let stack = async |platform: &_| auth_service::stack(platform, &identity).await;
    TestService::start(SERVICE, database, arguments, stack).await
}

impl Record {
    /// Checks who acted and from where.
    pub(crate) fn is_by(&self, caller: &Caller) {
        assert_eq!(self.actor_id, Some(caller.user_id), "{self:?}");
        assert_eq!(self.session_id, caller.session_id, "{self:?}");
        assert_eq!(self.ip_address.as_deref(), Some("127.0.0.1"), "{self:?}");
        assert!(!self.request_id.is_empty(), "{self:?}");
    }
}

pub(crate) fn login(email: &str, password: &str, device_token: &str) -> pb::LoginRequest {
    pb::LoginRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        device_token: device_token.to_owned(),
    }
}

pub(crate) fn registration(email: &str) -> pb::RegisterRequest {
    pb::RegisterRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        display_name: "Ann".to_owned(),
        request_id: String::new(),
    }
}

/// The caller that `tokens` were issued to.
pub(crate) fn bearer(user: &pb::User, tokens: &pb::Tokens) -> Caller {
    Caller {
        user_id: user.id.parse().unwrap(),
        session_id: Some(tokens.session_id.parse().unwrap()),
        api_key_id: None,
        authorization: format!("Bearer {}", tokens.access_token),
    }
}

/// The caller that presents `key` of `owner`.
pub(crate) fn keyed(owner: &Caller, api_key: &pb::ApiKey, key: &str) -> Caller {
    Caller {
        user_id: owner.user_id,
        session_id: None,
        api_key_id: Some(api_key.id.parse().unwrap()),
        authorization: format!("ApiKey {key}"),
    }
}

/// A request with an id of the caller's choosing.
pub(crate) fn named<T>(request_id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
    request
}

/// The permission that a refusal says is missing.
pub(crate) fn missing(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap();
    info.metadata.get("permission").cloned().unwrap_or_default()
}
