//! Mails arrive whatever the mail server does, and no request waits for it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::testing::reason;
use tonic::Code;
use uuid::Uuid;

use crate::{
    email::REQUIRED,
    mail::Mailing as _,
    smtp::{Deed, SmtpServer},
    support::{Auth, EMAIL, PASSWORD, bearer, registration},
};

impl Auth {
    /// Waits until the one mail was not taken for the `attempt`-th time; returns how
    /// long it waits from then on, if it is tried again.
    async fn fails(&self, attempt: i32) -> Option<TimeDelta> {
        let started = Instant::now();
        let failed = "select case when last_error <> '' then attempts else 0 end from auth.mails";
        while self.scalar::<i32>(failed).await != attempt {
            assert!(started.elapsed() < Duration::from_secs(20), "attempt {attempt} never fails");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let at = "select next_attempt_at from auth.mails";
        let at: Option<DateTime<Utc>> = self.scalar(at).await;
        at.map(|at| at - self.service.clock.now())
    }

    async fn last_error(&self) -> String {
        self.scalar("select last_error from auth.mails").await
    }

    async fn reset(&self, token: String, new_password: &str) -> Result<(), tonic::Status> {
        let request = pb::ResetPasswordRequest { token, new_password: new_password.to_owned() };
        self.password_resets().reset_password(request).await.map(drop)
    }
}

#[tokio::test]
async fn a_mail_that_is_refused_for_now_is_sent_after_growing_waits() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    server.does(&[Deed::Refuse("451 4.7.1 greylisted <ann@example.com>"); 5]);
    auth.ask_for_reset(EMAIL).await;

    for (attempt, seconds) in (1..).zip([10, 30, 60, 300, 900]) {
        let wait = auth.fails(attempt).await.unwrap();
        assert!(wait <= TimeDelta::seconds(seconds), "{attempt}: {wait}");
        assert!(wait > TimeDelta::seconds(seconds - 5), "{attempt}: {wait}");
        assert_eq!(auth.last_error().await, "refused_for_now");
        auth.advance(wait + TimeDelta::seconds(1)).await;
    }
    let mail = server.next().await;
    auth.quiet().await;

    assert_eq!((server.left(), auth.last_error().await.as_str()), (0, ""));
    assert_eq!(auth.scalar::<i32>("select attempts from auth.mails").await, 6);
    // Its time begins when it is sent.
    auth.reset(mail.token(), "a kettle that sings at dawn").await.unwrap();
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_given_up_and_forgotten_but_not_for_our_own_login() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let user = auth.register(EMAIL).await;

    server.does(&[Deed::Refuse("535 5.7.8 who are you")]);
    auth.ask_for_reset(EMAIL).await;
    assert!(auth.fails(1).await.is_some());
    assert_eq!(auth.last_error().await, "login_refused");
    auth.advance(TimeDelta::minutes(1)).await;
    server.next().await;

    auth.execute("delete from auth.mails where $1::uuid is not null", user.id.parse().unwrap())
        .await;
    server.does(&[Deed::Refuse("550 5.1.1 no such user")]);
    auth.ask_for_reset(EMAIL).await;
    assert_eq!(auth.fails(1).await, None);
    assert_eq!(auth.last_error().await, "refused");
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn a_service_that_stops_finishes_the_mail_that_it_is_sending() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    server.does(&[Deed::TakeAfter(Duration::from_millis(500))]);
    auth.ask_for_reset(EMAIL).await;
    auth.until("select exists (select from auth.mails where attempts = 1)").await;

    let Auth { service, database, .. } = auth;
    service.stop().await;

    let sent = "select sent_at is not null from auth.mails";
    let sent: bool = sqlx::query_scalar(sent).fetch_one(&database.superuser).await.unwrap();
    assert!(sent, "it is left to its lease");
}

#[tokio::test]
async fn a_mail_is_given_up_after_a_day() {
    let auth = {
        // Nobody listens there any more.
        let server = SmtpServer::start().await;
        server.auth(&[]).await
    };
    auth.register(EMAIL).await;
    auth.ask_for_reset(EMAIL).await;

    let mut attempt = 1;
    let mut waited = TimeDelta::zero();
    while let Some(wait) = auth.fails(attempt).await {
        assert_eq!(auth.last_error().await, "connection");
        waited += wait;
        attempt += 1;
        auth.advance(wait + TimeDelta::seconds(1)).await;
    }

    assert!((TimeDelta::hours(20)..TimeDelta::hours(24)).contains(&waited), "{waited}");
    assert!((10..20).contains(&attempt), "{attempt}");
    let left: bool =
        auth.scalar("select recipient is null and sent_at is null from auth.mails").await;
    assert!(left);
}

#[tokio::test]
async fn a_mail_whose_receipt_is_lost_comes_twice_as_the_same_mail_and_its_token_works_once() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    server.does(&[Deed::TakeAndHangUp; 2]);

    auth.ask_for_reset(EMAIL).await;
    let first = server.next().await;
    let wait = auth.fails(1).await.unwrap();
    auth.advance(wait + TimeDelta::seconds(1)).await;
    let second = server.next().await;
    let wait = auth.fails(2).await.unwrap();
    auth.reset(first.token(), "a kettle that sings at dawn").await.unwrap();
    let again = auth.reset(second.token(), "another kettle for the evening").await.unwrap_err();
    // Whoever used the token needs the mail no more.
    auth.advance(wait + TimeDelta::seconds(1)).await;
    auth.quiet().await;

    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    assert_eq!(first.token(), second.token());
    assert_eq!(reason(&again), ihuman_proto::error::v1::ErrorReason::EmailTokenInvalid);
    assert_eq!(server.next().await.header("Subject"), "Your password was changed");
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn what_a_replica_was_sending_when_it_died_another_sends_when_the_lease_is_over() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let user = auth.register(EMAIL).await;
    auth.ask_for_reset(EMAIL).await;
    let first = server.next().await;
    auth.quiet().await;

    // As it was after the mail was sent, and before that was written down.
    auth.execute(
        "update auth.mails set sent_at = null, next_attempt_at = created_at + interval '5 minutes'
         where user_id = $1",
        user.id.parse().unwrap(),
    )
    .await;
    auth.advance(TimeDelta::minutes(6)).await;
    let second = server.next().await;

    assert_eq!(first.token(), second.token());
    auth.reset(second.token(), "a kettle that sings at dawn").await.unwrap();
    auth.quiet().await;
}

#[tokio::test]
async fn of_two_replicas_one_sends_each_mail() {
    let server = SmtpServer::start().await;
    let here = server.auth(&[]).await;
    let arguments = server.arguments(&["--smtp-tls", "none"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _there = here.replica_configured(&[], &arguments).await;
    here.execute(
        "insert into auth.users (user_id, kind, email, display_name, password_hash, role)
         select gen_random_uuid(), 'person', n || '@example.com', 'Somebody', 'none', 'viewer'
         from generate_series(1, 60) n where $1::uuid is not null",
        Uuid::nil(),
    )
    .await;

    for n in 1..=60 {
        here.ask_for_reset(&format!("{n}@example.com")).await;
    }
    let mut recipients = HashSet::new();
    for _ in 0..60 {
        recipients.insert(server.next().await.to[0].clone());
    }
    here.quiet().await;

    assert_eq!((recipients.len(), server.left()), (60, 0));
    let attempts: i64 = here.scalar("select sum(attempts)::bigint from auth.mails").await;
    assert_eq!(attempts, 60);
}

#[tokio::test]
async fn a_mail_server_that_falls_silent_delays_no_request_and_holds_no_connection() {
    let server = SmtpServer::start().await;
    server.does(&[Deed::FallSilent; 100]);
    let arguments = server.arguments(&["--smtp-tls", "none", "--smtp-timeout", "2m"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let auth = Auth::start().await;
    // One is for hints, so that one is left for all requests.
    let auth = auth.replica_configured(&["--db-pool-max", "2"], &arguments).await;
    for n in 0..12 {
        auth.register(&format!("{n}@example.com")).await;
    }
    let (user, tokens) = auth.person(EMAIL).await;
    // Or fewer would be sent at once.
    let proved = "update auth.users set email_verified_at = now()
         where kind = 'person' and $1::uuid is not null";
    auth.execute(proved, Uuid::nil()).await;

    for n in 0..12 {
        auth.ask_for_reset(&format!("{n}@example.com")).await;
    }
    auth.until("select count(*) = 4 from auth.mails where attempts > 0").await;
    auth.until("select not exists (select from auth.mails where user_id is null)").await;
    let started = Instant::now();
    for n in 0..12 {
        auth.ask_for_reset(&format!("{n}@example.com")).await;
        auth.accepts(&bearer(&user, &tokens)).await.unwrap();
        auth.login_with(EMAIL, PASSWORD).await.unwrap();
    }

    let idle: i64 = auth
        .scalar("select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()")
        .await;
    assert_eq!(idle, 0);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.mails where attempts > 0").await, 4);
}

#[tokio::test]
async fn registrations_of_strangers_do_not_hold_up_any_other_mail() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    auth.verified(&server, EMAIL).await;
    auth.quiet().await;
    // Addresses at a server that never answers, and more of them.
    server.does(&[Deed::FallSilent; 2]);
    for n in 0..4 {
        auth.sign_up(&format!("{n}@example.org")).await;
    }
    auth.until("select count(*) >= 2 from auth.mails where attempts > 0 and sent_at is null").await;
    for n in 0..4 {
        auth.ask_for_reset(&format!("{n}@example.org")).await;
    }
    auth.until(
        "select count(*) = 4 from auth.mails where kind = 'reset_password' and user_id is not null",
    )
    .await;

    auth.ask_for_reset(EMAIL).await;
    let first = server.next().await;

    assert_eq!(first.to, [format!("TO:<{EMAIL}>")]);
}

#[tokio::test]
async fn no_more_registrations_wait_than_anybody_makes() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let (user, _) = auth.verified(&server, EMAIL).await;
    auth.quiet().await;
    auth.execute(
        "insert into auth.mails (mail_id, kind, user_id, next_attempt_at, created_at, comes_last)
         select gen_random_uuid(), 'verify_email', $1, now() + interval '1 hour', now(), true
         from generate_series(0, 10000) n",
        user.id.parse().unwrap(),
    )
    .await;

    for email in [EMAIL, "free@example.com"] {
        let status = auth.auth().register(registration(email)).await.unwrap_err();
        let seen = (status.code(), reason(&status));
        assert_eq!(seen, (Code::ResourceExhausted, Reason::Overloaded), "{email}");
    }
    assert_eq!(auth.audit("user.register").await.len(), 1);
    auth.execute("delete from auth.mails where user_id = $1", user.id.parse().unwrap()).await;
    auth.sign_up("free@example.com").await;
    server.next().await;
}
