//! Generated clients, the credentials that go with a call, and what a refusal says.

use std::time::Duration;

use anyhow::{Context, Result};
use ihuman_proto::{
    auth::v1::{
        LoginRequest, LoginResponse, access_service_client::AccessServiceClient,
        api_key_service_client::ApiKeyServiceClient, auth_service_client::AuthServiceClient,
        lock_service_client::LockServiceClient, mfa_service_client::MfaServiceClient,
        session_service_client::SessionServiceClient,
        signing_key_service_client::SigningKeyServiceClient,
        user_service_client::UserServiceClient,
    },
    catalog::v1::{
        audit_service_client::AuditServiceClient, execution_service_client::ExecutionServiceClient,
        skill_service_client::SkillServiceClient, worker_service_client::WorkerServiceClient,
    },
};
use tonic::{
    Code, Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// A connection, and the credentials that each call on it shows.
pub(crate) type Connection = InterceptedService<Channel, Credentials>;

/// What the `authorization` header holds, if there is one.
#[derive(Clone)]
pub(crate) struct Credentials(Option<AsciiMetadataValue>);

impl Credentials {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// An access token.
    pub(crate) fn bearer(access_token: &str) -> Result<Self> {
        Self::parse(&format!("Bearer {access_token}"))
    }

    /// An API key.
    pub(crate) fn api_key(key: &str) -> Result<Self> {
        Self::parse(&format!("ApiKey {key}"))
    }

    fn parse(header: &str) -> Result<Self> {
        let mut value: AsciiMetadataValue =
            header.parse().ok().context("credentials must be ASCII characters")?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Both services, for one caller.
#[derive(Clone)]
pub(crate) struct Clients {
    auth: Channel,
    catalog: Channel,
    credentials: Credentials,
}

impl Clients {
    /// Connects at the first call, without credentials.
    pub(crate) fn new(auth_url: &str, catalog_url: &str) -> Result<Self> {
        Ok(Self {
            auth: channel(auth_url)?,
            catalog: channel(catalog_url)?,
            credentials: Credentials::none(),
        })
    }

    /// The same services for another caller.
    pub(crate) fn with(&self, credentials: Credentials) -> Self {
        Self { credentials, ..self.clone() }
    }

    /// Logs in; the second part of the result calls as who has logged in.
    pub(crate) async fn login(
        &self,
        email: &str,
        password: &str,
    ) -> Result<(LoginResponse, Self), Status> {
        let request = LoginRequest {
            email: email.to_owned(),
            password: password.to_owned(),
            ..LoginRequest::default()
        };
        let response = self.auth().login(request).await?.into_inner();
        let token = response.tokens.as_ref().map_or("", |tokens| &tokens.access_token);
        let credentials =
            Credentials::bearer(token).map_err(|error| Status::internal(error.to_string()))?;
        Ok((response, self.with(credentials)))
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Connection> {
        AuthServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn users(&self) -> UserServiceClient<Connection> {
        UserServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Connection> {
        AccessServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn api_keys(&self) -> ApiKeyServiceClient<Connection> {
        ApiKeyServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn sessions(&self) -> SessionServiceClient<Connection> {
        SessionServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn mfa(&self) -> MfaServiceClient<Connection> {
        MfaServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn locks(&self) -> LockServiceClient<Connection> {
        LockServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn signing_keys(&self) -> SigningKeyServiceClient<Connection> {
        SigningKeyServiceClient::new(self.connect(&self.auth))
    }

    pub(crate) fn skills(&self) -> SkillServiceClient<Connection> {
        SkillServiceClient::new(self.connect(&self.catalog))
    }

    pub(crate) fn executions(&self) -> ExecutionServiceClient<Connection> {
        ExecutionServiceClient::new(self.connect(&self.catalog))
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Connection> {
        AuditServiceClient::new(self.connect(&self.catalog))
    }

    fn connect(&self, channel: &Channel) -> Connection {
        InterceptedService::new(channel.clone(), self.credentials.clone())
    }
}

/// The service that hands out work, for one worker.
pub(crate) fn worker(
    catalog_url: &str,
    credentials: Credentials,
) -> Result<WorkerServiceClient<Connection>> {
    let connection = InterceptedService::new(channel(catalog_url)?, credentials);
    Ok(WorkerServiceClient::new(connection))
}

fn channel(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .with_context(|| format!("{url} is no URL of a service"))?
        .user_agent(concat!("ihuman-xtask/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(30));
    Ok(endpoint.connect_lazy())
}

/// The `reason` of the error's `google.rpc.ErrorInfo`; empty if it has none.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Whether the same call may succeed a moment later.
pub(crate) fn passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
    )
}

/// One line for people.
pub(crate) fn explain(status: &Status) -> String {
    format!("{:?} {} ({})", status.code(), reason(status), status.message())
}
