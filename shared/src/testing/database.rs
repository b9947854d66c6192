//! A migrated database for one test, copied from a template and dropped at the end.

use std::{env, str::FromStr, sync::mpsc, thread, time::Duration};

use clap::Parser;
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::platform::PlatformConfig;

/// The password of the services' roles in a cluster of tests.
const PASSWORD: &str = "only-in-tests";
/// The master key of tests: 32 times the byte 1, in base64.
pub(super) const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// More than any test sends that is not about the limit.
const PUBLIC_REQUESTS_MAX: &str = "100000";
/// How long a test waits for its database to be dropped.
const DROPPED_WITHIN: Duration = Duration::from_secs(2);
/// The number of the advisory lock that guards the template.
const TEMPLATE_LOCK: i64 = 0x6968_756d_616e;

/// A migrated database of one test's own.
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
    /// The database as a superuser, to arrange facts and to look at them.
    pub superuser: PgPool,
}

// What a test says comes after what every test says, and counts.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Command {
    #[command(flatten)]
    platform: PlatformConfig,
}

impl TestDatabase {
    /// Copies the template, which the first test makes.
    ///
    /// # Panics
    /// Without a `DATABASE_URL` of a superuser: run `cargo xtask test`.
    pub async fn create() -> Self {
        let url = env::var("DATABASE_URL").expect("DATABASE_URL is set by `cargo xtask test`");
        let server = PgConnectOptions::from_str(&url).expect("DATABASE_URL is a PostgreSQL URL");
        // Whatever the address says: no test depends on it.
        let server = server.options([("search_path", "public")]);
        let mut conn = connect(&server).await;
        let template = template(&mut conn, &server).await;

        let name = format!("ihuman_test_{}", Uuid::now_v7().simple());
        execute(&mut conn, format!("create database {name} template {template}")).await;
        let superuser = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(server.clone().database(&name))
            .await
            .expect("the new database can be reached");
        Self { name, server, superuser }
    }

    /// The address of the database for `role`, such as `ihuman_auth`.
    pub fn url(&self, role: &str) -> String {
        let (host, port, name) = (self.server.get_host(), self.server.get_port(), &self.name);
        format!("postgres://{role}:{PASSWORD}@{host}:{port}/{name}")
    }

    /// What a service is started with, as `role`, after further `arguments`.
    pub fn platform_config(&self, role: &str, arguments: &[&str]) -> PlatformConfig {
        let url = self.url(role);
        let own = [
            "test",
            "--database-url",
            &url,
            "--master-key",
            MASTER_KEY,
            "--db-pool-min",
            "0",
            "--rate-limit-public-max-requests",
            PUBLIC_REQUESTS_MAX,
        ];
        Command::parse_from(own.iter().chain(arguments)).platform
    }

    /// The same as environment variables, for a service in a process of its own.
    pub fn environment(&self, role: &str) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.url(role)),
            ("IHUMAN_MASTER_KEY", MASTER_KEY.to_owned()),
            ("DB_POOL_MIN", "0".to_owned()),
            ("RATE_LIMIT_PUBLIC_MAX_REQUESTS", PUBLIC_REQUESTS_MAX.to_owned()),
        ]
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let (done, dropped) = mpsc::channel();
        // A drop can't wait for the runtime that it may run on.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async {
                let mut conn = connect(&server).await;
                execute(&mut conn, format!("drop database if exists {name} with (force)")).await;
            });
            let _ = done.send(());
        });
        // PostgreSQL drops none while anybody is logging in, as this runtime may have been,
        // and can't go on before it is let go.
        let _ = dropped.recv_timeout(DROPPED_WITHIN);
    }
}

/// The name of a database that has the migrations of this build and nothing else.
async fn template(conn: &mut PgConnection, server: &PgConnectOptions) -> String {
    let checksum = ihuman_migrations::MIGRATOR
        .iter()
        .flat_map(|it| it.checksum.iter())
        .fold(0_u64, |sum, byte| sum.rotate_left(7) ^ u64::from(*byte));
    let name = format!("ihuman_template_{checksum:016x}");

    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *conn)
        .await
        .expect("the lock is free some time");
    let exists = "select exists (select from pg_database where datname = $1)";
    let exists: bool = sqlx::query_scalar(exists)
        .bind(&name)
        .fetch_one(&mut *conn)
        .await
        .expect("databases can be listed");
    if !exists {
        // Under another name until it is whole: a killed run must not leave half a template.
        let unfinished = format!("{name}_unfinished");
        execute(conn, format!("drop database if exists {unfinished} with (force)")).await;
        let letters = letters(conn).await;
        execute(conn, format!("create database {unfinished} {letters}")).await;
        let mut new = connect(&server.clone().database(&unfinished)).await;
        ihuman_migrations::MIGRATOR.run(&mut new).await.expect("the migrations apply");
        new.close().await.expect("the connection closes");
        for role in ["ihuman_auth", "ihuman_catalog", "ihuman_audit"] {
            execute(conn, format!("alter role {role} password '{PASSWORD}'")).await;
        }
        execute(conn, format!("alter database {unfinished} rename to {name}")).await;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *conn)
        .await
        .expect("the lock is ours");
    name
}

/// What makes a database know letters beyond ASCII, on a server whose own do not.
async fn letters(conn: &mut PgConnection) -> &'static str {
    let plain = "select datctype in ('C', 'POSIX') from pg_database where datname = 'template1'";
    let is_plain: bool =
        sqlx::query_scalar(plain).fetch_one(conn).await.expect("databases can be listed");
    if is_plain { "template template0 lc_collate 'C' lc_ctype 'C.UTF-8'" } else { "" }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.expect("the server of DATABASE_URL can be reached")
}

async fn execute(conn: &mut PgConnection, sql: String) {
    #[expect(clippy::disallowed_methods, reason = "names of databases can't be parameters")]
    let statement = AssertSqlSafe(sql.clone());
    let done = conn.execute(statement).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}
