//! What strangers get out of somebody else's address, where addresses must be verified: nothing.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::testing::reason;
use tonic::Code;
use uuid::Uuid;

use crate::{
    email::{REQUIRED, about, median, to},
    mail::Mailing as _,
    smtp::SmtpServer,
    support::{Auth, EMAIL, PASSWORD, registration},
};

/// The password of a stranger, and one that nobody has.
const STRANGE: &str = "a password that a stranger knows";
const WRONG: &str = "a wrong password, long enough";

impl Auth {
    /// Opens an account with a password other than [`PASSWORD`].
    async fn sign_up_as_stranger(&self, email: &str) {
        let request = pb::RegisterRequest { password: STRANGE.to_owned(), ..registration(email) };
        self.auth().register(request).await.unwrap();
    }
}

#[tokio::test]
async fn who_registers_an_address_and_logs_in_does_not_learn_whether_it_was_taken() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.verified(&server, EMAIL).await;
    let mut seen = Vec::new();

    for email in [EMAIL, "free@example.com"] {
        auth.sign_up_as_stranger(email).await;
        let mut answers = Vec::new();
        for _ in 0..3 {
            let status = auth.login_with(email, STRANGE).await.unwrap_err();
            answers.push((status.code(), reason(&status)));
        }
        seen.push(answers);
    }
    auth.until(
        "select count(*) = 6 from audit.audit_logs
         where action = '/ihuman.auth.v1.AuthService/Login' and reason = 'LOGIN_FAILED'",
    )
    .await;

    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], [(Code::Unauthenticated, Reason::LoginFailed); 3]);
    let counts =
        "select array_agg(failures order by user_id) from auth.locks where scope = 'account'";
    let counts: Vec<i32> = auth.scalar(counts).await;
    assert_eq!((counts.len(), counts[0]), (2, counts[1]));
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.sessions").await, 1);
}

#[tokio::test]
async fn a_login_takes_as_long_before_the_address_is_verified_as_with_a_wrong_password() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.verified(&server, EMAIL).await;
    auth.sign_up("new@example.com").await;
    let (mut unverified, mut wrong) = (Vec::new(), Vec::new());

    for _ in 0..15 {
        for (email, password, times) in
            [("new@example.com", PASSWORD, &mut unverified), (EMAIL, WRONG, &mut wrong)]
        {
            auth.execute("delete from auth.locks where $1::uuid is not null", Uuid::nil()).await;
            let started = Instant::now();
            let status = auth.login_with(email, password).await.unwrap_err();
            times.push(started.elapsed());
            assert_eq!(reason(&status), Reason::LoginFailed);
        }
    }

    let (unverified, wrong) = (median(unverified), median(wrong));
    let slack = Duration::from_millis(20);
    let alike = unverified < wrong * 2 + slack && wrong < unverified * 2 + slack;
    assert!(alike, "{unverified:?} {wrong:?}");
}

#[tokio::test]
async fn the_link_alone_does_not_verify_an_account_that_a_stranger_opened_first() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.sign_up_as_stranger(EMAIL).await;
    let first = server.next().await;
    // The owner comes, and the stranger has the link sent just then.
    auth.sign_up(EMAIL).await;
    let told = server.next().await;
    auth.ask_to_verify(EMAIL).await;
    let token = server.next().await.token();

    let opened = auth.verify_email_with(&token, PASSWORD).await.unwrap_err();
    let stranger = auth.login_with(EMAIL, STRANGE).await.unwrap_err();
    auth.ask_for_reset(EMAIL).await;
    let reset = loop {
        let mail = server.next().await;
        if mail.header("Subject") == "Choose a new password" {
            break mail.token();
        }
    };
    let new_password = PASSWORD.to_owned();
    let request = pb::ResetPasswordRequest { token: reset, new_password };
    auth.password_resets().reset_password(request).await.unwrap();
    let late = auth.verify_email_with(&first.token(), STRANGE).await.unwrap_err();
    let still = auth.login_with(EMAIL, STRANGE).await.unwrap_err();

    assert_eq!(about(&told), to(EMAIL, "You have an account already"));
    assert_eq!((opened.code(), reason(&opened)), (Code::Unauthenticated, Reason::LoginFailed));
    assert_eq!((reason(&stranger), reason(&still)), (Reason::LoginFailed, Reason::LoginFailed));
    assert_eq!(reason(&late), Reason::EmailTokenInvalid);
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_stranger_who_comes_second_changes_nothing() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.sign_up(EMAIL).await;
    let token = server.next().await.token();
    auth.sign_up_as_stranger(EMAIL).await;
    server.next().await;

    let strange = auth.verify_email_with(&token, STRANGE).await.unwrap_err();
    auth.verify_email(&token).await.unwrap();

    assert_eq!(reason(&strange), Reason::LoginFailed);
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    let refused = auth.audit("/ihuman.auth.v1.EmailService/VerifyEmail").await;
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (refused[0].outcome.as_str(), refused[0].reason.as_str()),
        ("denied", "LOGIN_FAILED")
    );
}

#[tokio::test]
async fn passwords_are_not_guessed_with_the_token_of_a_mail() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.sign_up(EMAIL).await;
    let token = server.next().await.token();

    let mut failures = Vec::new();
    for _ in 0..3 {
        failures.push(reason(&auth.verify_email_with(&token, WRONG).await.unwrap_err()));
    }
    // The wait that began is a second, which a slow machine may take.
    let wait = "update auth.locks set wait_until = wait_until + interval '1 hour' where $1::uuid is not null";
    auth.execute(wait, Uuid::nil()).await;
    let waiting = auth.verify_email(&token).await.unwrap_err();
    let login = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    auth.service.clock.advance(TimeDelta::minutes(61));
    auth.verify_email(&token).await.unwrap();

    assert_eq!(failures, [Reason::LoginFailed; 3]);
    // The count is that of Login.
    assert_eq!([reason(&waiting), reason(&login)], [Reason::TooManyFailures; 2]);
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}
