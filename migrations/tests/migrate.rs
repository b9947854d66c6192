//! The migrate program, on databases of its own.

use std::process::{Command, Output};

use ihuman_migrations::{
    LoginRole, MIGRATOR, PgConnectOptions, create_database, drop_database, login_url, migrate,
};
use sqlx::{ConnectOptions, Connection, Executor};

/// An empty database on the server of the tests.
fn database(name: &str) -> PgConnectOptions {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `cargo xtask test`");
    let server: PgConnectOptions = url.parse().expect("DATABASE_URL is a PostgreSQL URL");
    server.database(&format!("ihuman_migrate_{name}_{}", std::process::id()))
}

/// The program, with nothing of our environment.
fn program(environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.env_clear().envs(environment.iter().copied()).output().expect("the program runs")
}

#[tokio::test]
async fn migrating_twice_applies_everything_once() {
    let database = database("twice");
    create_database(&database).await.unwrap();
    let mut shown = 0;

    let first = migrate(&database, |_| shown += 1).await.unwrap();
    let second = migrate(&database, |_| shown += 1).await.unwrap();

    drop_database(&database).await.unwrap();
    assert_eq!(first.applied.len(), MIGRATOR.iter().count());
    assert_eq!(shown, first.applied.len());
    assert!(second.applied.is_empty());
}

#[tokio::test]
async fn two_at_a_time_apply_everything_once() {
    let database = database("at_a_time");
    create_database(&database).await.unwrap();

    let (one, other) = tokio::join!(migrate(&database, |_| {}), migrate(&database, |_| {}));

    drop_database(&database).await.unwrap();
    let applied = one.unwrap().applied.len() + other.unwrap().applied.len();
    assert_eq!(applied, MIGRATOR.iter().count());
}

#[tokio::test]
async fn an_older_release_goes_on_with_a_newer_schema() {
    let database = database("newer");
    create_database(&database).await.unwrap();
    migrate(&database, |_| {}).await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.execute(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (999999, 'of a later release', true, '', 0)",
    )
    .await
    .unwrap();
    conn.close().await.unwrap();

    let report = migrate(&database, |_| {}).await;

    drop_database(&database).await.unwrap();
    assert_eq!(report.unwrap().newer, 1);
}

#[tokio::test]
async fn the_program_migrates_and_gives_a_role_its_password() {
    let database = database("program");
    // Roles belong to the server: other tests log in with this password too.
    let password = "only-in-tests";

    let url: String = database.to_url_lossy().into();
    let output = program(&[("DATABASE_URL", &url), ("AUDIT_DB_PASSWORD", password)]);
    let missing = String::from_utf8(output.stderr).unwrap();
    create_database(&database).await.unwrap();
    let output = program(&[("DATABASE_URL", &url), ("AUDIT_DB_PASSWORD", password)]);
    let login = login_url(&database, LoginRole::Audit, password);
    let logged_in = login.parse::<PgConnectOptions>().unwrap().connect().await;
    let logged_in = match logged_in {
        Ok(conn) => conn.close().await.is_ok(),
        Err(_) => false,
    };

    drop_database(&database).await.unwrap();
    assert!(missing.contains("cannot connect to the database"), "{missing}");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("set the password of ihuman_audit"), "{shown}");
    assert!(!shown.contains(password), "{shown}");
    assert!(logged_in, "ihuman_audit logs in with its password");
}

#[test]
fn a_bad_configuration_is_one_line_and_exit_code_64() {
    for environment in [
        &[][..],
        &[("DATABASE_URL", "not a URL")],
        &[("DATABASE_URL", ""), ("DB_HOST", "db")],
        &[("DB_HOST", "db"), ("DB_USER", "u"), ("DB_NAME", "n"), ("DB_PORT", "many")],
        &[("DATABASE_URL", "postgres://u@127.0.0.1/n"), ("AUTH_DB_PASSWORD", "two words")],
    ] {
        let output = program(environment);

        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{environment:?}: {problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}
