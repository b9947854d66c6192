//! `ihuman.auth.v1.UserService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    user_service_server::{UserService, UserServiceServer},
};
use ihuman_shared::{
    Error, Result,
    access::{Principal, Role},
    idempotency::Key,
    page::Page,
    parse,
};
use tonic::{Request, Response, Status};

use super::{
    DisplayName,
    store::{Filter, Kind, State, User},
};
use crate::{context::Context, limits, refusal};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> UserServiceServer<Users> {
    UserServiceServer::new(Users(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
}

pub(crate) struct Users(Arc<Context>);

#[tonic::async_trait]
impl UserService for Users {
    async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let user = super::get(&self.0, user_id).await?;

        Ok(Response::new(pb::GetUserResponse { user: Some(user.into()) }))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        let request = request.into_inner();
        let filter = filter(&request)?;
        let wanted = (request.role, request.kind, request.state);
        let page = Page::parse(request.page_size, &request.page_token, &wanted)?;

        let (users, next_page_token) = super::list(&self.0, filter, page).await?;

        let users = users.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListUsersResponse { users, next_page_token }))
    }

    async fn set_user_role(
        &self,
        request: Request<pb::SetUserRoleRequest>,
    ) -> Result<Response<pb::SetUserRoleResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let user_id = parse::uuid("user_id", &request.user_id)?;
        let role = Role::from_contract("role", request.role)?;

        let done = super::set_role(&self.0, &caller, user_id, role).await;
        let user = self.recorded(&caller, "SetUserRole", done).await?;

        Ok(Response::new(pb::SetUserRoleResponse { user: Some(user.into()) }))
    }

    async fn deactivate_user(
        &self,
        request: Request<pb::DeactivateUserRequest>,
    ) -> Result<Response<pb::DeactivateUserResponse>, Status> {
        let caller = Principal::of(&request)?;
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let done = super::deactivate(&self.0, &caller, user_id).await;
        let user = self.recorded(&caller, "DeactivateUser", done).await?;

        Ok(Response::new(pb::DeactivateUserResponse { user: Some(user.into()) }))
    }

    async fn reactivate_user(
        &self,
        request: Request<pb::ReactivateUserRequest>,
    ) -> Result<Response<pb::ReactivateUserResponse>, Status> {
        let caller = Principal::of(&request)?;
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let done = super::reactivate(&self.0, &caller, user_id).await;
        let user = self.recorded(&caller, "ReactivateUser", done).await?;

        Ok(Response::new(pb::ReactivateUserResponse { user: Some(user.into()) }))
    }

    async fn create_service_account(
        &self,
        request: Request<pb::CreateServiceAccountRequest>,
    ) -> Result<Response<pb::CreateServiceAccountResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let key = Key::of(caller.user_id, "CreateServiceAccount", &request.request_id, &request)?;
        let display_name = DisplayName::parse("display_name", request.display_name)?;
        let role = service_role(request.role)?;

        let user = super::create_service_account(&self.0, &caller, display_name, role, key).await?;

        Ok(Response::new(pb::CreateServiceAccountResponse { user: Some(user.into()) }))
    }
}

impl Users {
    async fn recorded<T>(&self, caller: &Principal, rpc: &str, done: Result<T>) -> Result<T> {
        refusal::recorded(&self.0, caller, &format!("/ihuman.auth.v1.UserService/{rpc}"), done)
            .await
    }
}

fn filter(request: &pb::ListUsersRequest) -> Result<Filter> {
    let role = match request.role {
        0 => None,
        role => Some(Role::from_contract("role", role)?),
    };
    let kind = match pb::UserKind::try_from(request.kind) {
        Ok(pb::UserKind::Unspecified) => None,
        Ok(pb::UserKind::Person) => Some(Kind::Person),
        Ok(pb::UserKind::ServiceAccount) => Some(Kind::ServiceAccount),
        Err(_) => return Err(Error::invalid("kind", "must be a UserKind")),
    };
    let state = match pb::UserState::try_from(request.state) {
        Ok(pb::UserState::Unspecified) => None,
        Ok(pb::UserState::Active) => Some(State::Active),
        Ok(pb::UserState::Deactivated) => Some(State::Deactivated),
        Err(_) => return Err(Error::invalid("state", "must be a UserState")),
    };
    Ok(Filter { role, kind, state })
}

fn service_role(number: i32) -> Result<Role> {
    match number {
        0 => Ok(Role::Service),
        _ => match Role::from_contract("role", number)? {
            Role::Admin => Err(Error::invalid("role", "must not be ROLE_ADMIN")),
            role => Ok(role),
        },
    }
}

impl From<User> for pb::User {
    fn from(user: User) -> Self {
        let kind = match user.kind {
            Kind::Person => pb::UserKind::Person,
            Kind::ServiceAccount => pb::UserKind::ServiceAccount,
        };
        let state = match user.state {
            State::Active => pb::UserState::Active,
            State::Deactivated => pb::UserState::Deactivated,
        };
        pb::User {
            id: user.user_id.to_string(),
            kind: kind as i32,
            email: user.email.unwrap_or_default(),
            display_name: user.display_name,
            role: user.role.to_contract(),
            extra_permissions: user.permissions,
            state: state as i32,
            create_time: Some(parse::timestamp(user.created_at)),
            update_time: Some(parse::timestamp(user.updated_at)),
            login_time: user.last_login_at.map(parse::timestamp),
        }
    }
}
