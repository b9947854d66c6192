//! The program's own way to open the first account.

use std::process::Stdio;

use ihuman_shared::access::Role;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{Auth, EMAIL, PASSWORD, bearer};

/// What the program answers: its exit code, and all that it printed.
async fn create_admin(auth: &Auth, email: &str, input: &str) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_auth-service"))
        .args(["create-admin", "--email", email])
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

    let (code, output) = create_admin(&auth, EMAIL, &format!("{PASSWORD}\n")).await;
    let tokens = auth.login(EMAIL).await;
    let verified: bool = auth.scalar("select email_verified_at is not null from auth.users").await;
    let (again, there) = create_admin(&auth, EMAIL, "another password, just as long\n").await;

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

    let (code, output) = create_admin(&auth, EMAIL, &format!("{PASSWORD}\n")).await;

    assert_eq!(code, Some(0));
    assert!(output.contains("with the role viewer; nothing was changed"), "{output}");
}

#[tokio::test]
async fn the_program_refuses_what_is_not_allowed_with_one_line() {
    let auth = Auth::start().await;

    for (email, input, about) in
        [(EMAIL, "short\n", "password"), ("ann", PASSWORD, "email"), (EMAIL, "", "password")]
    {
        let (code, output) = create_admin(&auth, email, input).await;
        assert_eq!(code, Some(64), "{output}");
        assert_eq!(output.lines().count(), 1, "{output}");
        assert!(output.contains(about), "{output}");
    }
    let users: i64 = auth.scalar("select count(*) from auth.users").await;
    assert_eq!(users, 0);
}
