//! Accounts: who may change them, and what a change does.

use std::time::Instant;

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Auth, EMAIL, PASSWORD, bearer, missing, named};

impl Auth {
    /// Who manages users without being an administrator.
    pub(crate) async fn manager(&self) -> Caller {
        self.delegate(Role::Viewer, &[]).await
    }

    async fn set_role(
        &self,
        caller: &Caller,
        user_id: Uuid,
        role: Role,
    ) -> Result<pb::User, Status> {
        let request =
            pb::SetUserRoleRequest { user_id: user_id.to_string(), role: role.to_contract() };
        let response = self.users(caller).set_user_role(named("set-role-1", request)).await?;
        Ok(response.into_inner().user.unwrap())
    }

    pub(crate) async fn deactivate(
        &self,
        caller: &Caller,
        user_id: Uuid,
    ) -> Result<pb::User, Status> {
        let request = pb::DeactivateUserRequest { user_id: user_id.to_string() };
        Ok(self.users(caller).deactivate_user(request).await?.into_inner().user.unwrap())
    }

    async fn reactivate(&self, caller: &Caller, user_id: Uuid) -> Result<pb::User, Status> {
        let request = pb::ReactivateUserRequest { user_id: user_id.to_string() };
        Ok(self.users(caller).reactivate_user(request).await?.into_inner().user.unwrap())
    }

    async fn list_users(
        &self,
        caller: &Caller,
        request: pb::ListUsersRequest,
    ) -> pb::ListUsersResponse {
        self.users(caller).list_users(request).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn only_who_manages_users_gets_here() {
    let auth = Auth::start().await;
    let developer = auth.credentials.person(Role::Developer).await;

    let status = auth.deactivate(&developer, developer.user_id).await.unwrap_err();

    assert_eq!(
        (reason(&status), missing(&status)),
        (Reason::PermissionMissing, "users:manage".to_owned())
    );
}

#[tokio::test]
async fn an_account_is_looked_up_by_its_id() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let registered = auth.register(EMAIL).await;
    let get = async |user_id: &str| {
        let request = pb::GetUserRequest { user_id: user_id.to_owned() };
        auth.users(&admin).get_user(request).await.map(|it| it.into_inner().user.unwrap())
    };

    assert_eq!(get(&registered.id).await.unwrap(), registered);
    assert_eq!(reason(&get(&Uuid::now_v7().to_string()).await.unwrap_err()), Reason::NotFound);
    assert_eq!(violations(&get("7").await.unwrap_err()), ["user_id"]);
}

#[tokio::test]
async fn lists_are_filtered_and_follow_one_another_newest_first() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    for _ in 0..3 {
        auth.credentials.person(Role::Viewer).await;
        auth.credentials.service_account(Role::Service).await;
    }
    let closed = auth.credentials.person(Role::Viewer).await;
    auth.deactivate(&admin, closed.user_id).await.unwrap();
    let count = async |request| auth.list_users(&admin, request).await.users.len();
    let all = pb::ListUsersRequest::default();
    let viewers = pb::ListUsersRequest { role: Role::Viewer.to_contract(), ..all.clone() };

    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = pb::ListUsersRequest { page_size: 3, page_token, ..all.clone() };
        let page = auth.list_users(&admin, page).await;
        seen.extend(page.users.into_iter().map(|it| it.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    assert_eq!(seen.len(), 8);
    assert!(seen.is_sorted_by(|one, next| one > next));
    assert_eq!(count(viewers.clone()).await, 4);
    assert_eq!(count(pb::ListUsersRequest { kind: 2, ..all.clone() }).await, 3);
    assert_eq!(count(pb::ListUsersRequest { state: 2, ..all.clone() }).await, 1);
    assert_eq!(count(pb::ListUsersRequest { state: 1, kind: 1, ..viewers.clone() }).await, 3);
    let first = auth.list_users(&admin, pb::ListUsersRequest { page_size: 1, ..viewers }).await;
    let other = pb::ListUsersRequest { page_token: first.next_page_token, ..all.clone() };
    let cases = [
        ("page_token", other),
        ("page_size", pb::ListUsersRequest { page_size: -1, ..all.clone() }),
        ("role", pb::ListUsersRequest { role: 99, ..all.clone() }),
        ("kind", pb::ListUsersRequest { kind: 99, ..all.clone() }),
        ("state", pb::ListUsersRequest { state: 99, ..all }),
    ];
    for (field, request) in cases {
        let status = auth.users(&admin).list_users(request).await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
}

#[tokio::test]
async fn another_role_ends_the_tokens_with_the_old_one_within_a_second() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let developer = auth.credentials.person(Role::Developer).await;
    auth.accepts(&developer).await.unwrap();

    let changed = auth.set_role(&admin, developer.user_id, Role::Executor).await.unwrap();
    let started = Instant::now();
    let refused = auth.refuses_within_a_second(&developer).await;

    assert!(started.elapsed().as_millis() < 1000);
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    assert_eq!(changed.role, Role::Executor.to_contract());
    let record = auth.audited("user.set_role").await;
    record.is_by(&admin);
    assert_eq!(record.request_id, "set-role-1");
    assert_eq!(record.old_values.unwrap()["role"], "developer");
    assert_eq!(record.new_values.unwrap()["role"], "executor");
}

#[tokio::test]
async fn the_same_role_again_changes_nothing() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;

    auth.set_role(&admin, viewer.user_id, Role::Viewer).await.unwrap();
    auth.set_role(&admin, admin.user_id, Role::Admin).await.unwrap();
    auth.reactivate(&admin, viewer.user_id).await.unwrap();
    auth.deactivate(&admin, viewer.user_id).await.unwrap();
    auth.deactivate(&admin, viewer.user_id).await.unwrap();

    assert!(auth.audit("user.set_role").await.is_empty());
    assert!(auth.audit("user.reactivate").await.is_empty());
    assert_eq!(auth.audit("user.deactivate").await.len(), 1);
    let revocations: i64 = auth.scalar("select count(*) from auth.revocations").await;
    assert_eq!(revocations, 1);
}

#[tokio::test]
async fn a_role_must_be_one() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let user_id = admin.user_id.to_string();

    for (field, request) in [
        ("role", pb::SetUserRoleRequest { user_id: user_id.clone(), role: 0 }),
        ("role", pb::SetUserRoleRequest { user_id, role: 99 }),
        ("user_id", pb::SetUserRoleRequest { user_id: String::new(), role: 1 }),
    ] {
        let status = auth.users(&admin).set_user_role(request).await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
    let status = auth.set_role(&admin, Uuid::now_v7(), Role::Viewer).await.unwrap_err();
    assert_eq!(reason(&status), Reason::NotFound);
}

#[tokio::test]
async fn a_manager_changes_accounts_but_no_administrator() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;

    auth.deactivate(&manager, viewer.user_id).await.unwrap();
    auth.reactivate(&manager, viewer.user_id).await.unwrap();
    let refused = [
        auth.set_role(&manager, admin.user_id, Role::Admin).await.unwrap_err(),
        auth.set_role(&manager, admin.user_id, Role::Viewer).await.unwrap_err(),
        auth.deactivate(&manager, admin.user_id).await.unwrap_err(),
        auth.reactivate(&manager, admin.user_id).await.unwrap_err(),
    ];

    for status in refused {
        assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Reason::NotAllowed));
    }
    let records = auth.audit("/ihuman.auth.v1.UserService/SetUserRole").await;
    assert_eq!(records.len(), 2);
    for record in records {
        record.is_by(&manager);
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("denied", "NOT_ALLOWED"));
    }
    assert!(auth.accepts(&admin).await.is_ok());
}

#[tokio::test]
async fn a_key_of_an_administrator_without_full_scope_is_no_administrator() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let key = auth.credentials.api_key(admin.user_id, &["users:manage".to_owned()]).await;

    let status = auth.deactivate(&key, admin.user_id).await.unwrap_err();

    assert_eq!(reason(&status), Reason::NotAllowed);
}

#[tokio::test]
async fn the_last_active_administrator_stays() {
    let auth = Auth::start().await;
    let (one, two) =
        (auth.credentials.person(Role::Admin).await, auth.credentials.person(Role::Admin).await);

    auth.deactivate(&one, two.user_id).await.unwrap();
    let demoted = auth.set_role(&one, one.user_id, Role::Viewer).await.unwrap_err();
    let deactivated = auth.deactivate(&one, one.user_id).await.unwrap_err();

    for status in [demoted, deactivated] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::FailedPrecondition, Reason::LastAdministrator)
        );
    }
    assert!(auth.accepts(&one).await.is_ok());
    auth.set_role(&one, two.user_id, Role::Viewer).await.unwrap();
}

#[tokio::test]
async fn of_administrators_that_demote_one_another_at_once_one_stays() {
    let auth = Auth::start().await;
    let mut admins = Vec::new();
    for _ in 0..4 {
        admins.push(auth.credentials.person(Role::Admin).await);
    }

    let demotions = (0..4).map(|at| {
        let (mut users, whom) = (auth.users(&admins[at]), admins[(at + 1) % 4].user_id.to_string());
        tokio::spawn(async move {
            let role = Role::Viewer.to_contract();
            users.set_user_role(pb::SetUserRoleRequest { user_id: whom, role }).await
        })
    });
    let mut reasons = Vec::new();
    for demotion in demotions.collect::<Vec<_>>() {
        reasons.extend(demotion.await.unwrap().err().map(|status| reason(&status)));
    }

    let left: i64 = auth
        .scalar("select count(*) from auth.users where role = 'admin' and state = 'active'")
        .await;
    assert!(left >= 1);
    // Who was demoted first may be refused at the gate already.
    let expected = [Reason::LastAdministrator, Reason::CredentialsRevoked];
    assert!(reasons.iter().all(|it| expected.contains(it)), "{reasons:?}");
    assert_eq!(left, reasons.len() as i64);
}

#[tokio::test]
async fn nothing_of_a_deactivated_account_works() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let key = auth.credentials.api_key(caller.user_id, &["skills:read".to_owned()]).await;
    auth.accepts(&key).await.unwrap();

    let closed = auth.deactivate(&admin, caller.user_id).await.unwrap();

    assert_eq!(closed.state, pb::UserState::Deactivated as i32);
    assert_eq!(reason(&auth.refuses_within_a_second(&caller).await), Reason::CredentialsRevoked);
    assert_eq!(reason(&auth.refuses_within_a_second(&key).await), Reason::CredentialsRevoked);
    let refresh = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
    assert_eq!(reason(&refresh), Reason::CredentialsRevoked);
    let login = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    assert_eq!(reason(&login), Reason::LoginFailed);
    let record = auth.audited("user.deactivate").await;
    record.is_by(&admin);
    assert_eq!(record.entity, ("user".to_owned(), user.id));
}

#[tokio::test]
async fn a_reactivated_account_has_its_keys_again_but_not_its_sessions() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let key = auth.credentials.api_key(caller.user_id, &["skills:read".to_owned()]).await;
    auth.deactivate(&admin, caller.user_id).await.unwrap();
    auth.refuses_within_a_second(&key).await;

    let open = auth.reactivate(&admin, caller.user_id).await.unwrap();

    assert_eq!(open.state, pb::UserState::Active as i32);
    assert!(auth.accepts(&key).await.is_ok());
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    assert_eq!(reason(&auth.accepts(&caller).await.unwrap_err()), Reason::CredentialsRevoked);
    let refresh = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
    assert_eq!(reason(&refresh), Reason::CredentialsRevoked);
    auth.audited("user.reactivate").await.is_by(&admin);
}

#[tokio::test]
async fn changing_a_role_takes_a_session_that_has_just_authenticated() {
    let auth = Auth::start().await;
    let an_hour_ago = auth.service.clock.now() - chrono::TimeDelta::minutes(16);
    let admin = auth.credentials.person_at(Role::Admin, an_hour_ago).await;

    let status = auth.set_role(&admin, admin.user_id, Role::Admin).await.unwrap_err();

    assert_eq!(reason(&status), Reason::RecentAuthenticationRequired);
}

#[tokio::test]
async fn a_service_account_is_opened_once_for_one_request_id() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let request = pb::CreateServiceAccountRequest {
        display_name: "CI".to_owned(),
        role: 0,
        request_id: Uuid::new_v4().to_string(),
    };
    let create = async |request| {
        let response = auth.users(&admin).create_service_account(request).await;
        response.map(|it| it.into_inner().user.unwrap())
    };

    let first = create(request.clone()).await.unwrap();
    let second = create(request.clone()).await.unwrap();
    let other = pb::CreateServiceAccountRequest { display_name: "CD".to_owned(), ..request };
    let reused = create(other).await.unwrap_err();

    assert_eq!(first, second);
    assert_eq!(
        (first.kind, first.role),
        (pb::UserKind::ServiceAccount as i32, Role::Service.to_contract())
    );
    assert_eq!((first.email.as_str(), first.login_time), ("", None));
    assert_eq!(reason(&reused), Reason::RequestIdReused);
    let record = auth.audited("user.create_service_account").await;
    record.is_by(&admin);
    assert_eq!(record.new_values.unwrap()["display_name"], "CI");
}

#[tokio::test]
async fn a_service_account_is_never_an_administrator() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let program = auth.credentials.service_account(Role::Service).await;
    let create = async |display_name: &str, role: i32, request_id: &str| {
        let (display_name, request_id) = (display_name.to_owned(), request_id.to_owned());
        let request = pb::CreateServiceAccountRequest { display_name, role, request_id };
        auth.users(&admin).create_service_account(request).await.unwrap_err()
    };

    assert_eq!(violations(&create("CI", 1, "").await), ["role"]);
    assert_eq!(violations(&create("CI", 99, "").await), ["role"]);
    assert_eq!(violations(&create("", 0, "").await), ["display_name"]);
    assert_eq!(violations(&create("CI", 0, "7").await), ["request_id"]);
    let promoted = auth.set_role(&admin, program.user_id, Role::Admin).await.unwrap_err();
    assert_eq!(violations(&promoted), ["role"]);
    assert!(auth.set_role(&admin, program.user_id, Role::Executor).await.is_ok());
}
