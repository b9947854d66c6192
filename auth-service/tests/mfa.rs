//! Turning second factors on and off.

use chrono::{TimeDelta, Utc};
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{
    authenticator::{recovery_code, totp_code},
    support::{Auth, EMAIL, PASSWORD, bearer},
};

/// Long enough beside a second factor, and not alone.
const SHORT: &str = "gxqz lmk";

impl Auth {
    async fn mfa_state(&self, caller: &Caller) -> pb::GetMfaStateResponse {
        let response = self.mfa(caller).get_mfa_state(pb::GetMfaStateRequest {}).await.unwrap();
        response.into_inner()
    }

    async fn disable(&self, caller: &Caller) -> Result<(), Status> {
        self.mfa(caller).disable_totp(pb::DisableTotpRequest {}).await.map(|_| ())
    }

    async fn regenerate(&self, caller: &Caller) -> Result<Vec<String>, Status> {
        let request = pb::RegenerateRecoveryCodesRequest {};
        let response = self.mfa(caller).regenerate_recovery_codes(request).await?;
        Ok(response.into_inner().recovery_codes)
    }

    async fn reset_mfa(
        &self,
        caller: &Caller,
        user_id: &str,
    ) -> Result<pb::ResetMfaResponse, Status> {
        let request = pb::ResetMfaRequest { user_id: user_id.to_owned() };
        Ok(self.mfa(caller).reset_mfa(request).await?.into_inner())
    }

    async fn change_password(
        &self,
        caller: &Caller,
        current: &str,
        new: &str,
    ) -> Result<(), Status> {
        let request = pb::ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
        };
        self.auth_as(caller).change_password(request).await.map(|_| ())
    }

    /// Logs in with a recovery code.
    async fn recover(&self, email: &str, password: &str, code: &str) -> Caller {
        let login = crate::support::login(email, password, "");
        let response = self.auth().login(login).await.unwrap().into_inner();
        let opened = self.complete(&response.challenge.unwrap(), recovery_code(code)).await;
        let opened = opened.unwrap();
        bearer(&opened.user.unwrap(), &opened.tokens.unwrap())
    }
}

#[tokio::test]
async fn an_authenticator_is_on_when_it_has_shown_a_code() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);

    let before = auth.mfa_state(&caller).await;
    let response = auth.mfa(&caller).enroll_totp(pb::EnrollTotpRequest {}).await.unwrap();
    let enrolled = response.into_inner();
    let not_yet = auth.login_with(EMAIL, PASSWORD).await;
    let authenticator = crate::authenticator::Authenticator::new(&enrolled.secret);
    let late = authenticator.code(auth.service.clock.now() + TimeDelta::minutes(5));
    let request = pb::ConfirmTotpRequest { code: late };
    let wrong = auth.mfa(&caller).confirm_totp(request).await.unwrap_err();
    let codes = auth.confirm(&caller, &authenticator).await.unwrap();
    let after = auth.mfa_state(&caller).await;

    assert_eq!(before, pb::GetMfaStateResponse::default());
    let uri = format!(
        "otpauth://totp/ihuman:ann%40example.com?secret={}&issuer=ihuman&algorithm=SHA1&digits=6&period=30",
        enrolled.secret
    );
    assert_eq!((enrolled.secret.len(), enrolled.otpauth_uri), (32, uri));
    assert!(enrolled.qr_code_svg.contains("<svg"));
    assert!(not_yet.is_ok());
    assert_eq!(violations(&wrong), ["code"]);
    assert_eq!(codes.len(), 10);
    assert!(after.enabled && after.totp_confirm_time.is_some());
    assert_eq!((after.recovery_codes_left, after.recovery_codes_used), (10, 0));
    // Nothing that was shown is kept as it is, or in the audit trail.
    let kept: String = auth
        .scalar(
            "select concat_ws(' ', (select string_agg(t::text, ' ') from auth.totps t),
                 (select string_agg(c::text, ' ') from auth.recovery_codes c),
                 (select string_agg(a::text, ' ') from audit.audit_logs a))",
        )
        .await;
    let raw = data_encoding::BASE32_NOPAD.decode(enrolled.secret.as_bytes()).unwrap();
    let raw = data_encoding::HEXLOWER.encode(&raw);
    for secret in
        codes.iter().flat_map(|it| [it.clone(), it.replace('-', "")]).chain([raw, enrolled.secret])
    {
        assert!(!kept.contains(&secret), "{secret}");
    }
    auth.audited("mfa.enroll_totp").await.is_by(&caller);
    let confirmed = auth.audited("mfa.confirm_totp").await;
    confirmed.is_by(&caller);
    assert_eq!(confirmed.entity, ("user".to_owned(), user.id));
    let refused = auth.audited("/ihuman.auth.v1.MfaService/ConfirmTotp").await;
    assert_eq!(
        (refused.outcome.as_str(), refused.reason.as_str()),
        ("denied", "SECOND_FACTOR_FAILED")
    );
}

#[tokio::test]
async fn an_enrolment_is_replaced_by_another_and_ends_after_ten_minutes() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let request = pb::ConfirmTotpRequest { code: "123456".to_owned() };
    let nothing = auth.mfa(&caller).confirm_totp(request).await.unwrap_err();

    let first = auth.enroll(&caller).await;
    let second = auth.enroll(&caller).await;
    let replaced = auth.confirm(&caller, &first).await.unwrap_err();
    auth.service.clock.advance(TimeDelta::minutes(11));
    let late = auth.confirm(&caller, &second).await.unwrap_err();
    let third = auth.enroll(&caller).await;

    assert_eq!(violations(&replaced), ["code"]);
    for status in [nothing, late] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::FailedPrecondition, Reason::WrongState)
        );
    }
    auth.service.clock.advance(TimeDelta::minutes(9));
    assert!(auth.confirm(&caller, &third).await.is_ok());
}

#[tokio::test]
async fn another_authenticator_takes_over_when_it_has_shown_a_code() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;

    let new = auth.enroll(&ann.caller).await;
    let old_before = auth.login_with_code(EMAIL, &ann.authenticator).await;
    let codes = auth.confirm(&ann.caller, &new).await.unwrap();
    auth.wait_for_the_next_code();
    let old_after = auth.login_with_code(EMAIL, &ann.authenticator).await.unwrap_err();
    let new_after = auth.login_with_code(EMAIL, &new).await;

    assert!(old_before.is_ok() && new_after.is_ok());
    assert_eq!(reason(&old_after), Reason::SecondFactorFailed);
    let amr: Vec<String> =
        auth.scalar("select amr from auth.sessions order by session_id limit 1").await;
    assert_eq!(amr, ["pwd", "otp", "mfa"]);
    // The codes are the account's, not the authenticator's.
    assert!(codes.is_empty());
    let challenge = auth.challenge(EMAIL).await;
    assert!(auth.complete(&challenge, recovery_code(&ann.recovery_codes[0])).await.is_ok());
}

#[tokio::test]
async fn a_session_that_guesses_the_code_to_confirm_waits() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let authenticator = auth.enroll(&caller).await;
    let guess = async || {
        let code = authenticator.code(auth.service.clock.now() + TimeDelta::minutes(9));
        let request = pb::ConfirmTotpRequest { code };
        auth.mfa(&caller).confirm_totp(request).await.unwrap_err()
    };

    let first = guess().await;
    auth.execute("update auth.locks set failures = 8 where user_id = $1", caller.user_id).await;
    let ninth = guess().await;
    let waits = auth.confirm(&caller, &authenticator).await.unwrap_err();
    auth.service.clock.advance(TimeDelta::minutes(6));
    let done = auth.confirm(&caller, &authenticator).await;

    assert_eq!(
        (violations(&first), violations(&ninth)),
        (vec!["code".to_owned()], vec!["code".to_owned()])
    );
    assert_eq!(reason(&waits), Reason::TooManyFailures);
    assert!(done.is_ok());
}

#[tokio::test]
async fn turned_off_a_login_needs_the_password_alone_and_the_codes_are_gone() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;

    auth.disable(&ann.caller).await.unwrap();
    auth.disable(&ann.caller).await.unwrap();

    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    assert_eq!(auth.mfa_state(&ann.caller).await, pb::GetMfaStateResponse::default());
    let record = auth.audited("mfa.disable_totp").await;
    record.is_by(&ann.caller);
    assert_eq!(record.old_values.unwrap()["mfa_enabled"], true);
    assert_eq!(record.new_values.unwrap()["mfa_enabled"], false);
    let none = auth.regenerate(&ann.caller).await.unwrap_err();
    assert_eq!(reason(&none), Reason::WrongState);
}

#[tokio::test]
async fn who_has_proved_the_password_alone_can_not_change_the_second_factor() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let thief = bearer(&user, &auth.login(EMAIL).await);
    let owner = bearer(&user, &auth.login(EMAIL).await);
    let authenticator = auth.enroll(&owner).await;
    let codes = auth.confirm(&owner, &authenticator).await.unwrap();
    let admin = auth.credentials.person(Role::Admin).await;
    let authenticator = auth.enroll(&admin).await;
    auth.confirm(&admin, &authenticator).await.unwrap();
    let proved_less = "update auth.sessions set amr = '{pwd}' where user_id = $1";
    auth.execute(proved_less, admin.user_id).await;

    let reset = auth.reset_mfa(&admin, &admin.user_id.to_string()).await.unwrap_err();
    let disabled = auth.disable(&thief).await.unwrap_err();
    let regenerated = auth.regenerate(&thief).await.unwrap_err();
    let enrolled = auth.mfa(&thief).enroll_totp(pb::EnrollTotpRequest {}).await.unwrap_err();

    for status in [reset, disabled, regenerated, enrolled] {
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::PermissionDenied, Reason::RecentAuthenticationRequired)
        );
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!(metadata["method"], "ihuman.auth.v1.AuthService/Reauthenticate");
    }
    auth.audited("/ihuman.auth.v1.MfaService/DisableTotp").await.is_by(&thief);
    let second_factor = pb::reauthenticate_request::SecondFactor::RecoveryCode(codes[0].clone());
    let stepped_up = auth.reauthenticate(&thief, PASSWORD, Some(second_factor)).await.unwrap();
    assert!(auth.disable(&stepped_up).await.is_ok());
}

#[tokio::test]
async fn new_recovery_codes_end_the_old_ones() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    auth.recover(EMAIL, PASSWORD, &ann.recovery_codes[0]).await;
    let before = auth.mfa_state(&ann.caller).await;

    let codes = auth.regenerate(&ann.caller).await.unwrap();

    assert_eq!((before.recovery_codes_left, before.recovery_codes_used), (9, 1));
    let after = auth.mfa_state(&ann.caller).await;
    assert_eq!((after.recovery_codes_left, after.recovery_codes_used), (10, 0));
    let challenge = auth.challenge(EMAIL).await;
    let old = auth.complete(&challenge, recovery_code(&ann.recovery_codes[1])).await.unwrap_err();
    assert_eq!(reason(&old), Reason::SecondFactorFailed);
    assert!(auth.complete(&challenge, recovery_code(&codes[0])).await.is_ok());
    auth.audited("mfa.regenerate_recovery_codes").await.is_by(&ann.caller);
}

#[tokio::test]
async fn a_short_password_needs_a_second_factor_and_keeps_it_on() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let (user, tokens) = auth.person("bob@example.com").await;
    let bob = bearer(&user, &tokens);

    let alone = auth.change_password(&bob, PASSWORD, SHORT).await.unwrap_err();
    let too_short = auth.change_password(&ann.caller, PASSWORD, "gxqz lm").await.unwrap_err();
    auth.change_password(&ann.caller, PASSWORD, SHORT).await.unwrap();
    let caller = auth.recover(EMAIL, SHORT, &ann.recovery_codes[0]).await;
    let kept = auth.disable(&caller).await.unwrap_err();
    let state = auth.mfa_state(&caller).await;
    auth.change_password(&caller, SHORT, PASSWORD).await.unwrap();
    let caller = auth.recover(EMAIL, PASSWORD, &ann.recovery_codes[1]).await;
    let disabled = auth.disable(&caller).await;

    for status in [alone, too_short] {
        assert_eq!(violations(&status), ["new_password"]);
    }
    assert_eq!((kept.code(), reason(&kept)), (Code::FailedPrecondition, Reason::WrongState));
    assert!(kept.message().contains("password has fewer than 15 characters"), "{}", kept.message());
    assert!(state.enabled && state.recovery_codes_left == 9);
    assert!(disabled.is_ok());
}

#[tokio::test]
async fn support_resets_who_lost_everything_and_ends_the_sessions() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let manager = auth.manager().await;
    let challenge = auth.challenge(EMAIL).await;

    let done = auth.reset_mfa(&manager, &ann.user.id).await.unwrap();
    let again = auth.reset_mfa(&manager, &ann.user.id).await.unwrap();

    assert!(done.reset && !done.password_reset_required);
    assert_eq!((done.revoked_session_count, again), (1, pb::ResetMfaResponse::default()));
    assert_eq!(
        reason(&auth.refuses_within_a_second(&ann.caller).await),
        Reason::CredentialsRevoked
    );
    let proof = totp_code(&auth.code(&ann.authenticator));
    let status = auth.complete(&challenge, proof).await.unwrap_err();
    assert_eq!(reason(&status), Reason::ChallengeInvalid);
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    let record = auth.audited("mfa.reset").await;
    record.is_by(&manager);
    assert_eq!(record.entity, ("user".to_owned(), ann.user.id));
}

#[tokio::test]
async fn a_short_password_does_not_outlive_the_second_factor() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.change_password(&ann.caller, PASSWORD, SHORT).await.unwrap();

    let done = auth.reset_mfa(&admin, &ann.user.id).await.unwrap();

    assert!(done.password_reset_required);
    let status = auth.login_with(EMAIL, SHORT).await.unwrap_err();
    assert_eq!(reason(&status), Reason::LoginFailed);
    let record = auth.audited("mfa.reset").await;
    assert_eq!(record.new_values.unwrap()["ended_password"], true);
}

#[tokio::test]
async fn only_an_administrator_resets_an_administrator() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);

    let refused = auth.reset_mfa(&manager, &admin.user_id.to_string()).await.unwrap_err();
    let unknown = auth.reset_mfa(&manager, &Uuid::now_v7().to_string()).await.unwrap_err();
    let malformed = auth.reset_mfa(&manager, "7").await.unwrap_err();

    assert_eq!(reason(&refused), Reason::NotAllowed);
    assert_eq!(reason(&unknown), Reason::NotFound);
    assert_eq!(violations(&malformed), ["user_id"]);
    auth.audited("/ihuman.auth.v1.MfaService/ResetMfa").await.is_by(&manager);
}

#[tokio::test]
async fn nothing_of_the_second_factor_outlives_the_account_or_its_use() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let (bob, tokens) = auth.person("bob@example.com").await;
    auth.enroll(&bearer(&bob, &tokens)).await;
    auth.challenge(EMAIL).await;
    let counts = "select concat_ws(' ', (select count(*) from auth.totps),
                      (select count(*) from auth.recovery_codes),
                      (select count(*) from auth.login_challenges))";
    let before: String = auth.scalar(counts).await;
    let db = auth.database.superuser.connect_options().as_ref().clone();
    let db = sqlx::PgPool::connect_with(db.options([("search_path", "auth")])).await.unwrap();

    auth_service::sweep(&db, Utc::now()).await.unwrap();
    let live: String = auth.scalar(counts).await;
    auth_service::sweep(&db, Utc::now() + TimeDelta::minutes(20)).await.unwrap();
    let swept: String = auth.scalar(counts).await;
    auth.challenge(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let delete = pb::DeleteUserRequest { user_id: ann.user.id };
    auth.users(&admin).delete_user(delete).await.unwrap();
    let deleted: String = auth.scalar(counts).await;

    assert_eq!([before, live, swept, deleted], ["2 10 1", "2 10 1", "1 10 0", "0 0 0"]);
}
