//! Stepping up with a passkey, and what is left when passkeys go.

use chrono::{TimeDelta, Utc};
use ihuman_proto::{
    auth::v1::{self as pb, complete_login_request::Proof, reauthenticate_request::SecondFactor},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};

use crate::{
    device::Device,
    support::{Auth, EMAIL, PASSWORD, bearer},
};

const AMR: &str =
    "select array_to_string(amr, ' ') from auth.sessions order by session_id desc limit 1";
const COUNT: &str = "select count(*) from auth.passkeys";

impl Auth {
    async fn step_up_with(
        &self,
        caller: &Caller,
        password: &str,
        device: &mut Device,
    ) -> Result<Caller, Status> {
        let assertion = device.get(&self.step_up_options(caller).await);
        self.reauthenticate(caller, password, Some(SecondFactor::Passkey(assertion))).await
    }

    async fn only_passkey(&self, caller: &Caller) -> String {
        let request = pb::ListPasskeysRequest::default();
        let mut listed = self.passkeys(caller).list_passkeys(request).await.unwrap().into_inner();
        listed.passkeys.remove(0).id
    }
}

#[tokio::test]
async fn a_passkey_that_verifies_its_user_steps_up_alone() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    let begun = pb::BeginReauthenticationRequest {};
    let begun = auth.auth_as(&caller).begin_reauthentication(begun).await.unwrap().into_inner();
    let factors: Vec<_> = begun.factors().collect();
    assert_eq!(factors, [pb::SecondFactor::Passkey, pb::SecondFactor::RecoveryCode]);
    let options = begun.passkey.unwrap();
    assert_eq!(options.allow_credentials[0].id, device.credential_id);
    assert_eq!(options.user_verification(), pb::PasskeyUserVerification::Preferred);

    let caller = auth.step_up(&caller, &mut device).await;

    assert_eq!(auth.scalar::<String>(AMR).await, "pop user mfa");
    let record = auth.audited("session.reauthenticate").await;
    assert_eq!(record.new_values.unwrap()["amr"], serde_json::json!(["pop", "user", "mfa"]));
    auth.service.clock.advance(TimeDelta::minutes(16));
    let id = auth.only_passkey(&caller).await;
    let stale = auth.delete_passkey(&caller, &id).await.unwrap_err();
    assert_eq!(reason(&stale), Reason::RecentAuthenticationRequired);
    let caller = auth.step_up(&caller, &mut device).await;
    auth.delete_passkey(&caller, &id).await.unwrap();
}

#[tokio::test]
async fn a_passkey_that_does_not_verify_its_user_needs_the_password_too() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    device.user_verified = false;

    let alone = auth.step_up_with(&caller, "", &mut device).await.err().unwrap();
    let wrong = auth.step_up_with(&caller, "a wrong password, long enough", &mut device).await;
    let both = auth.step_up_with(&caller, PASSWORD, &mut device).await;

    assert_eq!(violations(&alone), ["passkey"]);
    assert_eq!(violations(&wrong.err().unwrap()), ["password"]);
    assert!(both.is_ok());
    assert_eq!(auth.scalar::<String>(AMR).await, "pwd pop user mfa");
}

#[tokio::test]
async fn a_step_up_is_for_one_session_and_one_time_and_by_its_owner() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (user, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    let opened = auth.login_alone(&mut device).await.unwrap();
    let elsewhere = bearer(&user, &opened.tokens.unwrap());
    let mut bobs = Device::p256();
    let (_, bob) = auth.person_with_passkey("bob@example.com", &mut bobs).await;
    let answer = device.get(&auth.step_up_options(&caller).await);
    let prove = async |caller: &Caller, answer: &pb::PasskeyAssertion| {
        let proof = Some(SecondFactor::Passkey(answer.clone()));
        auth.reauthenticate(caller, "", proof).await.map(drop)
    };

    for other in [&elsewhere, &bob] {
        let refused = prove(other, &answer).await.unwrap_err();
        assert_eq!(violations(&refused), ["passkey"]);
    }
    prove(&caller, &answer).await.unwrap();
    let again = prove(&caller, &answer).await.unwrap_err();
    assert_eq!(violations(&again), ["passkey"]);
    let bobs_answer = bobs.get(&auth.step_up_options(&caller).await);
    let refused = prove(&caller, &bobs_answer).await.unwrap_err();
    assert_eq!(violations(&refused), ["passkey"]);
    prove(&caller, &bobs_answer).await.unwrap_err();
    let waits = prove(&caller, &bobs_answer).await.unwrap_err();
    assert_eq!(reason(&waits), Reason::TooManyFailures);
}

#[tokio::test]
async fn who_has_only_the_password_adds_and_removes_no_passkey() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    let id = auth.only_passkey(&caller).await;
    let attestation = Device::p256()
        .create(&auth.creation_options(&auth.step_up(&caller, &mut device).await).await);
    auth.execute("update auth.sessions set amr = '{pwd}' where user_id = $1", caller.user_id).await;

    let begun = pb::BeginPasskeyRegistrationRequest {};
    let begun = auth.passkeys(&caller).begin_passkey_registration(begun).await.map(drop);
    let finished = auth.finish_registration(&caller, attestation, "").await.map(drop);
    let deleted = auth.delete_passkey(&caller, &id).await;

    for refused in [begun, finished, deleted] {
        assert_eq!(reason(&refused.unwrap_err()), Reason::RecentAuthenticationRequired);
    }
    assert_eq!(auth.scalar::<i64>(COUNT).await, 1);
}

#[tokio::test]
async fn with_the_last_passkey_logins_need_no_second_factor() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    let challenge = auth.challenge(EMAIL).await;
    let alone = auth.begin_passkey_login().await;
    let caller = auth.step_up(&caller, &mut device).await;

    auth.delete_passkey(&caller, &auth.only_passkey(&caller).await).await.unwrap();

    let ended = auth.complete_with(&challenge, &mut device).await.unwrap_err();
    assert_eq!(reason(&ended), Reason::ChallengeInvalid);
    let gone = auth.complete_with(&alone, &mut device).await.unwrap_err();
    assert_eq!(reason(&gone), Reason::SecondFactorFailed);
    auth.login(EMAIL).await;
    let codes: i64 = auth.scalar("select count(*) from auth.recovery_codes").await;
    assert_eq!(codes, 0);
    let record = auth.audited("passkey.delete").await;
    assert_eq!(record.actor_id, Some(caller.user_id));
    assert_eq!(record.old_values.unwrap()["name"], "My phone");
}

#[tokio::test]
async fn a_short_password_keeps_the_last_passkey() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    auth.execute(
        "update auth.users set password_is_short = true where user_id = $1",
        caller.user_id,
    )
    .await;
    let caller = auth.step_up(&caller, &mut device).await;

    let id = auth.only_passkey(&caller).await;
    let refused = auth.delete_passkey(&caller, &id).await.unwrap_err();

    assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, Reason::WrongState));
    auth.register_passkey(&caller, &mut Device::p256()).await.unwrap();
    auth.delete_passkey(&caller, &id).await.unwrap();
}

#[tokio::test]
async fn a_reset_and_a_deletion_take_every_passkey() {
    let auth = Auth::start().await;
    let (mut anns, mut bobs) = (Device::p256(), Device::p256());
    let (ann, _) = auth.person_with_passkey(EMAIL, &mut anns).await;
    let (bob, _) = auth.person_with_passkey("bob@example.com", &mut bobs).await;
    let admin = auth.credentials.person(Role::Admin).await;

    let reset = pb::ResetMfaRequest { user_id: ann.id };
    assert!(auth.mfa(&admin).reset_mfa(reset).await.unwrap().into_inner().reset);
    let delete = pb::DeleteUserRequest { user_id: bob.id };
    auth.users(&admin).delete_user(delete).await.unwrap();

    assert_eq!(auth.scalar::<i64>(COUNT).await, 0);
    for mut device in [anns, bobs] {
        let gone = auth.login_alone(&mut device).await.unwrap_err();
        assert_eq!(reason(&gone), Reason::SecondFactorFailed);
    }
    auth.login(EMAIL).await;
}

#[tokio::test]
async fn an_answered_challenge_is_forgotten_when_it_is_long_expired() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    auth.person_with_passkey(EMAIL, &mut device).await;
    auth.login_alone(&mut device).await.unwrap();
    let db = &auth.database.superuser;
    let options = db.connect_options().as_ref().clone().options([("search_path", "auth")]);
    let db = sqlx::PgPool::connect_with(options).await.unwrap();
    let used = "select count(*) from auth.used_passkey_challenges";

    auth_service::sweep(&db, Utc::now() + TimeDelta::minutes(64)).await.unwrap();
    assert_eq!(auth.scalar::<i64>(used).await, 2);
    auth_service::sweep(&db, Utc::now() + TimeDelta::minutes(66)).await.unwrap();
    assert_eq!(auth.scalar::<i64>(used).await, 0);
}

#[tokio::test]
async fn what_a_login_needs_is_not_what_a_step_up_or_a_registration_needs() {
    let auth = Auth::start().await;
    let mut device = Device::p256();
    let (_, caller) = auth.person_with_passkey(EMAIL, &mut device).await;
    let of_step_up = device.get(&auth.step_up_options(&caller).await);
    let options = pb::PasskeyRequestOptions {
        challenge: auth.creation_options(&auth.step_up(&caller, &mut device).await).await.challenge,
        ..pb::PasskeyRequestOptions::default()
    };
    let of_registration = device.get(&options);

    for answer in [of_step_up, of_registration] {
        let challenge = auth.begin_passkey_login().await;
        let refused = auth.complete(&challenge, Proof::Passkey(answer)).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::ChallengeInvalid);
    }
}
