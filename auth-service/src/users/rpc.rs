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
    parse::{self, Fields},
};
use tonic::{Request, Response, Status};

use super::{
    AvatarUrl, DisplayName, ExtraPermissions, Filter, Kind, Profile, Query, State, Statistics, User,
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
        let wanted = (request.role, request.kind, request.state, &request.query);
        let page = Page::parse("ListUsers", request.page_size, &request.page_token, &wanted)?;
        let query = Query::parse("query", request.query)?;

        let (users, next_page_token) = super::list(&self.0, filter, query, page).await?;

        let users = users.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListUsersResponse { users, next_page_token }))
    }

    async fn get_user_stats(
        &self,
        _: Request<pb::GetUserStatsRequest>,
    ) -> Result<Response<pb::GetUserStatsResponse>, Status> {
        let statistics = super::statistics(&self.0).await?;

        Ok(Response::new(statistics.into()))
    }

    async fn update_current_user(
        &self,
        request: Request<pb::UpdateCurrentUserRequest>,
    ) -> Result<Response<pb::UpdateCurrentUserResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let user = parse::required("user", request.user)?;
        let profile = profile(user, &request.update_mask.unwrap_or_default().paths)?;

        let user = super::update(&self.0, &caller, caller.user_id, profile).await?;

        Ok(Response::new(pb::UpdateCurrentUserResponse { user: Some(user.into()) }))
    }

    async fn update_user(
        &self,
        request: Request<pb::UpdateUserRequest>,
    ) -> Result<Response<pb::UpdateUserResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let user = parse::required("user", request.user)?;
        let user_id = parse::uuid("user.id", &user.id)?;
        let profile = profile(user, &request.update_mask.unwrap_or_default().paths)?;

        let done = super::update(&self.0, &caller, user_id, profile).await;
        let user = self.recorded(&caller, "UpdateUser", done).await?;

        Ok(Response::new(pb::UpdateUserResponse { user: Some(user.into()) }))
    }

    async fn set_user_permissions(
        &self,
        request: Request<pb::SetUserPermissionsRequest>,
    ) -> Result<Response<pb::SetUserPermissionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let user_id = parse::uuid("user_id", &request.user_id)?;
        let permissions = ExtraPermissions::parse("permissions", &request.permissions)?;

        let done = super::set_permissions(&self.0, &caller, user_id, permissions).await;
        let user = self.recorded(&caller, "SetUserPermissions", done).await?;

        Ok(Response::new(pb::SetUserPermissionsResponse { user: Some(user.into()) }))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        let caller = Principal::of(&request)?;
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let done = super::delete(&self.0, &caller, user_id).await;
        let user = self.recorded(&caller, "DeleteUser", done).await?;

        Ok(Response::new(pb::DeleteUserResponse { user: Some(user.into()) }))
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
        Ok(pb::UserState::Deleted) => Some(State::Deleted),
        Err(_) => return Err(Error::invalid("state", "must be a UserState")),
    };
    Ok(Filter { role, kind, state })
}

/// What a profile's `update_mask` may name.
const MUTABLE: &[&str] = &["display_name", "avatar_url"];

/// The fields of `user` that the mask names; `*` names all (AIP-134).
fn profile(user: pb::User, mask: &[String]) -> Result<Profile> {
    let paths = parse::update_mask(mask, MUTABLE)?;
    let (mut fields, mut profile) = (Fields::default(), Profile::default());
    if paths.contains(&"display_name") {
        let parsed = DisplayName::parse("user.display_name", user.display_name);
        profile.display_name = fields.take(parsed);
    }
    if paths.contains(&"avatar_url") {
        profile.avatar_url = fields.take(AvatarUrl::parse("user.avatar_url", user.avatar_url));
    }
    fields.finish(Some(profile))
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

fn kind(kind: Kind) -> i32 {
    (match kind {
        Kind::Person => pb::UserKind::Person,
        Kind::ServiceAccount => pb::UserKind::ServiceAccount,
    }) as i32
}

fn state(state: State) -> i32 {
    (match state {
        State::Active => pb::UserState::Active,
        State::Deactivated => pb::UserState::Deactivated,
        State::Deleted => pb::UserState::Deleted,
    }) as i32
}

impl From<Statistics> for pb::GetUserStatsResponse {
    fn from(counted: Statistics) -> Self {
        use pb::get_user_stats_response::{KindCount, RoleCount, StateCount};
        let by_role = counted.by_role.into_iter();
        let by_kind = counted.by_kind.into_iter();
        let by_state = counted.by_state.into_iter();
        pb::GetUserStatsResponse {
            total: counted.total,
            by_role: by_role
                .map(|(role, count)| RoleCount { role: role.to_contract(), count })
                .collect(),
            by_kind: by_kind.map(|(it, count)| KindCount { kind: kind(it), count }).collect(),
            by_state: by_state.map(|(it, count)| StateCount { state: state(it), count }).collect(),
            new_count: counted.new_count,
            active_count: counted.active_count,
        }
    }
}

impl From<User> for pb::User {
    fn from(user: User) -> Self {
        pb::User {
            id: user.user_id.to_string(),
            kind: kind(user.kind),
            email: user.email.unwrap_or_default(),
            display_name: user.display_name,
            role: user.role.to_contract(),
            extra_permissions: user.permissions,
            state: state(user.state),
            create_time: Some(parse::timestamp(user.created_at)),
            update_time: Some(parse::timestamp(user.updated_at)),
            login_time: user.last_login_at.map(parse::timestamp),
            avatar_url: user.avatar_url,
            email_verify_time: user.email_verified_at.map(parse::timestamp),
        }
    }
}
