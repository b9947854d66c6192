//! Permissions beyond a role: who may give them, and when they count.

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::Status;
use uuid::Uuid;

use crate::support::{Auth, EMAIL, bearer, missing};

impl Auth {
    async fn set_permissions(
        &self,
        caller: &Caller,
        user_id: Uuid,
        permissions: &[&str],
    ) -> Result<Vec<String>, Status> {
        let request = pb::SetUserPermissionsRequest {
            user_id: user_id.to_string(),
            permissions: permissions.iter().map(|it| (*it).to_owned()).collect(),
        };
        let response = self.users(caller).set_user_permissions(request).await?;
        Ok(response.into_inner().user.unwrap().extra_permissions)
    }
}

#[tokio::test]
async fn extra_permissions_count_from_the_next_token_and_older_ones_end_within_a_second() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    auth.accepts(&caller).await.unwrap();

    let given = auth.set_permissions(&admin, caller.user_id, &["api-keys:*", "skills:read"]).await;
    let refused = auth.refuses_within_a_second(&caller).await;
    let refreshed = auth.refresh(&tokens.refresh_token, "").await.unwrap();
    let current = auth.accepts(&bearer(&user, &refreshed)).await.unwrap();

    assert_eq!(given.unwrap(), ["skills:read", "api-keys:read", "api-keys:write"]);
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    assert!(current.permissions.contains(&"api-keys:write".to_owned()));
    let record = auth.audited("user.set_permissions").await;
    record.is_by(&admin);
    assert_eq!(record.old_values.unwrap()["extra_permissions"].as_array().unwrap().len(), 0);
    assert_eq!(record.new_values.unwrap()["extra_permissions"][1], "api-keys:read");
}

#[tokio::test]
async fn the_same_permissions_again_change_nothing_and_an_empty_list_takes_all_away() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    let set = async |permissions: &[&str]| {
        auth.set_permissions(&admin, viewer.user_id, permissions).await.unwrap()
    };

    set(&[]).await;
    set(&["skills:write"]).await;
    set(&["skills:write"]).await;
    let none = set(&[]).await;

    assert!(none.is_empty());
    assert_eq!(auth.audit("user.set_permissions").await.len(), 2);
}

#[tokio::test]
async fn one_gives_only_what_one_has() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    let viewer = auth.credentials.person(Role::Viewer).await;
    let set = async |caller: &Caller, user_id, permissions: &[&str]| {
        auth.set_permissions(caller, user_id, permissions).await
    };

    let lacking = set(&manager, viewer.user_id, &["skills:write"]).await.unwrap_err();
    let own = set(&manager, manager.user_id, &["users:manage", "skills:write"]).await.unwrap_err();
    let full = set(&manager, viewer.user_id, &["admin:full"]).await.unwrap_err();
    let over = set(&manager, admin.user_id, &[]).await.unwrap_err();
    set(&manager, viewer.user_id, &["users:manage", "skills:read"]).await.unwrap();
    // An administrator gives more, and the manager takes it away but does not give it back.
    set(&admin, viewer.user_id, &["skills:write", "skills:execute"]).await.unwrap();
    set(&manager, viewer.user_id, &["skills:write"]).await.unwrap();
    let back = set(&manager, viewer.user_id, &["skills:*"]).await.unwrap_err();

    for (status, permission) in [
        (lacking, "skills:write"),
        (own, "skills:write"),
        (full, "admin:full"),
        (back, "skills:execute"),
    ] {
        assert_eq!(reason(&status), Reason::PermissionMissing);
        assert_eq!(missing(&status), permission);
    }
    assert_eq!(reason(&over), Reason::NotAllowed);
    let denied = auth.audit("/ihuman.auth.v1.UserService/SetUserPermissions").await;
    assert_eq!(denied.len(), 5);
    denied.iter().for_each(|it| it.is_by(&manager));
}

#[tokio::test]
async fn who_was_given_full_administration_is_an_administrator_to_managers() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    let viewer = auth.credentials.person(Role::Viewer).await;
    let program = auth.credentials.service_account(Role::Service).await;

    let given = auth.set_permissions(&admin, viewer.user_id, &["admin:full"]).await.unwrap();
    let status = auth.deactivate(&manager, viewer.user_id).await.unwrap_err();
    let refused = auth.set_permissions(&admin, program.user_id, &["admin:full"]).await.unwrap_err();

    assert_eq!(given, ["admin:full"]);
    assert_eq!(reason(&status), Reason::NotAllowed);
    assert_eq!(violations(&refused), ["permissions"]);
}

#[tokio::test]
async fn what_is_no_permission_is_refused_by_its_place() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await.user_id;

    let status = auth.set_permissions(&admin, viewer, &["skills:read", "skills", "*"]).await;
    let many = auth.set_permissions(&admin, viewer, &["skills:read"; 33]).await;
    let unknown = auth.set_permissions(&admin, Uuid::now_v7(), &[]).await;

    assert_eq!(violations(&status.unwrap_err()), ["permissions[1]", "permissions[2]"]);
    assert_eq!(violations(&many.unwrap_err()), ["permissions"]);
    assert_eq!(reason(&unknown.unwrap_err()), Reason::NotFound);
}
