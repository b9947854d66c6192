//! What the service does when its database is busy, slow or away.

use std::time::{Duration, Instant};

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{Error, access::Role, testing::reason};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::Auth;

impl Auth {
    /// Whether /readyz says that requests may be sent here.
    async fn is_ready(&self) -> bool {
        let address = self.service.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.starts_with("HTTP/1.1 200")
    }

    async fn another_connection(&self) -> PgConnection {
        let options = self.database.superuser.connect_options();
        PgConnection::connect_with(&options).await.unwrap()
    }
}

#[tokio::test]
async fn a_replica_whose_connections_are_all_busy_is_ready() {
    // One of them listens to notifications for as long as the service runs.
    let auth = Auth::start_with(&["--db-pool-max", "2"]).await;
    let caller = auth.credentials.person(Role::Viewer).await;
    auth.accepts(&caller).await.unwrap();
    let mut holder = auth.another_connection().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("lock table auth.settings").execute(&mut *tx).await.unwrap();
    let mut settings = auth.settings(&caller);
    let held = tokio::spawn(async move {
        settings.list_settings(pb::ListSettingsRequest::default()).await.map(drop)
    });

    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert!(auth.is_ready().await, "after {:?}", begun.elapsed());
        sleep(Duration::from_millis(50)).await;
    }

    assert!(!held.is_finished(), "it holds its connection all the time");
    tx.rollback().await.unwrap();
    held.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_replica_without_a_database_is_not_ready_until_it_is_back() {
    let auth = Auth::start().await;
    assert!(auth.is_ready().await);
    let name: String = auth.scalar("select current_database()::text").await;
    let allow = async |allowed: bool| {
        // Not from within: it does not let itself be changed so.
        let options = auth.database.superuser.connect_options().as_ref().clone();
        let mut other = PgConnection::connect_with(&options.database("postgres")).await.unwrap();
        let sql = format!("alter database {name} allow_connections {allowed}");
        #[expect(clippy::disallowed_methods, reason = "the name is that of the database")]
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        sql.execute(&mut other).await.unwrap();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = $1 and usename = 'ihuman_auth'";
        sqlx::query(end).bind(&name).execute(&mut other).await.unwrap();
    };
    let becomes = async |ready: bool| {
        let change = async {
            while auth.is_ready().await != ready {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(10), change).await.expect("in time");
    };

    allow(false).await;
    becomes(false).await;
    allow(true).await;
    becomes(true).await;
}

#[tokio::test]
async fn who_waits_for_a_database_that_hangs_waits_once() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;
    let mut holder = auth.another_connection().await;
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("lock table auth.rate_limits").execute(&mut *tx).await.unwrap();
    let begun = Instant::now();

    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let mut settings = auth.settings(&caller);
        asking.spawn(async move {
            settings.list_settings(pb::ListSettingsRequest::default()).await.unwrap();
        });
    }
    asking.join_all().await;

    // Three seconds for all of them, and not for each after the other.
    assert!(begun.elapsed() < Duration::from_millis(5500), "{:?}", begun.elapsed());
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn what_the_database_can_not_do_now_is_no_fault_of_the_service() {
    let auth = Auth::start().await;
    let mut conn = auth.another_connection().await;
    sqlx::query("set statement_timeout = 50").execute(&mut conn).await.unwrap();

    for (statement, expected) in [
        ("select pg_sleep(10)", Reason::DeadlineExceeded),
        ("do $$ begin raise sqlstate '53100'; end $$", Reason::Unavailable),
        ("do $$ begin raise sqlstate '53300'; end $$", Reason::Unavailable),
        ("do $$ begin raise sqlstate '57P01'; end $$", Reason::Unavailable),
        ("do $$ begin raise sqlstate '40001'; end $$", Reason::Conflict),
        ("select 1 / 0", Reason::Internal),
    ] {
        let error = sqlx::query(statement).execute(&mut conn).await.unwrap_err();

        let status = tonic::Status::from(Error::from(error));
        assert_eq!(reason(&status), expected, "{statement}");
    }
}
