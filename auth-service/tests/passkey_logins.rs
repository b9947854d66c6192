//! Logging in with a passkey: after a password, and alone.

use chrono::TimeDelta;
use ihuman_proto::{
    auth::v1::{self as pb, complete_login_request::Proof},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use serde_json::json;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{
    authenticator::recovery_code,
    device::{Device, map},
    support::{Auth, EMAIL, bearer},
};

const AMR: &str =
    "select array_to_string(amr, ' ') from auth.sessions order by session_id desc limit 1";
const WAITING: &str = "select count(*) from auth.login_challenges";
const USED: &str = "select count(*) from auth.used_passkey_challenges";

/// Something that a device or a browser does and should not.
type Fault = (&'static str, fn(&mut Device));

const FAULTS: [Fault; 10] = [
    ("another origin", |it| it.origin = "https://localhost".to_owned()),
    ("a frame", |it| it.more = json!({"crossOrigin": true})),
    ("a registration", |it| it.more = json!({"type": "webauthn.create"})),
    ("another relying party", |it| it.rp_id = "evil.com".to_owned()),
    ("nobody there", |it| it.user_present = false),
    ("a copy of what can't be copied", |it| it.backed_up = true),
    ("another kind of key", |it| it.backup_eligible = true),
    ("a handle of nobody", |it| it.user_handle = vec![7; 16]),
    ("an unknown passkey", |it| it.credential_id = vec![7; 16]),
    ("broken extensions", |it| it.extensions = Some(vec![0xff])),
];

fn second_factors(challenge: &pb::LoginChallenge) -> Vec<pb::SecondFactor> {
    challenge.factors().collect()
}

impl Auth {
    async fn refused_with(&self, assertion: pb::PasskeyAssertion) -> Status {
        let challenge = self.begin_passkey_login().await;
        self.complete(&challenge, Proof::Passkey(assertion)).await.unwrap_err()
    }

    async fn forget_failures(&self) {
        self.execute("delete from auth.locks where $1::uuid is not null", Uuid::nil()).await;
    }
}

#[tokio::test]
async fn a_passkey_is_a_second_factor_after_the_password() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (user, caller) = auth.person_with_passkey(EMAIL, &mut device).await;

    let challenge = auth.challenge(EMAIL).await;
    let factors = [pb::SecondFactor::Passkey, pb::SecondFactor::RecoveryCode];
    assert_eq!(second_factors(&challenge), factors);
    let options = challenge.passkey.clone().unwrap();
    assert_eq!((options.rp_id.as_str(), options.timeout.unwrap().seconds), ("localhost", 300));
    assert_eq!(options.user_verification(), pb::PasskeyUserVerification::Preferred);
    assert_eq!(options.allow_credentials.len(), 1);
    assert_eq!(options.allow_credentials[0].id, device.credential_id);
    let opened = auth.complete_with(&challenge, &mut device).await.unwrap();

    assert_eq!(opened.user.as_ref().unwrap().id, user.id);
    assert_eq!(auth.scalar::<String>(AMR).await, "pwd pop user mfa");
    let now = bearer(&user, &opened.tokens.unwrap());
    assert!(auth.accepts(&now).await.is_ok());
    let passkeys = auth.passkeys(&now).list_passkeys(pb::ListPasskeysRequest::default()).await;
    assert!(passkeys.unwrap().into_inner().passkeys[0].last_use_time.is_some());
    let state = auth.mfa(&caller).get_mfa_state(pb::GetMfaStateRequest {}).await.unwrap();
    let state = state.into_inner();
    assert_eq!((state.enabled, state.passkey_count, state.recovery_codes_left), (true, 1, 10));
    // A device without a PIN proves that it is there, which is enough here.
    (device.user_verified, device.user_handle) = (false, Vec::new());
    let challenge = auth.challenge(EMAIL).await;
    auth.complete_with(&challenge, &mut device).await.unwrap();
}

#[tokio::test]
async fn the_first_passkey_brings_recovery_codes_which_a_retry_gets_again() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let (mut first, request_id) = (Device::p256(), Uuid::new_v4().to_string());
    let attestation = first.create(&auth.creation_options(&caller).await);

    let made = auth.finish_registration(&caller, attestation.clone(), &request_id).await.unwrap();
    let again = auth.finish_registration(&caller, attestation.clone(), &request_id).await.unwrap();
    let other = Device::p256()
        .create(&auth.creation_options(&auth.step_up(&caller, &mut first).await).await);
    let reused = auth.finish_registration(&caller, other.clone(), &request_id).await.unwrap_err();
    let second = auth.finish_registration(&caller, other, "").await.unwrap();

    assert_eq!(made.recovery_codes.len(), 10);
    assert_eq!(again, made);
    assert_eq!(reason(&reused), Reason::RequestIdReused);
    assert!(second.recovery_codes.is_empty());
    let challenge = auth.challenge(EMAIL).await;
    auth.complete(&challenge, recovery_code(&made.recovery_codes[0])).await.unwrap();
    let trail = auth.audit_text().await;
    for code in &made.recovery_codes {
        assert!(!trail.contains(code.as_str()));
    }
}

#[tokio::test]
async fn a_second_factor_that_is_not_right_logs_nobody_in_and_counts() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (user, _) = auth.person_with_passkey(EMAIL, &mut device).await;
    let mut bobs = Device::p256();
    auth.person_with_passkey("bob@example.com", &mut bobs).await;
    let sessions: i64 = auth.scalar("select count(*) from auth.sessions").await;

    let mut answers = Vec::new();
    for (_, misbehave) in FAULTS {
        let challenge = auth.challenge(EMAIL).await;
        let mut device = device.clone();
        misbehave(&mut device);
        answers.push(auth.complete_with(&challenge, &mut device).await.unwrap_err());
        auth.forget_failures().await;
    }
    let (one, other) = (auth.challenge(EMAIL).await, auth.challenge(EMAIL).await);
    let of_other = device.get(other.passkey.as_ref().unwrap());
    answers.push(auth.complete(&one, Proof::Passkey(of_other.clone())).await.unwrap_err());
    let alone = auth.begin_passkey_login().await;
    let of_alone = device.get(alone.passkey.as_ref().unwrap());
    answers.push(auth.complete(&one, Proof::Passkey(of_alone)).await.unwrap_err());
    auth.forget_failures().await;
    answers.push(auth.complete_with(&one, &mut bobs).await.unwrap_err());
    let forged = bobs.get(one.passkey.as_ref().unwrap());
    let forged = pb::PasskeyAssertion { signature: forged.signature, ..of_other.clone() };
    answers.push(auth.complete(&other, Proof::Passkey(forged)).await.unwrap_err());

    for answer in &answers {
        assert_eq!(answer.code(), Code::Unauthenticated);
        assert_eq!(
            (reason(answer), answer.message()),
            (Reason::SecondFactorFailed, answers[0].message())
        );
    }
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.sessions").await, sessions);
    auth.complete(&other, Proof::Passkey(of_other)).await.unwrap();
    for _ in 0..3 {
        let challenge = auth.challenge(EMAIL).await;
        auth.complete_with(&challenge, &mut bobs).await.unwrap_err();
    }
    let challenge = auth.challenge(EMAIL).await;
    let waits = auth.complete_with(&challenge, &mut device).await.unwrap_err();
    assert_eq!(reason(&waits), Reason::TooManyFailures);
    let refused = auth.audit("/ihuman.auth.v1.AuthService/CompleteLogin").await;
    assert!(refused.iter().all(|it| it.actor_id == Some(user.id.parse().unwrap())));
    assert_eq!(refused.len(), answers.len() + 3);
}

#[tokio::test]
async fn a_passkey_logs_in_alone_and_asking_for_one_stores_nothing() {
    let auth = Auth::start().await;
    let mut device = Device::ed25519();
    let (user, _) = auth.person_with_passkey(EMAIL, &mut device).await;
    let used: i64 = auth.scalar(USED).await;

    for _ in 0..20 {
        auth.begin_passkey_login().await;
    }
    assert_eq!((auth.scalar::<i64>(WAITING).await, auth.scalar::<i64>(USED).await), (0, used));
    let challenge = auth.begin_passkey_login().await;
    assert_eq!(second_factors(&challenge), [pb::SecondFactor::Passkey]);
    let options = challenge.passkey.as_ref().unwrap();
    assert!(options.allow_credentials.is_empty());
    assert_eq!(options.user_verification(), pb::PasskeyUserVerification::Required);
    let opened = auth.complete_with(&challenge, &mut device).await.unwrap();

    assert_eq!(opened.user.as_ref().unwrap().id, user.id);
    assert_eq!(auth.scalar::<String>(AMR).await, "pop user mfa");
    assert!(auth.accepts(&bearer(&user, &opened.tokens.unwrap())).await.is_ok());
    assert_eq!(auth.scalar::<i64>(USED).await, used + 1);
    let record = auth.audit("session.create").await.pop().unwrap();
    assert_eq!(record.new_values.unwrap()["amr"], json!(["pop", "user", "mfa"]));
}

#[tokio::test]
async fn alone_every_wrong_answer_is_the_same_and_opens_nothing() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (user, _) = auth.person_with_passkey(EMAIL, &mut device).await;
    let mut bobs = Device::p256();
    auth.person_with_passkey("bob@example.com", &mut bobs).await;
    let mut answers = Vec::new();
    let mut faults = FAULTS.to_vec();
    faults.push(("nobody named", |it| it.user_handle.clear()));
    faults.push(("its user not verified", |it| it.user_verified = false));

    for (_, misbehave) in faults {
        let mut device = device.clone();
        misbehave(&mut device);
        answers.push(auth.login_alone(&mut device).await.unwrap_err());
    }
    let mut as_ann = bobs.clone();
    as_ann.user_handle.clone_from(&device.user_handle);
    answers.push(auth.login_alone(&mut as_ann).await.unwrap_err());
    as_ann.credential_id.clone_from(&device.credential_id);
    answers.push(auth.login_alone(&mut as_ann).await.unwrap_err());

    for answer in &answers {
        assert_eq!(answer.code(), Code::Unauthenticated);
        assert_eq!(
            (reason(answer), answer.message()),
            (Reason::SecondFactorFailed, answers[0].message())
        );
        assert_eq!(answer.details(), answers[0].details());
    }
    // The account of the owner does not wait for the failures of strangers.
    auth.login_alone(&mut device).await.unwrap();
    let challenge = auth.challenge(EMAIL).await;
    auth.complete_with(&challenge, &mut device).await.unwrap();
    auth.execute(
        "update auth.users set state = 'deactivated' where user_id = $1",
        user.id.parse().unwrap(),
    )
    .await;
    let closed = auth.login_alone(&mut device).await.unwrap_err();
    assert_eq!(reason(&closed), Reason::ChallengeInvalid);
}

#[tokio::test]
async fn a_challenge_to_log_in_alone_works_once_and_for_five_minutes() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    device.sign_count = Some(0);
    auth.person_with_passkey(EMAIL, &mut device).await;
    let invalid = |result: Result<pb::CompleteLoginResponse, Status>| {
        assert_eq!(reason(&result.unwrap_err()), Reason::ChallengeInvalid);
    };

    let challenge = auth.begin_passkey_login().await;
    let answer = device.get(challenge.passkey.as_ref().unwrap());
    let (one, two) = tokio::join!(
        auth.complete(&challenge, Proof::Passkey(answer.clone())),
        auth.complete(&challenge, Proof::Passkey(answer.clone())),
    );
    assert_eq!([&one, &two].iter().filter(|it| it.is_ok()).count(), 1);
    invalid(one.and(two));
    invalid(auth.complete(&challenge, Proof::Passkey(answer)).await);
    // Another answer to the same challenge, and the same challenge under another token.
    invalid(auth.complete_with(&challenge, &mut device).await);
    let fresh = auth.begin_passkey_login().await;
    let other = auth.begin_passkey_login().await;
    let mixed = pb::LoginChallenge { challenge_token: other.challenge_token, ..fresh.clone() };
    invalid(auth.complete_with(&mixed, &mut device).await);
    invalid(auth.complete(&fresh, recovery_code("01k9v-m0qz8-rx2t7")).await);
    auth.service.clock.advance(TimeDelta::seconds(299));
    auth.complete_with(&fresh, &mut device).await.unwrap();
    let late = auth.begin_passkey_login().await;
    auth.service.clock.advance(TimeDelta::seconds(300));
    invalid(auth.complete_with(&late, &mut device).await);
    // Nobody copied a key.
    assert!(auth.audit("passkey.suspect_copy").await.is_empty());
}

#[tokio::test]
async fn a_count_of_signatures_that_does_not_grow_is_refused_and_recorded() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    device.sign_count = Some(5);
    let (user, _) = auth.person_with_passkey(EMAIL, &mut device).await;
    let mut copy = device.clone();

    auth.login_alone(&mut device).await.unwrap();
    let alone = auth.login_alone(&mut copy).await.unwrap_err();
    copy.sign_count = None;
    let challenge = auth.challenge(EMAIL).await;
    let second = auth.complete_with(&challenge, &mut copy).await.unwrap_err();

    assert_eq!(reason(&alone), Reason::SecondFactorFailed);
    assert_eq!(reason(&second), Reason::SecondFactorFailed);
    let records = auth.audit("passkey.suspect_copy").await;
    let counts: Vec<_> = records.iter().map(|it| (&it.old_values, &it.new_values)).collect();
    let (old, same) = (Some(json!({"sign_count": 6})), Some(json!({"sign_count": 6})));
    assert_eq!(counts, [(&old, &same), (&old, &Some(json!({"sign_count": 0})))]);
    assert!(records.iter().all(|it| it.actor_id == Some(user.id.parse().unwrap())));
    // The one that has counted on still works.
    auth.login_alone(&mut device).await.unwrap();
}

#[tokio::test]
async fn who_sets_a_pin_on_a_key_without_one_does_not_log_in_alone_with_it() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    device.user_verified = false;
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    device.user_verified = true;

    let stolen = auth.login_alone(&mut device).await.unwrap_err();
    assert_eq!(reason(&stolen), Reason::SecondFactorFailed);
    // Its owner knows the password.
    let challenge = auth.challenge(EMAIL).await;
    auth.complete_with(&challenge, &mut device).await.unwrap();
    let record = auth.audited("passkey.verify_user").await;
    assert_eq!(record.new_values, Some(json!({"user_verifying": true})));
    assert_eq!(record.actor_id, Some(caller.user_id));
    auth.login_alone(&mut device).await.unwrap();
}

#[tokio::test]
async fn failures_alone_make_an_address_wait_and_no_account() {
    let auth = Auth::start_with(&["--trusted-proxies", "127.0.0.0/8"]).await;
    let mut device = Device::p256();
    auth.person_with_passkey(EMAIL, &mut device).await;
    let login_from = async |address: &str, device: &mut Device| {
        let challenge = auth.begin_passkey_login().await;
        let assertion = device.get(challenge.passkey.as_ref().unwrap());
        let mut request = Request::new(pb::CompleteLoginRequest {
            challenge_token: challenge.challenge_token,
            proof: Some(Proof::Passkey(assertion)),
        });
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        auth.auth().complete_login(request).await.map(drop)
    };
    let mut stranger = Device::p256();
    stranger.credential_id.clone_from(&device.credential_id);
    stranger.user_handle.clone_from(&device.user_handle);

    for _ in 0..30 {
        let refused = login_from("192.0.2.1", &mut stranger).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::SecondFactorFailed);
    }
    let waits = login_from("192.0.2.1", &mut device).await.unwrap_err();

    assert_eq!(reason(&waits), Reason::TooManyFailures);
    login_from("192.0.2.2", &mut device).await.unwrap();
    let begun = auth.recorded("lock.begin").await;
    assert_eq!(begun.entity, ("address".to_owned(), "192.0.2.1".to_owned()));
}

#[tokio::test]
async fn every_part_of_an_answer_has_a_limit_and_no_bytes_do_harm() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    let good = device.get(auth.begin_passkey_login().await.passkey.as_ref().unwrap());
    let with = |change: fn(&mut pb::PasskeyAssertion)| {
        let mut assertion = good.clone();
        change(&mut assertion);
        assertion
    };

    for (field, assertion) in [
        ("credential_id", with(|it| it.credential_id.clear())),
        ("credential_id", with(|it| it.credential_id = vec![0; 1024])),
        ("client_data_json", with(|it| it.client_data_json = vec![b'{'; 4097])),
        ("authenticator_data", with(|it| it.authenticator_data.clear())),
        ("authenticator_data", with(|it| it.authenticator_data = vec![0; 2049])),
        ("signature", with(|it| it.signature = vec![0; 513])),
        ("user_handle", with(|it| it.user_handle = vec![0; 65])),
    ] {
        let refused = auth.refused_with(assertion).await;
        assert_eq!(violations(&refused), [format!("passkey.{field}")]);
    }
    let reasons = [Reason::SecondFactorFailed, Reason::ChallengeInvalid];
    for json in ["", "{", "[]", "null", "{\"type\":\"webauthn.get\"}", "\u{feff}{}", "\u{0}"] {
        let mut assertion = good.clone();
        assertion.client_data_json = [json.as_bytes(), b" "].concat();
        assert!(reasons.contains(&reason(&auth.refused_with(assertion).await)), "{json}");
    }
    auth.forget_failures().await;
    let deep = format!("{{\"a\":{}", "[".repeat(4000));
    let mut assertion = good.clone();
    assertion.client_data_json = deep.into_bytes();
    assert!(reasons.contains(&reason(&auth.refused_with(assertion).await)));
    // Signed, and yet not authenticator data.
    let caller = auth.step_up(&caller, &mut device).await;
    device.extensions = Some([map(&[]), vec![0]].concat());
    assert_eq!(
        reason(&auth.login_alone(&mut device).await.unwrap_err()),
        Reason::SecondFactorFailed
    );
    assert!(auth.accepts(&caller).await.is_ok());
    let admin = auth.credentials.person(Role::Admin).await;
    assert!(auth.accepts(&admin).await.is_ok());
}
