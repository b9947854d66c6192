//! Stepping up: proving again what a login proves.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use ihuman_proto::{
    auth::v1::{self as pb, reauthenticate_request::SecondFactor},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::testing::{Caller, reason, violations};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Auth, EMAIL, PASSWORD, bearer};

const WRONG: &str = "a wrong password, long enough";

fn claims(authorization: &str) -> Value {
    let claims = authorization.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

impl Auth {
    /// Calls something that asks for a recent authentication.
    async fn enrolls(&self, caller: &Caller) -> Result<(), Status> {
        self.mfa(caller).enroll_totp(pb::EnrollTotpRequest {}).await.map(|_| ())
    }
}

#[tokio::test]
async fn an_old_session_is_told_how_to_step_up_and_goes_on() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    auth.service.clock.advance(TimeDelta::minutes(16));

    let told = auth.enrolls(&caller).await.unwrap_err();
    let stepped_up = auth.reauthenticate(&caller, PASSWORD, None).await.unwrap();
    let goes_on = auth.enrolls(&stepped_up).await;
    let old_token = auth.enrolls(&caller).await.unwrap_err();
    let refreshed = auth.refresh(&tokens.refresh_token, "").await.unwrap();
    let after_refresh = auth.enrolls(&bearer(&user, &refreshed)).await;
    auth.service.clock.advance(TimeDelta::minutes(16));
    let old_again = auth.enrolls(&stepped_up).await.unwrap_err();

    assert!(goes_on.is_ok() && after_refresh.is_ok());
    for status in [&told, &old_token, &old_again] {
        assert_eq!(
            (status.code(), reason(status)),
            (Code::PermissionDenied, Reason::RecentAuthenticationRequired)
        );
    }
    let metadata = told.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata["max_age_seconds"], "900");
    assert_eq!(metadata["method"], "ihuman.auth.v1.AuthService/Reauthenticate");
    let (before, after) = (claims(&caller.authorization), claims(&stepped_up.authorization));
    assert!(after["auth_time"].as_i64().unwrap() - before["auth_time"].as_i64().unwrap() >= 960);
    assert_eq!((&after["sid"], &after["amr"]), (&before["sid"], &json!(["pwd"])));
    let record = auth.audited("session.reauthenticate").await;
    record.is_by(&caller);
    assert_eq!(record.new_values.unwrap()["amr"], json!(["pwd"]));
}

#[tokio::test]
async fn an_account_with_a_second_factor_proves_both_in_one_request() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let totp = |code: String| Some(SecondFactor::TotpCode(code));
    let late = ann.authenticator.code(auth.service.clock.now() + TimeDelta::minutes(9));

    let missing = auth.reauthenticate(&ann.caller, PASSWORD, None).await.err().unwrap();
    let wrong = auth.reauthenticate(&ann.caller, PASSWORD, totp(late)).await.err().unwrap();
    let code = auth.code(&ann.authenticator);
    let no_password = auth.reauthenticate(&ann.caller, WRONG, totp(code.clone())).await.err();
    let by_code = auth.reauthenticate(&ann.caller, PASSWORD, totp(code.clone())).await.unwrap();
    let again = auth.reauthenticate(&ann.caller, PASSWORD, totp(code)).await.err().unwrap();
    let recovery_code = Some(SecondFactor::RecoveryCode(ann.recovery_codes[0].clone()));
    let by_recovery_code =
        auth.reauthenticate(&ann.caller, PASSWORD, recovery_code.clone()).await.unwrap();
    let used = auth.reauthenticate(&ann.caller, PASSWORD, recovery_code).await.err().unwrap();

    assert_eq!(violations(&missing), ["second_factor"]);
    // A code is not used up by a wrong password.
    assert_eq!(violations(&no_password.unwrap()), ["password"]);
    assert_eq!(
        (violations(&wrong), violations(&again)),
        (vec!["totp_code".to_owned()], vec!["totp_code".to_owned()])
    );
    assert_eq!(violations(&used), ["recovery_code"]);
    assert_eq!(claims(&by_code.authorization)["amr"], json!(["pwd", "otp", "mfa"]));
    assert_eq!(claims(&by_recovery_code.authorization)["amr"], json!(["pwd", "mfa"]));
    let refused = auth.audit("/ihuman.auth.v1.AuthService/Reauthenticate").await;
    let reasons: Vec<&str> = refused.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["SECOND_FACTOR_FAILED", "LOGIN_FAILED", "SECOND_FACTOR_FAILED", "SECOND_FACTOR_FAILED"]
    );
}

#[tokio::test]
async fn an_account_without_a_second_factor_proves_none() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let second_factor = Some(SecondFactor::TotpCode("123456".to_owned()));

    let refused = auth.reauthenticate(&bearer(&user, &tokens), PASSWORD, second_factor).await;

    assert_eq!(violations(&refused.err().unwrap()), ["second_factor"]);
}

#[tokio::test]
async fn a_session_that_guesses_waits_and_no_other_does() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let totp = |code: String| Some(SecondFactor::TotpCode(code));
    let eight = "update auth.locks set failures = 8 where user_id = $1";
    let late = || totp(ann.authenticator.code(auth.service.clock.now() + TimeDelta::minutes(9)));
    let right = || totp(auth.code(&ann.authenticator));
    let guess = async |password: &str, second_factor| {
        auth.reauthenticate(&ann.caller, password, second_factor).await.err().unwrap()
    };

    guess(PASSWORD, late()).await;
    auth.execute(eight, ann.caller.user_id).await;
    guess(PASSWORD, late()).await;
    let waits_for_code = guess(PASSWORD, right()).await;
    auth.execute("delete from auth.locks where user_id = $1", ann.caller.user_id).await;
    guess(WRONG, right()).await;
    auth.execute(eight, ann.caller.user_id).await;
    guess(WRONG, right()).await;
    let waits_for_password = guess(PASSWORD, right()).await;
    let elsewhere = auth.login_with_code(EMAIL, &ann.authenticator).await;
    auth.service.clock.advance(TimeDelta::minutes(6));
    let done = auth.reauthenticate(&ann.caller, PASSWORD, right()).await;

    for status in [waits_for_code, waits_for_password] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::ResourceExhausted, Reason::TooManyFailures)
        );
    }
    assert!(elsewhere.is_ok());
    assert!(done.is_ok());
}
