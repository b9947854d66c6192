//! Changing the address of an account.

use std::sync::Arc;

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::testing::{Caller, reason, violations};
use tokio::sync::Barrier;
use tonic::Status;

use crate::{
    email::{REQUIRED, about, answer, to},
    mail::Mailing as _,
    smtp::{Deed, SmtpServer},
    support::{Auth, EMAIL, PASSWORD, bearer},
};

const NEW_EMAIL: &str = "ann.miller@example.net";

impl Auth {
    async fn change_email(&self, caller: &Caller, new_email: &str) -> Result<String, Status> {
        let request = pb::ChangeEmailRequest { new_email: new_email.to_owned() };
        let response = self.emails_as(caller).change_email(request).await?;
        Ok(answer(Ok(response)))
    }

    async fn confirm_change(&self, token: &str) -> Result<(), Status> {
        let request = pb::ConfirmEmailChangeRequest { token: token.to_owned() };
        self.emails().confirm_email_change(request).await.map(drop)
    }
}

#[tokio::test]
async fn an_address_changes_when_the_new_one_confirms_and_the_old_one_is_told() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let (user, tokens) = auth.verified(&server, EMAIL).await;
    let caller = bearer(&user, &tokens);

    auth.quiet().await;
    auth.change_email(&caller, NEW_EMAIL).await.unwrap();
    auth.quiet().await;
    let mut mails = [server.next().await, server.next().await];
    mails.sort_by_key(about);
    let [asked, _] = mails;
    let before = auth.accepts(&caller).await.unwrap().user.unwrap();
    auth.confirm_change(&asked.token()).await.unwrap();
    let told = server.next().await;
    let again = auth.confirm_change(&asked.token()).await.unwrap_err();
    let after = auth.accepts(&caller).await.unwrap().user.unwrap();
    let old = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();

    assert_eq!(about(&asked), to(NEW_EMAIL, "Confirm your new e-mail address"));
    assert_eq!(about(&told), to(EMAIL, "Your e-mail address was changed"));
    assert!(!told.body().contains(NEW_EMAIL));
    assert_eq!((before.email.as_str(), after.email.as_str()), (EMAIL, NEW_EMAIL));
    assert!(after.email_verify_time.unwrap().seconds >= before.email_verify_time.unwrap().seconds);
    assert_eq!((reason(&again), reason(&old)), (Reason::EmailTokenInvalid, Reason::LoginFailed));
    assert!(auth.login_with(NEW_EMAIL, PASSWORD).await.is_ok());
    auth.audited("user.request_email_change").await.is_by(&caller);
    let record = auth.audited("user.change_email").await;
    assert_eq!(record.old_values.unwrap()["email"], EMAIL);
    assert_eq!(record.new_values.unwrap()["email"], NEW_EMAIL);
    assert!(!auth.audit_text().await.contains(&asked.token()));
}

#[tokio::test]
async fn a_taken_address_gets_the_same_answer_and_no_mail() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    auth.register("bob@example.com").await;

    let taken = auth.change_email(&caller, "BOB@example.com").await.unwrap();
    auth.quiet().await;
    assert_eq!(server.left(), 0);
    let free = auth.change_email(&caller, NEW_EMAIL).await.unwrap();
    server.next().await;
    let own = auth.change_email(&caller, EMAIL).await.unwrap_err();
    let malformed = auth.change_email(&caller, "nobody").await.unwrap_err();

    assert_eq!(taken, free);
    assert_eq!(violations(&own), ["new_email"]);
    assert_eq!(violations(&malformed), ["new_email"]);
}

#[tokio::test]
async fn what_comes_after_does_not_say_either_whether_the_address_was_taken() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register("taken@example.com").await;
    let mut seen = Vec::new();

    for (email, tried) in [(EMAIL, "taken@example.com"), ("bob@example.com", "free@example.com")] {
        let (user, tokens) = auth.person(email).await;
        let caller = bearer(&user, &tokens);
        let own = format!("own.{email}");
        auth.change_email(&caller, &own).await.unwrap();
        let before = server.next().await;
        auth.quiet().await;
        auth.change_email(&caller, tried).await.unwrap();
        auth.quiet().await;
        let confirmed = auth.confirm_change(&before.token()).await.map_err(|it| reason(&it));
        for _ in 0..5 {
            auth.change_email(&caller, &own).await.unwrap();
            auth.quiet().await;
        }
        let mut own_mails = 0;
        while server.left() > 0 {
            own_mails += usize::from(server.next().await.to == before.to);
        }
        seen.push((confirmed, own_mails));
    }

    assert_eq!(seen[0], (Err(Reason::EmailTokenInvalid), 3));
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_accounts_that_want_an_address_one_gets_it() {
    let server = SmtpServer::start().await;
    let auth = Arc::new(server.auth(&[]).await);
    let mut tokens = Vec::new();
    for email in [EMAIL, "bob@example.com"] {
        let (user, session) = auth.person(email).await;
        auth.change_email(&bearer(&user, &session), NEW_EMAIL).await.unwrap();
        tokens.push(server.next().await.token());
    }

    let start = Arc::new(Barrier::new(2));
    let uses: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let (auth, start) = (Arc::clone(&auth), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                auth.confirm_change(&token).await
            })
        })
        .collect();
    let mut refused = Vec::new();
    for used in uses {
        refused.extend(used.await.unwrap().err());
    }

    assert_eq!(refused.len(), 1);
    assert_eq!(reason(&refused[0]), Reason::AlreadyExists);
    let owners: i64 =
        auth.scalar("select count(*) from auth.users where email = 'ann.miller@example.net'").await;
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn a_change_of_the_password_ends_a_change_of_the_address_that_waits() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    // A thief of the session wants the account.
    auth.change_email(&bearer(&user, &tokens), "thief@example.com").await.unwrap();
    let stolen = server.next().await.token();

    auth.ask_for_reset(EMAIL).await;
    let new_password = "a kettle that sings at dawn".to_owned();
    let reset = pb::ResetPasswordRequest { token: server.next().await.token(), new_password };
    auth.password_resets().reset_password(reset).await.unwrap();
    let refused = auth.confirm_change(&stolen).await.unwrap_err();

    assert_eq!(reason(&refused), Reason::EmailTokenInvalid);
}

#[tokio::test]
async fn a_mail_that_comes_late_does_not_end_the_token_of_a_later_one() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    server.does(&[Deed::Refuse("450 later")]);
    auth.change_email(&caller, "first@example.com").await.unwrap();
    auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;

    auth.change_email(&caller, "second@example.com").await.unwrap();
    let second = server.next().await;
    auth.advance(TimeDelta::seconds(11)).await;
    auth.quiet().await;
    auth.confirm_change(&second.token()).await.unwrap();

    assert_eq!(second.to, ["TO:<second@example.com>"]);
    let shown = auth.accepts(&caller).await.unwrap().user.unwrap();
    assert_eq!(shown.email, "second@example.com");
    assert_eq!(server.next().await.to, [format!("TO:<{EMAIL}>")]);
}

#[tokio::test]
async fn who_logs_out_the_other_sessions_ends_a_change_that_one_of_them_asked_for() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let (caller, thief) = (bearer(&user, &tokens), bearer(&user, &auth.login(EMAIL).await));
    auth.change_email(&thief, "thief@example.com").await.unwrap();
    let first = server.next().await.token();
    server.does(&[Deed::Refuse("450 later")]);
    auth.change_email(&thief, "second.thief@example.com").await.unwrap();
    auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;

    auth.sessions(&caller).revoke_other_sessions(pb::RevokeOtherSessionsRequest {}).await.unwrap();
    auth.advance(TimeDelta::seconds(11)).await;
    auth.quiet().await;
    let refused = auth.confirm_change(&first).await.unwrap_err();

    assert_eq!((server.left(), reason(&refused)), (0, Reason::EmailTokenInvalid));
    let record = auth.audited("user.cancel_email_change").await;
    record.is_by(&caller);
    assert_eq!(record.entity.1, user.id);
}

#[tokio::test]
async fn whatever_ends_a_session_by_hand_ends_a_change_that_waits() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);

    for way in ["all others", "one", "its own"] {
        let other = auth.login(EMAIL).await.session_id;
        auth.change_email(&caller, NEW_EMAIL).await.unwrap();
        let token = server.next().await.token();
        let mut sessions = auth.sessions(&caller);
        let ended = match way {
            "all others" => {
                let request = pb::RevokeOtherSessionsRequest {};
                sessions.revoke_other_sessions(request).await.map(drop)
            }
            "one" => {
                let request = pb::RevokeSessionRequest { session_id: other };
                sessions.revoke_session(request).await.map(drop)
            }
            _ => auth.auth_as(&caller).logout(pb::LogoutRequest {}).await.map(drop),
        };
        ended.unwrap();
        let refused = auth.confirm_change(&token).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::EmailTokenInvalid, "{way}");
    }
    assert_eq!(auth.scalar::<i64>("select count(*) from auth.email_tokens").await, 0);
}

#[tokio::test]
async fn a_change_whose_mail_still_waits_ends_with_the_password_too() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    // A thief whose mail server takes its time.
    server.does(&[Deed::Refuse("450 later")]);
    auth.change_email(&caller, "thief@example.com").await.unwrap();
    auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;

    let change = pb::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "a kettle that sings at dawn".to_owned(),
    };
    auth.auth_as(&caller).change_password(change).await.unwrap();
    auth.advance(TimeDelta::seconds(11)).await;
    auth.quiet().await;

    assert_eq!(server.next().await.header("Subject"), "Your password was changed");
    assert_eq!(server.left(), 0);
}

#[tokio::test]
async fn a_verified_address_is_told_at_once_that_another_is_to_replace_it() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let (user, tokens) = auth.verified(&server, EMAIL).await;
    let caller = bearer(&user, &tokens);
    auth.quiet().await;

    auth.change_email(&caller, NEW_EMAIL).await.unwrap();
    auth.quiet().await;
    let mut mails = [server.next().await, server.next().await];
    mails.sort_by_key(about);

    let told = to(EMAIL, "Your e-mail address is about to change");
    assert_eq!(about(&mails[0]), to(NEW_EMAIL, "Confirm your new e-mail address"));
    assert_eq!((about(&mails[1]), server.left()), (told, 0));
    assert!(!mails[1].body().contains(NEW_EMAIL) && !mails[1].body().contains("#token"));
}
