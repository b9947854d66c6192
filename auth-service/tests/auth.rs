//! Opening accounts and sessions, and saying who is calling.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use ihuman_proto::{access::v1::Role as PbRole, auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use tonic::Code;
use uuid::Uuid;

use crate::support::{Auth, EMAIL, PASSWORD, bearer, keyed, login, named, registration};

const NEW_PASSWORD: &str = "another horse, another staple";

#[tokio::test]
async fn a_session_lives_from_login_to_logout() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let request = login(EMAIL, PASSWORD, "");

    let response = auth.auth().login(request).await.unwrap().into_inner();
    let (tokens, logged_in) = (response.tokens.unwrap(), response.user.unwrap());
    let caller = bearer(&user, &tokens);
    let current = auth.accepts(&caller).await.unwrap();
    auth.auth_as(&caller).logout(pb::LogoutRequest {}).await.unwrap();
    let refused = auth.refuses_within_a_second(&caller).await;
    let refresh = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();

    assert_eq!(user.role, PbRole::Viewer as i32);
    assert_eq!((user.email.as_str(), user.display_name.as_str()), (EMAIL, "Ann"));
    assert_eq!(user.login_time, None);
    assert!(logged_in.login_time.is_some());
    assert_eq!(logged_in.update_time, user.update_time);
    assert_eq!(current.user.unwrap(), logged_in);
    assert_eq!(current.session_id, tokens.session_id);
    assert_eq!(current.permissions, Role::Viewer.permissions().texts());
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    assert_eq!(reason(&refresh), Reason::CredentialsRevoked);
}

#[tokio::test]
async fn tokens_last_an_hour_and_a_week() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let lasts = |time: Option<prost_types::Timestamp>| {
        time.unwrap().seconds - auth.service.clock.now().timestamp()
    };

    assert!((3590..=3600).contains(&lasts(tokens.access_token_expire_time)));
    assert!((604_790..=604_800).contains(&lasts(tokens.refresh_token_expire_time)));
    auth.service.clock.advance(TimeDelta::hours(1));
    let refused = auth.accepts(&bearer(&user, &tokens)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::CredentialsExpired);
    auth.service.clock.advance(TimeDelta::days(7));
    let refused = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
    assert_eq!(reason(&refused), Reason::CredentialsExpired);
}

#[tokio::test]
async fn an_address_belongs_to_one_account_whatever_its_case() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;

    let taken = auth.auth().register(registration("ANN@Example.com")).await.unwrap_err();
    let tokens = auth.login_with("Ann@EXAMPLE.com", PASSWORD).await;

    assert_eq!((taken.code(), reason(&taken)), (Code::AlreadyExists, Reason::AlreadyExists));
    assert!(tokens.is_ok());
}

#[tokio::test]
async fn registering_again_with_the_same_request_id_returns_the_same_account() {
    let auth = Auth::start().await;
    let request_id = Uuid::new_v4().to_string();
    let request = pb::RegisterRequest { request_id, ..registration(EMAIL) };

    let first = auth.auth().register(request.clone()).await.unwrap().into_inner();
    let second = auth.auth().register(request.clone()).await.unwrap().into_inner();
    let other = pb::RegisterRequest { display_name: "Bob".to_owned(), ..request };
    let reused = auth.auth().register(other).await.unwrap_err();

    assert_eq!(first, second);
    assert_eq!(reason(&reused), Reason::RequestIdReused);
    assert_eq!(auth.audit("user.register").await.len(), 1);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_request_is_said_at_once() {
    let auth = Auth::start().await;
    let long = |count: usize| "a".repeat(count);
    let account = pb::RegisterRequest {
        email: "ann".to_owned(),
        password: long(14),
        display_name: String::new(),
        request_id: "7".to_owned(),
    };
    let named_like_its_owner =
        pb::RegisterRequest { password: format!("{EMAIL} {EMAIL}"), ..registration(EMAIL) };
    let attempt =
        pb::LoginRequest { email: "ann".to_owned(), password: long(2000), device_token: long(257) };

    let account = auth.auth().register(account).await.unwrap_err();
    let owner = auth.auth().register(named_like_its_owner).await.unwrap_err();
    let attempt = auth.auth().login(attempt).await.unwrap_err();

    assert_eq!(violations(&account), ["email", "password", "display_name", "request_id"]);
    assert_eq!(violations(&owner), ["password"]);
    assert_eq!(violations(&attempt), ["email", "password", "device_token"]);
}

#[tokio::test]
async fn a_secret_that_was_left_out_is_missing_and_not_wrong() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;

    let mut missing = Vec::new();
    for _ in 0..4 {
        missing.extend(auth.login_with(EMAIL, "").await.err());
    }
    missing.push(auth.refresh("", "").await.unwrap_err());
    let request = pb::CompleteLoginRequest {
        proof: Some(pb::complete_login_request::Proof::TotpCode("123456".to_owned())),
        ..Default::default()
    };
    missing.push(auth.auth().complete_login(request).await.unwrap_err());
    let request = pb::VerifyEmailRequest::default();
    missing.push(auth.emails().verify_email(request).await.unwrap_err());
    let request =
        pb::ResetPasswordRequest { new_password: PASSWORD.to_owned(), ..Default::default() };
    missing.push(auth.password_resets().reset_password(request).await.unwrap_err());

    let fields: Vec<_> = missing.iter().flat_map(violations).collect();
    let password = ["password"; 4];
    let tokens = ["refresh_token", "challenge_token", "token", "token"];
    assert_eq!(fields, [&password[..], &tokens].concat());
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn what_an_account_can_not_be_names_its_field() {
    let auth = Auth::start().await;
    let good = registration(EMAIL);
    let long = |count: usize| "a".repeat(count);
    let cases = [
        ("email", pb::RegisterRequest { email: "ann".to_owned(), ..good.clone() }),
        ("email", pb::RegisterRequest { email: format!("{}@b", long(253)), ..good.clone() }),
        ("password", pb::RegisterRequest { password: long(14), ..good.clone() }),
        ("password", pb::RegisterRequest { password: long(129), ..good.clone() }),
        ("password", pb::RegisterRequest { password: "😀".repeat(300), ..good.clone() }),
        ("display_name", pb::RegisterRequest { display_name: String::new(), ..good.clone() }),
        ("display_name", pb::RegisterRequest { display_name: long(101), ..good.clone() }),
        ("display_name", pb::RegisterRequest { display_name: "a\0b".to_owned(), ..good.clone() }),
        ("request_id", pb::RegisterRequest { request_id: "7".to_owned(), ..good }),
    ];

    for (field, request) in cases {
        let status = auth.auth().register(request).await.unwrap_err();
        assert_eq!(
            (violations(&status), reason(&status)),
            (vec![field.to_owned()], Reason::InvalidField)
        );
    }
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_get_the_same_answer_in_the_same_time() {
    let auth = Auth::start().await;
    let closed = auth.register("closed@example.com").await;
    auth.register(EMAIL).await;
    let id = closed.id.parse().unwrap();
    auth.execute("update auth.users set state = 'deactivated' where user_id = $1", id).await;
    let attempts = [
        (EMAIL, "a wrong password, long enough"),
        (EMAIL, "short"),
        ("nobody@example.com", PASSWORD),
        ("closed@example.com", PASSWORD),
    ];

    let (mut answers, mut fastest) = (Vec::new(), [Duration::MAX; 4]);
    let even =
        |times: [Duration; 4]| times.iter().max() < times.iter().min().map(|it| *it * 2).as_ref();
    // Whatever else the machine does only ever adds to a time, so the fastest of
    // many are compared. Without hashing they would be many times apart for good.
    for _ in 0..50 {
        answers.clear();
        for (at, (email, password)) in attempts.iter().enumerate() {
            // So that no attempt waits for the one before it.
            auth.service.clock.advance(TimeDelta::days(1));
            let started = Instant::now();
            answers.push(auth.login_with(email, password).await.unwrap_err());
            fastest[at] = fastest[at].min(started.elapsed());
        }
        if even(fastest) {
            break;
        }
    }

    let wrong = &answers[0];
    assert_eq!((wrong.code(), reason(wrong)), (Code::Unauthenticated, Reason::LoginFailed));
    for other in &answers {
        assert_eq!(other.code(), wrong.code());
        assert_eq!((other.message(), other.details()), (wrong.message(), wrong.details()));
    }
    assert!(even(fastest), "{fastest:?}");
}

#[tokio::test]
async fn a_refused_login_is_recorded_for_a_known_account_only() {
    const LOGIN: &str = "/ihuman.auth.v1.AuthService/Login";
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;

    auth.login_with("nobody@example.com", PASSWORD).await.unwrap_err();
    auth.login_with(EMAIL, "a wrong password, long enough").await.unwrap_err();
    let started = Instant::now();
    while auth.audit(LOGIN).await.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10), "it is not recorded");
    }

    let record = auth.audited(LOGIN).await;
    assert_eq!(record.actor_id, Some(user.id.parse().unwrap()));
    assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("denied", "LOGIN_FAILED"));
    assert_eq!(record.ip_address.as_deref(), Some("127.0.0.1"));
}

#[tokio::test]
async fn a_login_that_can_not_be_read_names_its_field() {
    let auth = Auth::start().await;

    let email = auth.login_with("ann", PASSWORD).await.unwrap_err();
    let password = auth.login_with(EMAIL, &"a".repeat(1025)).await.unwrap_err();

    assert_eq!(violations(&email), ["email"]);
    assert_eq!(violations(&password), ["password"]);
}

#[tokio::test]
async fn a_service_account_logs_in_nowhere() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let program = auth.credentials.service_account(Role::Service).await;

    let current = auth.accepts(&program).await.unwrap();
    let logout = auth.auth_as(&program).logout(pb::LogoutRequest {}).await.unwrap_err();
    let get = pb::GetUserRequest { user_id: program.user_id.to_string() };
    let account = auth.users(&admin).get_user(get).await.unwrap().into_inner().user.unwrap();
    let login = auth.login_with(&account.email, PASSWORD).await.unwrap_err();

    assert_eq!(current.api_key_id, program.api_key_id.unwrap().to_string());
    assert_eq!(current.session_id, "");
    assert_eq!(reason(&logout), Reason::SessionRequired);
    assert_eq!(violations(&login), ["email"]);
}

#[tokio::test]
async fn a_new_password_ends_every_session() {
    let auth = Auth::start().await;
    let (user, here) = auth.person(EMAIL).await;
    let there = auth.login(EMAIL).await;
    let caller = bearer(&user, &here);
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };

    auth.auth_as(&caller).change_password(named("change-1", change)).await.unwrap();

    for tokens in [&here, &there] {
        let refused = auth.refuses_within_a_second(&bearer(&user, tokens)).await;
        let refresh = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
        assert_eq!(reason(&refused), Reason::CredentialsRevoked);
        assert_eq!(reason(&refresh), Reason::CredentialsRevoked);
    }
    assert_eq!(reason(&auth.login_with(EMAIL, PASSWORD).await.unwrap_err()), Reason::LoginFailed);
    let fresh = auth.login_with(EMAIL, NEW_PASSWORD).await.unwrap();
    assert!(auth.accepts(&bearer(&user, &fresh)).await.is_ok());
    let record = auth.audited("user.change_password").await;
    record.is_by(&caller);
    assert_eq!(record.request_id, "change-1");
}

#[tokio::test]
async fn a_password_is_changed_only_by_who_knows_it_and_only_to_another() {
    const CHANGE: &str = "/ihuman.auth.v1.AuthService/ChangePassword";
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let change = async |current: &str, new: &str| {
        let request = pb::ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
        };
        auth.auth_as(&caller).change_password(request).await.unwrap_err()
    };

    let wrong = change("a wrong password, long enough", NEW_PASSWORD).await;
    let same = change(PASSWORD, PASSWORD).await;
    let short = change(PASSWORD, "short").await;
    let long = change(&"a".repeat(1025), NEW_PASSWORD).await;

    assert_eq!(violations(&wrong), ["current_password"]);
    assert_eq!(violations(&same), ["new_password"]);
    assert_eq!(violations(&short), ["new_password"]);
    assert_eq!(violations(&long), ["current_password"]);
    auth.audited(CHANGE).await.is_by(&caller);
    assert!(auth.audit("user.change_password").await.is_empty());
    assert!(auth.accepts(&caller).await.is_ok());
}

#[tokio::test]
async fn verifying_a_token_says_whose_it_is_or_why_it_is_nobodys() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let developer = auth.credentials.person(Role::Developer).await;
    let key = auth.credentials.api_key(developer.user_id, &["skills:*".to_owned()]).await;
    let key_text = key.authorization.trim_start_matches("ApiKey ");

    let of_session = auth.verify(&tokens.access_token).await;
    let of_key = auth.verify(key_text).await;
    auth.auth_as(&bearer(&user, &tokens)).logout(pb::LogoutRequest {}).await.unwrap();
    auth.refuses_within_a_second(&bearer(&user, &tokens)).await;
    let revoked = auth.verify(&tokens.access_token).await;
    let garbage = auth.verify("garbage").await;
    let nothing = auth.verify("").await;

    assert!(of_session.active && of_key.active);
    assert_eq!(of_session.user_id, user.id);
    assert_eq!(of_session.session_id, tokens.session_id);
    assert_eq!(of_session.expire_time, tokens.access_token_expire_time);
    assert_eq!(of_key.api_key_id, key.api_key_id.unwrap().to_string());
    assert_eq!(of_key.permissions, ["skills:read", "skills:write", "skills:execute"]);
    assert_eq!(of_key.expire_time, None);
    assert_eq!((revoked.active, revoked.inactive_reason.as_str()), (false, "CREDENTIALS_REVOKED"));
    assert_eq!(revoked.user_id, "");
    assert_eq!(garbage.inactive_reason, "CREDENTIALS_INVALID");
    assert_eq!(nothing.inactive_reason, "CREDENTIALS_INVALID");
}

#[tokio::test]
async fn a_token_to_verify_has_a_greatest_length() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;
    let request = pb::VerifyTokenRequest { token: "a".repeat(8193) };

    let status = auth.auth_as(&caller).verify_token(request).await.unwrap_err();

    assert_eq!(violations(&status), ["token"]);
}

#[tokio::test]
async fn the_audit_trail_says_who_came_and_went_and_keeps_no_secret() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let login = login(EMAIL, PASSWORD, "");
    let login = auth.auth().login(named("login-1", login)).await.unwrap().into_inner();
    let first = login.tokens.unwrap();
    let second = auth.refresh(&first.refresh_token, "").await.unwrap();
    let caller = bearer(&user, &second);
    let developer = auth.credentials.person(Role::Developer).await;
    let request = pb::CreateApiKeyRequest {
        name: "ci".to_owned(),
        scopes: vec!["skills:read".to_owned()],
        request_id: Uuid::new_v4().to_string(),
        ..pb::CreateApiKeyRequest::default()
    };
    let created = auth.api_keys(&developer).create_api_key(request).await.unwrap().into_inner();
    let key = keyed(&developer, &created.api_key.unwrap(), &created.key);
    auth.accepts(&key).await.unwrap();
    auth.auth_as(&caller).logout(pb::LogoutRequest {}).await.unwrap();

    assert_eq!(auth.audited("user.register").await.actor_id, Some(caller.user_id));
    let created_session = auth.audited("session.create").await;
    created_session.is_by(&caller);
    assert_eq!(created_session.request_id, "login-1");
    auth.audited("session.refresh").await.is_by(&caller);
    let revoked = auth.audited("session.revoke").await;
    revoked.is_by(&caller);
    assert_eq!(revoked.entity, ("session".to_owned(), first.session_id.clone()));
    let trail = auth.audit_text().await;
    let secrets = [PASSWORD, &first.refresh_token, &second.refresh_token, &created.key];
    let secret_part = created.key.rsplit('_').next().unwrap();
    for secret in secrets.into_iter().chain([&*first.access_token, secret_part, "argon2"]) {
        assert!(!trail.contains(secret), "{secret} is in the audit trail");
    }
}
