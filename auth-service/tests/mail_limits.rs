//! How many mails a person and a mailbox get, and what strangers can have us keep.

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::testing::reason;
use tonic::Code;

use crate::{
    email::REQUIRED,
    mail::Mailing as _,
    smtp::{Deed, SmtpServer},
    support::{EMAIL, bearer, registration},
};

#[tokio::test]
async fn a_person_gets_no_more_than_five_of_a_kind_within_an_hour() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;

    for _ in 0..9 {
        auth.ask_for_reset(EMAIL).await;
        auth.quiet().await;
    }
    assert_eq!(server.left(), 5);
    auth.ask_to_verify(EMAIL).await;
    auth.quiet().await;
    assert_eq!(server.left(), 6);
    auth.advance(TimeDelta::minutes(61)).await;
    auth.ask_for_reset(EMAIL).await;
    auth.quiet().await;
    assert_eq!(server.left(), 7);
}

#[tokio::test]
async fn what_a_flood_of_requests_leaves_behind_is_bounded() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let user = auth.register(EMAIL).await;
    server.does(&[Deed::Refuse("450 later"); 100]);
    auth.ask_for_reset(EMAIL).await;
    auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;

    for n in 0..20 {
        auth.ask_for_reset(EMAIL).await;
        auth.ask_for_reset(&format!("{n}@example.com")).await;
    }
    auth.until("select not exists (select from auth.mails where user_id is null)").await;

    let waiting: i64 = auth.scalar("select count(*) from auth.mails").await;
    assert_eq!(waiting, 1);
    auth.execute(
        "insert into auth.mails (mail_id, kind, recipient, next_attempt_at, created_at)
         select gen_random_uuid(), 'reset_password', n || '@example.org', now() + interval '1 hour', now()
         from generate_series(0, 10000) n where $1::uuid is not null",
        user.id.parse().unwrap(),
    )
    .await;
    let request = pb::RequestPasswordResetRequest { email: EMAIL.to_owned() };
    let status = auth.password_resets().request_password_reset(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, Reason::Overloaded));
    auth.advance(TimeDelta::minutes(61)).await;
    auth.until("select not exists (select from auth.mails where user_id is null)").await;
}

#[tokio::test]
async fn a_mailbox_gets_no_more_for_its_tags_and_its_own_address_is_not_held_up_by_them() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;

    for n in 0..8 {
        auth.auth().register(registration(&format!("Ann+{n}@example.com"))).await.unwrap();
        auth.quiet().await;
    }
    assert_eq!(server.left(), 5);
    auth.auth().register(registration(EMAIL)).await.unwrap();
    auth.quiet().await;
    assert_eq!(server.left(), 6);
    // Who has proved an address is not held up by what others do with theirs.
    for n in 0..5 {
        server.next().await;
        auth.ask_for_reset(&format!("ann+{n}@example.com")).await;
        auth.quiet().await;
    }
    auth.verify_email(&server.next().await.token()).await.unwrap();
    auth.ask_for_reset(EMAIL).await;
    auth.quiet().await;
    assert_eq!(server.left(), 6);
}

#[tokio::test]
async fn nobody_sends_more_to_an_address_by_opening_more_accounts() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;

    for n in 0..8 {
        let (user, tokens) = auth.person(&format!("{n}@example.com")).await;
        let change = pb::ChangeEmailRequest { new_email: EMAIL.to_owned() };
        auth.emails_as(&bearer(&user, &tokens)).change_email(change).await.unwrap();
        auth.quiet().await;
    }

    assert_eq!(server.left(), 5);
}

#[tokio::test]
async fn the_last_reset_mail_of_an_hour_works_until_the_next_is_sent() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    auth.register(EMAIL).await;
    // A stranger uses them up.
    for _ in 0..6 {
        auth.ask_for_reset(EMAIL).await;
        auth.quiet().await;
    }
    let mut last = server.next().await;
    while server.left() > 0 {
        last = server.next().await;
    }

    auth.advance(TimeDelta::minutes(59)).await;
    auth.ask_for_reset(EMAIL).await;
    auth.quiet().await;
    assert_eq!(server.left(), 0);
    let new_password = "a kettle that sings at dawn".to_owned();
    let reset = pb::ResetPasswordRequest { token: last.token(), new_password };
    auth.password_resets().reset_password(reset).await.unwrap();
    server.next().await;
    auth.advance(TimeDelta::minutes(2)).await;
    auth.ask_for_reset(EMAIL).await;
    assert_eq!(server.next().await.header("Subject"), "Choose a new password");
}
