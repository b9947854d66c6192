//! `ihuman.auth.v1.MfaService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    mfa_service_server::{MfaService, MfaServiceServer},
};
use ihuman_shared::{Result, access::Principal, parse, server::Limited};
use tonic::{Request, Response, Status};

use super::{Enrollment, Factor, RecoveryCode, State, TotpCode};
use crate::{context::Context, limits, refusal};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<MfaServiceServer<Mfa>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        MfaServiceServer::new(Mfa(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct Mfa(Arc<Context>);

impl Mfa {
    async fn recorded<T>(&self, caller: &Principal, rpc: &str, done: Result<T>) -> Result<T> {
        let path = format!("/ihuman.auth.v1.MfaService/{rpc}");
        refusal::recorded(&self.0, caller, &path, done).await
    }
}

#[tonic::async_trait]
impl MfaService for Mfa {
    async fn get_mfa_state(
        &self,
        request: Request<pb::GetMfaStateRequest>,
    ) -> Result<Response<pb::GetMfaStateResponse>, Status> {
        let caller = Principal::of(&request)?;

        let state = super::state(&self.0, &caller).await?;

        Ok(Response::new(state.into()))
    }

    async fn enroll_totp(
        &self,
        request: Request<pb::EnrollTotpRequest>,
    ) -> Result<Response<pb::EnrollTotpResponse>, Status> {
        let caller = Principal::of(&request)?;

        let done = super::enroll_totp(&self.0, &caller).await;
        let enrollment = self.recorded(&caller, "EnrollTotp", done).await?;

        Ok(Response::new(enrollment.into()))
    }

    async fn confirm_totp(
        &self,
        request: Request<pb::ConfirmTotpRequest>,
    ) -> Result<Response<pb::ConfirmTotpResponse>, Status> {
        let caller = Principal::of(&request)?;
        let code = TotpCode::parse("code", &request.into_inner().code)?;

        let done = super::confirm_totp(&self.0, &caller, &code).await;
        let codes = self.recorded(&caller, "ConfirmTotp", done).await?;

        Ok(Response::new(pb::ConfirmTotpResponse { recovery_codes: texts(&codes) }))
    }

    async fn disable_totp(
        &self,
        request: Request<pb::DisableTotpRequest>,
    ) -> Result<Response<pb::DisableTotpResponse>, Status> {
        let caller = Principal::of(&request)?;

        let done = super::disable_totp(&self.0, &caller).await;
        self.recorded(&caller, "DisableTotp", done).await?;

        Ok(Response::new(pb::DisableTotpResponse {}))
    }

    async fn regenerate_recovery_codes(
        &self,
        request: Request<pb::RegenerateRecoveryCodesRequest>,
    ) -> Result<Response<pb::RegenerateRecoveryCodesResponse>, Status> {
        let caller = Principal::of(&request)?;

        let done = super::regenerate_recovery_codes(&self.0, &caller).await;
        let codes = self.recorded(&caller, "RegenerateRecoveryCodes", done).await?;

        let recovery_codes = texts(&codes);
        Ok(Response::new(pb::RegenerateRecoveryCodesResponse { recovery_codes }))
    }

    async fn reset_mfa(
        &self,
        request: Request<pb::ResetMfaRequest>,
    ) -> Result<Response<pb::ResetMfaResponse>, Status> {
        let caller = Principal::of(&request)?;
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let done = super::reset(&self.0, &caller, user_id).await;
        let reset = self.recorded(&caller, "ResetMfa", done).await?;

        Ok(Response::new(pb::ResetMfaResponse {
            reset: reset.was_enabled,
            password_reset_required: reset.ended_password,
            revoked_session_count: i32::try_from(reset.revoked_sessions).unwrap_or(i32::MAX),
        }))
    }
}

fn texts(codes: &[RecoveryCode]) -> Vec<String> {
    codes.iter().map(RecoveryCode::text).collect()
}

impl Factor {
    /// The factor in the contract.
    pub(crate) fn to_contract(self) -> i32 {
        match self {
            Factor::Totp => pb::SecondFactor::Totp as i32,
            Factor::Passkey => pb::SecondFactor::Passkey as i32,
            Factor::RecoveryCode => pb::SecondFactor::RecoveryCode as i32,
        }
    }
}

impl From<State> for pb::GetMfaStateResponse {
    fn from(state: State) -> Self {
        let count = |it: i64| i32::try_from(it).unwrap_or(i32::MAX);
        pb::GetMfaStateResponse {
            enabled: state.enabled,
            factors: state.factors().into_iter().map(Factor::to_contract).collect(),
            totp_confirm_time: state.totp_confirmed_at.map(parse::timestamp),
            recovery_codes_left: count(state.recovery_codes_left),
            recovery_codes_used: count(state.recovery_codes_used),
            passkey_count: count(state.passkeys),
        }
    }
}

impl From<Enrollment> for pb::EnrollTotpResponse {
    fn from(enrollment: Enrollment) -> Self {
        pb::EnrollTotpResponse {
            secret: enrollment.secret.reveal().to_owned(),
            otpauth_uri: enrollment.uri.reveal().to_owned(),
            qr_code_svg: enrollment.qr_code_svg.reveal().to_owned(),
            expire_time: Some(parse::timestamp(enrollment.expires_at)),
        }
    }
}
