//! What mails tell the owner of how one logs in, and of where somebody did.

use ihuman_proto::auth::v1 as pb;
use ihuman_shared::access::Role;

use crate::{
    authenticator::recovery_code,
    device::Device,
    email::{REQUIRED, about, to},
    mail::Mailing as _,
    smtp::SmtpServer,
    support::{EMAIL, PASSWORD, bearer, login},
};

const CHANGED: &str = "How you log in was changed";
const NEW_DEVICE: &str = "Somebody logged in on a new device";
const VERIFY: &str = "update auth.users set email_verified_at = now() where user_id = $1";

impl SmtpServer {
    /// The next mail is such a notice, and says `change`.
    async fn tells(&self, change: &str) {
        let mail = self.next().await;
        assert_eq!(about(&mail), to(EMAIL, CHANGED), "{change}");
        assert_eq!(mail.body().matches(change).count(), 2, "{}", mail.body());
        assert!(mail.body().contains("https://app.example.com/reset-password"));
    }
}

#[tokio::test]
async fn the_owner_hears_of_every_change_of_a_second_factor() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let ann = auth.person_with_mfa(EMAIL).await;
    server.tells("An authenticator was added.").await;

    let passkey = auth.register_passkey(&ann.caller, &mut Device::p256()).await.unwrap();
    server.tells("A passkey was added.").await;
    auth.delete_passkey(&ann.caller, &passkey.id).await.unwrap();
    server.tells("A passkey was removed.").await;
    auth.mfa(&ann.caller)
        .regenerate_recovery_codes(pb::RegenerateRecoveryCodesRequest {})
        .await
        .unwrap();
    server.tells("The recovery codes were replaced").await;
    auth.mfa(&ann.caller).disable_totp(pb::DisableTotpRequest {}).await.unwrap();
    server.tells("The authenticator was removed.").await;
    let authenticator = auth.enroll(&ann.caller).await;
    let codes = auth.confirm(&ann.caller, &authenticator).await.unwrap();
    server.tells("An authenticator was added.").await;
    let challenge = auth.challenge(EMAIL).await;
    auth.complete(&challenge, recovery_code(&codes[0])).await.unwrap();
    server.tells("A recovery code was used").await;
    let admin = auth.credentials.person(Role::Admin).await;
    let request = pb::ResetMfaRequest { user_id: ann.user.id };
    auth.mfa(&admin).reset_mfa(request).await.unwrap();
    server.tells("Every second factor and recovery code was removed").await;

    auth.quiet().await;
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn what_was_refused_is_told_to_nobody() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let user = auth.register(EMAIL).await;
    let thief = bearer(&user, &auth.login(EMAIL).await);
    let owner = bearer(&user, &auth.login(EMAIL).await);
    let theirs = auth.enroll(&thief).await;
    let authenticator = auth.enroll(&owner).await;
    auth.confirm(&owner, &authenticator).await.unwrap();
    server.tells("An authenticator was added.").await;

    auth.confirm(&thief, &theirs).await.unwrap_err();
    auth.mfa(&thief).disable_totp(pb::DisableTotpRequest {}).await.unwrap_err();
    let challenge = auth.challenge(EMAIL).await;
    auth.complete(&challenge, recovery_code("00000-00000-00000")).await.unwrap_err();

    auth.quiet().await;
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn the_owner_hears_of_a_login_on_a_new_device_and_of_no_other() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let sign_up = async |device: &str| {
        let opened = auth.auth().login(login(EMAIL, PASSWORD, device)).await.unwrap();
        opened.into_inner()
    };
    auth.auth().register(crate::support::registration(EMAIL)).await.unwrap();
    auth.verify_email(&server.next().await.token()).await.unwrap();

    let first = sign_up("").await;
    let known = sign_up(&first.device_token).await;
    auth.quiet().await;
    let before = server.left();
    let elsewhere = sign_up("").await;
    let notice = server.next().await;
    // A second factor does not make the device a new one.
    let caller = bearer(&known.user.unwrap(), &known.tokens.unwrap());
    let authenticator = auth.enroll(&caller).await;
    auth.confirm(&caller, &authenticator).await.unwrap();
    server.tells("An authenticator was added.").await;
    auth.wait_for_the_next_code();
    let challenge = auth.challenge_on(EMAIL, &elsewhere.device_token).await;
    let code = crate::authenticator::totp_code(&auth.code(&authenticator));
    auth.complete(&challenge, code).await.unwrap();
    auth.quiet().await;
    let after = server.left();
    auth.wait_for_the_next_code();
    auth.login_with_code(EMAIL, &authenticator).await.unwrap();
    let with_code = server.next().await;

    assert_eq!((before, after), (0, 0));
    assert_eq!(about(&notice), to(EMAIL, NEW_DEVICE));
    assert_eq!(about(&with_code), to(EMAIL, NEW_DEVICE));
}

#[tokio::test]
async fn logins_on_new_devices_are_told_to_a_verified_address_and_five_times_an_hour() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, _) = auth.person(EMAIL).await;
    let told = "select count(*) from auth.mails where kind = 'new_device' and sent_at is not null";

    auth.login(EMAIL).await;
    auth.quiet().await;
    let unverified: i64 = auth.scalar(told).await;
    auth.execute(VERIFY, user.id.parse().unwrap()).await;
    for _ in 0..7 {
        auth.login(EMAIL).await;
        auth.quiet().await;
    }

    assert_eq!((unverified, auth.scalar::<i64>(told).await), (0, 5));
    assert_eq!(server.left(), 5);
}
