//! What binds the use of an API key, and how it is changed.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    parse,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};

use crate::{
    api_keys::request,
    support::{Auth, keyed, missing},
};

fn rate(max_requests: i32, window: Duration) -> Option<pb::RateLimit> {
    Some(pb::RateLimit { max_requests, window: Some(window.try_into().unwrap()) })
}

fn notes(notes: &[(&str, &str)]) -> BTreeMap<String, String> {
    notes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).to_owned()).collect()
}

impl Auth {
    pub(crate) async fn update_key(
        &self,
        caller: &Caller,
        api_key: pb::ApiKey,
        paths: &[&str],
    ) -> Result<pb::ApiKey, Status> {
        let update_mask = Some(prost_types::FieldMask { paths: texts(paths) });
        let request = pb::UpdateApiKeyRequest { api_key: Some(api_key), update_mask };
        let response = self.api_keys(caller).update_api_key(request).await?;
        Ok(response.into_inner().api_key.unwrap())
    }

    /// Waits until `caller` is answered as `expected`, for the second that the
    /// contract allows.
    pub(crate) async fn answers_within_a_second(
        &self,
        caller: &Caller,
        expected: Option<Reason>,
    ) -> Status {
        let waited = async {
            loop {
                let answer = self.accepts(caller).await.err();
                if answer.as_ref().map(reason) == expected {
                    return answer.unwrap_or_else(|| Status::ok(""));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), waited).await.expect("within a second")
    }
}

#[tokio::test]
async fn a_key_is_refused_from_where_it_may_not_be_used() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let confined = pb::CreateApiKeyRequest {
        ip_allow_list: texts(&["192.0.2.7", "10.1.2.3/8", "2001:db8::/32", "10.0.0.0/8"]),
        ..request("ci", &["skills:read"])
    };
    let (api_key, key) = auth.create_key(&owner, confined).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);

    let elsewhere = auth.accepts(&caller).await.unwrap_err();
    let refused = auth.audited("/ihuman.auth.v1.AuthService/GetCurrentUser").await;
    let here = pb::ApiKey { ip_allow_list: texts(&["127.0.0.0/8"]), ..api_key.clone() };
    auth.update_key(&owner, here, &["ip_allow_list"]).await.unwrap();
    auth.answers_within_a_second(&caller, None).await;

    assert_eq!(api_key.ip_allow_list, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
    assert_eq!(
        (elsewhere.code(), reason(&elsewhere)),
        (Code::PermissionDenied, Reason::AddressNotAllowed)
    );
    assert_eq!(refused.actor_id, Some(owner.user_id));
    assert_eq!(
        (refused.outcome.as_str(), refused.reason.as_str()),
        ("denied", "ADDRESS_NOT_ALLOWED")
    );
}

#[tokio::test]
async fn the_address_that_counts_is_the_one_that_a_trusted_proxy_speaks_for() {
    let auth = Auth::start_with(&["--trusted-proxies", "127.0.0.0/8"]).await;
    let owner = auth.credentials.person(Role::Developer).await;
    let confined = pb::CreateApiKeyRequest {
        ip_allow_list: texts(&["192.0.2.0/24"]),
        ..request("ci", &["skills:read"])
    };
    let (api_key, key) = auth.create_key(&owner, confined).await.unwrap();
    let mut client = auth.auth_as(&keyed(&owner, &api_key, &key));
    let mut from = async |address: &str| {
        let mut request = tonic::Request::new(pb::GetCurrentUserRequest {});
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        client.get_current_user(request).await
    };

    assert!(from("192.0.2.99").await.is_ok());
    assert_eq!(reason(&from("192.0.3.99").await.unwrap_err()), Reason::AddressNotAllowed);
}

#[tokio::test]
async fn a_change_reaches_every_replica_within_a_second() {
    let auth = Auth::start().await;
    let other = auth.replica().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, key) =
        auth.create_key(&owner, request("ci", &["skills:read", "api-keys:read"])).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);
    // Remembered on both from here on.
    auth.get_key(&caller, &api_key.id).await.unwrap();
    other.get_key(&caller, &api_key.id).await.unwrap();

    let narrow = pb::ApiKey { scopes: texts(&["skills:read"]), ..api_key.clone() };
    auth.update_key(&owner, narrow, &["scopes"]).await.unwrap();

    for replica in [&auth, &other] {
        let waited = async {
            loop {
                if let Err(status) = replica.get_key(&caller, &api_key.id).await {
                    return missing(&status);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let missing = tokio::time::timeout(Duration::from_secs(1), waited).await.unwrap();
        assert_eq!(missing, "api-keys:read");
    }
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_records_it() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, _) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let wish = pb::ApiKey {
        name: "cd".to_owned(),
        scopes: texts(&["skills:*"]),
        ip_allow_list: texts(&["10.0.0.0/8"]),
        rate_limit: rate(10, Duration::from_millis(1500)),
        metadata: notes(&[("team", "a-private-note")]),
        ..api_key.clone()
    };

    let named = auth.update_key(&owner, wish.clone(), &["name", "metadata"]).await.unwrap();
    let whole = auth.update_key(&owner, wish.clone(), &["*"]).await.unwrap();
    let unlimited = pb::ApiKey { rate_limit: None, ..wish.clone() };
    let unlimited = auth.update_key(&owner, unlimited, &["rate_limit"]).await.unwrap();

    let expected =
        pb::ApiKey { name: wish.name.clone(), metadata: wish.metadata.clone(), ..api_key };
    assert_eq!(named, expected);
    assert_eq!(whole, wish);
    assert_eq!(unlimited, pb::ApiKey { rate_limit: None, ..wish.clone() });
    assert_eq!(auth.get_key(&owner, &wish.id).await.unwrap(), unlimited);
    let records = auth.audit("api_key.update").await;
    records[0].is_by(&owner);
    assert_eq!(records[0].old_values.as_ref().unwrap()["name"], "ci");
    assert_eq!(records[0].new_values.as_ref().unwrap()["name"], "cd");
    assert_eq!(records.len(), 3);
    assert!(!auth.audit_text().await.contains("a-private-note"));
}

#[tokio::test]
async fn what_a_key_can_not_be_changed_to_names_its_field() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, _) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    auth.create_key(&owner, request("taken", &["skills:read"])).await.unwrap();
    let many: Vec<_> = (0..33).map(|it| format!("10.0.{it}.0/24")).collect();
    let crowd: BTreeMap<_, _> = (0..17).map(|it| (it.to_string(), String::new())).collect();
    let key = || api_key.clone();
    let cases = [
        ("name", "api_key.name", pb::ApiKey { name: String::new(), ..key() }),
        ("scopes", "api_key.scopes", pb::ApiKey { scopes: vec![], ..key() }),
        ("scopes", "api_key.scopes[0]", pb::ApiKey { scopes: texts(&["users:manage"]), ..key() }),
        ("ip_allow_list", "api_key.ip_allow_list", pb::ApiKey { ip_allow_list: many, ..key() }),
        (
            "ip_allow_list",
            "api_key.ip_allow_list[1]",
            pb::ApiKey { ip_allow_list: texts(&["10.0.0.1", "10.0.0.0/33"]), ..key() },
        ),
        (
            "rate_limit",
            "api_key.rate_limit.max_requests",
            pb::ApiKey { rate_limit: rate(0, Duration::from_secs(1)), ..key() },
        ),
        (
            "rate_limit",
            "api_key.rate_limit.window",
            pb::ApiKey { rate_limit: rate(1, Duration::from_millis(999)), ..key() },
        ),
        (
            "rate_limit",
            "api_key.rate_limit.window",
            pb::ApiKey { rate_limit: rate(1, Duration::from_secs(86_401)), ..key() },
        ),
        ("metadata", "api_key.metadata", pb::ApiKey { metadata: crowd, ..key() }),
        ("metadata", "api_key.metadata", pb::ApiKey { metadata: notes(&[("", "a")]), ..key() }),
        ("metadata", "api_key.metadata", pb::ApiKey { metadata: notes(&[("a", "\0")]), ..key() }),
        ("create_time", "update_mask", key()),
        ("id", "update_mask", key()),
    ];

    for (path, field, wish) in cases {
        let status = auth.update_key(&owner, wish, &[path]).await.unwrap_err();
        assert_eq!(
            (violations(&status), reason(&status)),
            (vec![field.to_owned()], Reason::InvalidField)
        );
    }
    let empty = auth.update_key(&owner, key(), &[]).await.unwrap_err();
    assert_eq!(violations(&empty), ["update_mask"]);
    let taken = pb::ApiKey { name: "taken".to_owned(), ..key() };
    let taken = auth.update_key(&owner, taken, &["name"]).await.unwrap_err();
    assert_eq!(reason(&taken), Reason::AlreadyExists);
    assert!(auth.update_key(&owner, key(), &["name"]).await.is_ok(), "its own name is not taken");
}

#[tokio::test]
async fn a_rate_above_that_of_the_service_needs_a_manager_of_users() {
    let auth = Auth::start().await;
    let developer = auth.credentials.person(Role::Developer).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let with = |max_requests| pb::CreateApiKeyRequest {
        rate_limit: rate(max_requests, Duration::from_secs(60)),
        ..request("ci", &["skills:read"])
    };

    let beyond = auth.create_key(&developer, with(6001)).await.unwrap_err();
    let within = auth.create_key(&developer, with(6000)).await.unwrap().0;
    let granted = auth.create_key(&admin, with(6001)).await.unwrap().0;

    assert_eq!(
        (reason(&beyond), missing(&beyond)),
        (Reason::PermissionMissing, "users:manage".to_owned())
    );
    assert_eq!(within.rate_limit, rate(6000, Duration::from_secs(60)));
    assert_eq!(granted.rate_limit.unwrap().max_requests, 6001);
}

#[tokio::test]
async fn only_the_owner_changes_a_key_and_for_a_service_account_who_manages_users() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let other = auth.credentials.person(Role::Developer).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let program = auth.credentials.service_account(Role::Service).await;
    let (api_key, _) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let of_program = pb::CreateApiKeyRequest {
        user_id: program.user_id.to_string(),
        ..request("ci", &["executions:write"])
    };
    let (of_program, _) = auth.create_key(&admin, of_program).await.unwrap();
    let renamed = |it: &pb::ApiKey| pb::ApiKey { name: "new".to_owned(), ..it.clone() };

    let stranger = auth.update_key(&other, renamed(&api_key), &["name"]).await.unwrap_err();
    let manager = auth.update_key(&admin, renamed(&api_key), &["name"]).await.unwrap_err();
    let managed = auth.update_key(&admin, renamed(&of_program), &["name"]).await.unwrap();

    assert_eq!(reason(&stranger), Reason::NotFound);
    assert_eq!(reason(&manager), Reason::NotAllowed);
    assert_eq!(managed.name, "new");
}

#[tokio::test]
async fn what_has_ended_is_not_changed() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (revoked, _) = auth.create_key(&owner, request("a", &["skills:read"])).await.unwrap();
    let (expired, _) = auth.create_key(&owner, request("b", &["skills:read"])).await.unwrap();
    auth.revoke_key(&owner, &revoked.id).await.unwrap();
    let in_the_past = "update auth.api_keys set expires_at = now() where api_key_id = $1";
    auth.execute(in_the_past, expired.id.parse().unwrap()).await;

    for api_key in [revoked, expired] {
        let status = auth.update_key(&owner, api_key, &["name"]).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::FailedPrecondition, Reason::WrongState)
        );
    }
}

#[tokio::test]
async fn the_last_use_is_written_when_the_service_stops_at_the_latest() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, key) = auth.create_key(&owner, request("ci", &["api-keys:read"])).await.unwrap();
    let before = auth.get_key(&owner, &api_key.id).await.unwrap();
    let used = auth.get_key(&keyed(&owner, &api_key, &key), &api_key.id).await.unwrap();
    let other = auth.replica().await;

    auth.service.stop().await;

    assert_eq!((before.last_use_time, used.last_use_time), (None, None));
    let written = other.get_key(&owner, &api_key.id).await.unwrap();
    let created = written.create_time.unwrap().seconds;
    let last_use = written.last_use_time.unwrap().seconds;
    assert!((created..created + 60).contains(&last_use));
}

#[tokio::test]
async fn a_list_can_be_of_the_keys_that_expire_soon() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    for (name, days) in [("past", 1), ("soon", 5), ("revoked", 6), ("late", 30)] {
        let at = auth.service.clock.now() + TimeDelta::days(days);
        let expire_time = Some(parse::timestamp(at));
        let order = pb::CreateApiKeyRequest { expire_time, ..request(name, &["skills:read"]) };
        let (api_key, _) = auth.create_key(&owner, order).await.unwrap();
        if name == "revoked" {
            auth.revoke_key(&owner, &api_key.id).await.unwrap();
        }
    }
    auth.execute(
        "update auth.api_keys set expires_at = now() where user_id = $1 and name = 'past'",
        owner.user_id,
    )
    .await;
    let list = async |seconds| {
        let request = pb::ListApiKeysRequest {
            expiring_within: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..pb::ListApiKeysRequest::default()
        };
        let response = auth.api_keys(&owner).list_api_keys(request).await?;
        let keys = response.into_inner().api_keys;
        Ok::<Vec<String>, Status>(keys.into_iter().map(|it| it.name).collect())
    };

    assert_eq!(list(7 * 86_400).await.unwrap(), ["soon"]);
    assert_eq!(list(31 * 86_400).await.unwrap(), ["late", "soon"]);
    assert_eq!(violations(&list(0).await.unwrap_err()), ["expiring_within"]);
    assert_eq!(violations(&list(3654 * 86_400).await.unwrap_err()), ["expiring_within"]);
}
