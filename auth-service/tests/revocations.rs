//! What third parties hear of revocations.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use ihuman_proto::{
    auth::v1::{self as pb, RevocationKind as Kind},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, Credentials, reason, violations},
};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::support::{Auth, EMAIL, bearer};

/// One watch and the last cursor that it heard.
struct Watch {
    stream: Streaming<pb::WatchRevocationsResponse>,
    cursor: String,
}

impl Auth {
    async fn watch(&self, caller: &Caller, cursor: &str) -> Result<Watch, Status> {
        let request = pb::WatchRevocationsRequest { cursor: cursor.to_owned() };
        let stream = self.revocations(caller).watch_revocations(request).await?.into_inner();
        Ok(Watch { stream, cursor: cursor.to_owned() })
    }

    /// Takes a scope from a key, or replaces its secret at once.
    async fn change_key(&self, owner: &Caller, api_key_id: String, is_rotated: bool) {
        let mut keys = self.api_keys(owner);
        if is_rotated {
            let request = pb::RotateApiKeyRequest { api_key_id, ..Default::default() };
            keys.rotate_api_key(request).await.unwrap();
            return;
        }
        let scopes = vec!["skills:read".to_owned()];
        let api_key = Some(pb::ApiKey { id: api_key_id, scopes, ..Default::default() });
        let update_mask = Some(prost_types::FieldMask { paths: vec!["scopes".to_owned()] });
        let request = pb::UpdateApiKeyRequest { api_key, update_mask };
        keys.update_api_key(request).await.unwrap();
    }

    /// Revokes a session that nobody uses.
    async fn revoke_a_session(&self) -> Uuid {
        let id = Uuid::now_v7();
        self.credentials.revoke("session", Some(id)).await;
        id
    }
}

impl Watch {
    /// The next message, which must come within the second that the contract allows.
    async fn next(&mut self) -> Result<Option<pb::Revocation>, Status> {
        let message = timeout(Duration::from_secs(1), self.stream.message()).await;
        let message = message.expect("a message within a second")?.expect("the stream goes on");
        self.cursor = message.cursor;
        Ok(message.revocation)
    }

    /// What is revoked until everything has been sent.
    async fn rest(&mut self) -> Vec<pb::Revocation> {
        let mut all = Vec::new();
        while let Some(revocation) = self.next().await.unwrap() {
            all.push(revocation);
        }
        all
    }

    async fn ids(&mut self) -> Vec<String> {
        self.rest().await.into_iter().map(|it| it.subject_id).collect()
    }
}

#[tokio::test]
async fn live_revocations_come_first_and_new_ones_within_a_second() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let viewer = auth.credentials.person(Role::Viewer).await;
    let before = auth.revoke_a_session().await;
    let mut watch = auth.watch(&admin, "").await.unwrap();

    let live = watch.rest().await;
    auth.deactivate(&admin, viewer.user_id).await.unwrap();
    let closed = watch.rest().await;
    let after = auth.revoke_a_session().await;
    let later = watch.rest().await;

    assert_eq!(live.len(), 1);
    assert_eq!((live[0].kind(), &live[0].subject_id), (Kind::Session, &before.to_string()));
    assert_eq!(live[0].min_version, 0);
    assert!(live[0].expire_time.is_some());
    assert_eq!((closed[0].kind(), closed[0].min_version), (Kind::User, 2));
    assert_eq!(closed[0].subject_id, viewer.user_id.to_string());
    assert_eq!(later.iter().map(|it| &it.subject_id).collect::<Vec<_>>(), [&after.to_string()]);
}

#[tokio::test]
async fn a_watch_goes_on_where_another_ended_on_any_replica() {
    let auth = Auth::start().await;
    let replica = auth.replica().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let mut before = auth.watch(&admin, "").await.unwrap();
    assert!(before.rest().await.is_empty());
    let first = auth.revoke_a_session().await;
    let heard = before.ids().await;
    drop(before.stream);
    let missed = [auth.revoke_a_session().await, auth.revoke_a_session().await];

    let mut after = replica.watch(&admin, &before.cursor).await.unwrap();
    let rest = after.ids().await;

    assert_eq!(heard, [first.to_string()]);
    // At least once: a transaction elsewhere may hold the cursor back.
    assert!(missed.iter().all(|it| rest.contains(&it.to_string())), "{rest:?}");
}

#[tokio::test]
async fn a_revocation_that_commits_after_a_later_one_is_not_missed() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let mut watch = auth.watch(&admin, "").await.unwrap();
    watch.rest().await;
    let late = Uuid::now_v7();
    let mut tx = auth.database.superuser.begin().await.unwrap();
    sqlx::query(
        "insert into auth.revocations (revocation_id, kind, subject_id, expires_at)
         values ($1, 'api_key', $1, now() + interval '1 hour')",
    )
    .bind(late)
    .execute(&mut *tx)
    .await
    .unwrap();
    let early = auth.revoke_a_session().await;
    let first = watch.ids().await;

    tx.commit().await.unwrap();
    let second = watch.ids().await;

    assert_eq!(first, [early.to_string()]);
    assert_eq!(second, [late.to_string()]);
}

#[tokio::test]
async fn more_revocations_than_are_read_at_once_all_come_and_each_once() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    sqlx::query(
        "insert into auth.revocations (revocation_id, kind, subject_id, expires_at)
         select gen_random_uuid(), 'session', gen_random_uuid(), now() + interval '1 hour'
         from generate_series(1, 1200)",
    )
    .execute(&auth.database.superuser)
    .await
    .unwrap();

    let mut ids = auth.watch(&admin, "").await.unwrap().ids().await;

    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1200);
}

#[tokio::test]
async fn a_watch_ends_with_the_credential_that_it_was_allowed_with() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let watcher = auth.credentials.person(Role::Admin).await;
    let key = auth.credentials.api_key(watcher.user_id, &["revocations:read".to_owned()]).await;
    let mut by_session = auth.watch(&watcher, "").await.unwrap();
    let mut by_key = auth.watch(&key, "").await.unwrap();
    by_session.rest().await;
    by_key.rest().await;

    auth.credentials.revoke("session", watcher.session_id).await;
    let first = by_session.next().await.unwrap_err();
    assert_eq!(by_key.ids().await.len(), 1);
    let role = pb::SetUserRoleRequest {
        user_id: watcher.user_id.to_string(),
        role: Role::Viewer.to_contract(),
    };
    auth.users(&admin).set_user_role(role).await.unwrap();
    let second = by_key.next().await.unwrap_err();

    assert_eq!(reason(&first), Reason::CredentialsRevoked);
    assert_eq!(reason(&second), Reason::CredentialsRevoked);
}

#[tokio::test]
async fn a_watch_ends_when_its_key_is_narrowed_or_rotated() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Admin).await;
    let scopes = ["revocations:read".to_owned(), "skills:read".to_owned()];
    for is_rotated in [false, true] {
        let key = auth.credentials.api_key(owner.user_id, &scopes).await;
        let mut watch = auth.watch(&key, "").await.unwrap();
        watch.rest().await;

        let id = key.api_key_id.unwrap().to_string();
        auth.change_key(&owner, id, is_rotated).await;

        let ended = watch.next().await.unwrap_err();
        assert_eq!(reason(&ended), Reason::CredentialsRevoked, "rotated: {is_rotated}");
    }
}

#[tokio::test]
async fn third_parties_hear_that_a_key_has_changed() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let key = auth.credentials.api_key(admin.user_id, &["skills:*".to_owned()]).await;
    let mut watch = auth.watch(&admin, "").await.unwrap();
    watch.rest().await;

    let id = key.api_key_id.unwrap().to_string();
    auth.change_key(&admin, id.clone(), true).await;
    let heard = watch.rest().await;

    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].kind(), &heard[0].subject_id), (Kind::ApiKeyChange, &id));
    assert_eq!(heard[0].min_version, 0);
}

#[tokio::test]
async fn who_may_hear_of_revocations_need_not_manage_users() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let gateway = auth.credentials.service_account(Role::Service).await;
    let scopes = ["revocations:read".to_owned()];
    let key = auth.credentials.api_key(gateway.user_id, &scopes).await;
    let manager = auth.credentials.api_key(admin.user_id, &["users:manage".to_owned()]).await;

    let refused =
        [auth.watch(&manager, "").await.err().unwrap(), auth.watch(&key, "").await.err().unwrap()];
    let request = pb::SetUserPermissionsRequest {
        user_id: gateway.user_id.to_string(),
        permissions: scopes.to_vec(),
    };
    auth.users(&admin).set_user_permissions(request).await.unwrap();

    assert!(refused.iter().all(|it| reason(it) == Reason::PermissionMissing));
    let granted = async {
        while let Err(status) = auth.watch(&key, "").await {
            assert_eq!(reason(&status), Reason::PermissionMissing);
        }
    };
    timeout(Duration::from_secs(1), granted).await.expect("granted within a second");
    assert_eq!(auth.accepts(&key).await.unwrap().permissions, scopes);
}

#[tokio::test]
async fn a_revocation_outlives_a_token_from_when_tokens_lasted_longer() {
    let before = Auth::start_identity(&["--jwt-expires-in", "24h"]).await;
    let (user, tokens) = before.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let after = before.replica_configured(&[], &["--jwt-expires-in", "5m"]).await;
    before.service.stop().await;

    after.auth_as(&caller).logout(pb::LogoutRequest {}).await.unwrap();
    after.sweep(TimeDelta::hours(23)).await;
    let restarted = after.replica_configured(&[], &["--jwt-expires-in", "5m"]).await;

    let refused = restarted.accepts(&caller).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    after.sweep(TimeDelta::minutes(24 * 60 + 2)).await;
    assert_eq!(after.scalar::<i64>("select count(*) from auth.revocations").await, 0);
    // What nobody has issued for as long as it lasts is forgotten too.
    after.sweep(TimeDelta::minutes(24 * 60 + 12)).await;
    let lifetimes = "select count(*) from auth.access_lifetimes where kept_seconds > 3600";
    assert_eq!(after.scalar::<i64>(lifetimes).await, 0);
}

#[tokio::test]
async fn a_watch_by_a_credential_from_after_a_change_goes_on() {
    let auth = Auth::start().await;
    let changed = auth.credentials.person(Role::Admin).await;
    let (user_id, session_id) = (changed.user_id, changed.session_id.unwrap());
    let mut claims = Credentials::claims(user_id, session_id, Role::Admin, Utc::now());
    claims.ver = 2;
    let authorization = format!("Bearer {}", auth.credentials.sign(&claims));
    let mut watch = auth.watch(&Caller { authorization, ..changed }, "").await.unwrap();
    watch.rest().await;

    // No replica has heard yet of the change that the token is from after.
    auth.execute(
        "insert into auth.revocations (revocation_id, kind, subject_id, token_version, expires_at)
         values (gen_random_uuid(), 'user', $1, 2, now() + interval '1 hour')",
        user_id,
    )
    .await;
    let heard = watch.rest().await;

    assert_eq!(heard.len(), 1);
    let later = auth.revoke_a_session().await;
    assert_eq!(watch.ids().await, [later.to_string()]);
}

#[tokio::test]
async fn a_watch_ends_unavailable_when_the_service_stops() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let mut watch = auth.watch(&admin, "").await.unwrap();
    watch.rest().await;

    let Auth { service, .. } = auth;
    let (stopped, status) = tokio::join!(service.stop(), watch.next());

    let () = stopped;
    assert_eq!(reason(&status.unwrap_err()), Reason::Unavailable);
}

#[tokio::test]
async fn only_a_cursor_of_the_service_is_taken() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    // "revocations:9000000000000000000", which no transaction of this database is.
    let future = "cmV2b2NhdGlvbnM6OTAwMDAwMDAwMDAwMDAwMDAwMA";

    for cursor in ["7", "!", future, &"a".repeat(65)] {
        let status = auth.watch(&admin, cursor).await.err().unwrap();
        assert_eq!(violations(&status), ["cursor"], "{cursor}");
    }
}

#[tokio::test]
async fn there_are_only_so_many_watchers() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(auth.watch(&admin, "").await.unwrap());
    }

    let status = auth.watch(&admin, "").await.err().unwrap();

    assert_eq!(reason(&status), Reason::Overloaded);
}
