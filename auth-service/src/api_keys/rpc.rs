//! `ihuman.auth.v1.ApiKeyService`.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use ihuman_proto::auth::v1::{
    self as pb,
    api_key_service_server::{ApiKeyService, ApiKeyServiceServer},
};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    idempotency::Key,
    page::Page,
    parse::{self, Fields},
    server::Limited,
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    AllowList, ApiKey, Expiry, KeyName, Metadata, Order, RequestRate, Rotation, Scopes, Update,
};
use crate::{context::Context, limits, refusal};

/// For how long a secret may work beside its successor.
const OVERLAP_MAX: Duration = Duration::from_secs(7 * DAY);
/// How far one may look ahead: as far as a key may live.
const EXPIRING_WITHIN: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3653 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<ApiKeyServiceServer<ApiKeys>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        ApiKeyServiceServer::new(ApiKeys(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct ApiKeys(Arc<Context>);

#[tonic::async_trait]
impl ApiKeyService for ApiKeys {
    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let (order, key) = self.order(&caller, request.into_inner())?;

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

        let done = super::get(&self.0, &caller, api_key_id).await;
        let api_key = self.recorded(&caller, "GetApiKey", done).await?;

        Ok(Response::new(pb::GetApiKeyResponse { api_key: Some(api_key.into()) }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let caller = Principal::of(&request)?;
        let (owner, within, page) = wish(&caller, &request.into_inner())?;

        let done = super::list(&self.0, &caller, owner, within, page).await;
        let (api_keys, next_page_token) = self.recorded(&caller, "ListApiKeys", done).await?;

        let api_keys = api_keys.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListApiKeysResponse { api_keys, next_page_token }))
    }

    async fn update_api_key(
        &self,
        request: Request<pb::UpdateApiKeyRequest>,
    ) -> Result<Response<pb::UpdateApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let api_key = parse::required("api_key", request.api_key)?;
        let mask = request.update_mask.unwrap_or_default().paths;
        let (api_key_id, update) = self.change(api_key, &mask)?;

        let done = super::update(&self.0, &caller, api_key_id, update).await;
        let api_key = self.recorded(&caller, "UpdateApiKey", done).await?;

        Ok(Response::new(pb::UpdateApiKeyResponse { api_key: Some(api_key.into()) }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<pb::RotateApiKeyRequest>,
    ) -> Result<Response<pb::RotateApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let (api_key_id, rotation, key) = self.rotation(&caller, &request.into_inner())?;

        let done = super::rotate(&self.0, &caller, api_key_id, rotation, key).await;
        let (api_key, key) = self.recorded(&caller, "RotateApiKey", done).await?;

        let (api_key, key) = (Some(api_key.into()), key.reveal().to_owned());
        Ok(Response::new(pb::RotateApiKeyResponse { api_key, key }))
    }

    async fn revoke_current_api_key(
        &self,
        request: Request<pb::RevokeCurrentApiKeyRequest>,
    ) -> Result<Response<pb::RevokeCurrentApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;

        let done = super::revoke_current(&self.0, &caller).await;
        let api_key = self.recorded(&caller, "RevokeCurrentApiKey", done).await?;

        Ok(Response::new(pb::RevokeCurrentApiKeyResponse { api_key: Some(api_key.into()) }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let caller = Principal::of(&request)?;
        let api_key_id = parse::uuid("api_key_id", &request.into_inner().api_key_id)?;

        let done = super::revoke(&self.0, &caller, api_key_id).await;
        let api_key = self.recorded(&caller, "RevokeApiKey", done).await?;

        Ok(Response::new(pb::RevokeApiKeyResponse { api_key: Some(api_key.into()) }))
    }
}

impl ApiKeys {
    fn order(
        &self,
        caller: &Principal,
        request: pb::CreateApiKeyRequest,
    ) -> Result<(Order, Option<Key>)> {
        let mut fields = Fields::default();
        let method = "CreateApiKey";
        let key = fields.take(Key::of(caller.user_id, method, &request.request_id, &request));
        let name = fields.take(KeyName::parse("name", request.name));
        let scopes = fields.take(Scopes::parse("scopes", &request.scopes));
        let expiry = fields.take(self.expiry("expire_time", request.expire_time));
        let list = fields.take(AllowList::parse("ip_allow_list", &request.ip_allow_list));
        let rate_limit = fields.take(rate("rate_limit", request.rate_limit));
        let metadata = fields.take(Metadata::parse("metadata", request.metadata));
        let owner = fields.take(parse::optional_uuid("user_id", &request.user_id));
        let by_default = || Expiry::after_days(self.0.config.api_key_expiry_days, self.0.now());
        fields.finish((|| {
            let order = Order {
                name: name?,
                scopes: scopes?,
                expiry: expiry?.unwrap_or_else(by_default),
                ip_allow_list: list?,
                rate_limit: rate_limit?,
                metadata: metadata?,
                owner: owner?,
            };
            Some((order, key?))
        })())
    }

    /// Which key to change, and to what: the fields of `api_key` that the mask names;
    /// `*` names all (AIP-134).
    fn change(&self, api_key: pb::ApiKey, mask: &[String]) -> Result<(Uuid, Update)> {
        let mut fields = Fields::default();
        let api_key_id = fields.take(parse::uuid("api_key.id", &api_key.id));
        let paths = fields.take(parse::update_mask(mask, MUTABLE)).unwrap_or_default();
        let named = |path: &str| paths.contains(&path);
        let mut update = Update::default();
        if named("name") {
            update.name = fields.take(KeyName::parse("api_key.name", api_key.name));
        }
        if named("scopes") {
            update.scopes = fields.take(Scopes::parse("api_key.scopes", &api_key.scopes));
        }
        if named("expire_time") {
            let at = parse::required("api_key.expire_time", api_key.expire_time);
            let parsed = at.and_then(|it| self.expiry("api_key.expire_time", Some(it)));
            update.expiry = fields.take(parsed).flatten();
        }
        if named("ip_allow_list") {
            let parsed = AllowList::parse("api_key.ip_allow_list", &api_key.ip_allow_list);
            update.ip_allow_list = fields.take(parsed);
        }
        if named("rate_limit") {
            update.rate_limit = fields.take(rate("api_key.rate_limit", api_key.rate_limit));
        }
        if named("metadata") {
            update.metadata = fields.take(Metadata::parse("api_key.metadata", api_key.metadata));
        }
        fields.finish(api_key_id.map(|it| (it, update)))
    }

    fn rotation(
        &self,
        caller: &Principal,
        request: &pb::RotateApiKeyRequest,
    ) -> Result<(Uuid, Rotation, Option<Key>)> {
        let mut fields = Fields::default();
        let method = "RotateApiKey";
        let key = fields.take(Key::of(caller.user_id, method, &request.request_id, request));
        let api_key_id = fields.take(parse::uuid("api_key_id", &request.api_key_id));
        let overlap = fields.take(overlap(request.overlap));
        let expiry = fields.take(self.expiry("expire_time", request.expire_time));
        fields.finish((|| {
            Some((api_key_id?, Rotation { overlap: overlap?, expiry: expiry? }, key?))
        })())
    }

    fn expiry(&self, field: &str, time: Option<Timestamp>) -> Result<Option<Expiry>> {
        let Some(time) = time else { return Ok(None) };
        Expiry::parse(field, parse::time(field, time)?, self.0.now()).map(Some)
    }

    async fn recorded<T>(&self, caller: &Principal, rpc: &str, done: Result<T>) -> Result<T> {
        refusal::recorded(&self.0, caller, &format!("/ihuman.auth.v1.ApiKeyService/{rpc}"), done)
            .await
    }
}

/// What `UpdateApiKeyRequest.update_mask` may name.
const MUTABLE: &[&str] =
    &["name", "scopes", "expire_time", "ip_allow_list", "rate_limit", "metadata"];

/// Whose keys to list, which of them and which page.
fn wish(
    caller: &Principal,
    request: &pb::ListApiKeysRequest,
) -> Result<(Option<Uuid>, Option<Duration>, Page<Uuid>)> {
    let mut fields = Fields::default();
    let owner = fields.take(parse::optional_uuid("user_id", &request.user_id));
    let within = fields.take(expiring_within(request.expiring_within));
    // The token of a page belongs to what is listed.
    let of = (owner.flatten().unwrap_or(caller.user_id), within.flatten());
    let page = fields.take(Page::parse("ListApiKeys", request.page_size, &request.page_token, &of));
    fields.finish((|| Some((owner?, within?, page?)))())
}

fn rate(field: &str, rate: Option<pb::RateLimit>) -> Result<Option<RequestRate>> {
    let Some(rate) = rate else { return Ok(None) };
    let of_window = format!("{field}.window");
    let window = parse::required(&of_window, rate.window);
    let window = window.and_then(|it| parse::duration(&of_window, it));
    RequestRate::parse(field, rate.max_requests, window).map(Some)
}

fn overlap(overlap: Option<prost_types::Duration>) -> Result<Duration> {
    let overlap = parse::duration("overlap", overlap.unwrap_or_default())?;
    match overlap <= OVERLAP_MAX {
        true => Ok(overlap),
        false => Err(Error::invalid("overlap", "must be at most 7 days")),
    }
}

fn expiring_within(within: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    let Some(within) = within else { return Ok(None) };
    let within = parse::duration("expiring_within", within)?;
    match EXPIRING_WITHIN.contains(&within) {
        true => Ok(Some(within)),
        false => Err(Error::invalid("expiring_within", "must be from 1 second to 3653 days")),
    }
}

impl From<ApiKey> for pb::ApiKey {
    fn from(api_key: ApiKey) -> Self {
        let (requests, window_ms) = (api_key.rate_limit_requests, api_key.rate_limit_window_ms);
        let rate_limit = requests.zip(window_ms).map(|(max_requests, window_ms)| pb::RateLimit {
            max_requests,
            window: Some(prost_types::Duration {
                seconds: window_ms / 1000,
                nanos: (window_ms % 1000) as i32 * 1_000_000,
            }),
        });
        pb::ApiKey {
            id: api_key.api_key_id.to_string(),
            user_id: api_key.user_id.to_string(),
            name: api_key.name,
            scopes: api_key.scopes,
            create_time: Some(parse::timestamp(api_key.created_at)),
            expire_time: api_key.expires_at.map(parse::timestamp),
            revoke_time: api_key.revoked_at.map(parse::timestamp),
            last_use_time: api_key.last_used_at.map(parse::timestamp),
            previous_secret_expire_time: api_key.previous_expires_at.map(parse::timestamp),
            ip_allow_list: api_key.ip_allow_list,
            rate_limit,
            metadata: api_key.metadata.0,
        }
    }
}
