//! `ihuman.auth.v1.SigningKeyService`.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ihuman_proto::auth::v1::{
    self as pb,
    signing_key_service_server::{SigningKeyService, SigningKeyServiceServer},
};
use tonic::{Request, Response, Status};

use super::store::PublicKey;
use crate::{context::Context, limits};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> SigningKeyServiceServer<SigningKeys> {
    SigningKeyServiceServer::new(SigningKeys(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
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
}

impl From<&PublicKey> for pb::JsonWebKey {
    fn from(key: &PublicKey) -> Self {
        pb::JsonWebKey {
            kid: key.kid.clone(),
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: BASE64.encode(&key.public_key),
            alg: "EdDSA".to_owned(),
            r#use: "sig".to_owned(),
        }
    }
}
