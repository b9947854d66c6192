//! Several replicas on one database, and what is left when processes die.

use std::{
    env,
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use catalog_service::SERVICE;
use ihuman_proto::catalog::v1::{
    self as pb, ExecutionState as State, execution_service_client::ExecutionServiceClient,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, Credentials, TestDatabase, TestService},
};
use serde_json::json;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::scene::{
    Scene, complete, lease_of, next_change, object, publish, take, wanted, workers,
};

async fn another_replica(database: &TestDatabase) -> TestService {
    TestService::start(SERVICE, database, &[], catalog_service::stack).await
}

#[tokio::test]
async fn a_watch_at_one_replica_sees_what_a_worker_does_at_another() {
    let scene = Scene::start().await;
    let replica = another_replica(&scene.catalog.database).await;
    let mut workers = workers(&replica, &scene.service_account);
    let id = scene.create().await.id;
    let mut watch = scene.watch(&id, 1).await;

    let reported = Instant::now();
    let lease = lease_of(&take(&mut workers, 1).await[0]);
    assert_eq!(next_change(&mut watch).await.unwrap().state(), State::Running);
    complete(&mut workers, &lease, json!(1)).await;
    assert_eq!(next_change(&mut watch).await.unwrap().state(), State::Succeeded);

    assert_eq!(next_change(&mut watch).await, None);
    assert!(reported.elapsed() < Duration::from_millis(800), "{:?}", reported.elapsed());
}

#[tokio::test]
async fn a_worker_that_waits_at_one_replica_gets_what_is_queued_at_another() {
    let scene = Scene::start().await;
    let replica = another_replica(&scene.catalog.database).await;
    let mut workers = workers(&replica, &scene.service_account);
    // The replica listens: what it is told reaches it.
    take(&mut workers, 1).await;
    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let request = pb::LeaseExecutionsRequest { wait, ..wanted(1) };
        let mut waiting = workers.clone();
        let waiting = tokio::spawn(async move { waiting.lease_executions(request).await });
        take(&mut workers, 1).await;

        let created = Instant::now();
        let id = scene.create().await.id;
        let leased = waiting.await.unwrap().unwrap().into_inner().leased_executions;

        quickest = quickest.min(created.elapsed());
        assert_eq!(leased[0].execution.as_ref().unwrap().id, id);
    }
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

/// How many executions go through processes that die.
const EXECUTIONS: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_and_restarted_replicas_lose_nothing_and_repeat_nothing() {
    let database = TestDatabase::create().await;
    let credentials = Credentials::new(&database).await;
    let person = credentials.person(Role::Developer).await;
    let program = credentials.service_account(Role::Service).await;
    let skill_id = publish(&database, person.user_id, "greet").await;
    let ports = [free_port(), free_port()];
    let urls = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let mut replicas = [replica(&database, ports[0]).await, replica(&database, ports[1]).await];
    let mut first = worker(&format!("{},{}", urls[0], urls[1]), &program);
    let _second = worker(&format!("{},{}", urls[1], urls[0]), &program);

    let creates = create_all(urls.clone(), person, skill_id);
    let disturb = async {
        succeeded(&database, EXECUTIONS / 2).await;
        first.kill().await.unwrap();
        stop(&mut replicas[0]).await;
        replicas[0] = replica(&database, ports[0]).await;
    };
    tokio::join!(creates, disturb);
    let all = succeeded(&database, EXECUTIONS);
    timeout(Duration::from_secs(45), all).await.expect("every execution succeeds");

    for (what, query) in [
        ("executions in another state", NOT_SUCCEEDED),
        ("histories with a gap or with several ends", HISTORY_BROKEN),
        ("executions without exactly one completion in the audit trail", NOT_AUDITED_ONCE),
        ("rows left in the queue or leased", LEFT_OVER),
    ] {
        let found: i64 = sqlx::query_scalar(query).fetch_one(&database.superuser).await.unwrap();
        assert_eq!(found, 0, "{what}");
    }
    for replica in &mut replicas {
        stop(replica).await;
    }
}

const NOT_SUCCEEDED: &str =
    "select count(*) from catalog.executions where state <> 'succeeded' or result is null";

const HISTORY_BROKEN: &str = "
    select count(*)
    from catalog.executions e
    cross join lateral (
        select count(*) as changes, min(revision) as first, max(revision) as last,
               count(*) filter (where state in ('succeeded', 'failed', 'cancelled')) as ends
        from catalog.execution_history h
        where h.execution_id = e.execution_id
    ) history
    where changes <> e.revision or first <> 1 or last <> e.revision or ends <> 1";

const NOT_AUDITED_ONCE: &str = "
    select count(*)
    from catalog.executions e
    where 1 <> (
        select count(*) from audit.audit_logs
        where entity_type = 'execution' and entity_id = e.execution_id::text
          and action = 'execution.complete')";

const LEFT_OVER: &str = "
    select (select count(*) from catalog.execution_queue)
         + (select count(*) from catalog.execution_leases)";

/// Creates all executions at both replicas. A create that fails is repeated, at the
/// other replica, with the same `request_id`.
async fn create_all(urls: [String; 2], person: Caller, skill_id: Uuid) {
    let left = Arc::new(AtomicUsize::new(EXECUTIONS));
    let take = |it: usize| it.checked_sub(1);
    let mut creators = JoinSet::new();
    for number in 0..16 {
        let mut replicas = urls.clone().map(|url| {
            let channel = Channel::from_shared(url).unwrap().connect_lazy();
            ExecutionServiceClient::with_interceptor(channel, person.clone())
        });
        let left = left.clone();
        creators.spawn(async move {
            let mut turn = number;
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let request = pb::CreateExecutionRequest {
                    skill_id: skill_id.to_string(),
                    parameters: Some(object(json!({"name": "Ada"}))),
                    request_id: Uuid::now_v7().to_string(),
                    max_attempts: 20,
                    ..Default::default()
                };
                while replicas[turn % 2].create_execution(request.clone()).await.is_err() {
                    turn += 1;
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    creators.join_all().await;
}

/// Returns when so many executions have succeeded.
async fn succeeded(database: &TestDatabase, many: usize) {
    let query = "select count(*) from catalog.executions where state = 'succeeded'";
    loop {
        let count: i64 = sqlx::query_scalar(query).fetch_one(&database.superuser).await.unwrap();
        if count as usize >= many {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A replica in a process of its own, once it can be reached.
async fn replica(database: &TestDatabase, port: u16) -> Child {
    let address = format!("127.0.0.1:{port}");
    let process = Command::new(env!("CARGO_BIN_EXE_catalog-service"))
        .envs(database.environment("ihuman_catalog"))
        .env("LISTEN", &address)
        .env("RATE_LIMIT_MAX_REQUESTS", "1000000")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program was built for this test");
    let reached = async {
        while TcpStream::connect(&address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), reached).await.expect("the replica starts");
    process
}

/// Tells a replica to stop, and waits until it has, in order.
async fn stop(replica: &mut Child) {
    let id = replica.id().expect("it still runs").to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
    assert!(told.success());
    let status = timeout(Duration::from_secs(20), replica.wait()).await;
    assert!(status.expect("it stops in time").unwrap().success());
}

/// A worker in a process of its own: the example, which is built beside this test.
fn worker(urls: &str, program: &Caller) -> Child {
    let test = env::current_exe().expect("a test has a path");
    let target: PathBuf = test.parent().and_then(|it| it.parent()).expect("target/debug").into();
    let key = program.authorization.trim_start_matches("ApiKey ");
    Command::new(target.join("examples/worker"))
        .env("IHUMAN_URLS", urls)
        .env("IHUMAN_API_KEY", key)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("examples are built with the tests")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
