//! What keeps the program from starting, and ends it when it is found out late.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use ihuman_shared::{credentials::MasterKey, testing::TestDatabase};
use tokio::{net::TcpStream, process::Command, time::sleep};

use crate::support::Catalog;

/// 32 times the byte 9, in base64.
const ANOTHER: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

/// What the program ends with, as `role`.
async fn start(database: &TestDatabase, role: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_catalog-service"))
        .envs(database.environment(role))
        .env("LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap().trim().to_owned())
}

/// As auth-service does at its first start.
async fn claim(database: &TestDatabase, master_key: &str) {
    let master_key: MasterKey = master_key.parse().unwrap();
    sqlx::query("insert into auth.master_key_checks (check_value) values ($1)")
        .bind(master_key.check_value().as_slice())
        .execute(&database.superuser)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_role_of_another_service_and_another_master_key_are_refused() {
    let database = TestDatabase::create().await;

    let role = start(&database, "ihuman_auth").await;
    claim(&database, ANOTHER).await;
    let key = start(&database, "ihuman_catalog").await;

    assert_eq!(role.0, Some(64), "{}", role.1);
    assert!(role.1.contains("not that of catalog-service"), "{}", role.1);
    let not_the_key = "configuration: the master key is not the one of this database";
    assert_eq!(key, (Some(64), not_the_key.to_owned()));
}

#[tokio::test]
async fn it_stops_when_the_first_start_of_auth_service_has_another_master_key() {
    let catalog = Catalog::start().await;
    let address = catalog.service.url.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap();

    claim(&catalog.database, ANOTHER).await;

    let claimed = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(claimed.elapsed() < Duration::from_secs(20), "still there");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn it_goes_on_when_the_first_start_of_auth_service_has_the_same_master_key() {
    let catalog = Catalog::start().await;
    let same = catalog.database.environment("ihuman_catalog").remove(1).1;

    claim(&catalog.database, &same).await;
    // Longer than it takes to look.
    sleep(Duration::from_secs(3)).await;

    let address = catalog.service.url.trim_start_matches("http://");
    assert!(TcpStream::connect(address).await.is_ok());
}
