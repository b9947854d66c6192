//! Who may call what, as the service says it; and that it says what the gate does.

use chrono::TimeDelta;
use ihuman_proto::{
    auth::v1::{
        self as pb, AccessDenial as Denial, AccessGrant as Grant, explain_access_request::Subject,
    },
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::{Role, Rules},
    testing::{Caller, reason, violations},
};
use tonic::Status;
use uuid::Uuid;

use crate::support::Auth;

const LIST_USERS: &str = "/ihuman.auth.v1.UserService/ListUsers";
const SET_ROLE: &str = "/ihuman.auth.v1.UserService/SetUserRole";
const REVOKE_CURRENT: &str = "/ihuman.auth.v1.ApiKeyService/RevokeCurrentApiKey";
const CREATE_SKILL: &str = "/ihuman.catalog.v1.SkillService/CreateSkill";

impl Auth {
    async fn explain(
        &self,
        caller: &Caller,
        method: &str,
        subject: Option<Subject>,
    ) -> Result<pb::ExplainAccessResponse, Status> {
        let request = pb::ExplainAccessRequest { method: method.to_owned(), subject };
        Ok(self.access(caller).explain_access(request).await?.into_inner())
    }

    async fn methods(&self, caller: &Caller) -> Vec<pb::AllowedMethod> {
        let response = self.access(caller).list_my_methods(pb::ListMyMethodsRequest {}).await;
        response.unwrap().into_inner().methods
    }
}

fn user(caller: &Caller) -> Option<Subject> {
    Some(Subject::UserId(caller.user_id.to_string()))
}

fn key(caller: &Caller) -> Option<Subject> {
    Some(Subject::ApiKeyId(caller.api_key_id.unwrap().to_string()))
}

/// What denies, and which permission is missing.
fn denial(answer: &pb::ExplainAccessResponse) -> (Denial, &str) {
    assert!(!answer.allowed && answer.granted_by == 0, "{answer:?}");
    (answer.denied_by(), &answer.missing_permission)
}

fn grant(answer: &pb::ExplainAccessResponse) -> Grant {
    assert!(answer.allowed && answer.denied_by == 0, "{answer:?}");
    answer.granted_by()
}

#[tokio::test]
async fn every_role_is_listed_with_its_permissions() {
    let auth = Auth::start().await;
    let viewer = auth.credentials.person(Role::Viewer).await;

    let roles = auth.access(&viewer).list_roles(pb::ListRolesRequest {}).await.unwrap();

    let roles = roles.into_inner().roles;
    let counts: Vec<_> = roles.iter().map(|it| it.permissions.len()).collect();
    assert_eq!(counts, [1, 11, 6, 4, 3]);
    assert_eq!(roles[0].permissions, ["admin:full"]);
    assert_eq!(roles[4].role, Role::Service.to_contract());
}

#[tokio::test]
async fn the_methods_of_a_role_are_those_that_its_rules_let_in() {
    let auth = Auth::start().await;
    let rules = Rules::of_packages(&["ihuman.auth.v1", "ihuman.catalog.v1"]).unwrap();
    for role in Role::ALL {
        let person = auth.credentials.person(role).await;

        let methods = auth.methods(&person).await;

        let allowed = rules
            .iter()
            .filter(|(_, it)| it.check_permissions(role.permissions()).is_ok() && !it.api_key_only);
        let expected: Vec<_> = allowed.map(|(path, _)| path.to_owned()).collect();
        let listed: Vec<_> = methods.iter().map(|it| it.method.clone()).collect();
        assert_eq!(listed, expected, "{role:?}");
        assert!(methods.iter().all(|it| it.permission.is_empty() == (it.granted_by < 3)));
    }
}

#[tokio::test]
async fn an_idle_session_and_a_key_may_call_less_than_a_fresh_session() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let idle = auth.service.clock.now() - TimeDelta::minutes(16);
    let idle = auth.credentials.person_at(Role::Admin, idle).await;
    let full = auth.credentials.api_key(admin.user_id, &["admin:full".to_owned()]).await;
    let narrow = auth.credentials.api_key(admin.user_id, &["skills:write".to_owned()]).await;
    let may = async |caller: &Caller, path: &str| {
        auth.methods(caller).await.iter().any(|it| it.method == path)
    };

    assert!(may(&admin, SET_ROLE).await);
    assert!(!may(&idle, SET_ROLE).await && may(&idle, LIST_USERS).await);
    assert!(!may(&full, SET_ROLE).await && may(&full, LIST_USERS).await);
    assert!(!may(&narrow, LIST_USERS).await && may(&narrow, CREATE_SKILL).await);
    assert!(!may(&admin, REVOKE_CURRENT).await && may(&narrow, REVOKE_CURRENT).await);
}

#[tokio::test]
async fn the_part_that_says_no_is_named() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let developer = auth.credentials.person(Role::Developer).await;
    let program = auth.credentials.service_account(Role::Service).await;
    let narrow = auth.credentials.api_key(developer.user_id, &["skills:read".to_owned()]).await;
    let wide = auth.credentials.api_key(admin.user_id, &["admin:full".to_owned()]).await;
    let explain = async |path: &str, subject| auth.explain(&admin, path, subject).await.unwrap();

    let by_rights = explain(LIST_USERS, user(&developer)).await;
    let by_rights_of_a_key = explain(LIST_USERS, key(&narrow)).await;
    let by_scope = explain(CREATE_SKILL, key(&narrow)).await;
    let by_key = explain(SET_ROLE, key(&wide)).await;
    let no_session = explain("/ihuman.auth.v1.SessionService/ListSessions", user(&program)).await;
    let no_key = explain(REVOKE_CURRENT, user(&admin)).await;
    auth.service.clock.advance(TimeDelta::minutes(16));
    let by_age = explain(SET_ROLE, None).await;

    assert_eq!(denial(&by_rights), (Denial::Permissions, "users:manage"));
    assert_eq!(denial(&by_rights_of_a_key), (Denial::Permissions, "users:manage"));
    assert_eq!(denial(&by_scope), (Denial::ApiKeyScopes, "skills:write"));
    assert_eq!(denial(&by_key), (Denial::SessionRequired, ""));
    assert_eq!(denial(&no_session), (Denial::SessionRequired, ""));
    assert_eq!(denial(&no_key), (Denial::ApiKeyRequired, ""));
    assert_eq!(grant(&explain(REVOKE_CURRENT, user(&program)).await), Grant::Authenticated);
    assert_eq!(denial(&by_age), (Denial::RecentAuthenticationRequired, ""));
    assert_eq!(grant(&explain(SET_ROLE, user(&admin)).await), Grant::Role);
    assert_eq!(grant(&explain(LIST_USERS, None).await), Grant::Role);
}

#[tokio::test]
async fn what_lets_in_is_named_too() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    auth.execute(
        "update auth.users set permissions = '{skills:write}' where user_id = $1",
        viewer.user_id,
    )
    .await;
    let explain = async |path: &str| auth.explain(&admin, path, user(&viewer)).await.unwrap();

    assert_eq!(grant(&explain("/ihuman.auth.v1.AuthService/Login").await), Grant::Public);
    assert_eq!(grant(&explain("/ihuman.auth.v1.AuthService/Logout").await), Grant::Authenticated);
    assert_eq!(grant(&explain("/ihuman.catalog.v1.SkillService/GetSkill").await), Grant::Role);
    assert_eq!(grant(&explain(CREATE_SKILL).await), Grant::ExtraPermissions);
}

#[tokio::test]
async fn a_closed_account_and_an_ended_key_may_call_what_is_public_and_nothing_else() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    let ended = auth.credentials.api_key(admin.user_id, &["admin:full".to_owned()]).await;
    let of_closed = auth.credentials.api_key(viewer.user_id, &["skills:read".to_owned()]).await;
    auth.deactivate(&admin, viewer.user_id).await.unwrap();
    auth.execute(
        "update auth.api_keys set revoked_at = now() where api_key_id = $1",
        ended.api_key_id.unwrap(),
    )
    .await;
    let explain = async |path: &str, subject| auth.explain(&admin, path, subject).await.unwrap();

    let closed = explain(LIST_USERS, user(&viewer)).await;
    let key_of_closed = explain(LIST_USERS, key(&of_closed)).await;
    let ended_key = explain(LIST_USERS, key(&ended)).await;
    let public = explain("/ihuman.auth.v1.AuthService/Login", user(&viewer)).await;

    assert_eq!(denial(&closed), (Denial::AccountClosed, ""));
    assert_eq!(denial(&key_of_closed), (Denial::AccountClosed, ""));
    assert_eq!(denial(&ended_key), (Denial::ApiKeyEnded, ""));
    assert_eq!(grant(&public), Grant::Public);
}

#[tokio::test]
async fn who_does_not_manage_users_asks_about_the_own_account_and_keys_only() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let developer = auth.credentials.person(Role::Developer).await;
    let own = auth.credentials.api_key(developer.user_id, &["skills:read".to_owned()]).await;
    let foreign = auth.credentials.api_key(admin.user_id, &["skills:read".to_owned()]).await;
    let unknown = Some(Subject::UserId(Uuid::now_v7().to_string()));
    let explain = async |subject| auth.explain(&developer, CREATE_SKILL, subject).await;

    assert!(explain(user(&developer)).await.unwrap().allowed);
    assert!(!explain(key(&own)).await.unwrap().allowed);
    for subject in [user(&admin), key(&foreign), unknown] {
        assert_eq!(reason(&explain(subject).await.unwrap_err()), Reason::NotFound);
    }
    // The key itself says the same of itself.
    let itself = auth.explain(&own, CREATE_SKILL, None).await.unwrap();
    assert_eq!(denial(&itself), (Denial::ApiKeyScopes, "skills:write"));
    let no_method = auth.explain(&developer, "/ihuman.auth.v1.UserService/Fly", None).await;
    assert_eq!(reason(&no_method.unwrap_err()), Reason::NotFound);
    for (field, method, subject) in [
        ("method", String::new(), None),
        ("method", "a".repeat(201), None),
        ("user_id", LIST_USERS.to_owned(), Some(Subject::UserId("7".to_owned()))),
        ("api_key_id", LIST_USERS.to_owned(), Some(Subject::ApiKeyId(String::new()))),
    ] {
        let status = auth.explain(&developer, &method, subject).await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
}
