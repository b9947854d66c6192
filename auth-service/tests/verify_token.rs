//! What `VerifyToken` says to a program that asks for others.

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};

use crate::{
    api_keys::request,
    support::{Auth, EMAIL},
};

#[tokio::test]
async fn a_key_is_active_only_where_it_may_be_used_if_that_is_asked() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let confined = pb::CreateApiKeyRequest {
        ip_allow_list: vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()],
        ..request("ci", &["skills:read"])
    };
    let (_, key) = auth.create_key(&owner, confined).await.unwrap();

    for (address, active) in [
        ("", true),
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("2001:db8::1", true),
        ("192.0.3.7", false),
    ] {
        let answer = auth.verify_from(&key, address).await.unwrap();
        assert_eq!(answer.active, active, "{address}");
        let expected = if active { "" } else { "ADDRESS_NOT_ALLOWED" };
        assert_eq!(answer.inactive_reason, expected, "{address}");
        // What is not active says nothing else.
        assert_eq!(answer.user_id.is_empty(), !active, "{address}");
        assert_eq!((answer.amr.len(), answer.auth_time, answer.issue_time), (0, None, None));
    }
    let malformed = auth.verify_from(&key, "192.0.2.7:443").await.unwrap_err();
    assert_eq!(reason(&malformed), Reason::InvalidField);
    assert_eq!(violations(&malformed), ["client_ip_address"]);
}

#[tokio::test]
async fn a_token_says_how_and_when_its_session_authenticated() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let opened = auth.login_with_code(EMAIL, &ann.authenticator).await.unwrap().tokens.unwrap();
    auth.service.clock.advance(chrono::TimeDelta::minutes(30));
    let refreshed = auth.refresh(&opened.refresh_token, "").await.unwrap();

    let before = auth.verify_from(&opened.access_token, "192.0.2.7").await.unwrap();
    let after = auth.verify(&refreshed.access_token).await;
    let request = pb::ListSessionsRequest::default();
    let caller = crate::support::bearer(&ann.user, &refreshed);
    let listed = auth.sessions(&caller).list_sessions(request).await.unwrap().into_inner();

    assert!(before.active);
    assert_eq!((&before.amr, &after.amr), (&after.amr, &before.amr));
    assert_eq!(before.amr, ["pwd", "otp", "mfa"]);
    assert_eq!(before.auth_time, before.issue_time);
    assert_eq!(before.auth_time, after.auth_time);
    let later = after.issue_time.unwrap().seconds - before.issue_time.unwrap().seconds;
    assert!((1800..1900).contains(&later), "{later}");
    assert_eq!(listed.sessions[0].amr, before.amr);
}
