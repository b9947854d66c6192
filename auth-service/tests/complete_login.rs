//! Logging in with a second factor.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    authenticator::{Authenticator, recovery_code, totp_code},
    support::{Auth, EMAIL, PASSWORD, bearer, login},
};

const NEW_PASSWORD: &str = "a kettle that sings at dawn";

/// What an access token says.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// A code that `authenticator` does not show around now.
fn wrong(auth: &Auth, authenticator: &Authenticator) -> String {
    let now = auth.service.clock.now();
    let near: Vec<String> =
        (-3..=3).map(|n| authenticator.code(now + TimeDelta::seconds(30 * n))).collect();
    let mut codes = (0..1000).map(|it| format!("{it:06}"));
    codes.find(|it| !near.contains(it)).unwrap()
}

impl Auth {
    async fn fail_factor(&self, email: &str, authenticator: &Authenticator) -> Status {
        let challenge = self.challenge(email).await;
        self.complete(&challenge, totp_code(&wrong(self, authenticator))).await.unwrap_err()
    }

    async fn locks_of(&self, user: &pb::User) -> Vec<(i32, i32, i32)> {
        let caller = self.credentials.person(Role::Admin).await;
        let request = pb::GetLockStateRequest { user_id: user.id.clone() };
        let state = self.locks(&caller).get_lock_state(request).await.unwrap().into_inner();
        state.locks.into_iter().map(|it| (it.kind, it.scope, it.failure_count)).collect()
    }
}

#[tokio::test]
async fn the_second_factor_opens_the_session_and_the_password_alone_does_not() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    auth.execute(
        "update auth.users set last_login_at = null where user_id = $1",
        ann.caller.user_id,
    )
    .await;

    let challenge = auth.challenge(EMAIL).await;
    let logins: i64 = auth.scalar("select count(last_login_at) from auth.users").await;
    let code = auth.code(&ann.authenticator);
    let opened = auth.complete(&challenge, totp_code(&code)).await.unwrap();

    assert_eq!(
        challenge.factors,
        [pb::SecondFactor::Totp as i32, pb::SecondFactor::RecoveryCode as i32]
    );
    let left = challenge.expire_time.unwrap().seconds - auth.service.clock.now().timestamp();
    assert!((298..=300).contains(&left), "{left}");
    assert_eq!(logins, 0);
    assert!(opened.user.unwrap().login_time.is_some());
    let tokens = opened.tokens.unwrap();
    auth.accepts(&bearer(&ann.user, &tokens)).await.unwrap();
    let amr = json!(["pwd", "otp", "mfa"]);
    assert_eq!(claims(&tokens.access_token)["amr"], amr);
    let refreshed = auth.refresh(&tokens.refresh_token, "").await.unwrap();
    assert_eq!(claims(&refreshed.access_token)["amr"], amr);
    let begun = auth.audited("login_challenge.create").await;
    assert_eq!((begun.actor_id, begun.session_id), (Some(ann.caller.user_id), None));
    assert_eq!(begun.new_values.unwrap()["factors"], json!(["totp", "recovery_code"]));
    let created = auth.audit("session.create").await;
    let created: Vec<_> =
        created.into_iter().map(|it| it.new_values.unwrap()["amr"].clone()).collect();
    assert_eq!(created, [json!(["pwd"]), amr]);
    let trail = auth.audit_text().await;
    assert!(!trail.contains(&challenge.challenge_token));
    let table: String = auth
        .scalar("select coalesce(string_agg(c::text, ' '), '') from auth.login_challenges c")
        .await;
    assert_eq!(table, "");
}

#[tokio::test]
async fn only_who_proved_the_password_learns_of_the_second_factor() {
    let auth = Auth::start().await;
    auth.person_with_mfa(EMAIL).await;

    let with = auth.login_with(EMAIL, NEW_PASSWORD).await.unwrap_err();
    let without = auth.login_with("nobody@example.com", NEW_PASSWORD).await.unwrap_err();

    assert_eq!((reason(&with), with.message()), (Reason::LoginFailed, without.message()));
}

#[tokio::test]
async fn no_code_works_twice_and_none_before_one_that_was_used() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let (now, step) = (auth.service.clock.now(), TimeDelta::seconds(30));
    let [before, present, after] =
        [now - step, now, now + step].map(|it| totp_code(&ann.authenticator.code(it)));

    // The one before confirmed the authenticator.
    let confirmed = auth.complete(&auth.challenge(EMAIL).await, before).await.unwrap_err();
    let first = auth.complete(&auth.challenge(EMAIL).await, present.clone()).await;
    let again = auth.complete(&auth.challenge(EMAIL).await, present.clone()).await.unwrap_err();
    let ahead = auth.complete(&auth.challenge(EMAIL).await, after).await;
    let behind = auth.complete(&auth.challenge(EMAIL).await, present).await.unwrap_err();

    assert!(first.is_ok() && ahead.is_ok());
    for status in [confirmed, again, behind] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::Unauthenticated, Reason::SecondFactorFailed)
        );
    }
}

#[tokio::test]
async fn an_authenticator_may_be_one_step_off_and_no_more() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    // Long after the code that confirmed it.
    auth.service.clock.advance(TimeDelta::minutes(10));
    let mut outcomes = Vec::new();

    for steps in [-2, 2, -1, 1] {
        let at = auth.service.clock.now() + TimeDelta::seconds(30 * steps);
        let proof = totp_code(&ann.authenticator.code(at));
        outcomes.push(auth.complete(&auth.challenge(EMAIL).await, proof).await.is_ok());
    }

    assert_eq!(outcomes, [false, false, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_uses_of_one_proof_at_the_same_time_one_opens_a_session() {
    let auth = Arc::new(Auth::start().await);
    let ann = auth.person_with_mfa(EMAIL).await;
    let code = totp_code(&auth.code(&ann.authenticator));

    for proof in [code, recovery_code(&ann.recovery_codes[0])] {
        let barrier = Arc::new(Barrier::new(2));
        let mut uses = Vec::new();
        for _ in 0..2 {
            let challenge = auth.challenge(EMAIL).await;
            let (auth, barrier, proof) = (auth.clone(), barrier.clone(), proof.clone());
            uses.push(tokio::spawn(async move {
                barrier.wait().await;
                auth.complete(&challenge, proof).await
            }));
        }
        let mut opened = 0;
        for done in uses {
            match done.await.unwrap() {
                Ok(_) => opened += 1,
                Err(status) => assert_eq!(reason(&status), Reason::SecondFactorFailed),
            }
        }
        assert_eq!(opened, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_good_proofs_of_one_challenge_at_the_same_time_one_opens_a_session() {
    let auth = Arc::new(Auth::start().await);
    let ann = auth.person_with_mfa(EMAIL).await;
    let challenge = auth.challenge(EMAIL).await;
    let barrier = Arc::new(Barrier::new(2));

    let uses = ann.recovery_codes[..2].iter().map(|code| {
        let (auth, barrier, challenge) = (auth.clone(), barrier.clone(), challenge.clone());
        let proof = recovery_code(code);
        tokio::spawn(async move {
            barrier.wait().await;
            auth.complete(&challenge, proof).await
        })
    });
    let uses: Vec<_> = uses.collect();
    let mut refused = Vec::new();
    for done in uses {
        refused.extend(done.await.unwrap().err().map(|it| reason(&it)));
    }

    assert_eq!(refused, [Reason::ChallengeInvalid]);
    let used: i64 =
        auth.scalar("select count(*) from auth.recovery_codes where used_at is not null").await;
    assert_eq!(used, 1);
}

#[tokio::test]
async fn a_recovery_code_works_once_however_it_is_typed() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let typed = ann.recovery_codes[3].to_uppercase().replace('-', " ");

    let opened = auth.complete(&auth.challenge(EMAIL).await, recovery_code(&typed)).await.unwrap();
    let challenge = auth.challenge(EMAIL).await;
    let again = auth.complete(&challenge, recovery_code(&ann.recovery_codes[3])).await.unwrap_err();
    let malformed = auth.complete(&challenge, recovery_code("3k9vm")).await.unwrap_err();

    assert_eq!(claims(&opened.tokens.unwrap().access_token)["amr"], json!(["pwd", "mfa"]));
    assert_eq!(reason(&again), Reason::SecondFactorFailed);
    assert_eq!(violations(&malformed), ["recovery_code"]);
    let used = auth.audited("mfa.use_recovery_code").await;
    assert_eq!(used.new_values.unwrap()["recovery_codes_left"], 9);
    assert!(!auth.audit_text().await.contains(&ann.recovery_codes[3]));
}

#[tokio::test]
async fn a_challenge_works_once_for_five_minutes_and_for_five_wrong_proofs() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let code = |n: usize| recovery_code(&ann.recovery_codes[n]);
    let unknown = pb::LoginChallenge {
        challenge_token: URL_SAFE_NO_PAD.encode([7; 32]),
        ..pb::LoginChallenge::default()
    };
    let malformed =
        pb::LoginChallenge { challenge_token: "x".repeat(9000), ..pb::LoginChallenge::default() };
    let guessed = auth.challenge(EMAIL).await;
    for _ in 0..5 {
        let guess = totp_code(&wrong(&auth, &ann.authenticator));
        let status = auth.complete(&guessed, guess).await.unwrap_err();
        assert_eq!(reason(&status), Reason::SecondFactorFailed);
        // What it must wait for is another test's.
        auth.execute("delete from auth.locks where user_id = $1", ann.caller.user_id).await;
    }
    let used = auth.challenge(EMAIL).await;
    auth.complete(&used, code(0)).await.unwrap();
    let (old, older) = (auth.challenge(EMAIL).await, auth.challenge(EMAIL).await);
    let refused = async |challenge: &pb::LoginChallenge| {
        let status = auth.complete(challenge, code(2)).await.unwrap_err();
        (status.code(), reason(&status))
    };
    let invalid = (Code::Unauthenticated, Reason::ChallengeInvalid);

    for challenge in [&unknown, &malformed, &guessed, &used] {
        assert_eq!(refused(challenge).await, invalid);
    }
    auth.service.clock.advance(TimeDelta::seconds(290));
    let in_time = auth.complete(&old, code(1)).await;
    auth.service.clock.advance(TimeDelta::seconds(11));
    assert_eq!(refused(&older).await, invalid);

    assert!(in_time.is_ok());
    assert_eq!(auth.locks_of(&ann.user).await, []);
    let without_proof = pb::CompleteLoginRequest {
        challenge_token: older.challenge_token,
        ..pb::CompleteLoginRequest::default()
    };
    let status = auth.auth().complete_login(without_proof).await.unwrap_err();
    assert_eq!(violations(&status), ["proof"]);
}

#[tokio::test]
async fn a_challenge_ends_with_every_change_of_what_it_was_asked_for() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let user_id = ann.user.id.clone();
    let mut codes = ann.recovery_codes.iter();
    let mut refused = async |challenge: pb::LoginChallenge| {
        let proof = recovery_code(codes.next().unwrap());
        reason(&auth.complete(&challenge, proof).await.unwrap_err())
    };

    let before = auth.challenge(EMAIL).await;
    let role = pb::SetUserRoleRequest { user_id: user_id.clone(), role: 3 };
    auth.users(&admin).set_user_role(role).await.unwrap();
    assert_eq!(refused(before).await, Reason::ChallengeInvalid, "another role");

    let before = auth.challenge(EMAIL).await;
    let deactivate = pb::DeactivateUserRequest { user_id: user_id.clone() };
    auth.users(&admin).deactivate_user(deactivate).await.unwrap();
    assert_eq!(refused(before.clone()).await, Reason::ChallengeInvalid, "deactivated");
    let reactivate = pb::ReactivateUserRequest { user_id: user_id.clone() };
    auth.users(&admin).reactivate_user(reactivate).await.unwrap();
    assert_eq!(refused(before).await, Reason::ChallengeInvalid, "and back");

    let opened = auth.login_with_code(EMAIL, &ann.authenticator).await.unwrap();
    let caller = bearer(&ann.user, &opened.tokens.unwrap());
    let before = auth.challenge(EMAIL).await;
    let another = auth.enroll(&caller).await;
    auth.confirm(&caller, &another).await.unwrap();
    assert_eq!(refused(before).await, Reason::ChallengeInvalid, "another authenticator");

    let before = auth.challenge(EMAIL).await;
    auth.mfa(&caller).disable_totp(pb::DisableTotpRequest {}).await.unwrap();
    assert_eq!(refused(before).await, Reason::ChallengeInvalid, "no second factor");

    let again = auth.enroll(&caller).await;
    auth.confirm(&caller, &again).await.unwrap();
    let before = auth.challenge(EMAIL).await;
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };
    auth.auth_as(&caller).change_password(change).await.unwrap();
    assert_eq!(refused(before).await, Reason::ChallengeInvalid, "another password");
}

#[tokio::test]
async fn a_challenge_passes_as_no_other_credential_and_none_as_a_challenge() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let token = auth.challenge(EMAIL).await.challenge_token;

    let refresh = auth.refresh(&token, "").await.unwrap_err();
    assert_eq!(reason(&refresh), Reason::CredentialsInvalid);
    for scheme in ["Bearer", "ApiKey"] {
        let authorization = format!("{scheme} {token}");
        let caller = Caller { authorization, ..ann.caller.clone() };
        let status = auth.accepts(&caller).await.unwrap_err();
        assert_eq!(reason(&status), Reason::CredentialsInvalid);
    }
    assert!(!auth.verify(&token).await.active);
    for challenge_token in [ann.tokens.refresh_token, ann.tokens.access_token] {
        let challenge = pb::LoginChallenge { challenge_token, ..Default::default() };
        let proof = totp_code(&auth.code(&ann.authenticator));
        let status = auth.complete(&challenge, proof).await.unwrap_err();
        assert_eq!(reason(&status), Reason::ChallengeInvalid);
    }
}

#[tokio::test]
async fn failures_of_password_and_second_factor_are_counted_apart_over_all_challenges() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let (password, factor) = (pb::LockKind::Password as i32, pb::LockKind::SecondFactor as i32);
    let account = pb::LockScope::Account as i32;
    let known = auth.login_with_code(EMAIL, &ann.authenticator).await.unwrap();
    auth.wait_for_the_next_code();

    auth.login_with(EMAIL, NEW_PASSWORD).await.unwrap_err();
    auth.login_with(EMAIL, NEW_PASSWORD).await.unwrap_err();
    assert_eq!(auth.locks_of(&ann.user).await, [(password, account, 2)]);
    for n in 1..=2 {
        let status = auth.fail_factor(EMAIL, &ann.authenticator).await;
        assert_eq!(reason(&status), Reason::SecondFactorFailed);
        // The password was proved, which ends its count and no other.
        assert_eq!(auth.locks_of(&ann.user).await, [(factor, account, n)]);
    }
    auth.execute("update auth.locks set failures = 8 where user_id = $1", ann.caller.user_id).await;
    let ninth = auth.fail_factor(EMAIL, &ann.authenticator).await;
    let challenge = auth.challenge(EMAIL).await;
    let code = totp_code(&auth.code(&ann.authenticator));
    let by_code = auth.complete(&challenge, code.clone()).await.unwrap_err();
    let by_recovery_code =
        auth.complete(&challenge, recovery_code(&ann.recovery_codes[0])).await.unwrap_err();
    let challenge = auth.challenge_on(EMAIL, &known.device_token).await;
    let on_known_device = auth.complete(&challenge, code).await;

    assert_eq!(reason(&ninth), Reason::SecondFactorFailed);
    for status in [by_code, by_recovery_code] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::ResourceExhausted, Reason::TooManyFailures)
        );
    }
    assert!(on_known_device.is_ok(), "{on_known_device:?}");
    let begun = auth.audited("lock.begin").await;
    assert_eq!(begun.new_values.unwrap()["kind"], "second_factor");
    auth.service.clock.advance(TimeDelta::minutes(6));
    assert!(auth.login_with_code(EMAIL, &ann.authenticator).await.is_ok());
    assert_eq!(auth.locks_of(&ann.user).await, []);
    let refused = auth.audit("/ihuman.auth.v1.AuthService/CompleteLogin").await;
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|it| it.reason == "SECOND_FACTOR_FAILED"
        && it.outcome == "denied"
        && it.actor_id == Some(ann.caller.user_id)));
}

#[tokio::test]
async fn a_password_in_an_old_form_is_renewed_when_it_is_proved() {
    let auth = Auth::start().await;
    auth.person_with_mfa(EMAIL).await;
    let stronger = auth.replica_configured(&[], &["--argon2-passes", "3"]).await;

    let response = stronger.auth().login(login(EMAIL, PASSWORD, "")).await.unwrap();

    assert!(response.into_inner().challenge.is_some());
    let hash: String = auth.scalar("select password_hash from auth.users").await;
    assert!(hash.contains("t=3"), "{hash}");
    let renewed = auth.audited("user.renew_password_hash").await;
    assert_eq!(renewed.session_id, None::<Uuid>);
}
