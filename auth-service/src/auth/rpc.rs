//! `ihuman.auth.v1.AuthService`.

use std::{mem::take, sync::Arc};

use ihuman_proto::auth::v1::{
    self as pb,
    auth_service_server::{AuthService, AuthServiceServer},
};
use ihuman_shared::{
    access::{Credential, Origin, Principal},
    credentials::Proof,
    error::{self, Reason},
    idempotency::Key,
    parse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Registration,
    login::Credentials,
    tokens::{RefreshToken, Tokens},
};
use crate::{
    context::Context,
    limits,
    locks::DeviceToken,
    passwords::{Attempt, Candidate, Owner},
    users::{DisplayName, Email},
};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> AuthServiceServer<Auth> {
    AuthServiceServer::new(Auth(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
}

pub(crate) struct Auth(Arc<Context>);

#[tonic::async_trait]
impl AuthService for Auth {
    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let origin = Origin::of(&request);
        let mut request = request.into_inner();
        // Taken out, so that no hash of it is stored with the key.
        let password = Candidate::parse("password", take(&mut request.password))?;
        let key = Key::of(Uuid::nil(), "Register", &request.request_id, &request)?;
        let email = Email::parse("email", request.email)?;
        let display_name = DisplayName::parse("display_name", request.display_name)?;
        let password = password.of(Owner::new(&email, &display_name))?;

        let registration = Registration { email, password, display_name };
        let user = super::register(&self.0, registration, key, &origin).await?;

        Ok(Response::new(pb::RegisterResponse { user: user.map(Into::into) }))
    }

    async fn login(
        &self,
        request: Request<pb::LoginRequest>,
    ) -> Result<Response<pb::LoginResponse>, Status> {
        let origin = Origin::of(&request);
        let request = request.into_inner();
        let email = Email::parse("email", request.email)?;
        let attempt = Attempt::parse("password", request.password)?;
        let device = DeviceToken::parse("device_token", request.device_token)?;
        let credentials = Credentials { email, attempt, device };

        let (tokens, user, device_token) = super::login(&self.0, &credentials, &origin).await?;

        let (tokens, user) = (Some(tokens.into()), Some(user.into()));
        Ok(Response::new(pb::LoginResponse { tokens, user, device_token }))
    }

    async fn refresh_token(
        &self,
        request: Request<pb::RefreshTokenRequest>,
    ) -> Result<Response<pb::RefreshTokenResponse>, Status> {
        let origin = Origin::of(&request);
        let request = request.into_inner();
        let request_id = parse::optional_uuid("request_id", &request.request_id)?;
        let token = RefreshToken::parse(request.refresh_token)?;

        let tokens = super::refresh(&self.0, &token, request_id, &origin).await?;

        Ok(Response::new(pb::RefreshTokenResponse { tokens: Some(tokens.into()) }))
    }

    async fn logout(
        &self,
        request: Request<pb::LogoutRequest>,
    ) -> Result<Response<pb::LogoutResponse>, Status> {
        let caller = Principal::of(&request)?;

        super::logout(&self.0, &caller).await?;

        Ok(Response::new(pb::LogoutResponse {}))
    }

    async fn verify_token(
        &self,
        request: Request<pb::VerifyTokenRequest>,
    ) -> Result<Response<pb::VerifyTokenResponse>, Status> {
        let token = request.into_inner().token;

        let answer = match super::verify(&self.0, &token).await? {
            Ok(proof) => active(&proof),
            Err(reason) => inactive(reason),
        };

        Ok(Response::new(answer))
    }

    async fn get_current_user(
        &self,
        request: Request<pb::GetCurrentUserRequest>,
    ) -> Result<Response<pb::GetCurrentUserResponse>, Status> {
        let caller = Principal::of(&request)?;

        let user = super::current_user(&self.0, &caller).await?;

        Ok(Response::new(pb::GetCurrentUserResponse {
            user: Some(user.into()),
            permissions: caller.permissions.texts(),
            session_id: text(caller.session_id()),
            api_key_id: text(caller.api_key_id()),
        }))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let current = Attempt::parse("current_password", request.current_password)?;
        let new = Candidate::parse("new_password", request.new_password)?;

        super::change_password(&self.0, &caller, &current, new).await?;

        Ok(Response::new(pb::ChangePasswordResponse {}))
    }
}

fn active(proof: &Proof) -> pb::VerifyTokenResponse {
    let (session_id, api_key_id, expires_at) = match proof.credential {
        Credential::Session { session_id, expires_at, .. } => {
            (Some(session_id), None, Some(expires_at))
        }
        Credential::ApiKey { api_key_id, expires_at } => (None, Some(api_key_id), expires_at),
    };
    pb::VerifyTokenResponse {
        active: true,
        inactive_reason: String::new(),
        user_id: proof.user_id.to_string(),
        role: proof.role.to_contract(),
        permissions: proof.permissions.texts(),
        expire_time: expires_at.map(parse::timestamp),
        session_id: text(session_id),
        api_key_id: text(api_key_id),
    }
}

fn inactive(reason: Reason) -> pb::VerifyTokenResponse {
    let inactive_reason = error::name(reason).to_owned();
    pb::VerifyTokenResponse { inactive_reason, ..pb::VerifyTokenResponse::default() }
}

fn text(id: Option<Uuid>) -> String {
    id.map(|it| it.to_string()).unwrap_or_default()
}

impl From<Tokens> for pb::Tokens {
    fn from(tokens: Tokens) -> Self {
        pb::Tokens {
            access_token: tokens.access_token.reveal().to_owned(),
            access_token_expire_time: Some(parse::timestamp(tokens.access_token_expires_at)),
            refresh_token: tokens.refresh_token.reveal().to_owned(),
            refresh_token_expire_time: Some(parse::timestamp(tokens.refresh_token_expires_at)),
            session_id: tokens.session_id.to_string(),
        }
    }
}
