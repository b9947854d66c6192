//! `ihuman.auth.v1.SettingService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    setting_service_server::{SettingService, SettingServiceServer},
};
use ihuman_shared::{
    Result,
    access::Principal,
    page::Page,
    parse::{self, Fields},
    server::Limited,
};
use serde_json::Value;
use tonic::{Request, Response, Status};

use super::{Setting, SettingName};
use crate::{context::Context, limits};

/// The greatest value, in bytes as JSON text.
const VALUE_MAX: usize = 16 << 10;

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<SettingServiceServer<Settings>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        SettingServiceServer::new(Settings(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct Settings(Arc<Context>);

#[tonic::async_trait]
impl SettingService for Settings {
    async fn get_setting(
        &self,
        request: Request<pb::GetSettingRequest>,
    ) -> Result<Response<pb::GetSettingResponse>, Status> {
        let caller = Principal::of(&request)?;
        let name = SettingName::parse("name", request.into_inner().name)?;

        let setting = super::get(&self.0, &caller, &name).await?;

        Ok(Response::new(pb::GetSettingResponse { setting: Some(setting.into()) }))
    }

    async fn list_settings(
        &self,
        request: Request<pb::ListSettingsRequest>,
    ) -> Result<Response<pb::ListSettingsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let page =
            Page::parse("ListSettings", request.page_size, &request.page_token, &caller.user_id)?;

        let (settings, next_page_token) = super::list(&self.0, &caller, page).await?;

        let settings = settings.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListSettingsResponse { settings, next_page_token }))
    }

    async fn set_setting(
        &self,
        request: Request<pb::SetSettingRequest>,
    ) -> Result<Response<pb::SetSettingResponse>, Status> {
        let caller = Principal::of(&request)?;
        let (name, value) = setting(request.into_inner())?;

        let setting = super::set(&self.0, &caller, &name, &value).await?;

        Ok(Response::new(pb::SetSettingResponse { setting: Some(setting.into()) }))
    }

    async fn delete_setting(
        &self,
        request: Request<pb::DeleteSettingRequest>,
    ) -> Result<Response<pb::DeleteSettingResponse>, Status> {
        let caller = Principal::of(&request)?;
        let name = SettingName::parse("name", request.into_inner().name)?;

        super::delete(&self.0, &caller, &name).await?;

        Ok(Response::new(pb::DeleteSettingResponse {}))
    }
}

/// Which setting to set, and to what.
fn setting(request: pb::SetSettingRequest) -> Result<(SettingName, Value)> {
    let mut fields = Fields::default();
    let name = fields.take(SettingName::parse("name", request.name));
    let value = parse::required("value", request.value);
    let value = fields.take(value.and_then(|it| parse::json("value", it, VALUE_MAX)));
    fields.finish(name.zip(value))
}

impl From<Setting> for pb::Setting {
    fn from(setting: Setting) -> Self {
        pb::Setting {
            name: setting.name,
            value: Some(parse::value(setting.value)),
            update_time: Some(parse::timestamp(setting.updated_at)),
        }
    }
}
