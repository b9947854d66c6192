//! `ihuman.auth.v1.ApiKeyService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    api_key_service_server::{ApiKeyService, ApiKeyServiceServer},
};
use ihuman_shared::{Result, access::Principal, idempotency::Key, page::Page, parse};
use tonic::{Request, Response, Status};

use super::{Expiry, KeyName, Order, Scopes, store::ApiKey};
use crate::{context::Context, limits, refusal};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> ApiKeyServiceServer<ApiKeys> {
    ApiKeyServiceServer::new(ApiKeys(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
}

pub(crate) struct ApiKeys(Arc<Context>);

#[tonic::async_trait]
impl ApiKeyService for ApiKeys {
    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let key = Key::of(caller.user_id, "CreateApiKey", &request.request_id, &request)?;
        let order = self.order(request)?;

        let done = super::create(&self.0, &caller, order, key).await;
        let (api_key, key) = self.recorded(&caller, "CreateApiKey", done).await?;

        let (api_key, key) = (Some(api_key.into()), key.reveal().to_owned());
        Ok(Response::new(pb::CreateApiKeyResponse { api_key, key }))
    }

    async fn get_api_key(
        &self,
        request: Request<pb::GetApiKeyRequest>,
    ) -> Result<Response<pb::GetApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let api_key_id = parse::uuid("api_key_id", &request.into_inner().api_key_id)?;

        let api_key = super::get(&self.0, &caller, api_key_id).await?;

        Ok(Response::new(pb::GetApiKeyResponse { api_key: Some(api_key.into()) }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let owner = parse::optional_uuid("user_id", &request.user_id)?;
        let of = owner.unwrap_or(caller.user_id);
        let page = Page::parse(request.page_size, &request.page_token, &of)?;

        let done = super::list(&self.0, &caller, owner, page).await;
        let (api_keys, next_page_token) = self.recorded(&caller, "ListApiKeys", done).await?;

        let api_keys = api_keys.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListApiKeysResponse { api_keys, next_page_token }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let api_key_id = parse::uuid("api_key_id", &request.into_inner().api_key_id)?;

        let api_key = super::revoke(&self.0, &caller, api_key_id).await?;

        Ok(Response::new(pb::RevokeApiKeyResponse { api_key: Some(api_key.into()) }))
    }
}

impl ApiKeys {
    fn order(&self, request: pb::CreateApiKeyRequest) -> Result<Order> {
        let now = self.0.now();
        let expiry = match request.expire_time {
            Some(time) => Expiry::parse("expire_time", parse::time("expire_time", time)?, now)?,
            None => Expiry::after_days(self.0.config.api_key_expiry_days, now),
        };
        Ok(Order {
            name: KeyName::parse("name", request.name)?,
            scopes: Scopes::parse("scopes", &request.scopes)?,
            expiry,
            owner: parse::optional_uuid("user_id", &request.user_id)?,
        })
    }

    async fn recorded<T>(&self, caller: &Principal, rpc: &str, done: Result<T>) -> Result<T> {
        refusal::recorded(&self.0, caller, &format!("/ihuman.auth.v1.ApiKeyService/{rpc}"), done)
            .await
    }
}

impl From<ApiKey> for pb::ApiKey {
    fn from(api_key: ApiKey) -> Self {
        pb::ApiKey {
            id: api_key.api_key_id.to_string(),
            user_id: api_key.user_id.to_string(),
            name: api_key.name,
            scopes: api_key.scopes,
            create_time: Some(parse::timestamp(api_key.created_at)),
            expire_time: api_key.expires_at.map(parse::timestamp),
            revoke_time: api_key.revoked_at.map(parse::timestamp),
        }
    }
}
