//! How signing keys follow one another without anybody noticing.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_proto::{
    auth::v1::{self as pb, SigningKeyState as State},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    credentials::MasterKey,
    testing::{Caller, reason, violations},
};
use tonic::Status;
use uuid::Uuid;

use crate::support::{Auth, EMAIL, bearer, identity};

impl Auth {
    async fn rotate_signing_key(
        &self,
        caller: &Caller,
        request_id: &str,
    ) -> Result<pb::SigningKey, Status> {
        let request = pb::RotateSigningKeyRequest { request_id: request_id.to_owned() };
        let response = self.signing_keys_as(caller).rotate_signing_key(request).await?;
        Ok(response.into_inner().signing_key.unwrap())
    }

    /// The service's own keys, the latest first, without that of the tests.
    async fn keys(&self, caller: &Caller) -> Vec<pb::SigningKey> {
        let mut client = self.signing_keys_as(caller);
        let response = client.list_signing_keys(pb::ListSigningKeysRequest {}).await.unwrap();
        let keys = response.into_inner().signing_keys.into_iter();
        keys.filter(|it| it.activate_time.is_some()).collect()
    }

    async fn states(&self, caller: &Caller) -> Vec<State> {
        self.keys(caller).await.iter().map(pb::SigningKey::state).collect()
    }

    /// What the service does now and then, at `now`.
    async fn rotate_due(&self, now: DateTime<Utc>) {
        let environment = self.database.environment("ihuman_auth");
        let value = |name: &str| environment.iter().find(|it| it.0 == name).unwrap().1.clone();
        let master_key: MasterKey = value("IHUMAN_MASTER_KEY").parse().unwrap();
        let options = self.database.superuser.connect_options().as_ref().clone();
        let options = options.options([("search_path", "auth")]);
        let db = sqlx::PgPool::connect_with(options).await.unwrap();
        auth_service::rotate_due(&db, &master_key, &identity(), now).await.unwrap();
    }

    async fn kid_of_a_login(&self) -> String {
        let token = self.login(EMAIL).await.access_token;
        jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
    }

    /// Waits until new tokens are signed with `kid`.
    async fn signs_with(&self, kid: &str) {
        let started = Instant::now();
        while self.kid_of_a_login().await != kid {
            assert!(started.elapsed() < Duration::from_secs(5), "still another key");
        }
    }

    async fn later(&self, by: TimeDelta) -> Caller {
        self.service.clock.advance(by);
        self.credentials.person_at(Role::Admin, self.service.clock.now()).await
    }
}

#[tokio::test]
async fn the_next_key_is_published_an_hour_before_it_signs() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let old = auth.kid_of_a_login().await;

    let next = auth.rotate_signing_key(&admin, "").await.unwrap();
    auth.service.clock.advance(TimeDelta::minutes(59));
    let still = auth.kid_of_a_login().await;
    let admin = auth.later(TimeDelta::minutes(1)).await;
    let now = auth.kid_of_a_login().await;

    assert_eq!(next.state(), State::Next);
    let (create, activate) = (next.create_time.unwrap(), next.activate_time.unwrap());
    assert_eq!(activate.seconds - create.seconds, 3600);
    assert_eq!((still, &now), (old.clone(), &next.kid));
    let keys = auth.keys(&admin).await;
    let seen: Vec<_> = keys.iter().map(|it| (it.kid.as_str(), it.state())).collect();
    assert_eq!(seen, [(next.kid.as_str(), State::Active), (old.as_str(), State::Retired)]);
    assert_eq!(keys[1].remove_time.unwrap().seconds, activate.seconds + 3660);
    let records = auth.audit("signing_key.create").await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].entity, ("signing_key".to_owned(), next.kid));
    assert!(records[1].actor_id.is_some() && records[0].actor_id.is_none());
}

#[tokio::test]
async fn tokens_of_the_old_key_are_good_until_they_expire_and_then_the_key_goes() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.rotate_signing_key(&admin, "").await.unwrap();
    auth.service.clock.advance(TimeDelta::minutes(59));
    let last = auth.login(EMAIL).await;

    auth.service.clock.advance(TimeDelta::minutes(59));
    auth.rotate_due(auth.service.clock.now()).await;
    let good = auth.accepts(&bearer(&user, &last)).await;
    let admin = auth.later(TimeDelta::minutes(4)).await;
    auth.rotate_due(auth.service.clock.now()).await;

    assert!(good.is_ok());
    assert_eq!(auth.states(&admin).await, [State::Active]);
    let expired = auth.accepts(&bearer(&user, &last)).await.unwrap_err();
    assert_eq!(reason(&expired), Reason::CredentialsExpired);
    let kid = jsonwebtoken::decode_header(last.access_token).unwrap().kid.unwrap();
    assert_eq!(auth.audited("signing_key.delete").await.entity.1, kid);
}

#[tokio::test]
async fn keys_are_rotated_on_schedule_and_every_replica_agrees() {
    let auth = Auth::start().await;
    let replica = auth.replica().await;
    auth.register(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let begin = Utc::now();

    auth.rotate_due(begin + TimeDelta::days(29)).await;
    let early = auth.keys(&admin).await.len();
    let due = begin + TimeDelta::days(30) - TimeDelta::hours(1);
    tokio::join!(auth.rotate_due(due), auth.rotate_due(due), auth.rotate_due(due));
    let next = auth.keys(&admin).await.remove(0);
    auth.later(TimeDelta::days(30)).await;
    replica.later(TimeDelta::days(30)).await;
    auth.signs_with(&next.kid).await;
    replica.signs_with(&next.kid).await;

    assert_eq!(early, 1);
    assert_eq!(next.state(), State::Next);
    assert_eq!(auth.audit("signing_key.create").await.len(), 2);
    let activate = next.activate_time.unwrap().seconds;
    assert_eq!(activate, (begin + TimeDelta::days(30)).timestamp());
}

#[tokio::test]
async fn a_rotation_that_is_late_still_publishes_ahead() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let late = Utc::now() + TimeDelta::days(45);

    auth.rotate_due(late).await;

    let next = auth.keys(&admin).await.remove(0);
    assert_eq!(next.activate_time.unwrap().seconds, (late + TimeDelta::hours(1)).timestamp());
}

#[tokio::test]
async fn one_request_id_makes_one_key_and_there_is_one_next_key() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let request_id = Uuid::new_v4().to_string();

    let first = auth.rotate_signing_key(&admin, &request_id).await.unwrap();
    let again = auth.rotate_signing_key(&admin, &request_id).await.unwrap();
    let second = auth.rotate_signing_key(&admin, "").await.unwrap_err();
    let wrong = auth.rotate_signing_key(&admin, "7").await.unwrap_err();

    assert_eq!(first, again);
    assert_eq!(reason(&second), Reason::WrongState);
    assert_eq!(violations(&wrong), ["request_id"]);
    assert_eq!(auth.states(&admin).await, [State::Next, State::Active]);
}

#[tokio::test]
async fn with_a_shared_secret_there_is_nothing_to_rotate() {
    let auth = Auth::start_with(&["--jwt-secret", "a shared secret of more than 32 bytes"]).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let full = auth.credentials.api_key(admin.user_id, &["admin:full".to_owned()]).await;

    let keys = auth.keys(&full).await;

    assert!(keys.is_empty());
}

#[tokio::test]
async fn a_key_has_no_successor_in_one_that_another_master_key_has_sealed() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let ours = auth.kid_of_a_login().await;
    sqlx::query(
        "insert into auth.signing_keys (kid, public_key, private_key_sealed, created_at, activates_at)
         values ('theirs', decode(repeat('07', 32), 'hex'), decode(repeat('07', 111), 'hex'), now(), now())",
    )
    .execute(&auth.database.superuser)
    .await
    .unwrap();

    let admin = auth.later(TimeDelta::hours(3)).await;
    auth.rotate_due(auth.service.clock.now()).await;

    let keys = auth.keys(&admin).await;
    let kids: Vec<_> = keys.iter().map(|it| it.kid.as_str()).collect();
    assert_eq!(kids, ["theirs", &ours]);
    assert_eq!(auth.kid_of_a_login().await, ours);
    assert!(auth.accepts(&bearer(&user, &auth.login(EMAIL).await)).await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_gone_verifies_nothing_any_more() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let caller = bearer(&user, &auth.login(EMAIL).await);
    // It read the key at its start, so that it may read the keys again at once.
    let replica = auth.replica().await;
    replica.accepts(&caller).await.unwrap();
    sqlx::query("delete from auth.signing_keys where activates_at is not null")
        .execute(&auth.database.superuser)
        .await
        .unwrap();

    // Whoever names a key that is not known makes the service read them again.
    let stranger = jsonwebtoken::encode(
        &jsonwebtoken::Header {
            kid: Some(Uuid::now_v7().to_string()),
            typ: Some("at+jwt".to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
        },
        &serde_json::json!({}),
        &jsonwebtoken::EncodingKey::from_secret(b"of no interest"),
    )
    .unwrap();
    let stranger = Caller { authorization: format!("Bearer {stranger}"), ..caller.clone() };
    replica.accepts(&stranger).await.unwrap_err();

    let status = replica.accepts(&caller).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CredentialsInvalid);
}
