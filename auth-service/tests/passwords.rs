//! Hashing under load.

use std::time::{Duration, Instant};

use clap::Parser as _;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Auth, Command, EMAIL, PASSWORD, login, registration};

const WRONG: &str = "a wrong password, long enough";

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_beyond_what_can_be_hashed_is_told_to_come_again_and_others_notice_nothing() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    auth.execute(
        "insert into auth.users (user_id, kind, email, display_name, password_hash, role)
         select gen_random_uuid(), kind, n || email, display_name, password_hash, role
         from auth.users, generate_series(0, 99) n where user_id = $1",
        user.id.parse().unwrap(),
    )
    .await;
    let caller = auth.credentials.person(Role::Viewer).await;
    auth.accepts(&caller).await.unwrap();

    let logins: Vec<_> = (0..100)
        .map(|n| {
            let mut client = auth.auth();
            let request = login(&format!("{n}{EMAIL}"), PASSWORD, "");
            tokio::spawn(async move { client.login(request).await })
        })
        .collect();
    let mut times = Vec::new();
    while !logins.iter().all(tokio::task::JoinHandle::is_finished) {
        let started = Instant::now();
        auth.accepts(&caller).await.unwrap();
        times.push(started.elapsed());
    }
    let mut refused = Vec::new();
    for login in logins {
        refused.extend(login.await.unwrap().err());
    }

    assert!(!refused.is_empty() && refused.len() < 100, "{} were refused", refused.len());
    for status in refused {
        assert_eq!((status.code(), reason(&status)), (Code::ResourceExhausted, Reason::Overloaded));
        let retry = status.get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_secs(1)));
    }
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_millis(200), "{times:?}");
}

#[tokio::test]
async fn only_an_argon2id_hash_is_stored() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;

    let hash: String = auth.scalar("select password_hash from auth.users").await;

    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
}

#[tokio::test]
async fn a_stored_hash_that_asks_for_too_much_is_not_computed() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    auth.execute(
        "update auth.users set password_hash = replace(password_hash, 'm=19456', 'm=1048576')
         where user_id = $1",
        user.id.parse().unwrap(),
    )
    .await;

    let started = Instant::now();
    let status = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();

    assert_eq!(reason(&status), Reason::LoginFailed);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_password_that_is_guessed_first_is_refused_with_the_reason() {
    let auth = Auth::start().await;

    for (password, reason) in [
        ("Correct Horse Battery Staple 1!", "common"),
        ("Passw0rd12345678", "common"),
        ("qwertyuiopasdf12", "keyboard"),
        ("xyxyxyxyxyxyxyxy", "repeat"),
        ("Ann@Example.COM-2024", "e-mail address"),
        ("Wilhelmina-Wilhelmina", "name of the account"),
        ("ihuman ihuman ihum1", "name of this product"),
    ] {
        let request = pb::RegisterRequest {
            password: password.to_owned(),
            display_name: "Wilhelmina".to_owned(),
            ..registration(EMAIL)
        };
        let status = auth.auth().register(request).await.unwrap_err();
        assert_eq!(violations(&status), ["password"]);
        assert!(status.message().contains(reason), "{password}: {}", status.message());
        assert!(!status.message().contains(password));
    }
}

#[tokio::test]
async fn a_password_is_stored_as_configured_from_the_next_login_on() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    let stronger = auth.replica_configured(&[], &["--argon2-passes", "3"]).await;
    let peppered =
        auth.replica_configured(&[], &["--argon2-memory-kib", "20000", "--password-pepper"]).await;
    let hash = "select password_hash from auth.users";

    for (replica, form) in [
        (&stronger, "$argon2id$v=19$m=19456,t=3,p=1$"),
        (&peppered, "pepper:$argon2id$v=19$m=20000,t=2,p=1$"),
        (&auth, "$argon2id$v=19$m=19456,t=2,p=1$"),
    ] {
        let before: String = auth.scalar(hash).await;
        assert!(replica.login_with(EMAIL, WRONG).await.is_err());
        let unchanged: String = auth.scalar(hash).await;
        replica.login(EMAIL).await;
        let renewed: String = auth.scalar(hash).await;
        replica.login(EMAIL).await;
        let again: String = auth.scalar(hash).await;

        assert_eq!(before, unchanged);
        assert_ne!(before, renewed);
        assert!(renewed.starts_with(form), "{renewed}");
        assert_eq!(renewed, again);
    }
    assert_eq!(auth.audit("user.renew_password_hash").await.len(), 3);
}

#[test]
fn weaker_hashing_than_the_floor_is_no_configuration() {
    for (option, weak, strong) in [
        ("--argon2-memory-kib", "19455", "131073"),
        ("--argon2-passes", "1", "11"),
        ("--argon2-lanes", "0", "9"),
    ] {
        for value in [weak, strong] {
            let refused = Command::try_parse_from(["test", option, value]).err().unwrap();
            assert!(refused.to_string().contains(option), "{refused}");
        }
    }
}
