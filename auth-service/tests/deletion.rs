//! Deleting an account: what ends, what is forgotten, and what stays.

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Auth, EMAIL, PASSWORD, bearer, registration};

impl Auth {
    async fn delete(&self, caller: &Caller, user_id: Uuid) -> Result<pb::User, Status> {
        let request = pb::DeleteUserRequest { user_id: user_id.to_string() };
        Ok(self.users(caller).delete_user(request).await?.into_inner().user.unwrap())
    }
}

#[tokio::test]
async fn nothing_of_a_deleted_account_works_and_its_address_is_free() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let key = auth.credentials.api_key(caller.user_id, &["skills:read".to_owned()]).await;
    auth.accepts(&key).await.unwrap();

    let deleted = auth.delete(&admin, caller.user_id).await.unwrap();

    assert_eq!(deleted.state, pb::UserState::Deleted as i32);
    assert_eq!(reason(&auth.refuses_within_a_second(&caller).await), Reason::CredentialsRevoked);
    assert_eq!(reason(&auth.refuses_within_a_second(&key).await), Reason::CredentialsRevoked);
    let refresh = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
    assert_eq!(reason(&refresh), Reason::CredentialsInvalid);
    let login = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    assert_eq!(reason(&login), Reason::LoginFailed);
    let another = auth.auth().register(registration(EMAIL)).await.unwrap().into_inner().user;
    assert_ne!(another.unwrap().id, user.id);
}

#[tokio::test]
async fn what_says_whose_it_was_is_gone_from_every_table_but_the_audit_trail() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person("very.personal@example.com").await;
    let caller = bearer(&user, &tokens);
    let set = pb::SetSettingRequest {
        name: "ui.theme".to_owned(),
        value: Some(prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue("very personal".to_owned())),
        }),
    };
    auth.settings(&caller).set_setting(set).await.unwrap();
    let refreshed = auth.refresh(&tokens.refresh_token, &Uuid::new_v4().to_string()).await.unwrap();
    assert!(!refreshed.refresh_token.is_empty());
    // One of them had ended before, and is not ended again.
    for name in ["live", "ended"] {
        let key = auth.credentials.api_key(caller.user_id, &["skills:read".to_owned()]).await;
        sqlx::query(
            "update auth.api_keys set name = 'personal ' || $2, ip_allow_list = '{192.0.2.7/32}',
                 metadata = '{\"phone\": \"personal\"}', revoked_at = case when $2 = 'ended' then now() end
             where api_key_id = $1",
        )
        .bind(key.api_key_id)
        .bind(name)
        .execute(&auth.database.superuser)
        .await
        .unwrap();
    }
    assert!(auth.login_with("very.personal@example.com", "not the password").await.is_err());

    let deleted = auth.delete(&admin, caller.user_id).await.unwrap();

    assert_eq!((deleted.email.as_str(), deleted.display_name.as_str()), ("", "Deleted user"));
    assert_eq!((deleted.login_time, deleted.id.as_str()), (None, user.id.as_str()));
    let left: String = auth
        .scalar(
            "select concat_ws(' ',
                 (select string_agg(u::text, ' ') from auth.users u),
                 (select string_agg(s::text, ' ') from auth.sessions s where ip_address is not null
                      or refresh_ip_address is not null or user_agent <> ''),
                 (select string_agg(s::text, ' ') from auth.settings s),
                 (select string_agg(k::text, ' ') from auth.api_keys k),
                 (select string_agg(l::text, ' ') from auth.locks l where user_id is not null),
                 (select string_agg(r::text, ' ') from auth.refresh_tokens r))",
        )
        .await;
    for word in ["personal", "Ann", "127.0.0.1", "argon2", "192.0.2.7", "account"] {
        assert!(!left.contains(word), "{word} is in {left}");
    }
    let record = auth.audited("user.delete").await;
    record.is_by(&admin);
    assert_eq!(record.old_values.unwrap()["state"], "active");
    let new = record.new_values.unwrap();
    assert_eq!(
        (new["state"].as_str(), new["removed_settings"].as_i64()),
        (Some("deleted"), Some(1))
    );
    assert_eq!(new["revoked_api_keys"].as_array().unwrap().len(), 1);
    assert_eq!(new["ended_locks"], 1);
    let registered = auth.audited("user.register").await;
    assert_eq!(registered.new_values.unwrap()["email"], "very.personal@example.com");
}

#[tokio::test]
async fn a_deleted_account_stays_as_it_is() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let user_id = auth.credentials.person(Role::Developer).await.user_id;
    let id = user_id.to_string();
    auth.delete(&admin, user_id).await.unwrap();

    let again = auth.delete(&admin, user_id).await.unwrap();
    let mut users = auth.users(&admin);
    let refused = [
        users.reactivate_user(pb::ReactivateUserRequest { user_id: id.clone() }).await.err(),
        users.deactivate_user(pb::DeactivateUserRequest { user_id: id.clone() }).await.err(),
        users.set_user_role(pb::SetUserRoleRequest { user_id: id.clone(), role: 2 }).await.err(),
        users
            .set_user_permissions(pb::SetUserPermissionsRequest {
                user_id: id.clone(),
                permissions: vec![],
            })
            .await
            .err(),
    ];

    assert_eq!(again.state, pb::UserState::Deleted as i32);
    for status in refused {
        let status = status.unwrap();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::FailedPrecondition, Reason::WrongState)
        );
    }
    assert_eq!(auth.audit("user.delete").await.len(), 1);
    let listed =
        pb::ListUsersRequest { state: pb::UserState::Deleted as i32, ..Default::default() };
    let listed = users.list_users(listed).await.unwrap().into_inner().users;
    assert_eq!(listed.iter().map(|it| &it.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(listed[0].role, Role::Developer.to_contract());
}

#[tokio::test]
async fn the_last_active_administrator_is_not_deleted_and_managers_delete_none() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    let viewer = auth.credentials.person(Role::Viewer).await;

    let last = auth.delete(&admin, admin.user_id).await.unwrap_err();
    let not_allowed = auth.delete(&manager, admin.user_id).await.unwrap_err();
    auth.delete(&manager, viewer.user_id).await.unwrap();
    let unknown = auth.delete(&admin, Uuid::now_v7()).await.unwrap_err();
    let second = auth.credentials.person(Role::Admin).await;
    auth.delete(&admin, second.user_id).await.unwrap();

    assert_eq!(reason(&last), Reason::LastAdministrator);
    assert_eq!(reason(&not_allowed), Reason::NotAllowed);
    assert_eq!(reason(&unknown), Reason::NotFound);
    let request = pb::DeleteUserRequest { user_id: "7".to_owned() };
    let status = auth.users(&admin).delete_user(request).await.unwrap_err();
    assert_eq!(violations(&status), ["user_id"]);
}

/// What is not known here would outlive the account that it belongs to.
#[tokio::test]
async fn every_column_that_says_whose_something_is_is_known() {
    let auth = Auth::start().await;

    let columns: Vec<String> = auth
        .scalar(
            "select array_agg(table_name || '.' || column_name order by table_name, column_name)
             from information_schema.columns
             where table_schema = 'auth' and column_name ~
                 '(user|owner|principal|subject|session)_id$|email|recipient|ip_address|user_agent'",
        )
        .await;

    assert_eq!(
        columns,
        [
            "api_keys.user_id",
            "email_tokens.email",
            "email_tokens.user_id",
            "idempotency_keys.principal_id",
            "locks.user_id",
            "login_challenges.user_id",
            "mails.ip_address",
            "mails.recipient",
            "mails.user_agent",
            "mails.user_id",
            "passkeys.user_id",
            "recovery_codes.user_id",
            "refresh_tokens.session_id",
            // The id alone, for as long as its tokens could live.
            "revocations.subject_id",
            "sessions.ip_address",
            "sessions.refresh_ip_address",
            "sessions.session_id",
            "sessions.user_agent",
            "sessions.user_id",
            "settings.user_id",
            "totps.user_id",
            "users.email",
            "users.email_key",
            "users.email_verified_at",
            "users.user_id",
        ]
    );
}
