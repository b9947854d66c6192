//! How a signing key ends whose private half may be known to others.

use ihuman_proto::{
    auth::v1::{self as pb, RevocationKind as Kind, SigningKeyState as State},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, Credentials, reason, violations},
};
use tonic::Status;
use uuid::Uuid;

use crate::support::{Auth, EMAIL, bearer};

impl Auth {
    async fn revoke_signing_key(
        &self,
        caller: &Caller,
        kid: &str,
    ) -> Result<pb::SigningKey, Status> {
        let request = pb::RevokeSigningKeyRequest { kid: kid.to_owned() };
        let response = self.signing_keys_as(caller).revoke_signing_key(request).await?;
        Ok(response.into_inner().active_signing_key.unwrap())
    }
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn what_a_revoked_key_signed_is_dead_and_another_signs_at_once_on_every_replica() {
    let auth = Auth::start().await;
    let replica = auth.replica().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    // Each has read the key.
    auth.accepts(&caller).await.unwrap();
    replica.accepts(&caller).await.unwrap();
    let old = kid(&tokens.access_token);

    let active = auth.revoke_signing_key(&admin, &old).await.unwrap();

    for replica in [&auth, &replica] {
        let refused = replica.refuses_within_a_second(&caller).await;
        assert_eq!(reason(&refused), Reason::CredentialsRevoked);
        let tokens = replica.refresh(&replica.login(EMAIL).await.refresh_token, "").await.unwrap();
        assert_eq!(kid(&tokens.access_token), active.kid);
        auth.accepts(&bearer(&user, &tokens)).await.unwrap();
    }
    assert_eq!((active.state(), active.kid == old), (State::Active, false));
    let kids: Vec<_> = auth.key_set().await.into_iter().map(|it| it.kid).collect();
    assert!(kids.contains(&active.kid) && !kids.contains(&old), "{kids:?}");
    let record = auth.audited("signing_key.revoke").await;
    record.is_by(&admin);
    assert_eq!(record.entity.1, old);
}

#[tokio::test]
async fn the_next_key_signs_before_its_time_if_there_is_one() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let request = pb::RotateSigningKeyRequest::default();
    let rotated = auth.signing_keys_as(&admin).rotate_signing_key(request).await.unwrap();
    let next = rotated.into_inner().signing_key.unwrap();

    let active = auth.revoke_signing_key(&admin, &kid(&tokens.access_token)).await.unwrap();
    let tokens = auth.login(EMAIL).await;

    assert_eq!((&active.kid, active.state()), (&next.kid, State::Active));
    assert!(active.activate_time.unwrap().seconds < next.activate_time.unwrap().seconds - 3000);
    assert_eq!(kid(&tokens.access_token), next.kid);
    auth.accepts(&bearer(&user, &tokens)).await.unwrap();
    auth.audited("signing_key.activate").await.is_by(&admin);
}

#[tokio::test]
async fn a_key_stays_revoked_whatever_its_tokens_say_of_their_end() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let thief = auth.credentials.person(Role::Admin).await;
    let (user_id, session_id) = (thief.user_id, thief.session_id.unwrap());
    let mut claims = Credentials::claims(user_id, session_id, Role::Admin, chrono::Utc::now());
    claims.exp += 5 * 365 * 24 * 3600;
    let forged = auth.credentials.sign(&claims);
    let thief = Caller { authorization: format!("Bearer {forged}"), ..thief };
    auth.accepts(&thief).await.unwrap();

    auth.revoke_signing_key(&admin, &kid(&forged)).await.unwrap();
    auth.refuses_within_a_second(&thief).await;
    auth.sweep(chrono::TimeDelta::days(4 * 365)).await;

    let status = auth.accepts(&thief).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CredentialsRevoked);
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.revocations").await, 1);
}

#[tokio::test]
async fn revoking_again_changes_nothing_and_what_is_no_key_is_not_there() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (_, tokens) = auth.person(EMAIL).await;
    let old = kid(&tokens.access_token);

    let first = auth.revoke_signing_key(&admin, &old).await.unwrap();
    let again = auth.revoke_signing_key(&admin, &old).await.unwrap();
    let missing = auth.revoke_signing_key(&admin, &Uuid::now_v7().to_string()).await.unwrap_err();
    let wrong = auth.revoke_signing_key(&admin, "7").await.unwrap_err();

    assert_eq!(first, again);
    assert_eq!(reason(&missing), Reason::NotFound);
    assert_eq!(violations(&wrong), ["kid"]);
    assert_eq!(auth.audit("signing_key.revoke").await.len(), 1);
}

#[tokio::test]
async fn two_who_revoke_the_same_key_at_the_same_time_make_one_new_one() {
    let auth = Auth::start().await;
    let replica = auth.replica().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (_, tokens) = auth.person(EMAIL).await;
    let old = kid(&tokens.access_token);

    let (one, other) = tokio::join!(
        auth.revoke_signing_key(&admin, &old),
        replica.revoke_signing_key(&admin, &old)
    );

    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(auth.audit("signing_key.create").await.len(), 2);
}

#[tokio::test]
async fn third_parties_hear_that_a_key_is_dead() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (_, tokens) = auth.person(EMAIL).await;
    let old = kid(&tokens.access_token);
    auth.revoke_signing_key(&admin, &old).await.unwrap();

    let request = pb::WatchRevocationsRequest::default();
    let watch = auth.revocations(&admin).watch_revocations(request).await.unwrap();
    let heard = watch.into_inner().message().await.unwrap().unwrap().revocation.unwrap();

    assert_eq!((heard.kind(), heard.subject_id), (Kind::SigningKey, old));
}
