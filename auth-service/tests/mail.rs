//! What mails say and to whom, what is kept of them, and how many a person gets.

use std::{process::Stdio, time::Duration};

use chrono::{TimeDelta, Utc};
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{access::Role, testing::reason};
use tokio::time::{Instant, sleep};
use tonic::Code;
use uuid::Uuid;

use crate::{
    smtp::{Deed, SmtpServer},
    support::{Auth, EMAIL, PASSWORD, bearer, registration},
};

/// What tests of mail do to a service.
pub(crate) trait Mailing {
    async fn ask_for_reset(&self, email: &str);
    async fn ask_to_verify(&self, email: &str);
    /// Moves the clock, and has somebody look at what is to be sent.
    async fn advance(&self, by: TimeDelta);
    /// Waits until `sql` says true.
    async fn until(&self, sql: &'static str);
    /// Waits until nothing is left to be sent.
    async fn quiet(&self);
}

impl Mailing for Auth {
    async fn ask_for_reset(&self, email: &str) {
        let request = pb::RequestPasswordResetRequest { email: email.to_owned() };
        self.password_resets().request_password_reset(request).await.unwrap();
    }

    async fn ask_to_verify(&self, email: &str) {
        let request = pb::SendEmailVerificationRequest { email: email.to_owned() };
        self.emails().send_email_verification(request).await.unwrap();
    }

    async fn advance(&self, by: TimeDelta) {
        self.service.clock.advance(by);
        self.execute(
            "select pg_notify('ihuman_mails', '') where $1::uuid is not null",
            Uuid::nil(),
        )
        .await;
    }

    async fn until(&self, sql: &'static str) {
        let started = Instant::now();
        while !self.scalar::<bool>(sql).await {
            assert!(started.elapsed() < Duration::from_secs(20), "never: {sql}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn quiet(&self) {
        self.until("select not exists (select from auth.mails where next_attempt_at is not null)")
            .await;
    }
}

/// Everything in the tables of mail, and in the audit trail.
const EVERYTHING: &str = "select concat_ws(' ',
     (select string_agg(m::text, ' ') from auth.mails m),
     (select string_agg(t::text, ' ') from auth.email_tokens t),
     (select string_agg(a::text, ' ') from audit.audit_logs a))";

#[tokio::test]
async fn a_mail_is_text_and_html_with_a_link_and_the_bare_token_and_no_name() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let mut request = registration("o'brien&co@example.com");
    request.display_name = "Win <b>money</b> at https://evil.example".to_owned();
    auth.auth().register(request).await.unwrap();

    auth.ask_for_reset("O'Brien&Co@EXAMPLE.com").await;
    let mail = server.next().await;

    let (body, token) = (mail.body(), mail.token());
    // Where the account says, and not where somebody typed.
    assert_eq!(mail.to, ["TO:<o'brien&co@example.com>"]);
    assert_eq!(mail.header("To"), "o'brien&co@example.com");
    assert_eq!(mail.header("From"), "ihuman <noreply@example.com>");
    assert_eq!(mail.header("Subject"), "Choose a new password");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Content-Type").starts_with("multipart/alternative"));
    assert!(body.contains(&format!("\r\n{token}\r\n")), "{body}");
    let link = format!("https://app.example.com/reset-password#token={token}");
    assert!(body.contains(&format!("\r\n{link}\r\n")), "{body}");
    assert!(body.contains(&format!("<a href=\"{link}\">")), "{body}");
    let (_, said) = body.split_once("\r\n\r\n").unwrap();
    assert!(!said.contains("evil") && !said.contains("brien"), "{said}");
}

#[tokio::test]
async fn a_stranger_sends_nobody_words_in_an_address() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let words = "ann+www.evil.example/claim-your-prize@example.com";
    let (user, tokens) = auth.person(words).await;
    let new_email = "bob+www.evil.example/claim-your-prize@example.com".to_owned();

    auth.ask_to_verify(words).await;
    auth.ask_for_reset(words).await;
    let change = pb::ChangeEmailRequest { new_email };
    auth.emails_as(&bearer(&user, &tokens)).change_email(change).await.unwrap();
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "a kettle that sings at dawn".to_owned(),
    };
    let mut mails = vec![server.next().await, server.next().await, server.next().await];
    auth.auth_as(&bearer(&user, &tokens)).change_password(change).await.unwrap();
    mails.push(server.next().await);
    for mail in mails {
        let body = mail.body();
        let (_, said) = body.split_once("\r\n\r\n").unwrap();
        assert!(!said.contains("evil"), "{said}");
    }
}

#[tokio::test]
async fn nothing_secret_and_nothing_personal_is_kept_of_a_mail_that_is_gone() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    server.does(&[Deed::Refuse("450 later")]);

    auth.ask_for_reset(EMAIL).await;
    auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;
    let waiting = auth.scalar::<String>(EVERYTHING).await;
    auth.advance(TimeDelta::seconds(11)).await;
    let token = server.next().await.token();
    auth.quiet().await;
    let gone = auth.scalar::<String>(EVERYTHING).await;

    for text in [waiting, gone] {
        assert!(!text.contains(&token), "{text}");
        assert!(!text.contains("app.example.com"), "{text}");
    }
    let of_mails: String = auth.scalar("select m::text from auth.mails m").await;
    assert!(!of_mails.contains("ann") && !of_mails.contains("127.0.0.1"), "{of_mails}");
    let record = auth.audited("user.request_password_reset").await;
    assert_eq!((record.actor_id, record.ip_address.as_deref()), (None, Some("127.0.0.1")));
}

#[tokio::test]
async fn where_mails_are_printed_they_are_kept_to_be_read() {
    let arguments =
        ["--mail-transport", "print", "--mail-link-base", "http://localhost:3000/account"];
    let auth = Auth::start_identity(&arguments).await;
    auth.register(EMAIL).await;

    auth.ask_for_reset(EMAIL).await;
    auth.quiet().await;

    let to: String = auth.scalar("select recipient from auth.mails").await;
    let text: String = auth.scalar("select printed from auth.mails").await;
    assert_eq!(to, EMAIL);
    assert!(text.contains("http://localhost:3000/account/reset-password#token="), "{text}");
}

#[tokio::test]
async fn no_mail_that_is_gone_is_looked_at_to_write_or_to_send_another() {
    let auth = Auth::start().await;
    auth.execute(
        "with account as (
             insert into auth.users (user_id, kind, email, display_name, password_hash, role)
             select gen_random_uuid(), 'person', n || '@example.com', 'Somebody', 'none', 'viewer'
             from generate_series(1, 2000) n
             returning user_id)
         insert into auth.mails (mail_id, kind, user_id, recipient, sent_at, created_at)
         select gen_random_uuid(), 'email_changed', user_id, n || '@example.org', now(), now()
         from account, generate_series(1, 20) n where $1::uuid is not null",
        Uuid::nil(),
    )
    .await;
    let mut conn = auth.database.superuser.acquire().await.unwrap();
    let id = Uuid::now_v7();

    for (sql, values) in [
        (
            include_str!("../src/mail/store/ask.sql"),
            format!("'{id}', 'reset_password', 'a@b', null, '', '', now()"),
        ),
        (
            include_str!("../src/mail/store/post.sql"),
            format!("'{id}', 'email_changed', '{id}', 'a@b', now()"),
        ),
        (include_str!("../src/mail/store/lease.sql"), "now(), now(), 4, 2".to_owned()),
    ] {
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let explain = format!(
                "analyze auth.mails; set search_path = auth; set plan_cache_mode = {mode};
                 deallocate all; prepare it as {sql}; explain execute it ({values})"
            );
            #[expect(clippy::disallowed_methods, reason = "the text is that of the store")]
            let explain = sqlx::raw_sql(sqlx::AssertSqlSafe(explain));
            let rows = explain.fetch_all(&mut *conn).await.unwrap();
            let lines: Vec<String> = rows.iter().map(|it| sqlx::Row::get(it, 0)).collect();
            let plan = lines.join("\n");
            assert!(plan.contains("using mails_") && !plan.contains("Seq Scan"), "{mode}: {plan}");
        }
    }
}

#[tokio::test]
async fn without_mail_what_needs_it_says_so_and_the_rest_goes_on() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let email = EMAIL.to_owned();

    let refused = [
        auth.emails()
            .send_email_verification(pb::SendEmailVerificationRequest { email: email.clone() })
            .await
            .err(),
        auth.emails_as(&caller)
            .change_email(pb::ChangeEmailRequest { new_email: "b@example.com".to_owned() })
            .await
            .err(),
        auth.password_resets()
            .request_password_reset(pb::RequestPasswordResetRequest { email })
            .await
            .err(),
    ];
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "a kettle that sings at dawn".to_owned(),
    };
    auth.auth_as(&caller).change_password(change).await.unwrap();

    for status in refused {
        let status = status.unwrap();
        let seen = (status.code(), reason(&status));
        assert_eq!(seen, (Code::FailedPrecondition, Reason::MailNotConfigured));
    }
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.mails").await, 0);
}

#[tokio::test]
async fn a_change_of_the_password_is_told_by_mail() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "a kettle that sings at dawn".to_owned(),
    };

    auth.auth_as(&bearer(&user, &tokens)).change_password(change).await.unwrap();
    let mail = server.next().await;

    assert_eq!(mail.header("Subject"), "Your password was changed");
    assert!(!mail.body().contains("kettle") && !mail.body().contains("#token"));
}

#[tokio::test]
async fn the_mails_of_a_deleted_account_are_forgotten() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (user, tokens) = auth.person(EMAIL).await;
    server.does(&[Deed::Refuse("450 later"); 2]);
    auth.ask_for_reset(EMAIL).await;
    let change = pb::ChangeEmailRequest { new_email: "new@example.com".to_owned() };
    auth.emails_as(&bearer(&user, &tokens)).change_email(change).await.unwrap();
    auth.until("select count(*) = 2 from auth.mails where last_error <> ''").await;

    let request = pb::DeleteUserRequest { user_id: user.id };
    auth.users(&admin).delete_user(request).await.unwrap();

    assert_eq!(auth.scalar::<i64>("select count(*) from auth.mails").await, 0);
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.email_tokens").await, 0);
    auth.advance(TimeDelta::seconds(11)).await;
    auth.ask_for_reset(EMAIL).await;
    auth.quiet().await;
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn mails_and_tokens_are_forgotten_when_they_are_of_no_use_any_more() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    auth.ask_for_reset(EMAIL).await;
    auth.quiet().await;
    let options = auth.database.superuser.connect_options().as_ref().clone();
    let options = options.options([("search_path", "auth")]);
    let db = sqlx::PgPool::connect_with(options).await.unwrap();
    let counts = async |later: TimeDelta| {
        auth_service::sweep(&db, Utc::now() + later).await.unwrap();
        let mails: i64 = auth.scalar("select count(*) from auth.mails").await;
        (mails, auth.scalar::<i64>("select count(*) from auth.email_tokens").await)
    };

    assert_eq!(counts(TimeDelta::hours(48)).await, (1, 1));
    assert_eq!(counts(TimeDelta::hours(49)).await, (1, 0));
    assert_eq!(counts(TimeDelta::days(8)).await, (0, 0));
}

#[tokio::test]
async fn what_does_not_go_together_stops_the_start_with_one_line() {
    let auth = Auth::start().await;
    for (variables, named) in [
        (&[("EMAIL_VERIFICATION", "required")][..], "SMTP_HOST"),
        (&[("EMAIL_VERIFICATION", "maybe")], "email-verification"),
        (&[("SMTP_HOST", "localhost")], "SMTP_FROM"),
        (&[("SMTP_PORT", "99999")], "smtp-port"),
        (&[("SMTP_TLS", "perhaps")], "smtp-tls"),
        (&[("MAIL_TRANSPORT", "print")], "MAIL_LINK_BASE"),
        (
            &[
                ("SMTP_HOST", "mail.example.com"),
                ("SMTP_USER", "a"),
                ("SMTP_PASSWORD", "hush"),
                ("SMTP_TLS", "none"),
            ],
            "SMTP_TLS",
        ),
    ] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_auth-service"))
            .envs(auth.database.environment("ihuman_auth"))
            .envs(variables.iter().copied())
            .env("LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{variables:?}: {text}");
        assert!(text.contains(named) && !text.contains("hush"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
