//! Refreshing: each refresh token works once, and using one again ends its session.

use chrono::TimeDelta;
use ihuman_proto::error::v1::ErrorReason as Reason;
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use uuid::Uuid;

use crate::support::{Auth, EMAIL, bearer};

#[tokio::test]
async fn refreshing_rotates_both_tokens_of_the_same_session() {
    let auth = Auth::start().await;
    let (user, first) = auth.person(EMAIL).await;
    auth.service.clock.advance(TimeDelta::minutes(50));

    let second = auth.refresh(&first.refresh_token, "").await.unwrap();
    let third = auth.refresh(&second.refresh_token, "").await.unwrap();

    assert_eq!((&second.session_id, &third.session_id), (&first.session_id, &first.session_id));
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_ne!(second.access_token, first.access_token);
    let expiry = |tokens: &ihuman_proto::auth::v1::Tokens| {
        (
            tokens.access_token_expire_time.unwrap().seconds,
            tokens.refresh_token_expire_time.unwrap().seconds,
        )
    };
    assert!(expiry(&second).0 >= expiry(&first).0 + 3000);
    assert!(expiry(&second).1 >= expiry(&first).1 + 3000);
    assert!(auth.accepts(&bearer(&user, &third)).await.is_ok());
    let stored: i64 = auth.scalar("select count(*) from auth.refresh_tokens").await;
    assert_eq!(stored, 3);
    let hash_is_all: bool = auth
        .scalar("select bool_and(length(token_hash) = 32 and successor_sealed is null) from auth.refresh_tokens")
        .await;
    assert!(hash_is_all);
}

#[tokio::test]
async fn using_a_refresh_token_again_ends_its_session() {
    let auth = Auth::start().await;
    let (user, first) = auth.person(EMAIL).await;
    let other = auth.login(EMAIL).await;
    let second = auth.refresh(&first.refresh_token, "").await.unwrap();

    let reused = auth.refresh(&first.refresh_token, "").await.unwrap_err();
    let successor = auth.refresh(&second.refresh_token, "").await.unwrap_err();
    let refused = auth.refuses_within_a_second(&bearer(&user, &second)).await;

    assert_eq!(reason(&reused), Reason::RefreshTokenReused);
    assert_eq!(reason(&successor), Reason::CredentialsRevoked);
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    auth.audited("session.revoke_reused").await.is_by(&bearer(&user, &second));
    assert!(auth.accepts(&bearer(&user, &other)).await.is_ok());
    assert!(auth.refresh(&other.refresh_token, "").await.is_ok());
}

#[tokio::test]
async fn of_two_uses_at_the_same_time_at_most_one_successor_lives() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    for _ in 0..5 {
        let first = auth.login(EMAIL).await;
        let ids = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];

        let (one, two) = tokio::join!(
            auth.refresh(&first.refresh_token, &ids[0]),
            auth.refresh(&first.refresh_token, &ids[1]),
        );

        let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
        assert_eq!(reason(&lost.unwrap_err()), Reason::RefreshTokenReused);
        let successor = won.unwrap();
        let refused = auth.refresh(&successor.refresh_token, "").await.unwrap_err();
        assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    }
    assert_eq!(auth.audit("session.revoke_reused").await.len(), 5);
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again() {
    let auth = Auth::start().await;
    let (user, first) = auth.person(EMAIL).await;
    let request_id = Uuid::new_v4().to_string();
    let lost = auth.refresh(&first.refresh_token, &request_id).await.unwrap();
    auth.service.clock.advance(TimeDelta::seconds(28));

    let again = auth.refresh(&first.refresh_token, &request_id).await.unwrap();

    assert_eq!(again.refresh_token, lost.refresh_token);
    assert_eq!(again.refresh_token_expire_time, lost.refresh_token_expire_time);
    assert_ne!(again.access_token, lost.access_token);
    assert!(auth.accepts(&bearer(&user, &again)).await.is_ok());
    assert!(auth.refresh(&again.refresh_token, "").await.is_ok());
}

#[tokio::test]
async fn the_same_request_twice_at_the_same_time_gets_the_same_token() {
    let auth = Auth::start().await;
    let (_, first) = auth.person(EMAIL).await;
    let request_id = Uuid::new_v4().to_string();

    let (one, two) = tokio::join!(
        auth.refresh(&first.refresh_token, &request_id),
        auth.refresh(&first.refresh_token, &request_id),
    );

    assert_eq!(one.unwrap().refresh_token, two.unwrap().refresh_token);
}

#[tokio::test]
async fn asking_again_too_late_ends_the_session() {
    let auth = Auth::start().await;
    let (_, first) = auth.person(EMAIL).await;
    let request_id = Uuid::new_v4().to_string();
    auth.refresh(&first.refresh_token, &request_id).await.unwrap();
    auth.service.clock.advance(TimeDelta::seconds(31));

    let reused = auth.refresh(&first.refresh_token, &request_id).await.unwrap_err();

    assert_eq!(reason(&reused), Reason::RefreshTokenReused);
}

#[tokio::test]
async fn asking_again_after_the_answer_was_used_ends_the_session() {
    let auth = Auth::start().await;
    let (_, first) = auth.person(EMAIL).await;
    let request_id = Uuid::new_v4().to_string();
    let second = auth.refresh(&first.refresh_token, &request_id).await.unwrap();
    let third = auth.refresh(&second.refresh_token, &Uuid::new_v4().to_string()).await.unwrap();

    let reused = auth.refresh(&first.refresh_token, &request_id).await.unwrap_err();
    let refused = auth.refresh(&third.refresh_token, "").await.unwrap_err();

    assert_eq!(reason(&reused), Reason::RefreshTokenReused);
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
}

#[tokio::test]
async fn without_a_request_id_nothing_can_be_asked_for_again() {
    let auth = Auth::start().await;
    let (_, first) = auth.person(EMAIL).await;
    auth.refresh(&first.refresh_token, "").await.unwrap();

    let reused = auth.refresh(&first.refresh_token, &Uuid::new_v4().to_string()).await.unwrap_err();

    assert_eq!(reason(&reused), Reason::RefreshTokenReused);
}

#[tokio::test]
async fn what_is_no_refresh_token_of_ours_is_refused() {
    let auth = Auth::start().await;
    let (_, tokens) = auth.person(EMAIL).await;
    let unknown = "A".repeat(43);

    for token in ["garbage", &unknown, &tokens.access_token] {
        let status = auth.refresh(token, "").await.unwrap_err();
        assert_eq!(reason(&status), Reason::CredentialsInvalid, "{token}");
    }
    let status = auth.refresh(&tokens.refresh_token, "not a uuid").await.unwrap_err();
    assert_eq!(violations(&status), ["request_id"]);
}

#[tokio::test]
async fn refreshing_gets_the_role_of_now() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let request = ihuman_proto::auth::v1::SetUserRoleRequest {
        user_id: user.id.clone(),
        role: Role::Developer.to_contract(),
    };
    auth.users(&admin).set_user_role(request).await.unwrap();

    let refused = auth.refuses_within_a_second(&bearer(&user, &tokens)).await;
    let tokens = auth.refresh(&tokens.refresh_token, "").await.unwrap();

    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    let current = auth.accepts(&bearer(&user, &tokens)).await.unwrap();
    assert_eq!(current.permissions, Role::Developer.permissions().texts());
}
