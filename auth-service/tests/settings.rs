//! Small JSON values that an account keeps for itself.

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    parse,
    testing::{Caller, reason, violations},
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::Auth;

async fn set(
    auth: &Auth,
    caller: &Caller,
    name: &str,
    value: Value,
) -> Result<pb::Setting, Status> {
    let request = pb::SetSettingRequest { name: name.to_owned(), value: Some(parse::value(value)) };
    Ok(auth.settings(caller).set_setting(request).await?.into_inner().setting.unwrap())
}

async fn get(auth: &Auth, caller: &Caller, name: &str) -> Result<Value, Status> {
    let request = pb::GetSettingRequest { name: name.to_owned() };
    let setting = auth.settings(caller).get_setting(request).await?.into_inner().setting.unwrap();
    Ok(parse::json("value", setting.value.unwrap(), 1 << 20).unwrap())
}

async fn delete(auth: &Auth, caller: &Caller, name: &str) -> Result<(), Status> {
    let request = pb::DeleteSettingRequest { name: name.to_owned() };
    auth.settings(caller).delete_setting(request).await.map(drop)
}

#[tokio::test]
async fn a_setting_is_kept_replaced_and_removed() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;
    let value = json!({"dark": true, "sizes": [1, 2.5, null]});

    set(&auth, &caller, "ui.theme", value.clone()).await.unwrap();
    assert_eq!(get(&auth, &caller, "ui.theme").await.unwrap(), value);
    set(&auth, &caller, "ui.theme", Value::Null).await.unwrap();
    assert_eq!(get(&auth, &caller, "ui.theme").await.unwrap(), Value::Null);
    delete(&auth, &caller, "ui.theme").await.unwrap();

    assert_eq!(reason(&get(&auth, &caller, "ui.theme").await.unwrap_err()), Reason::NotFound);
    assert_eq!(reason(&delete(&auth, &caller, "ui.theme").await.unwrap_err()), Reason::NotFound);
    let records = auth.audit("setting.set").await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].old_values, None);
    assert_eq!(records[0].entity, ("setting".to_owned(), "ui.theme".to_owned()));
    records[0].is_by(&caller);
    auth.audited("setting.delete").await.is_by(&caller);
    assert!(!auth.audit_text().await.contains("dark"));
}

#[tokio::test]
async fn an_api_key_may_keep_settings_of_its_owner_and_nobody_elses() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let key = auth.credentials.api_key(owner.user_id, &["skills:read".to_owned()]).await;
    let admin = auth.credentials.person(Role::Admin).await;

    set(&auth, &key, "a", json!(1)).await.unwrap();

    assert_eq!(get(&auth, &owner, "a").await.unwrap(), json!(1));
    assert_eq!(reason(&get(&auth, &admin, "a").await.unwrap_err()), Reason::NotFound);
    assert_eq!(reason(&delete(&auth, &admin, "a").await.unwrap_err()), Reason::NotFound);
}

#[tokio::test]
async fn pages_of_settings_follow_one_another_by_name() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;
    for name in ["e", "b", "d", "a-1", "c_2"] {
        set(&auth, &caller, name, json!(name)).await.unwrap();
    }

    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = pb::ListSettingsRequest { page_size: 2, page_token };
        let page = auth.settings(&caller).list_settings(request).await.unwrap().into_inner();
        seen.extend(page.settings.into_iter().map(|it| it.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }

    assert_eq!(seen, ["a-1", "b", "c_2", "d", "e"]);
}

#[tokio::test]
async fn what_a_setting_can_not_be_names_its_field() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;

    let long = "a".repeat(129);
    for name in ["", "1a", "A", "a b", "ä", &long] {
        let status = set(&auth, &caller, name, json!(1)).await.unwrap_err();
        assert_eq!(violations(&status), ["name"], "{name:?}");
    }
    // With its quotes, one byte too many.
    let big = set(&auth, &caller, "a", json!("x".repeat(16 * 1024 - 1))).await.unwrap_err();
    let fits = set(&auth, &caller, "a", json!("x".repeat(16 * 1024 - 2))).await;
    let none = pb::SetSettingRequest { name: "a".to_owned(), value: None };
    let none = auth.settings(&caller).set_setting(none).await.unwrap_err();
    assert_eq!(violations(&big), ["value"]);
    assert!(fits.is_ok());
    assert_eq!(violations(&none), ["value"]);
}

#[tokio::test]
async fn an_account_has_at_most_200_settings_however_many_are_set_at_once() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;
    auth.execute(
        "insert into auth.settings (user_id, name, value)
         select $1, 'a' || n, '1' from generate_series(1, 198) n",
        caller.user_id,
    )
    .await;

    let names: Vec<_> = (0..6).map(|it| format!("b{it}")).collect();
    let sets = names.iter().map(|name| {
        let (settings, name) = (auth.settings(&caller), name.clone());
        let value = Some(parse::value(json!(1)));
        tokio::spawn(async move {
            let mut settings = settings;
            settings.set_setting(pb::SetSettingRequest { name, value }).await
        })
    });
    let mut refused = Vec::new();
    for set in sets.collect::<Vec<_>>() {
        refused.extend(set.await.unwrap().err());
    }

    assert_eq!(refused.len(), 4);
    assert_eq!(
        (refused[0].code(), reason(&refused[0])),
        (Code::ResourceExhausted, Reason::QuotaExceeded)
    );
    let count: i64 = auth.scalar("select count(*) from auth.settings").await;
    assert_eq!(count, 200);
    assert!(set(&auth, &caller, "a1", json!(2)).await.is_ok());
}

#[tokio::test]
async fn a_request_beyond_the_greatest_size_is_refused() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;

    let status = set(&auth, &caller, "a", json!("x".repeat(70 * 1024))).await.unwrap_err();

    assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, Reason::MalformedRequest));
}
