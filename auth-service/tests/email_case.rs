//! An address is the same in upper and in lower case, in any script and any locale of the database.

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{access::Role, testing::reason};

use crate::{
    mail::Mailing as _,
    smtp::SmtpServer,
    support::{Auth, EMAIL, PASSWORD, bearer, registration},
};

const UPPER: &str = "ÄNN.ΜΑΡΊΑ@EXAMPLE.com";
const LOWER: &str = "änn.μαρία@example.com";
/// The same with an accent of its own.
const DECOMPOSED: &str = "a\u{308}nn.μαρία@example.com";

#[tokio::test]
async fn an_address_is_taken_and_logs_in_however_it_is_written() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&[]).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let user = auth.register(UPPER).await;
    let (bob, tokens) = auth.person("bob@example.com").await;

    for email in [UPPER, LOWER, DECOMPOSED] {
        let taken = auth.auth().register(registration(email)).await.unwrap_err();
        assert_eq!(reason(&taken), Reason::AlreadyExists, "{email}");
        let request = pb::ImportUsersRequest {
            users: vec![pb::ImportedUser {
                email: email.to_owned(),
                display_name: "Somebody".to_owned(),
                role: 0,
                email_verified: false,
                password_hash: Some(pb::imported_user::PasswordHash::Bcrypt(BCRYPT.to_owned())),
            }],
            request_id: String::new(),
        };
        let results = auth.user_imports(&admin).import_users(request).await.unwrap().into_inner();
        assert_eq!(results.results[0].user_id, user.id, "{email}");
        assert!(auth.login_with(email, PASSWORD).await.is_ok(), "{email}");
        let change = pb::ChangeEmailRequest { new_email: email.to_owned() };
        auth.emails_as(&bearer(&bob, &tokens)).change_email(change).await.unwrap();
        auth.quiet().await;
    }
    let unsaid = "select count(*) from auth.mails where last_error = 'unsaid'";
    assert_eq!((auth.scalar::<i64>(unsaid).await, server.left()), (3, 0));
    auth.ask_for_reset(DECOMPOSED).await;
    assert_eq!(auth.recorded("user.request_password_reset").await.entity.1, user.id);
}

#[tokio::test]
async fn an_address_that_an_older_binary_wrote_is_found_however_it_is_written() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let id = user.id.parse().unwrap();
    auth.execute(
        "insert into auth.users (user_id, kind, email, display_name, password_hash, role)
         select gen_random_uuid(), 'person', 'Ölaf@example.com', 'Olaf', password_hash, 'viewer'
         from auth.users where user_id = $1",
        id,
    )
    .await;
    auth.execute("update auth.users set email = 'Ärla@example.com' where user_id = $1", id).await;

    for (now, taken) in
        [("ölaf@example.com", "ÖLAF@example.com"), ("ärla@example.com", "ÄRLA@example.com")]
    {
        assert!(auth.login_with(now, PASSWORD).await.is_ok(), "{now}");
        let status = auth.auth().register(registration(taken)).await.unwrap_err();
        assert_eq!(reason(&status), Reason::AlreadyExists, "{taken}");
    }
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_err());
}

const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuZCtgzaVsLoLZuPAbPXBWTzv5WZVcuz6";
