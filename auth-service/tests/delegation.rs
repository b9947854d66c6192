//! What who manages users without being an administrator may give, see and end.

use ihuman_proto::{
    auth::v1::{self as pb, imported_user::PasswordHash},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, Credentials, reason},
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    api_keys::request,
    support::{Auth, keyed, missing},
};

const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuZCtgzaVsLoLZuPAbPXBWTzv5WZVcuz6";

impl Auth {
    /// Who manages users and may do this besides, without being an administrator.
    pub(crate) async fn delegate(&self, role: Role, permissions: &[&str]) -> Caller {
        let delegate = self.credentials.person(role).await;
        let extra: Vec<String> =
            [&["users:manage"], permissions].concat().into_iter().map(str::to_owned).collect();
        sqlx::query("update auth.users set permissions = $2 where user_id = $1")
            .bind(delegate.user_id)
            .bind(&extra)
            .execute(&self.database.superuser)
            .await
            .unwrap();
        let (session_id, now) = (delegate.session_id.unwrap(), self.service.clock.now());
        let mut claims = Credentials::claims(delegate.user_id, session_id, role, now);
        claims.permissions.extend(extra);
        let authorization = format!("Bearer {}", self.credentials.sign(&claims));
        Caller { authorization, ..delegate }
    }

    /// A new token of a developer's session.
    pub(crate) fn token_of(&self, developer: &Caller) -> String {
        let (session_id, now) = (developer.session_id.unwrap(), self.service.clock.now());
        let claims = Credentials::claims(developer.user_id, session_id, Role::Developer, now);
        format!("Bearer {}", self.credentials.sign(&claims))
    }

    async fn give_role(&self, caller: &Caller, user_id: Uuid, role: Role) -> Result<(), Status> {
        let (user_id, role) = (user_id.to_string(), role.to_contract());
        let request = pb::SetUserRoleRequest { user_id, role };
        self.users(caller).set_user_role(request).await.map(|_| ())
    }

    async fn open_program(&self, caller: &Caller, role: Role) -> Result<Uuid, Status> {
        let request = pb::CreateServiceAccountRequest {
            display_name: "CI".to_owned(),
            role: role.to_contract(),
            request_id: String::new(),
        };
        let response = self.users(caller).create_service_account(request).await?.into_inner();
        Ok(response.user.unwrap().id.parse().unwrap())
    }

    async fn import_one(&self, caller: &Caller, email: &str, role: Role) -> Result<i32, Status> {
        let user = pb::ImportedUser {
            email: email.to_owned(),
            display_name: "Somebody".to_owned(),
            role: role.to_contract(),
            email_verified: false,
            password_hash: Some(PasswordHash::Bcrypt(BCRYPT.to_owned())),
        };
        let request = pb::ImportUsersRequest { users: vec![user], request_id: String::new() };
        let response = self.user_imports(caller).import_users(request).await?.into_inner();
        Ok(response.results[0].outcome)
    }
}

/// The permission that is missing, of a refusal for that.
fn lacks(status: &Status) -> String {
    assert_eq!(reason(status), Reason::PermissionMissing, "{status:?}");
    missing(status)
}

fn of(owner: Uuid, name: &str, scope: &str) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest { user_id: owner.to_string(), ..request(name, &[scope]) }
}

#[tokio::test]
async fn a_role_grants_nothing_that_who_gives_it_lacks() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    let viewer = auth.credentials.person(Role::Viewer).await;
    let developer = auth.credentials.person(Role::Developer).await;

    let own = auth.give_role(&manager, manager.user_id, Role::Developer).await.unwrap_err();
    let other = auth.give_role(&manager, viewer.user_id, Role::Executor).await.unwrap_err();
    let admin_role = auth.give_role(&manager, viewer.user_id, Role::Admin).await.unwrap_err();
    // What an account has already may stay, whoever says it, and be taken away.
    auth.give_role(&manager, developer.user_id, Role::Developer).await.unwrap();
    auth.give_role(&manager, developer.user_id, Role::Executor).await.unwrap();
    auth.give_role(&manager, developer.user_id, Role::Viewer).await.unwrap();
    let back = auth.give_role(&manager, developer.user_id, Role::Executor).await.unwrap_err();
    auth.give_role(&admin, viewer.user_id, Role::Developer).await.unwrap();

    assert_eq!(lacks(&own), "skills:write");
    assert_eq!(lacks(&other), "skills:execute");
    assert_eq!(lacks(&admin_role), "admin:full");
    assert_eq!(lacks(&back), "skills:execute");
    let denied = auth.audit("/ihuman.auth.v1.UserService/SetUserRole").await;
    assert_eq!(denied.len(), 4);
    for record in denied {
        record.is_by(&manager);
        assert_eq!(
            (record.outcome.as_str(), record.reason.as_str()),
            ("denied", "PERMISSION_MISSING")
        );
    }
}

#[tokio::test]
async fn who_may_execute_gives_the_role_that_executes() {
    let auth = Auth::start().await;
    let executor = auth.delegate(Role::Executor, &[]).await;
    let viewer = auth.credentials.person(Role::Viewer).await;

    auth.give_role(&executor, viewer.user_id, Role::Executor).await.unwrap();
    let more = auth.give_role(&executor, viewer.user_id, Role::Developer).await.unwrap_err();

    assert_eq!(lacks(&more), "skills:write");
}

#[tokio::test]
async fn an_import_gives_no_role_beyond_the_importer_and_opens_nothing_then() {
    let auth = Auth::start().await;
    let manager = auth.manager().await;

    let admin = auth.import_one(&manager, "a@example.com", Role::Admin).await.unwrap_err();
    let developer = auth.import_one(&manager, "b@example.com", Role::Developer).await.unwrap_err();
    let viewer = auth.import_one(&manager, "c@example.com", Role::Viewer).await.unwrap();

    assert_eq!(lacks(&admin), "admin:full");
    assert_eq!(lacks(&developer), "skills:write");
    assert_eq!(viewer, pb::ImportUserOutcome::Created as i32);
    assert_eq!(auth.audit("user.import").await.len(), 1);
    let denied = auth.audit("/ihuman.auth.v1.UserImportService/ImportUsers").await;
    assert_eq!(denied.len(), 2);
    denied.iter().for_each(|it| it.is_by(&manager));
}

#[tokio::test]
async fn a_program_gets_no_role_and_no_key_beyond_who_manages_it() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let manager = auth.delegate(Role::Viewer, &["api-keys:read", "api-keys:write"]).await;
    let strong = auth.open_program(&admin, Role::Developer).await.unwrap();

    let opened = auth.open_program(&manager, Role::Developer).await.unwrap_err();
    let weak = auth.open_program(&manager, Role::Viewer).await.unwrap();
    let issued = auth.create_key(&manager, of(strong, "a", "skills:write")).await.unwrap_err();
    let (reading, _) = auth.create_key(&manager, of(strong, "b", "skills:read")).await.unwrap();
    let own = auth.create_key(&manager, of(weak, "c", "skills:read")).await;

    assert_eq!(lacks(&opened), "skills:write");
    assert_eq!(lacks(&issued), "skills:write");
    assert!(own.is_ok());
    // Nor by way of a key that is there.
    let wider = pb::ApiKey { scopes: vec!["skills:*".to_owned()], ..reading.clone() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["scopes".to_owned()] });
    let request = pb::UpdateApiKeyRequest { api_key: Some(wider), update_mask };
    let widened = auth.api_keys(&manager).update_api_key(request).await.unwrap_err();
    assert_eq!(lacks(&widened), "skills:write");
    let (writing, key) = auth.create_key(&admin, of(strong, "d", "skills:write")).await.unwrap();
    let rotate = pb::RotateApiKeyRequest { api_key_id: writing.id.clone(), ..Default::default() };
    let rotated = auth.api_keys(&manager).rotate_api_key(rotate).await.unwrap_err();
    assert_eq!(lacks(&rotated), "skills:write");
    let program = Caller { user_id: strong, ..admin.clone() };
    assert!(auth.accepts(&keyed(&program, &writing, &key)).await.is_ok());
    let rotate = pb::RotateApiKeyRequest { api_key_id: reading.id, ..Default::default() };
    assert!(auth.api_keys(&manager).rotate_api_key(rotate).await.is_ok());
}

#[tokio::test]
async fn keys_of_an_administrator_are_seen_and_ended_by_administrators() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let developer = auth.credentials.person(Role::Developer).await;
    let manager = auth.delegate(Role::Developer, &[]).await;
    let (api_key, key) = auth.create_key(&admin, request("ci", &["skills:read"])).await.unwrap();
    let (of_other, _) = auth.create_key(&developer, request("a", &["skills:read"])).await.unwrap();
    let list = async |owner: &Caller| {
        let user_id = owner.user_id.to_string();
        let request = pb::ListApiKeysRequest { user_id, ..Default::default() };
        auth.api_keys(&manager).list_api_keys(request).await.map(|it| it.into_inner().api_keys)
    };
    let explain = pb::ExplainAccessRequest {
        method: "/ihuman.auth.v1.UserService/GetUser".to_owned(),
        subject: Some(pb::explain_access_request::Subject::ApiKeyId(api_key.id.clone())),
    };

    let refused = [
        auth.get_key(&manager, &api_key.id).await.unwrap_err(),
        auth.revoke_key(&manager, &api_key.id).await.unwrap_err(),
        list(&admin).await.unwrap_err(),
        auth.access(&manager).explain_access(explain).await.unwrap_err(),
    ];

    for status in refused {
        assert_eq!(reason(&status), Reason::NotAllowed, "{status:?}");
    }
    for rpc in ["GetApiKey", "RevokeApiKey", "ListApiKeys"] {
        let denied = auth.audit(&format!("/ihuman.auth.v1.ApiKeyService/{rpc}")).await;
        assert_eq!(denied.len(), 1, "{rpc}");
        denied[0].is_by(&manager);
    }
    auth.audited("/ihuman.auth.v1.AccessService/ExplainAccess").await.is_by(&manager);
    auth.accepts(&keyed(&admin, &api_key, &key)).await.unwrap();
    assert_eq!(list(&developer).await.unwrap(), std::slice::from_ref(&of_other));
    assert!(auth.revoke_key(&manager, &of_other.id).await.is_ok());
    // A key of an administrator for less than everything is no administrator either.
    let narrow = ["users:manage".to_owned(), "api-keys:read".to_owned()];
    let other_admin = auth.credentials.person(Role::Admin).await;
    let narrow = auth.credentials.api_key(other_admin.user_id, &narrow).await;
    let status = auth.get_key(&narrow, &api_key.id).await.unwrap_err();
    assert_eq!(reason(&status), Reason::NotAllowed);
}

#[tokio::test]
async fn a_key_of_who_manages_users_ends_no_waits() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    let key = auth.credentials.api_key(admin.user_id, &["users:manage".to_owned()]).await;

    let request = pb::UnlockUserRequest { user_id: viewer.user_id.to_string() };
    let status = auth.locks(&key).unlock_user(request).await.unwrap_err();

    assert_eq!(reason(&status), Reason::SessionRequired);
}

#[tokio::test]
async fn an_import_takes_a_session_that_has_just_authenticated() {
    let auth = Auth::start().await;
    let idle = auth.service.clock.now() - chrono::TimeDelta::minutes(16);
    let admin = auth.credentials.person_at(Role::Admin, idle).await;

    let status = auth.import_one(&admin, "a@example.com", Role::Admin).await.unwrap_err();

    assert_eq!(reason(&status), Reason::RecentAuthenticationRequired);
}
