//! How long a key lives, and how it is made to live longer.

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    parse,
    testing::{Caller, reason, violations},
};
use prost_types::Timestamp;
use tonic::Status;

use crate::{
    api_keys::request,
    support::{Auth, keyed, missing},
};

impl Auth {
    fn in_days(&self, days: i64) -> Option<Timestamp> {
        Some(parse::timestamp(self.service.clock.now() + TimeDelta::days(days)))
    }

    async fn set_expiry(
        &self,
        caller: &Caller,
        api_key: &pb::ApiKey,
        expire_time: Option<Timestamp>,
    ) -> Result<pb::ApiKey, Status> {
        let wish = pb::ApiKey { expire_time, ..api_key.clone() };
        self.update_key(caller, wish, &["expire_time"]).await
    }

    async fn renew(
        &self,
        caller: &Caller,
        api_key: &pb::ApiKey,
        overlap_days: i64,
        expire_time: Option<Timestamp>,
    ) -> Result<(pb::ApiKey, String), Status> {
        let request = pb::RotateApiKeyRequest {
            api_key_id: api_key.id.clone(),
            overlap: Some(prost_types::Duration { seconds: overlap_days * 86_400, nanos: 0 }),
            request_id: String::new(),
            expire_time,
        };
        let response = self.api_keys(caller).rotate_api_key(request).await?.into_inner();
        Ok((response.api_key.unwrap(), response.key))
    }
}

#[tokio::test]
async fn a_key_lives_on_when_its_time_is_extended_and_ends_when_it_is_shortened() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let brief =
        pb::CreateApiKeyRequest { expire_time: auth.in_days(1), ..request("ci", &["skills:read"]) };
    let (api_key, key) = auth.create_key(&owner, brief).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);
    // Remembered with its first time to expire.
    auth.accepts(&caller).await.unwrap();

    let later = auth.in_days(30);
    let extended = auth.set_expiry(&owner, &api_key, later).await.unwrap();
    auth.service.clock.advance(TimeDelta::days(2));
    auth.answers_within_a_second(&caller, None).await;
    let owner = Caller { authorization: auth.token_of(&owner), ..owner };
    let soon = parse::timestamp(auth.service.clock.now() + TimeDelta::minutes(5));
    auth.set_expiry(&owner, &api_key, Some(soon)).await.unwrap();
    auth.service.clock.advance(TimeDelta::minutes(6));
    let refused = auth.refuses_within_a_second(&caller).await;

    assert_eq!(extended.expire_time.unwrap().seconds, later.unwrap().seconds);
    assert_eq!(reason(&refused), Reason::CredentialsExpired);
    let records = auth.audit("api_key.update").await;
    assert_eq!(records.len(), 2);
    let (old, new) = (records[0].old_values.as_ref(), records[0].new_values.as_ref());
    assert_ne!(old.unwrap()["expire_time"], new.unwrap()["expire_time"]);
}

#[tokio::test]
async fn the_new_time_is_within_the_bounds_of_a_new_key() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, _) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();

    for time in [None, auth.in_days(-1), auth.in_days(3654)] {
        let status = auth.set_expiry(&owner, &api_key, time).await.unwrap_err();
        assert_eq!(violations(&status), ["api_key.expire_time"], "{time:?}");
    }
    for time in [auth.in_days(-1), auth.in_days(3654)] {
        let status = auth.renew(&owner, &api_key, 0, time).await.unwrap_err();
        assert_eq!(violations(&status), ["expire_time"], "{time:?}");
    }
    assert!(auth.set_expiry(&owner, &api_key, auth.in_days(3652)).await.is_ok());
}

#[tokio::test]
async fn a_rotation_can_renew_the_key_and_no_secret_outlives_it() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let brief =
        pb::CreateApiKeyRequest { expire_time: auth.in_days(2), ..request("ci", &["skills:read"]) };
    let (api_key, _) = auth.create_key(&owner, brief).await.unwrap();

    let (kept, _) = auth.renew(&owner, &api_key, 7, None).await.unwrap();
    let (renewed, _) = auth.renew(&owner, &api_key, 7, auth.in_days(90)).await.unwrap();
    let shortened = auth.set_expiry(&owner, &api_key, auth.in_days(3)).await.unwrap();

    assert_eq!(kept.expire_time, api_key.expire_time);
    assert_eq!(kept.previous_secret_expire_time, api_key.expire_time);
    assert!(renewed.expire_time.unwrap().seconds > api_key.expire_time.unwrap().seconds);
    let overlap = renewed.previous_secret_expire_time.unwrap().seconds;
    let in_7_days = auth.in_days(7).unwrap().seconds;
    assert!((in_7_days - 10..=in_7_days).contains(&overlap));
    assert_eq!(shortened.previous_secret_expire_time, shortened.expire_time);
    assert_eq!(auth.get_key(&owner, &api_key.id).await.unwrap(), shortened);
    let records = auth.audit("api_key.rotate").await;
    assert_ne!(
        records[1].old_values.as_ref().unwrap()["expire_time"],
        records[1].new_values.as_ref().unwrap()["expire_time"]
    );
}

#[tokio::test]
async fn nobody_lets_a_key_of_a_program_live_longer_that_may_do_more_than_they() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let manager = auth.delegate(Role::Viewer, &["api-keys:read", "api-keys:write"]).await;
    let program = auth.credentials.service_account(Role::Developer).await;
    let order = pb::CreateApiKeyRequest {
        user_id: program.user_id.to_string(),
        ..request("ci", &["skills:write"])
    };
    let (api_key, _) = auth.create_key(&admin, order).await.unwrap();

    let longer = auth.set_expiry(&manager, &api_key, auth.in_days(365)).await.unwrap_err();
    let shorter = auth.set_expiry(&manager, &api_key, auth.in_days(1)).await;

    assert_eq!(
        (reason(&longer), missing(&longer)),
        (Reason::PermissionMissing, "skills:write".to_owned())
    );
    assert!(shorter.is_ok());
    assert!(auth.set_expiry(&admin, &api_key, auth.in_days(365)).await.is_ok());
}
