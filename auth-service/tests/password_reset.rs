//! Resetting a forgotten password by mail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use tokio::sync::Barrier;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    email::answer,
    mail::Mailing as _,
    smtp::{Deed, SmtpServer},
    support::{Auth, EMAIL, PASSWORD, bearer, login},
};

const NEW: &str = "a kettle that sings at dawn";
const OTHER: &str = "another kettle for the evening";

fn reset(token: &str, new_password: &str) -> pb::ResetPasswordRequest {
    pb::ResetPasswordRequest { token: token.to_owned(), new_password: new_password.to_owned() }
}

impl Auth {
    async fn reset_with(&self, token: &str, new_password: &str) -> Result<(), Status> {
        self.password_resets().reset_password(reset(token, new_password)).await.map(drop)
    }

    /// That the token does not work.
    async fn is_refused(&self, token: &str) {
        let status = self.reset_with(token, OTHER).await.unwrap_err();
        let seen = (status.code(), reason(&status));
        assert_eq!(seen, (Code::FailedPrecondition, Reason::EmailTokenInvalid));
    }

    async fn reset_token(&self, server: &SmtpServer) -> String {
        self.ask_for_reset(EMAIL).await;
        loop {
            let mail = server.next().await;
            match mail.header("Subject").as_str() {
                "Choose a new password" => return mail.token(),
                // Of what came before.
                "Your password was changed" | "How you log in was changed" => {}
                other => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn the_token_of_a_mail_sets_a_password_and_ends_all_that_was_opened_with_the_old_one() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    for _ in 0..3 {
        auth.login_with(EMAIL, "a wrong password, long enough").await.unwrap_err();
    }
    auth.execute(
        "update auth.locks set wait_until = now() + interval '1 hour' where user_id = $1",
        caller.user_id,
    )
    .await;
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_err());

    let token = auth.reset_token(&server).await;
    auth.reset_with(&token, NEW).await.unwrap();
    let refused = auth.refuses_within_a_second(&caller).await;
    let old = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    let new = auth.login_with(EMAIL, NEW).await.unwrap();
    let refresh = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
    let notice = server.next().await;

    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    assert_eq!((reason(&old), reason(&refresh)), (Reason::LoginFailed, Reason::CredentialsRevoked));
    assert_eq!(notice.header("Subject"), "Your password was changed");
    let shown = auth.accepts(&bearer(&user, &new)).await.unwrap().user.unwrap();
    assert!(shown.email_verify_time.is_some());
    let record = auth.audited("user.reset_password").await;
    assert_eq!((record.actor_id, record.entity.1.as_str()), (Some(caller.user_id), &*user.id));
    assert_eq!(record.new_values.unwrap()["revoked_sessions"], 1);
    let trail = auth.audit_text().await;
    assert!(!trail.contains(&token) && !trail.contains(NEW));
}

#[tokio::test]
async fn who_opened_an_account_with_the_address_of_another_is_locked_out_of_it() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    // A stranger, who waits for the owner of the address to come.
    let (user, tokens) = auth.person(EMAIL).await;
    let stranger = bearer(&user, &tokens);
    let key = auth.credentials.api_key(stranger.user_id, &["skills:read".to_owned()]).await;
    auth.accepts(&key).await.unwrap();

    let token = auth.reset_token(&server).await;
    auth.reset_with(&token, NEW).await.unwrap();
    let session = auth.refuses_within_a_second(&stranger).await;
    let refused = auth.refuses_within_a_second(&key).await;
    let own = auth.credentials.api_key(stranger.user_id, &["skills:read".to_owned()]).await;
    let token = auth.reset_token(&server).await;
    auth.reset_with(&token, OTHER).await.unwrap();

    assert_eq!(
        (reason(&session), reason(&refused)),
        (Reason::CredentialsRevoked, Reason::CredentialsRevoked)
    );
    // The address was verified by the first time.
    auth.accepts(&own).await.unwrap();
}

#[tokio::test]
async fn a_second_factor_from_before_the_address_was_proved_goes_with_the_reset() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.person_with_mfa(EMAIL).await;

    let token = auth.reset_token(&server).await;
    auth.reset_with(&token, NEW).await.unwrap();

    assert!(auth.login_with(EMAIL, NEW).await.is_ok());
    let record = auth.audited("user.reset_password").await;
    assert_eq!(record.new_values.unwrap()["removed_second_factors"], true);
}

#[tokio::test]
async fn the_answer_does_not_say_whether_there_is_an_account() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.register(EMAIL).await;
    let deactivated = auth.register("deactivated@example.com").await;
    let deleted = auth.register("deleted@example.com").await;
    let mut users = auth.users(&admin);
    users.deactivate_user(pb::DeactivateUserRequest { user_id: deactivated.id }).await.unwrap();
    users.delete_user(pb::DeleteUserRequest { user_id: deleted.id }).await.unwrap();

    let mut answers = Vec::new();
    for email in [EMAIL, "nobody@example.com", "deactivated@example.com", "deleted@example.com"] {
        let request = pb::RequestPasswordResetRequest { email: email.to_owned() };
        let response = auth.password_resets().request_password_reset(request).await;
        answers.push(answer(response));
    }
    auth.quiet().await;

    for other in &answers[1..] {
        assert_eq!(other, &answers[0]);
    }
    assert_eq!(server.next().await.to, [format!("TO:<{EMAIL}>")]);
    assert_eq!(server.left(), 0);
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.mails").await, 1);
}

#[tokio::test]
async fn what_is_written_before_the_answer_is_the_same_for_every_address() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    let median = async |email: &str| {
        let mut times = Vec::new();
        for _ in 0..15 {
            let request = pb::RequestPasswordResetRequest { email: email.to_owned() };
            let started = Instant::now();
            auth.password_resets().request_password_reset(request).await.unwrap();
            times.push(started.elapsed());
            auth.quiet().await;
        }
        times.sort();
        times[times.len() / 2]
    };

    let (known, unknown) = (median(EMAIL).await, median("nobody@example.com").await);

    let slack = Duration::from_millis(20);
    assert!(known < unknown * 3 + slack && unknown < known * 3 + slack, "{known:?} {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_at_the_same_time_one_succeeds() {
    let server = SmtpServer::start().await;
    let auth = Arc::new(server.auth(&[]).await);
    auth.register(EMAIL).await;
    let token = auth.reset_token(&server).await;

    let start = Arc::new(Barrier::new(8));
    let uses: Vec<_> = (0..8)
        .map(|n| {
            let (auth, start) = (Arc::clone(&auth), Arc::clone(&start));
            let request = reset(&token, &format!("{NEW} number {n}"));
            tokio::spawn(async move {
                start.wait().await;
                auth.password_resets().reset_password(request).await
            })
        })
        .collect();
    let mut succeeded = 0;
    for used in uses {
        match used.await.unwrap() {
            Ok(_) => succeeded += 1,
            Err(status) => {
                let known = [Reason::EmailTokenInvalid, Reason::Overloaded];
                assert!(known.contains(&reason(&status)), "{status:?}");
            }
        }
    }

    assert_eq!(succeeded, 1);
    assert_eq!(auth.audit("user.reset_password").await.len(), 1);
    auth.is_refused(&token).await;
}

#[tokio::test]
async fn a_token_ends_after_an_hour_or_with_a_later_one() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;

    let first = auth.reset_token(&server).await;
    auth.quiet().await;
    let second = auth.reset_token(&server).await;
    auth.is_refused(&first).await;
    auth.service.clock.advance(TimeDelta::minutes(61));
    auth.is_refused(&second).await;
    let third = auth.reset_token(&server).await;
    auth.service.clock.advance(TimeDelta::minutes(59));
    auth.reset_with(&third, NEW).await.unwrap();

    for bad in ["a", &"A".repeat(43), &"A".repeat(10_000), "%00"] {
        auth.is_refused(bad).await;
    }
}

#[tokio::test]
async fn a_token_ends_when_the_password_or_the_address_changes_or_the_account_closes() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let id: Uuid = user.id.parse().unwrap();

    let token = auth.reset_token(&server).await;
    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: NEW.to_owned(),
    };
    auth.auth_as(&bearer(&user, &tokens)).change_password(change).await.unwrap();
    server.next().await;
    auth.is_refused(&token).await;

    let token = auth.reset_token(&server).await;
    auth.execute("update auth.users set state = 'deactivated' where user_id = $1", id).await;
    auth.is_refused(&token).await;
    auth.execute("update auth.users set state = 'active' where user_id = $1", id).await;
    auth.execute("update auth.users set email = 'else@example.com' where user_id = $1", id).await;
    auth.is_refused(&token).await;
    auth.execute("update auth.users set email = 'ann@example.com' where user_id = $1", id).await;
    auth.reset_with(&token, OTHER).await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_refused_does_not_use_the_token_up() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register("hildegard.von.bingen@example.com").await;
    auth.ask_for_reset("hildegard.von.bingen@example.com").await;
    let token = server.next().await.token();

    for bad in ["short", "hildegard.von.bingen"] {
        let status = auth.reset_with(&token, bad).await.unwrap_err();
        assert_eq!(violations(&status), ["new_password"], "{bad}");
    }
    auth.reset_with(&token, NEW).await.unwrap();
}

#[tokio::test]
async fn a_second_factor_stays_and_lets_the_password_be_short() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let person = auth.person_with_mfa(EMAIL).await;
    let proved = "update auth.users set email_verified_at = created_at where user_id = $1";
    auth.execute(proved, person.caller.user_id).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let short = "kettle!dawn";

    let token = auth.reset_token(&server).await;
    auth.reset_with(&token, short).await.unwrap();
    let answer = auth.auth().login(login(EMAIL, short, "")).await.unwrap().into_inner();
    assert!(answer.tokens.is_none() && answer.challenge.is_some());
    let reset = pb::ResetMfaRequest { user_id: person.user.id };
    auth.mfa(&admin).reset_mfa(reset).await.unwrap();
    // A short password can't stand alone, and ended with the second factor.
    assert!(auth.login_with(EMAIL, short).await.is_err());

    let token = auth.reset_token(&server).await;
    let refused = auth.reset_with(&token, "another!dawn").await.unwrap_err();
    auth.reset_with(&token, NEW).await.unwrap();

    assert_eq!(violations(&refused), ["new_password"]);
    assert!(auth.login_with(EMAIL, NEW).await.is_ok());
}

#[tokio::test]
async fn the_token_of_another_kind_of_mail_resets_nothing() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    auth.ask_to_verify(EMAIL).await;
    let verifying = server.next().await.token();
    let resetting = auth.reset_token(&server).await;

    auth.is_refused(&verifying).await;
    let verify = pb::VerifyEmailRequest { token: resetting.clone(), password: PASSWORD.to_owned() };
    let status = auth.emails().verify_email(verify).await.unwrap_err();
    assert_eq!(reason(&status), Reason::EmailTokenInvalid);
    let confirm = pb::ConfirmEmailChangeRequest { token: resetting.clone() };
    let status = auth.emails().confirm_email_change(confirm).await.unwrap_err();
    assert_eq!(reason(&status), Reason::EmailTokenInvalid);
    auth.reset_with(&resetting, NEW).await.unwrap();
}

#[tokio::test]
async fn a_mail_that_waits_is_about_the_account_as_it_is_when_it_is_sent() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let user = auth.register(EMAIL).await;
    server.does(&[Deed::Refuse("450 later")]);
    auth.ask_for_reset(EMAIL).await;
    auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;

    auth.execute(
        "update auth.users set state = 'deactivated' where user_id = $1",
        user.id.parse().unwrap(),
    )
    .await;
    auth.advance(TimeDelta::seconds(11)).await;
    auth.until("select not exists (select from auth.mails)").await;

    assert_eq!(server.left(), 0);
}
