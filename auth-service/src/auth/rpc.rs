//! `ihuman.auth.v1.AuthService`.

use std::{mem::take, sync::Arc};

use ihuman_proto::auth::v1::{
    self as pb,
    auth_service_server::{AuthService, AuthServiceServer},
};
use ihuman_shared::{
    Result,
    access::{Credential, Origin, Principal},
    credentials::Proof,
    error::{self, Reason},
    idempotency::Key,
    parse::{self, Fields},
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Registration,
    challenge::{Challenge, ChallengeToken},
    login::{Credentials, LoggedIn},
    opening::Opened,
    tokens::{RefreshToken, Tokens},
};
use crate::{
    context::Context,
    limits,
    locks::DeviceToken,
    mfa::{Factor, FactorProof, RecoveryCode, TotpCode},
    passkeys,
    passwords::{Attempt, Candidate, Owner, Proposal},
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
        let (registration, key) = registration(request.into_inner())?;

        let user = super::register(&self.0, registration, key, &origin).await?;

        Ok(Response::new(pb::RegisterResponse { user: user.map(Into::into) }))
    }

    async fn login(
        &self,
        request: Request<pb::LoginRequest>,
    ) -> Result<Response<pb::LoginResponse>, Status> {
        let origin = Origin::of(&request);
        let credentials = credentials(request.into_inner())?;

        let logged_in = super::login(&self.0, &credentials, &origin).await?;

        Ok(Response::new(logged_in.into()))
    }

    async fn complete_login(
        &self,
        request: Request<pb::CompleteLoginRequest>,
    ) -> Result<Response<pb::CompleteLoginResponse>, Status> {
        let origin = Origin::of(&request);
        let request = request.into_inner();
        let proof = login_proof(parse::required("proof", request.proof)?)?;
        let token = ChallengeToken::parse("challenge_token", request.challenge_token)?;

        let opened = super::complete_login(&self.0, &token, &proof, &origin).await?;

        let Opened { tokens, user, device_token } = opened;
        let (tokens, user) = (Some(tokens.into()), Some(user.into()));
        Ok(Response::new(pb::CompleteLoginResponse { tokens, user, device_token }))
    }

    async fn begin_passkey_login(
        &self,
        _request: Request<pb::BeginPasskeyLoginRequest>,
    ) -> Result<Response<pb::BeginPasskeyLoginResponse>, Status> {
        let challenge = super::begin_passkey_login(&self.0)?;

        let challenge = Some(challenge.into());
        Ok(Response::new(pb::BeginPasskeyLoginResponse { challenge }))
    }

    async fn refresh_token(
        &self,
        request: Request<pb::RefreshTokenRequest>,
    ) -> Result<Response<pb::RefreshTokenResponse>, Status> {
        let origin = Origin::of(&request);
        let request = request.into_inner();
        let request_id = parse::optional_uuid("request_id", &request.request_id)?;
        let token = RefreshToken::parse("refresh_token", request.refresh_token)?;

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

    async fn begin_reauthentication(
        &self,
        request: Request<pb::BeginReauthenticationRequest>,
    ) -> Result<Response<pb::BeginReauthenticationResponse>, Status> {
        let caller = Principal::of(&request)?;

        let (factors, passkey) = super::begin_reauthentication(&self.0, &caller).await?;

        Ok(Response::new(pb::BeginReauthenticationResponse {
            factors: factors.into_iter().map(Factor::to_contract).collect(),
            passkey: passkey.map(Into::into),
        }))
    }

    async fn reauthenticate(
        &self,
        request: Request<pb::ReauthenticateRequest>,
    ) -> Result<Response<pb::ReauthenticateResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let proof = request.second_factor.map(session_proof).transpose()?;
        let attempt = match (&proof, request.password) {
            (Some(FactorProof::Passkey(_)), password) if password.is_empty() => None,
            (_, password) => Some(Attempt::parse("password", password)?),
        };
        let (attempt, proof) = (attempt.as_ref(), proof.as_ref());

        let token = super::reauthenticate(&self.0, &caller, attempt, proof).await?;

        Ok(Response::new(pb::ReauthenticateResponse {
            access_token: token.text.reveal().to_owned(),
            access_token_expire_time: Some(parse::timestamp(token.expires_at)),
        }))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let current = Attempt::parse("current_password", request.current_password)?;
        let new = Proposal::parse("new_password", request.new_password)?;

        super::change_password(&self.0, &caller, &current, new).await?;

        Ok(Response::new(pb::ChangePasswordResponse {}))
    }
}

fn login_proof(proof: pb::complete_login_request::Proof) -> Result<FactorProof> {
    use pb::complete_login_request::Proof;
    match proof {
        Proof::TotpCode(code) => totp(&code),
        Proof::RecoveryCode(code) => recovery_code(&code),
        Proof::Passkey(assertion) => passkey(assertion),
    }
}

fn session_proof(proof: pb::reauthenticate_request::SecondFactor) -> Result<FactorProof> {
    use pb::reauthenticate_request::SecondFactor;
    match proof {
        SecondFactor::TotpCode(code) => totp(&code),
        SecondFactor::RecoveryCode(code) => recovery_code(&code),
        SecondFactor::Passkey(assertion) => passkey(assertion),
    }
}

fn totp(code: &str) -> Result<FactorProof> {
    TotpCode::parse("totp_code", code).map(FactorProof::Totp)
}

fn recovery_code(code: &str) -> Result<FactorProof> {
    RecoveryCode::parse("recovery_code", code).map(FactorProof::RecoveryCode)
}

fn registration(mut request: pb::RegisterRequest) -> Result<(Registration, Option<Key>)> {
    let mut fields = Fields::default();
    // Taken out, so that no hash of it is stored with the key.
    let password = take(&mut request.password);
    let key = Key::of(Uuid::nil(), "Register", &request.request_id, &request);
    let email = fields.take(Email::parse("email", request.email));
    let password = fields.take(Candidate::parse("password", password));
    let display_name = fields.take(DisplayName::parse("display_name", request.display_name));
    let key = fields.take(key);
    let password = match (&email, &display_name, password) {
        (Some(email), Some(display_name), Some(password)) => {
            fields.take(password.of(Owner::new(email, display_name)))
        }
        _ => None,
    };
    fields.finish((|| {
        let registration =
            Registration { email: email?, password: password?, display_name: display_name? };
        Some((registration, key?))
    })())
}

fn credentials(request: pb::LoginRequest) -> Result<Credentials> {
    let mut fields = Fields::default();
    let email = fields.take(Email::parse("email", request.email));
    let attempt = fields.take(Attempt::parse("password", request.password));
    let device = fields.take(DeviceToken::parse("device_token", request.device_token));
    fields.finish((|| Some(Credentials { email: email?, attempt: attempt?, device: device? }))())
}

fn passkey(message: pb::PasskeyAssertion) -> Result<FactorProof> {
    let assertion = passkeys::rpc::assertion("passkey", message)?;
    Ok(FactorProof::Passkey(Box::new(assertion)))
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

impl From<LoggedIn> for pb::LoginResponse {
    fn from(logged_in: LoggedIn) -> Self {
        match logged_in {
            LoggedIn::Opened(opened) => pb::LoginResponse {
                tokens: Some(opened.tokens.into()),
                user: Some(opened.user.into()),
                device_token: opened.device_token,
                challenge: None,
            },
            LoggedIn::Challenged(challenge) => pb::LoginResponse {
                challenge: Some(challenge.into()),
                ..pb::LoginResponse::default()
            },
        }
    }
}

impl From<Challenge> for pb::LoginChallenge {
    fn from(challenge: Challenge) -> Self {
        pb::LoginChallenge {
            challenge_token: challenge.token.reveal().to_owned(),
            expire_time: Some(parse::timestamp(challenge.expires_at)),
            factors: challenge.factors.into_iter().map(Factor::to_contract).collect(),
            passkey: challenge.passkey.map(Into::into),
        }
    }
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
