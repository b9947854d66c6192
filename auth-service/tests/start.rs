//! What keeps the program from starting, and that it says so in one line.

use std::process::Stdio;

use auth_service::{SERVICE, claim_master_key};
use ihuman_shared::{clock::Clock, config::Problem, server::Shutdown, testing::TestDatabase};
use sqlx::ConnectOptions as _;
use tokio::process::Command;

use crate::support::{Auth, EMAIL};

/// 32 times the byte 9, in base64.
const ANOTHER: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
const NOT_THE_KEY: &str = "configuration: the master key is not the one of this database";

/// What the program ends with, as `role` and with other `variables`; empty ones are none.
async fn start(
    database: &TestDatabase,
    role: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_auth-service"));
    program
        .args(arguments)
        .envs(database.environment(role))
        .env("LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null());
    for (name, value) in variables {
        match *value {
            "" => program.env_remove(name),
            value => program.env(name, value),
        };
    }
    let output = program.output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.code(), said.trim().to_owned())
}

#[tokio::test]
async fn another_master_key_is_refused_before_anything_is_written() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    let written = "select concat((select count(*) from auth.signing_keys), ' ',
                                 (select count(*) from audit.audit_logs))";
    let before: String = auth.scalar(written).await;
    let another = [("IHUMAN_MASTER_KEY", ANOTHER)];
    let start =
        async |arguments: &[&str]| start(&auth.database, "ihuman_auth", arguments, &another).await;

    let known = start(&[]).await;
    let rekey = start(&["rekey", "--new-master-key", ANOTHER]).await;
    // As a release before the check left it: the signing keys tell.
    sqlx::query("delete from auth.master_key_checks")
        .execute(&auth.database.superuser)
        .await
        .unwrap();
    let unknown = start(&[]).await;

    for refused in [known, rekey, unknown] {
        assert_eq!(refused, (Some(64), NOT_THE_KEY.to_owned()));
    }
    assert_eq!(auth.scalar::<String>(written).await, before);
    let checks: i64 = auth.scalar("select count(*) from auth.master_key_checks").await;
    assert_eq!(checks, 0);
    // Whoever has the key claims the database, and goes on as before.
    auth.replica().await.login(EMAIL).await;
}

#[tokio::test]
async fn of_two_first_starts_with_different_keys_one_is_refused() {
    let database = TestDatabase::create().await;
    let connect = async |arguments: &[&str]| {
        let config = database.platform_config("ihuman_auth", arguments);
        SERVICE.connect(config, Clock::default(), Shutdown::new()).await.unwrap()
    };
    let (one, other) = (connect(&[]).await, connect(&["--master-key", ANOTHER]).await);

    let (one, other) = tokio::join!(claim_master_key(&one), claim_master_key(&other));

    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].is::<Problem>(), "{:?}", refused[0]);
}

#[tokio::test]
async fn a_wrong_configuration_is_one_line_and_exit_code_64() {
    let database = TestDatabase::create().await;

    for (variables, about) in [
        (&[("DATABASE_URL", "foo")][..], "DATABASE_URL"),
        (&[("DATABASE_URL", "mysql://ann:hush@x/y")], "DATABASE_URL"),
        (&[("TLS_CERT", "/nope"), ("TLS_KEY", "/nope")], "/nope"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "foo")], "must be a URL"),
        (&[("DB_POOL_MIN", "20"), ("DB_POOL_MAX", "10")], "DB_POOL_MIN"),
        (&[("IHUMAN_MASTER_KEY", ""), ("IHUMAN_MASTER_KEY_FILE", "/nope")], "/nope"),
    ] {
        let (code, said) = start(&database, "ihuman_auth", &[], variables).await;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.starts_with("configuration: ") && said.contains(about), "{said}");
        assert!(!said.contains("hush"), "{said}");
    }
    let (code, said) = start(&database, "ihuman_catalog", &[], &[]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("not that of auth-service"), "{said}");
    let sql = "select (select count(*) from auth.signing_keys)
                    + (select count(*) from auth.master_key_checks)";
    let written: i64 = sqlx::query_scalar(sql).fetch_one(&database.superuser).await.unwrap();
    assert_eq!(written, 0);
}

#[tokio::test]
async fn a_database_that_is_away_or_not_migrated_is_named() {
    let database = TestDatabase::create().await;
    let away = "postgres://ihuman_auth:hush@127.0.0.1:1/ihuman";
    let empty = database.superuser.connect_options().as_ref().clone().database("postgres");
    let empty = empty.to_url_lossy();

    let away = start(&database, "", &[], &[("DATABASE_URL", away)]).await;
    let empty = start(&database, "", &[], &[("DATABASE_URL", empty.as_str())]).await;

    assert_eq!(away.0, Some(1));
    let expected = "error: cannot connect to the database at 127.0.0.1:1: Connection refused";
    assert!(away.1.starts_with(expected) && !away.1.contains("hush"), "{}", away.1);
    assert_eq!(empty, (Some(1), "error: the database is not migrated: run migrate".to_owned()));
}
