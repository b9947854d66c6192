//! `ihuman.auth.v1.PasskeyService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    passkey_service_server::{PasskeyService, PasskeyServiceServer},
};
use ihuman_shared::{
    Result,
    access::Principal,
    idempotency::Key,
    page::Page,
    parse::{self, Fields},
    server::Limited,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Assertion, Attestation, CreationOptions, Descriptor, Parts, Passkey, PasskeyName,
    RequestOptions, challenge::LIFETIME, public_key::ALGORITHMS,
};
use crate::{context::Context, limits, mfa::RecoveryCode, refusal};

/// What a registration is remembered under.
const FINISH: &str = "FinishPasskeyRegistration";

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<PasskeyServiceServer<Passkeys>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        PasskeyServiceServer::new(Passkeys(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct Passkeys(Arc<Context>);

#[tonic::async_trait]
impl PasskeyService for Passkeys {
    async fn begin_passkey_registration(
        &self,
        request: Request<pb::BeginPasskeyRegistrationRequest>,
    ) -> Result<Response<pb::BeginPasskeyRegistrationResponse>, Status> {
        let caller = Principal::of(&request)?;

        let done = super::begin_registration(&self.0, &caller).await;
        let options = self.recorded(&caller, "BeginPasskeyRegistration", done).await?;

        let options = Some(options.into());
        Ok(Response::new(pb::BeginPasskeyRegistrationResponse { options }))
    }

    async fn finish_passkey_registration(
        &self,
        request: Request<pb::FinishPasskeyRegistrationRequest>,
    ) -> Result<Response<pb::FinishPasskeyRegistrationResponse>, Status> {
        let caller = Principal::of(&request)?;
        let (name, attestation, key) = registration(&caller, request.into_inner())?;

        let done = super::finish_registration(&self.0, &caller, name, &attestation, key).await;
        let (passkey, codes) = self.recorded(&caller, FINISH, done).await?;

        let passkey = Some(passkey.into());
        let recovery_codes = codes.iter().map(RecoveryCode::text).collect();
        Ok(Response::new(pb::FinishPasskeyRegistrationResponse { passkey, recovery_codes }))
    }

    async fn list_passkeys(
        &self,
        request: Request<pb::ListPasskeysRequest>,
    ) -> Result<Response<pb::ListPasskeysResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let page =
            Page::parse("ListPasskeys", request.page_size, &request.page_token, &caller.user_id)?;

        let (passkeys, next_page_token) = super::list(&self.0, &caller, page).await?;

        let passkeys = passkeys.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListPasskeysResponse { passkeys, next_page_token }))
    }

    async fn update_passkey(
        &self,
        request: Request<pb::UpdatePasskeyRequest>,
    ) -> Result<Response<pb::UpdatePasskeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let passkey = parse::required("passkey", request.passkey)?;
        let (passkey_id, name) = change(passkey, &request.update_mask.unwrap_or_default().paths)?;

        let passkey = super::rename(&self.0, &caller, passkey_id, name).await?;

        Ok(Response::new(pb::UpdatePasskeyResponse { passkey: Some(passkey.into()) }))
    }

    async fn delete_passkey(
        &self,
        request: Request<pb::DeletePasskeyRequest>,
    ) -> Result<Response<pb::DeletePasskeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let passkey_id = parse::uuid("passkey_id", &request.into_inner().passkey_id)?;

        let done = super::delete(&self.0, &caller, passkey_id).await;
        self.recorded(&caller, "DeletePasskey", done).await?;

        Ok(Response::new(pb::DeletePasskeyResponse {}))
    }
}

impl Passkeys {
    async fn recorded<T>(&self, caller: &Principal, rpc: &str, done: Result<T>) -> Result<T> {
        let path = format!("/ihuman.auth.v1.PasskeyService/{rpc}");
        refusal::recorded(&self.0, caller, &path, done).await
    }
}

/// The passkey to register.
fn registration(
    caller: &Principal,
    request: pb::FinishPasskeyRegistrationRequest,
) -> Result<(PasskeyName, Attestation, Option<Key>)> {
    let mut fields = Fields::default();
    let key = fields.take(Key::of(caller.user_id, FINISH, &request.request_id, &request));
    let name = fields.take(PasskeyName::parse("name", request.name));
    let attestation = fields.take(attestation("attestation", request.attestation));
    fields.finish((|| Some((name?, attestation?, key?)))())
}

/// Which passkey to rename, and to what.
fn change(passkey: pb::Passkey, mask: &[String]) -> Result<(Uuid, PasskeyName)> {
    let mut fields = Fields::default();
    let passkey_id = fields.take(parse::uuid("passkey.id", &passkey.id));
    let paths = fields.take(parse::update_mask(mask, &["name"]));
    let name = fields.take(PasskeyName::parse("passkey.name", passkey.name));
    fields.finish((|| paths.and(Some((passkey_id?, name?))))())
}

fn attestation(field: &str, message: Option<pb::PasskeyAttestation>) -> Result<Attestation> {
    let message = parse::required(field, message)?;
    Attestation::parse(
        field,
        message.credential_id,
        message.client_data_json,
        message.attestation_object,
        message.transports,
    )
}

/// The assertion in a field of another service.
pub(crate) fn assertion(field: &str, message: pb::PasskeyAssertion) -> Result<Assertion> {
    let parts = Parts {
        credential_id: message.credential_id,
        client_data_json: message.client_data_json,
        authenticator_data: message.authenticator_data,
        signature: message.signature,
        user_handle: message.user_handle,
    };
    Assertion::parse(field, parts)
}

impl From<Passkey> for pb::Passkey {
    fn from(passkey: Passkey) -> Self {
        pb::Passkey {
            id: passkey.passkey_id.to_string(),
            name: passkey.name,
            create_time: Some(parse::timestamp(passkey.created_at)),
            last_use_time: passkey.last_used_at.map(parse::timestamp),
            transports: passkey.transports,
            backed_up: passkey.backed_up,
            user_verifying: passkey.user_verifying,
        }
    }
}

impl From<CreationOptions> for pb::PasskeyCreationOptions {
    fn from(options: CreationOptions) -> Self {
        let selection = pb::PasskeyAuthenticatorSelection {
            resident_key: pb::PasskeyResidentKey::Preferred as i32,
            user_verification: pb::PasskeyUserVerification::Preferred as i32,
        };
        pb::PasskeyCreationOptions {
            rp: Some(pb::PasskeyRelyingParty { id: options.rp_id, name: options.rp_name }),
            user: Some(pb::PasskeyUser {
                id: options.user_handle,
                name: options.user_name,
                display_name: options.user_display_name,
            }),
            challenge: options.challenge,
            algorithms: ALGORITHMS.to_vec(),
            timeout: Some(timeout()),
            exclude_credentials: options.exclude.into_iter().map(Into::into).collect(),
            authenticator_selection: Some(selection),
            attestation: pb::PasskeyAttestationConveyance::None as i32,
        }
    }
}

impl From<RequestOptions> for pb::PasskeyRequestOptions {
    fn from(options: RequestOptions) -> Self {
        let user_verification = match options.must_verify_user {
            true => pb::PasskeyUserVerification::Required,
            false => pb::PasskeyUserVerification::Preferred,
        };
        pb::PasskeyRequestOptions {
            challenge: options.challenge,
            rp_id: options.rp_id,
            allow_credentials: options.allow.into_iter().map(Into::into).collect(),
            user_verification: user_verification as i32,
            timeout: Some(timeout()),
        }
    }
}

impl From<Descriptor> for pb::PasskeyDescriptor {
    fn from(descriptor: Descriptor) -> Self {
        let Descriptor { credential_id: id, transports } = descriptor;
        pb::PasskeyDescriptor { id, transports }
    }
}

fn timeout() -> prost_types::Duration {
    prost_types::Duration { seconds: LIFETIME.num_seconds(), nanos: 0 }
}
