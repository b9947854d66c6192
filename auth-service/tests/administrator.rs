//! The program's own ways to open the first account, and to give one back.

use std::process::Stdio;

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{access::Role, testing::reason};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{Auth, EMAIL, PASSWORD, bearer};

/// What the program answers: its exit code, and all that it printed.
async fn run(auth: &Auth, command: &str, email: &str, input: &str) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_auth-service"))
        .args([command, "--email", email])
        .envs(auth.database.environment("ihuman_auth"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = program.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = program.wait_with_output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn the_program_opens_the_account_of_an_administrator_once() {
    let auth = Auth::start().await;

    let (code, output) = run(&auth, "create-admin", EMAIL, &format!("{PASSWORD}\n")).await;
    let tokens = auth.login(EMAIL).await;
    let verified: bool = auth.scalar("select email_verified_at is not null from auth.users").await;
    let (again, there) =
        run(&auth, "create-admin", EMAIL, "another password, just as long\n").await;

    assert_eq!(code, Some(0), "{output}");
    assert_eq!(output.trim(), "ann@example.com is an administrator now");
    assert!(verified);
    assert_eq!(again, Some(0));
    assert!(there.contains("there already, with the role admin"), "{there}");
    assert!(!output.contains(PASSWORD) && !there.contains("another password"));
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    let record = auth.audited("user.create_admin").await;
    assert_eq!(record.actor_id, None);
    let user = ihuman_proto::auth::v1::User { id: record.entity.1, ..Default::default() };
    let current = auth.accepts(&bearer(&user, &tokens)).await.unwrap();
    assert_eq!(current.user.unwrap().role, Role::Admin.to_contract());
    assert_eq!(current.permissions, ["admin:full"]);
    assert!(!auth.audit_text().await.contains(PASSWORD));
}

#[tokio::test]
async fn the_program_leaves_another_account_as_it_is_and_says_so() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;

    let (code, output) = run(&auth, "create-admin", EMAIL, &format!("{PASSWORD}\n")).await;

    assert_eq!(code, Some(1));
    assert!(output.contains("with the role viewer; nothing was changed"), "{output}");
}

#[tokio::test]
async fn the_program_refuses_what_is_not_allowed_with_one_line() {
    let auth = Auth::start().await;

    for (email, input, about) in
        [(EMAIL, "short\n", "password"), ("ann", PASSWORD, "email"), (EMAIL, "", "password")]
    {
        let (code, output) = run(&auth, "create-admin", email, input).await;
        assert_eq!(code, Some(64), "{output}");
        assert_eq!(output.lines().count(), 1, "{output}");
        assert!(output.contains(about), "{output}");
    }
    let users: i64 = auth.scalar("select count(*) from auth.users").await;
    assert_eq!(users, 0);
}

#[tokio::test]
async fn the_program_gives_an_account_back_whatever_its_owner_has_lost() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    assert!(auth.accepts(&ann.caller).await.is_ok());
    for _ in 0..3 {
        auth.login_with(EMAIL, "the name of her first cat").await.unwrap_err();
    }
    let password = "a door that opens to the sea";

    let (code, output) = run(&auth, "recover", EMAIL, &format!("{password}\n")).await;

    assert_eq!(code, Some(0), "{output}");
    auth.refuses_within_a_second(&ann.caller).await;
    let tokens = auth.login_with(EMAIL, password).await.unwrap();
    assert!(!tokens.access_token.is_empty());
    let old = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    assert_eq!(reason(&old), Reason::LoginFailed);
    let record = auth.audited("user.recover").await;
    assert_eq!((record.actor_id, record.entity.1), (None, ann.caller.user_id.to_string()));
    assert!(!output.contains(password) && !auth.audit_text().await.contains(password));
}

#[tokio::test]
async fn the_program_gives_nothing_back_that_is_not_there_or_closed() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let request = pb::DeactivateUserRequest { user_id: user.id };
    auth.users(&admin).deactivate_user(request).await.unwrap();

    for (email, about) in [("bob@example.com", "not found"), (EMAIL, "deactivated")] {
        let (code, output) = run(&auth, "recover", email, "a door that opens to the sea").await;
        assert_eq!((code, output.lines().count()), (Some(64), 1), "{output}");
        assert!(output.contains(about), "{output}");
    }
}
