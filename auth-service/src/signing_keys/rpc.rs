//! `ihuman.auth.v1.SigningKeyService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    signing_key_service_server::{SigningKeyService, SigningKeyServiceServer},
};
use ihuman_shared::{access::Principal, idempotency::Key, parse, server::Limited};
use tonic::{Request, Response, Status};

use super::{JsonWebKey, SigningKey, State};
use crate::{context::Context, limits};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<SigningKeyServiceServer<SigningKeys>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        SigningKeyServiceServer::new(SigningKeys(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct SigningKeys(Arc<Context>);

#[tonic::async_trait]
impl SigningKeyService for SigningKeys {
    async fn get_json_web_key_set(
        &self,
        _: Request<pb::GetJsonWebKeySetRequest>,
    ) -> Result<Response<pb::GetJsonWebKeySetResponse>, Status> {
        let keys = self.0.key_set.list().await?;

        let keys = keys.iter().map(Into::into).collect();
        Ok(Response::new(pb::GetJsonWebKeySetResponse { keys }))
    }

    async fn list_signing_keys(
        &self,
        _: Request<pb::ListSigningKeysRequest>,
    ) -> Result<Response<pb::ListSigningKeysResponse>, Status> {
        let keys = super::list(&self.0).await?;

        let signing_keys = keys.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListSigningKeysResponse { signing_keys }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<pb::RotateSigningKeyRequest>,
    ) -> Result<Response<pb::RotateSigningKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let key = Key::of(caller.user_id, "RotateSigningKey", &request.request_id, &request)?;

        let signing_key = super::rotate(&self.0, &caller, key).await?;

        Ok(Response::new(pb::RotateSigningKeyResponse { signing_key: Some(signing_key.into()) }))
    }

    async fn revoke_signing_key(
        &self,
        request: Request<pb::RevokeSigningKeyRequest>,
    ) -> Result<Response<pb::RevokeSigningKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let kid = parse::uuid("kid", &request.into_inner().kid)?;

        let active = super::revoke(&self.0, &caller, kid).await?;

        let active_signing_key = Some(active.into());
        Ok(Response::new(pb::RevokeSigningKeyResponse { active_signing_key }))
    }
}

impl From<SigningKey> for pb::SigningKey {
    fn from(key: SigningKey) -> Self {
        let state = match key.state {
            State::Next => pb::SigningKeyState::Next,
            State::Active => pb::SigningKeyState::Active,
            State::Retired => pb::SigningKeyState::Retired,
        };
        pb::SigningKey {
            kid: key.kid,
            state: state as i32,
            create_time: Some(parse::timestamp(key.created_at)),
            activate_time: key.activates_at.map(parse::timestamp),
            remove_time: key.removed_at.map(parse::timestamp),
        }
    }
}

impl From<&JsonWebKey> for pb::JsonWebKey {
    fn from(key: &JsonWebKey) -> Self {
        pb::JsonWebKey {
            kid: key.kid.clone(),
            kty: key.kty.to_owned(),
            crv: key.crv.to_owned(),
            x: key.x.clone(),
            alg: key.alg.to_owned(),
            r#use: key.r#use.to_owned(),
        }
    }
}
