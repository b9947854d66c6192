//! What is wrong with a request is told at once, each field by its name.

use ihuman_proto::auth::v1 as pb;
use ihuman_shared::{access::Role, testing::violations};
use prost_types::FieldMask;

use crate::support::Auth;

fn bad() -> String {
    "7".to_owned()
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|it| (*it).to_owned()).collect() })
}

#[tokio::test]
async fn every_field_of_a_key_that_is_not_allowed_is_named() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let mut api_keys = auth.api_keys(&owner);
    let rate_limit = Some(pb::RateLimit { max_requests: 0, window: None });

    let order = pb::CreateApiKeyRequest {
        name: "   ".to_owned(),
        scopes: vec!["skills:fly".to_owned()],
        expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        user_id: bad(),
        request_id: bad(),
        ip_allow_list: vec![bad()],
        rate_limit,
        ..Default::default()
    };
    let created = api_keys.create_api_key(order).await.unwrap_err();
    let api_key = pb::ApiKey { id: bad(), name: "   ".to_owned(), ..Default::default() };
    let update_mask = mask(&["name", "scopes"]);
    let change = pb::UpdateApiKeyRequest { api_key: Some(api_key.clone()), update_mask };
    let updated = api_keys.update_api_key(change).await.unwrap_err();
    let change = pb::UpdateApiKeyRequest { api_key: Some(api_key), update_mask: mask(&["id"]) };
    let masked = api_keys.update_api_key(change).await.unwrap_err();
    let rotation = pb::RotateApiKeyRequest {
        api_key_id: bad(),
        request_id: bad(),
        overlap: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    };
    let rotated = api_keys.rotate_api_key(rotation).await.unwrap_err();

    let wish = pb::ListApiKeysRequest {
        page_size: -1,
        user_id: bad(),
        expiring_within: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let listed = api_keys.list_api_keys(wish).await.unwrap_err();

    assert_eq!(violations(&listed), ["user_id", "expiring_within", "page_size"]);
    assert_eq!(
        violations(&created),
        [
            "request_id",
            "name",
            "scopes[0]",
            "expire_time",
            "ip_allow_list[0]",
            "rate_limit.max_requests",
            "rate_limit.window",
            "user_id"
        ]
    );
    assert_eq!(violations(&updated), ["api_key.id", "api_key.name", "api_key.scopes"]);
    assert_eq!(violations(&masked), ["api_key.id", "update_mask"]);
    assert_eq!(violations(&rotated), ["request_id", "api_key_id", "overlap"]);
}

#[tokio::test]
async fn every_field_of_an_account_that_is_not_allowed_is_named() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let mut users = auth.users(&admin);

    let order = pb::CreateServiceAccountRequest {
        display_name: "   ".to_owned(),
        role: 99,
        request_id: bad(),
    };
    let opened = users.create_service_account(order).await.unwrap_err();
    let user = pb::User { id: bad(), avatar_url: bad(), ..Default::default() };
    let change = pb::UpdateUserRequest { user: Some(user), update_mask: mask(&["*"]) };
    let updated = users.update_user(change).await.unwrap_err();
    let wish = pb::ListUsersRequest {
        page_size: -1,
        role: 99,
        kind: 99,
        state: -1,
        query: "a".repeat(101),
        ..Default::default()
    };
    let listed = users.list_users(wish).await.unwrap_err();

    assert_eq!(violations(&opened), ["request_id", "display_name", "role"]);
    assert_eq!(violations(&updated), ["user.id", "user.display_name", "user.avatar_url"]);
    assert_eq!(violations(&listed), ["role", "kind", "state", "page_size", "query"]);
}

#[tokio::test]
async fn every_field_of_a_password_and_of_a_passkey_that_is_not_allowed_is_named() {
    let auth = Auth::start().await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    let mut passkeys = auth.passkeys(&viewer);

    let change =
        pb::ChangePasswordRequest { current_password: "a".repeat(1025), new_password: bad() };
    let changed = auth.auth_as(&viewer).change_password(change).await.unwrap_err();
    let passkey = pb::FinishPasskeyRegistrationRequest {
        name: "   ".to_owned(),
        attestation: None,
        request_id: bad(),
    };
    let registered = passkeys.finish_passkey_registration(passkey).await.unwrap_err();
    let passkey = pb::Passkey { id: bad(), name: "   ".to_owned(), ..Default::default() };
    let rename = pb::UpdatePasskeyRequest { passkey: Some(passkey), update_mask: mask(&["id"]) };
    let renamed = passkeys.update_passkey(rename).await.unwrap_err();

    let setting = pb::SetSettingRequest { name: "  ".to_owned(), value: None };
    let set = auth.settings(&viewer).set_setting(setting).await.unwrap_err();

    assert_eq!(violations(&set), ["name", "value"]);
    assert_eq!(violations(&changed), ["current_password", "new_password"]);
    assert_eq!(violations(&registered), ["request_id", "name", "attestation"]);
    assert_eq!(violations(&renamed), ["passkey.id", "update_mask", "passkey.name"]);
}
