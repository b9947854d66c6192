//! What somebody can do who has no more than the password.

use chrono::TimeDelta;
use ihuman_proto::{
    auth::v1::{self as pb, reauthenticate_request::SecondFactor},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{access::Role, testing::reason};
use tonic::Request;

use crate::{
    authenticator::{Authenticator, totp_code},
    device::Device,
    support::{Auth, EMAIL, PASSWORD, bearer, login},
};

const WRONG: &str = "a wrong password, long enough";
const NEW_PASSWORD: &str = "a kettle that sings at dawn";
/// Makes the next failure the ninth, which is followed by a wait of 5 minutes.
const EIGHT_FAILURES: &str = "update auth.locks set failures = 8 where user_id = $1";
const SCOPES: &str =
    "select coalesce(string_agg(kind || ' ' || scope, ', ' order by kind, scope), '')
     from auth.locks where failures > 0";

impl Auth {
    /// The device token of a login with the password alone.
    async fn device_token(&self) -> String {
        let opened = self.auth().login(login(EMAIL, PASSWORD, "")).await.unwrap();
        opened.into_inner().device_token
    }

    /// Tries a code that `authenticator` does not show, after a login on a device.
    async fn guess_on(&self, device_token: &str, authenticator: &Authenticator) -> Reason {
        let challenge = self.challenge_on(EMAIL, device_token).await;
        let code = authenticator.code(self.service.clock.now() + TimeDelta::minutes(9));
        reason(&self.complete(&challenge, totp_code(&code)).await.unwrap_err())
    }
}

#[tokio::test]
async fn they_confirm_no_authenticator_once_there_is_a_second_factor() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let thief = bearer(&user, &auth.login(EMAIL).await);
    let owner = bearer(&user, &auth.login(EMAIL).await);
    let theirs = auth.enroll(&thief).await;
    let kept = "select count(*) from auth.totps";

    auth.register_passkey(&owner, &mut Device::p256()).await.unwrap();
    let left: i64 = auth.scalar(kept).await;
    let refused = auth.confirm(&thief, &theirs).await.unwrap_err();

    assert_eq!(reason(&refused), Reason::RecentAuthenticationRequired);
    assert_eq!(left, 0);
    let proved: i64 =
        auth.scalar("select count(*) from auth.sessions where 'mfa' = any (amr)").await;
    assert_eq!(proved, 0);
    assert_eq!(auth.scalar::<String>(SCOPES).await, "");
    auth.audited("/ihuman.auth.v1.MfaService/ConfirmTotp").await.is_by(&thief);
}

#[tokio::test]
async fn they_finish_no_passkey_once_there_is_a_second_factor() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let thief = bearer(&user, &auth.login(EMAIL).await);
    let owner = bearer(&user, &auth.login(EMAIL).await);
    let theirs = Device::p256().create(&auth.creation_options(&thief).await);

    let authenticator = auth.enroll(&owner).await;
    auth.confirm(&owner, &authenticator).await.unwrap();
    let refused = auth.finish_registration(&thief, theirs, "").await.unwrap_err();

    assert_eq!(reason(&refused), Reason::RecentAuthenticationRequired);
}

#[tokio::test]
async fn their_devices_share_the_count_of_the_second_factor() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let owner = bearer(&user, &auth.login(EMAIL).await);
    let hoard = [auth.device_token().await, auth.device_token().await, auth.device_token().await];
    let authenticator = auth.enroll(&owner).await;
    auth.confirm(&owner, &authenticator).await.unwrap();
    auth.wait_for_the_next_code();
    let proved = auth.login_with_code(EMAIL, &authenticator).await.unwrap().device_token;
    auth.wait_for_the_next_code();

    let first = auth.guess_on(&hoard[0], &authenticator).await;
    auth.execute(EIGHT_FAILURES, owner.user_id).await;
    let ninth = auth.guess_on(&hoard[1], &authenticator).await;
    let tenth = auth.guess_on(&hoard[2], &authenticator).await;
    let scopes: String = auth.scalar(SCOPES).await;
    // Who proved the second factor there does not wait for them.
    let challenge = auth.challenge_on(EMAIL, &proved).await;
    let on_proved = auth.complete(&challenge, totp_code(&auth.code(&authenticator))).await;

    assert_eq!([first, ninth], [Reason::SecondFactorFailed; 2]);
    let expected = "second_factor account, second_factor address";
    assert_eq!((tenth, &*scopes), (Reason::TooManyFailures, expected));
    let proved = on_proved.unwrap();
    // Another authenticator was not proved there.
    let session = bearer(&user, &proved.tokens.unwrap());
    auth.mfa(&session).disable_totp(pb::DisableTotpRequest {}).await.unwrap();
    let other = auth.enroll(&session).await;
    auth.confirm(&session, &other).await.unwrap();
    assert_eq!(auth.guess_on(&proved.device_token, &other).await, Reason::TooManyFailures);
}

#[tokio::test]
async fn their_devices_are_strangers_after_a_change_of_the_password_and_the_owners_is_not() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let owner = bearer(&user, &tokens);
    let theirs = auth.device_token().await;
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };

    let changed = auth.auth_as(&owner).change_password(change).await.unwrap().into_inner();
    auth.auth().login(login(EMAIL, WRONG, &theirs)).await.unwrap_err();
    auth.execute(EIGHT_FAILURES, owner.user_id).await;
    auth.auth().login(login(EMAIL, WRONG, &theirs)).await.unwrap_err();
    let scopes: String = auth.scalar(SCOPES).await;
    let elsewhere = auth.login_with(EMAIL, NEW_PASSWORD).await.unwrap_err();
    let own = auth.auth().login(login(EMAIL, NEW_PASSWORD, &changed.device_token)).await;

    assert_eq!(scopes, "password account, password address");
    assert_eq!(reason(&elsewhere), Reason::TooManyFailures);
    assert!(own.is_ok(), "{own:?}");
}

#[tokio::test]
async fn their_sessions_share_the_count_of_the_second_factor_and_the_owners_has_its_own() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let owner = bearer(&user, &auth.login(EMAIL).await);
    let thieves =
        [bearer(&user, &auth.login(EMAIL).await), bearer(&user, &auth.login(EMAIL).await)];
    let authenticator = auth.enroll(&owner).await;
    auth.confirm(&owner, &authenticator).await.unwrap();
    auth.wait_for_the_next_code();
    let guess = async |caller| {
        let code = authenticator.code(auth.service.clock.now() + TimeDelta::minutes(9));
        let factor = Some(SecondFactor::TotpCode(code));
        let status = auth.reauthenticate(caller, PASSWORD, factor).await.err().unwrap();
        reason(&status)
    };

    let first = guess(&thieves[0]).await;
    auth.execute(EIGHT_FAILURES, owner.user_id).await;
    guess(&thieves[0]).await;
    let of_the_other = guess(&thieves[1]).await;
    let of_the_owner = guess(&owner).await;

    assert_eq!(first, Reason::InvalidField);
    assert_eq!((of_the_other, of_the_owner), (Reason::TooManyFailures, Reason::InvalidField));
    let admin = auth.credentials.person(Role::Admin).await;
    let request = pb::GetLockStateRequest { user_id: user.id };
    let state = auth.locks(&admin).get_lock_state(request).await.unwrap().into_inner();
    let scopes: Vec<_> = state.locks.iter().map(pb::Lock::scope).collect();
    assert_eq!(scopes, [pb::LockScope::Session, pb::LockScope::Account]);
}

#[tokio::test]
async fn an_address_that_fails_for_many_accounts_is_reported_once() {
    let auth = Auth::start_with(&["--trusted-proxies", "127.0.0.0/8"]).await;
    auth.register(EMAIL).await;
    let fail = async |address: &str, email: &str| {
        let mut request = Request::new(login(email, WRONG, ""));
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        auth.auth().login(request).await.unwrap_err();
    };
    let kept = "select max(cardinality(accounts)) from auth.locks";

    for _ in 0..12 {
        // Whoever mistypes their own.
        fail("192.0.2.1", "bob@example.com").await;
        auth.service.clock.advance(TimeDelta::minutes(30));
    }
    for n in 0..9 {
        fail("192.0.2.7", &format!("{n}@example.com")).await;
    }
    let before = auth.audit("lock.credential_stuffing").await.len();
    fail("192.0.2.7", EMAIL).await;
    for n in 9..20 {
        fail("192.0.2.7", &format!("{n}@example.com")).await;
    }

    assert_eq!(before, 0);
    let record = auth.recorded("lock.credential_stuffing").await;
    assert_eq!(record.entity, ("address".to_owned(), "192.0.2.7".to_owned()));
    assert_eq!(record.new_values.unwrap()["accounts"], 10);
    assert_eq!(auth.audit("lock.credential_stuffing").await.len(), 1);
    assert_eq!(auth.scalar::<i32>(kept).await, 10);
}
