//! New secrets for the same API key, and its end by whoever holds it.

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    api_keys::request,
    support::{Auth, keyed},
};

const HOUR: i64 = 3600;

impl Auth {
    async fn rotate_api_key(
        &self,
        caller: &Caller,
        api_key: &pb::ApiKey,
        overlap_seconds: i64,
        request_id: &str,
    ) -> Result<(pb::ApiKey, String), Status> {
        let request = pb::RotateApiKeyRequest {
            api_key_id: api_key.id.clone(),
            overlap: Some(prost_types::Duration { seconds: overlap_seconds, nanos: 0 }),
            request_id: request_id.to_owned(),
            expire_time: None,
        };
        let response = self.api_keys(caller).rotate_api_key(request).await?.into_inner();
        Ok((response.api_key.unwrap(), response.key))
    }
}

#[tokio::test]
async fn both_secrets_work_during_the_overlap_and_then_only_the_new_one() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, old) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let old = keyed(&owner, &api_key, &old);
    auth.accepts(&old).await.unwrap();

    let (rotated, new) = auth.rotate_api_key(&owner, &api_key, HOUR, "").await.unwrap();
    let new_secret = new.clone();
    let new = keyed(&owner, &api_key, &new);

    auth.accepts(&new).await.unwrap();
    auth.accepts(&old).await.unwrap();
    let until = rotated.previous_secret_expire_time.unwrap();
    assert!((until.seconds - auth.service.clock.now().timestamp() - HOUR).abs() < 10);
    assert_eq!(rotated, pb::ApiKey { previous_secret_expire_time: Some(until), ..api_key });
    auth.service.clock.advance(TimeDelta::seconds(HOUR));
    assert_eq!(reason(&auth.accepts(&old).await.unwrap_err()), Reason::CredentialsExpired);
    auth.accepts(&new).await.unwrap();
    auth.audited("api_key.rotate").await.is_by(&owner);
    assert!(!auth.audit_text().await.contains(new_secret.rsplit('_').next().unwrap()));
}

#[tokio::test]
async fn without_an_overlap_the_old_secret_is_dead_within_a_second_on_every_replica() {
    let auth = Auth::start().await;
    let other = auth.replica().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, old) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let old = keyed(&owner, &api_key, &old);
    auth.accepts(&old).await.unwrap();
    other.accepts(&old).await.unwrap();

    let (_, new) = auth.rotate_api_key(&owner, &api_key, 0, "").await.unwrap();

    for replica in [&auth, &other] {
        let refused = replica.refuses_within_a_second(&old).await;
        assert_eq!(reason(&refused), Reason::CredentialsExpired);
        replica.accepts(&keyed(&owner, &api_key, &new)).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_rotation_ends_the_first_secret_whatever_its_overlap() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, first) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();

    let (_, second) = auth.rotate_api_key(&owner, &api_key, 7 * 24 * HOUR, "").await.unwrap();
    let (_, third) = auth.rotate_api_key(&owner, &api_key, HOUR, "").await.unwrap();

    let refused = auth.refuses_within_a_second(&keyed(&owner, &api_key, &first)).await;
    assert_eq!(reason(&refused), Reason::CredentialsInvalid);
    auth.accepts(&keyed(&owner, &api_key, &second)).await.unwrap();
    auth.accepts(&keyed(&owner, &api_key, &third)).await.unwrap();
}

#[tokio::test]
async fn rotating_again_with_the_same_request_id_returns_the_same_secret() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, _) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let request_id = Uuid::new_v4().to_string();

    let first = auth.rotate_api_key(&owner, &api_key, HOUR, &request_id).await.unwrap();
    let second = auth.rotate_api_key(&owner, &api_key, HOUR, &request_id).await.unwrap();
    let reused = auth.rotate_api_key(&owner, &api_key, 0, &request_id).await.unwrap_err();

    assert_eq!(first, second);
    assert_eq!(reason(&reused), Reason::RequestIdReused);
    assert_eq!(auth.audit("api_key.rotate").await.len(), 1);
    auth.accepts(&keyed(&owner, &api_key, &second.1)).await.unwrap();
}

#[tokio::test]
async fn only_a_live_key_of_ones_own_is_rotated_with_an_overlap_of_7_days_at_most() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let other = auth.credentials.person(Role::Developer).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (api_key, key) = auth.create_key(&owner, request("ci", &["api-keys:*"])).await.unwrap();

    let long = auth.rotate_api_key(&owner, &api_key, 7 * 24 * HOUR + 1, "").await.unwrap_err();
    let negative = auth.rotate_api_key(&owner, &api_key, -1, "").await.unwrap_err();
    let stranger = auth.rotate_api_key(&other, &api_key, 0, "").await.unwrap_err();
    // Whoever rotated the key of a person could act as that person.
    let manager = auth.rotate_api_key(&admin, &api_key, 0, "").await.unwrap_err();
    let by_key =
        auth.rotate_api_key(&keyed(&owner, &api_key, &key), &api_key, 0, "").await.unwrap_err();
    auth.revoke_key(&owner, &api_key.id).await.unwrap();
    let revoked = auth.rotate_api_key(&owner, &api_key, 0, "").await.unwrap_err();

    assert_eq!(
        (violations(&long), violations(&negative)),
        (vec!["overlap".to_owned()], vec!["overlap".to_owned()])
    );
    assert_eq!(reason(&stranger), Reason::NotFound);
    assert_eq!(reason(&manager), Reason::NotAllowed);
    assert_eq!(reason(&by_key), Reason::SessionRequired);
    assert_eq!(reason(&revoked), Reason::WrongState);
}

#[tokio::test]
async fn who_holds_a_key_can_end_it_and_only_it() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, key) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let (other, other_key) =
        auth.create_key(&owner, request("cd", &["skills:read"])).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);
    let end = pb::RevokeCurrentApiKeyRequest {};

    let session = auth.api_keys(&owner).revoke_current_api_key(end).await.unwrap_err();
    let revoked = auth.api_keys(&caller).revoke_current_api_key(end).await.unwrap().into_inner();

    assert_eq!(
        (session.code(), reason(&session)),
        (Code::PermissionDenied, Reason::ApiKeyRequired)
    );
    assert_eq!(revoked.api_key.as_ref().unwrap().id, api_key.id);
    assert!(revoked.api_key.unwrap().revoke_time.is_some());
    let refused = auth.refuses_within_a_second(&caller).await;
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    auth.accepts(&keyed(&owner, &other, &other_key)).await.unwrap();
    let record = auth.audited("api_key.revoke").await;
    assert_eq!(record.actor_id, Some(owner.user_id));
    assert_eq!(record.entity, ("api_key".to_owned(), api_key.id));
}
