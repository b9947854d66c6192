//! `ihuman.auth.v1.UserService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    user_service_server::{UserService, UserServiceServer},
};
use ihuman_shared::{
    Result,
    access::{Principal, Role},
    idempotency::Key,
    page::Page,
    parse::{self, Fields},
    server::Limited,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    AvatarUrl, DisplayName, ExtraPermissions, Filter, Kind, Profile, Query, State, Statistics, User,
};
use crate::{context::Context, limits, refusal};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<UserServiceServer<Users>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        UserServiceServer::new(Users(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
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
        let (filter, query, page) = wish(request.into_inner())?;

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
        let mask = request.update_mask.unwrap_or_default().paths;
        let (user_id, profile) = account(user, &mask)?;

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
        let (display_name, role, key) = service_account(&caller, request.into_inner())?;

        let done = super::create_service_account(&self.0, &caller, display_name, role, key).await;
        let user = self.recorded(&caller, "CreateServiceAccount", done).await?;

        Ok(Response::new(pb::CreateServiceAccountResponse { user: Some(user.into()) }))
    }
}

impl Users {
    async fn recorded<T>(&self, caller: &Principal, rpc: &str, done: Result<T>) -> Result<T> {
        refusal::recorded(&self.0, caller, &format!("/ihuman.auth.v1.UserService/{rpc}"), done)
            .await
    }
}

/// What to list and which page of it. The token of a page belongs to the wish.
fn wish(request: pb::ListUsersRequest) -> Result<(Filter, Option<Query>, Page<Uuid>)> {
    let mut fields = Fields::default();
    let role = fields.take(Role::from_optional("role", request.role));
    let kind = fields.take(parse::optional_enum("kind", request.kind));
    let state = fields.take(parse::optional_enum("state", request.state));
    let wanted = (request.role, request.kind, request.state, &request.query);
    let page =
        fields.take(Page::parse("ListUsers", request.page_size, &request.page_token, &wanted));
    let query = fields.take(Query::parse("query", request.query));
    let kind = kind.map(|it| it.and_then(Kind::from_contract));
    let state = state.map(|it| it.and_then(State::from_contract));
    fields.finish((|| Some((Filter { role: role?, kind: kind?, state: state? }, query?, page?)))())
}

/// What a profile's `update_mask` may name.
const MUTABLE: &[&str] = &["display_name", "avatar_url"];

/// Whose profile to change, and to what.
fn account(user: pb::User, mask: &[String]) -> Result<(Uuid, Profile)> {
    let mut fields = Fields::default();
    let user_id = fields.take(parse::uuid("user.id", &user.id));
    let profile = fields.take(profile(user, mask));
    fields.finish(user_id.zip(profile))
}

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

/// The account to open for a program.
fn service_account(
    caller: &Principal,
    request: pb::CreateServiceAccountRequest,
) -> Result<(DisplayName, Role, Option<Key>)> {
    let mut fields = Fields::default();
    let method = "CreateServiceAccount";
    let key = fields.take(Key::of(caller.user_id, method, &request.request_id, &request));
    let display_name = fields.take(DisplayName::parse("display_name", request.display_name));
    let role = fields.take(Role::from_optional("role", request.role));
    fields.finish((|| Some((display_name?, role?.unwrap_or(Role::Service), key?)))())
}

impl Kind {
    fn from_contract(kind: pb::UserKind) -> Option<Kind> {
        match kind {
            pb::UserKind::Unspecified => None,
            pb::UserKind::Person => Some(Kind::Person),
            pb::UserKind::ServiceAccount => Some(Kind::ServiceAccount),
        }
    }

    fn to_contract(self) -> i32 {
        (match self {
            Kind::Person => pb::UserKind::Person,
            Kind::ServiceAccount => pb::UserKind::ServiceAccount,
        }) as i32
    }
}

impl State {
    fn from_contract(state: pb::UserState) -> Option<State> {
        match state {
            pb::UserState::Unspecified => None,
            pb::UserState::Active => Some(State::Active),
            pb::UserState::Deactivated => Some(State::Deactivated),
            pb::UserState::Deleted => Some(State::Deleted),
        }
    }

    fn to_contract(self) -> i32 {
        (match self {
            State::Active => pb::UserState::Active,
            State::Deactivated => pb::UserState::Deactivated,
            State::Deleted => pb::UserState::Deleted,
        }) as i32
    }
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
            by_kind: by_kind
                .map(|(kind, count)| KindCount { kind: kind.to_contract(), count })
                .collect(),
            by_state: by_state
                .map(|(state, count)| StateCount { state: state.to_contract(), count })
                .collect(),
            new_count: counted.new_count,
            active_count: counted.active_count,
        }
    }
}

impl From<User> for pb::User {
    fn from(user: User) -> Self {
        pb::User {
            id: user.user_id.to_string(),
            kind: user.kind.to_contract(),
            email: user.email.unwrap_or_default(),
            display_name: user.display_name,
            role: user.role.to_contract(),
            extra_permissions: user.permissions,
            state: user.state.to_contract(),
            create_time: Some(parse::timestamp(user.created_at)),
            update_time: Some(parse::timestamp(user.updated_at)),
            login_time: user.last_login_at.map(parse::timestamp),
            avatar_url: user.avatar_url,
            email_verify_time: user.email_verified_at.map(parse::timestamp),
            mfa_enabled: user.mfa_enabled,
        }
    }
}
