//! Verifying that an address belongs to whoever registers with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{access::Role, testing::reason};
use tokio::sync::Barrier;
use tonic::{Code, Response, Status};

use crate::{
    device::Device,
    mail::Mailing as _,
    smtp::{Mail, SmtpServer},
    support::{Auth, EMAIL, PASSWORD, bearer, registration},
};

/// What a service is started with where addresses must be verified.
pub(crate) const REQUIRED: [&str; 2] = ["--email-verification", "required"];

/// An answer with all that differs by chance taken out.
pub(crate) fn answer<T: std::fmt::Debug>(response: Result<Response<T>, Status>) -> String {
    let mut response = response.unwrap();
    for name in ["date", "x-request-id", "ratelimit-remaining", "ratelimit-reset"] {
        response.metadata_mut().remove(name);
    }
    format!("{:?} {:?}", response.metadata(), response.get_ref())
}

impl Auth {
    pub(crate) async fn sign_up(&self, email: &str) -> String {
        answer(self.auth().register(registration(email)).await)
    }

    pub(crate) async fn verify_email(&self, token: &str) -> Result<(), Status> {
        self.verify_email_with(token, PASSWORD).await
    }

    pub(crate) async fn verify_email_with(
        &self,
        token: &str,
        password: &str,
    ) -> Result<(), Status> {
        let (token, password) = (token.to_owned(), password.to_owned());
        let request = pb::VerifyEmailRequest { token, password };
        self.emails().verify_email(request).await.map(drop)
    }

    /// A verified person, where addresses must be verified.
    pub(crate) async fn verified(
        &self,
        server: &SmtpServer,
        email: &str,
    ) -> (pb::User, pb::Tokens) {
        self.sign_up(email).await;
        self.verify_email(&server.next().await.token()).await.unwrap();
        let request = crate::support::login(email, PASSWORD, "");
        let response = self.auth().login(request).await.unwrap().into_inner();
        (response.user.unwrap(), response.tokens.unwrap())
    }
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub(crate) fn about(mail: &Mail) -> (String, String) {
    (mail.to.join(" "), mail.header("Subject"))
}

pub(crate) fn to(email: &str, subject: &str) -> (String, String) {
    (format!("TO:<{email}>"), subject.to_owned())
}

#[tokio::test]
async fn nobody_logs_in_before_the_address_is_verified_where_that_is_required() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;

    auth.sign_up(EMAIL).await;
    let mail = server.next().await;
    let early = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    let again = server.next().await;
    let wrong = auth.login_with(EMAIL, "a wrong password, long enough").await.unwrap_err();
    auth.quiet().await;
    auth.verify_email(&again.token()).await.unwrap();
    let request = crate::support::login(EMAIL, PASSWORD, "");
    let user = auth.auth().login(request).await.unwrap().into_inner().user.unwrap();

    assert_eq!(about(&mail), to(EMAIL, "Verify your e-mail address"));
    let link = format!("https://app.example.com/verify-email#token={}", mail.token());
    assert!(mail.body().contains(&link));
    assert_eq!((about(&again), server.left()), (about(&mail), 0));
    let seen = (early.code(), reason(&early), early.message());
    assert_eq!(seen, (Code::Unauthenticated, Reason::LoginFailed, wrong.message()));
    let verified = user.email_verify_time.unwrap();
    assert!(verified.seconds >= user.create_time.unwrap().seconds);
    let record = auth.audited("user.verify_email").await;
    assert_eq!(record.entity.1, user.id);
    assert!(!auth.audit_text().await.contains(&again.token()));
}

#[tokio::test]
async fn registering_says_the_same_for_a_free_address_and_for_one_that_is_taken() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.verified(&server, EMAIL).await;
    let (closed, _) = auth.verified(&server, "closed@example.com").await;
    let close = pb::DeactivateUserRequest { user_id: closed.id };
    auth.users(&admin).deactivate_user(close).await.unwrap();

    let free = auth.sign_up("new@example.com").await;
    let first = server.next().await;
    let taken = auth.sign_up("ANN@example.com").await;
    let second = server.next().await;
    let unverified = auth.sign_up("new@example.com").await;
    let third = server.next().await;
    let deactivated = auth.sign_up("closed@example.com").await;
    auth.quiet().await;

    assert!(free.contains("RegisterResponse { user: None }"), "{free}");
    assert_eq!([&taken, &unverified, &deactivated], [&free; 3]);
    assert_eq!(about(&first), to("new@example.com", "Verify your e-mail address"));
    assert_eq!(about(&second), to(EMAIL, "You have an account already"));
    // Whoever registered first may be a stranger: no link that would let them in.
    assert_eq!(about(&third), to("new@example.com", "You have an account already"));
    assert!(!second.body().contains("#token") && !third.body().contains("#token"));
    assert_eq!(server.left(), 0);
    // The account is as it was.
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    assert_eq!(auth.audit("user.registration_attempt").await.len(), 3);
    assert_eq!(auth.audit("user.register").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_twice_at_the_same_time_says_nothing_either() {
    let server = SmtpServer::start().await;
    let auth = Arc::new(server.auth(&REQUIRED).await);
    let free = auth.sign_up("first@example.com").await;
    // So that each waits for the one before it, whoever hashes first.
    sqlx::raw_sql(
        "create function pause() returns trigger language plpgsql
         as 'begin perform pg_sleep(0.2); return new; end';
         create trigger pause after insert on auth.users for each row execute function pause()",
    )
    .execute(&auth.database.superuser)
    .await
    .unwrap();

    let start = Arc::new(Barrier::new(2));
    let registrations: Vec<_> = (0..2)
        .map(|_| {
            let (auth, start) = (Arc::clone(&auth), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                auth.sign_up(EMAIL).await
            })
        })
        .collect();

    for registration in registrations {
        assert_eq!(registration.await.unwrap(), free);
    }
    assert_eq!(auth.audit("user.registration_attempt").await.len(), 1);
}

#[tokio::test]
async fn registering_takes_as_long_for_a_free_address_as_for_one_that_is_taken() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.sign_up(EMAIL).await;
    let (mut free, mut taken) = (Vec::new(), Vec::new());

    for n in 0..15 {
        for (email, times) in
            [(format!("{n}@example.com"), &mut free), (EMAIL.to_owned(), &mut taken)]
        {
            let started = Instant::now();
            auth.sign_up(&email).await;
            times.push(started.elapsed());
        }
    }

    let (free, taken) = (median(free), median(taken));
    let slack = Duration::from_millis(20);
    assert!(free < taken * 2 + slack && taken < free * 2 + slack, "{free:?} {taken:?}");
}

#[tokio::test]
async fn a_retry_with_the_same_request_id_sends_no_second_mail() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let request = || pb::RegisterRequest {
        request_id: "0190f3f0-0000-7000-8000-000000000001".to_owned(),
        ..registration(EMAIL)
    };

    let first = answer(auth.auth().register(request()).await);
    auth.quiet().await;
    let second = answer(auth.auth().register(request()).await);
    auth.quiet().await;

    assert_eq!(first, second);
    assert_eq!(server.left(), 1);
}

#[tokio::test]
async fn where_it_is_not_required_registering_is_as_before_and_verifying_is_possible() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let taken = auth.auth().register(registration(EMAIL)).await.unwrap_err();
    auth.quiet().await;
    assert_eq!(server.left(), 0);

    auth.ask_to_verify(EMAIL).await;
    auth.verify_email(&server.next().await.token()).await.unwrap();
    // There is nothing left to verify.
    auth.ask_to_verify(EMAIL).await;
    auth.quiet().await;

    assert_eq!(reason(&taken), Reason::AlreadyExists);
    assert_eq!(user.email_verify_time, None);
    let shown = auth.accepts(&bearer(&user, &tokens)).await.unwrap().user.unwrap();
    assert!(shown.email_verify_time.is_some());
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn asking_for_another_mail_says_nothing_about_the_account() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.verified(&server, "verified@example.com").await;
    auth.sign_up(EMAIL).await;
    let first = server.next().await.token();
    auth.quiet().await;

    let mut answers = Vec::new();
    for email in [EMAIL, "verified@example.com", "nobody@example.com"] {
        let request = pb::SendEmailVerificationRequest { email: email.to_owned() };
        answers.push(answer(auth.emails().send_email_verification(request).await));
    }
    let second = server.next().await.token();
    auth.quiet().await;
    let ended = auth.verify_email(&first).await.unwrap_err();
    auth.verify_email(&second).await.unwrap();

    assert_eq!([&answers[1], &answers[2]], [&answers[0]; 2]);
    assert_eq!((server.left(), reason(&ended)), (0, Reason::EmailTokenInvalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_verifies_once_and_for_a_day() {
    let server = SmtpServer::start().await;
    let auth = Arc::new(server.auth(&REQUIRED).await);
    auth.sign_up(EMAIL).await;
    let token = server.next().await.token();
    auth.service.clock.advance(TimeDelta::hours(24));
    let late = auth.verify_email(&token).await.unwrap_err();
    auth.ask_to_verify(EMAIL).await;
    let token = server.next().await.token();
    auth.service.clock.advance(TimeDelta::hours(23));

    let start = Arc::new(Barrier::new(16));
    let uses: Vec<_> = (0..16)
        .map(|_| {
            let (auth, start, token) = (Arc::clone(&auth), Arc::clone(&start), token.clone());
            tokio::spawn(async move {
                start.wait().await;
                auth.verify_email(&token).await
            })
        })
        .collect();
    let mut refused = 0;
    for used in uses {
        // Of as many at the same time, some are not even let near the password.
        refused += usize::from(used.await.unwrap().is_err());
    }

    assert_eq!((reason(&late), refused), (Reason::EmailTokenInvalid, 15));
    let again = auth.verify_email(&token).await.unwrap_err();
    assert_eq!(reason(&again), Reason::EmailTokenInvalid);
    assert_eq!(auth.audit("user.verify_email").await.len(), 1);
}

#[tokio::test]
async fn who_has_an_account_from_before_verifies_at_the_next_login_whichever_way_that_is() {
    let server = SmtpServer::start().await;
    let before = server.auth(&[]).await;
    let mut device = Device::ed25519();
    let (user, caller) = before.person_with_passkey(EMAIL, &mut device).await;
    assert_eq!(server.next().await.header("Subject"), "How you log in was changed");
    let arguments = server.arguments(&["--smtp-tls", "none", "--email-verification", "required"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let auth = before.replica_configured(&[], &arguments).await;

    let passkey = auth.login_alone(&mut device).await.unwrap_err();
    let session = auth.accepts(&caller).await.unwrap();
    let password = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    auth.verify_email(&server.next().await.token()).await.unwrap();

    assert_eq!(
        (reason(&password), reason(&passkey)),
        (Reason::LoginFailed, Reason::EmailNotVerified)
    );
    assert_eq!(session.user.unwrap().id, user.id);
    assert!(auth.login_alone(&mut device).await.is_ok());
}

#[tokio::test]
async fn who_is_imported_as_verified_or_resets_the_password_logs_in() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.sign_up(EMAIL).await;
    server.next().await;
    let hash: String =
        auth.scalar("select password_hash from auth.users where email like 'ann%'").await;
    let user = |email: &str, email_verified| pb::ImportedUser {
        email: email.to_owned(),
        display_name: "Somebody".to_owned(),
        role: 0,
        email_verified,
        password_hash: Some(pb::imported_user::PasswordHash::Argon2(hash.clone())),
    };
    let users = vec![user("yes@example.com", true), user("no@example.com", false)];
    let request = pb::ImportUsersRequest { users, request_id: String::new() };
    auth.user_imports(&admin).import_users(request).await.unwrap();

    let no = auth.login_with("no@example.com", PASSWORD).await.unwrap_err();
    assert!(auth.login_with("yes@example.com", PASSWORD).await.is_ok());
    // The mail that verifies.
    server.next().await;
    auth.ask_for_reset("no@example.com").await;
    let new_password = "a kettle that sings at dawn".to_owned();
    let reset = pb::ResetPasswordRequest { token: server.next().await.token(), new_password };
    auth.password_resets().reset_password(reset.clone()).await.unwrap();

    assert_eq!(reason(&no), Reason::LoginFailed);
    assert!(auth.login_with("no@example.com", &reset.new_password).await.is_ok());
}
