//! What workers report, and what of it counts.

use ihuman_proto::catalog::v1::{self as pb, ExecutionState as State, LeaseState};
use ihuman_shared::{access::Role, parse::value, testing::violations};
use serde_json::json;
use uuid::Uuid;

use crate::scene::{Scene, complete, lease_of, workers};

#[tokio::test]
async fn heartbeats_and_progress_prolong_a_lease() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    let expires_soon = async || {
        sqlx::query(
            "update catalog.execution_leases set expires_at = now() + interval '3 seconds'",
        )
        .execute(scene.db())
        .await
        .unwrap();
    };
    let left = async || -> f64 {
        sqlx::query_scalar(
            "select extract(epoch from expires_at - now())::float8 from catalog.execution_leases",
        )
        .fetch_one(scene.db())
        .await
        .unwrap()
    };

    expires_soon().await;
    let report = scene.heartbeat(&lease).await;
    assert_eq!(report.state(), LeaseState::Held);
    assert!(report.expire_time.is_some());
    assert!(left().await > 25.0);
    expires_soon().await;
    assert_eq!(scene.progress(&lease, 1, "", "").await, LeaseState::Held);
    assert!(left().await > 25.0);
    assert_eq!(scene.get(&id).await.revision, 3);
}

#[tokio::test]
async fn a_repeated_completion_is_accepted_and_changes_nothing() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    assert_eq!(scene.complete(&lease, json!("first")).await, LeaseState::Held);
    let completed = scene.get(&id).await;

    assert_eq!(scene.complete(&lease, json!("second")).await, LeaseState::Held);

    assert_eq!(scene.get(&id).await, completed);
    assert_eq!(scene.fail(&lease, false).await, LeaseState::Lost);
    assert_eq!(scene.heartbeat(&lease).await.state(), LeaseState::Lost);
    let completions = scene.audited(&id).await;
    assert_eq!(completions, ["execution.create", "execution.lease", "execution.complete"]);
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_after_a_wait_that_doubles_until_none_is_left() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    for (attempt, wait) in [(1, 1.0), (2, 2.0)] {
        let lease = scene.lease_one().await;
        assert_eq!(scene.fail(&lease, false).await, LeaseState::Held);
        assert_eq!(scene.fail(&lease, false).await, LeaseState::Held);
        assert_eq!(scene.complete(&lease, json!(1)).await, LeaseState::Lost);
        let waits: f64 = sqlx::query_scalar(
            "select extract(epoch from q.available_at - e.updated_at)::float8
             from catalog.execution_queue q join catalog.executions e using (execution_id)",
        )
        .fetch_one(scene.db())
        .await
        .unwrap();
        assert_eq!(waits, wait);
        let execution = scene.get(&id).await;
        assert_eq!((execution.state(), execution.attempt), (State::Queued, attempt));
        assert_eq!(execution.error.unwrap().code, "NO_LUCK");
        assert_eq!(scene.lease(1).await, []);
        scene.end_backoff().await;
    }
    let lease = scene.lease_one().await;
    scene.fail(&lease, false).await;

    let execution = scene.get(&id).await;
    assert_eq!((execution.state(), execution.attempt), (State::Failed, 3));
    assert_eq!(scene.fail(&lease, false).await, LeaseState::Held);
    assert_eq!(scene.get(&id).await, execution);
}

#[tokio::test]
async fn a_permanent_failure_is_not_repeated() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;

    scene.fail(&lease, true).await;

    let execution = scene.get(&id).await;
    assert_eq!((execution.state(), execution.attempt), (State::Failed, 1));
    assert!(execution.end_time.is_some());
}

#[tokio::test]
async fn a_worker_learns_of_a_cancelled_execution_whatever_it_reports() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    scene.cancel(&id).await.unwrap();

    assert_eq!(scene.heartbeat(&lease).await.state(), LeaseState::Cancelled);
    assert_eq!(scene.progress(&lease, 1, "x", "").await, LeaseState::Cancelled);
    assert_eq!(scene.complete(&lease, json!(1)).await, LeaseState::Cancelled);
    assert_eq!(scene.fail(&lease, false).await, LeaseState::Cancelled);
    assert_eq!(scene.get(&id).await.revision, 3);
}

#[tokio::test]
async fn nobody_reports_under_the_lease_of_another() {
    let scene = Scene::start().await;
    scene.create().await;
    let lease = scene.lease_one().await;
    let other = scene.credentials().service_account(Role::Service).await;
    let mut theirs = workers(&scene.catalog.service, &other);

    assert_eq!(complete(&mut theirs, &lease, json!("stolen")).await, LeaseState::Lost);
    assert_eq!(scene.complete(&lease, json!("mine")).await, LeaseState::Held);
    assert_eq!(complete(&mut theirs, &lease, json!("stolen")).await, LeaseState::Lost);
    let lease_id = Uuid::now_v7().to_string();
    let unknown = pb::Lease { execution_id: lease_id.clone(), lease_id };
    assert_eq!(scene.complete(&unknown, json!(1)).await, LeaseState::Lost);
}

#[tokio::test]
async fn one_batch_may_hold_reports_that_count_and_reports_that_do_not() {
    let scene = Scene::start().await;
    for _ in 0..3 {
        scene.create().await;
    }
    let leases: Vec<_> = scene.lease(3).await.iter().map(lease_of).collect();
    scene.cancel(&leases[0].execution_id).await.unwrap();
    scene.let_expire(&leases[1].execution_id).await;

    let completion =
        |lease: &pb::Lease| pb::Completion { lease: Some(lease.clone()), result: None };
    let completions = leases.iter().rev().map(completion).collect();
    let request = pb::CompleteExecutionsRequest { completions };
    let reports = scene.workers.clone().complete_executions(request).await.unwrap().into_inner();

    let states: Vec<_> = reports.reports.iter().map(pb::LeaseReport::state).collect();
    assert_eq!(states, [LeaseState::Held, LeaseState::Lost, LeaseState::Cancelled]);
    let done = scene.get(&leases[2].execution_id).await;
    assert_eq!(done.result, Some(value(json!(null))));
}

#[tokio::test]
async fn every_field_of_a_report_has_its_limits() {
    let scene = Scene::start().await;
    scene.create().await;
    let lease = Some(scene.lease_one().await);
    let mut workers = scene.workers.clone();

    let valid = pb::Progress { lease: lease.clone(), ..Default::default() };
    for (field, progress) in [
        ("progress", vec![]),
        ("progress", vec![valid.clone(); 101]),
        ("progress[1].lease.execution_id", vec![valid.clone(); 2]),
        ("progress[0].lease", vec![pb::Progress { lease: None, ..valid.clone() }]),
        ("progress[0].percent", vec![pb::Progress { percent: 101, ..valid.clone() }]),
        ("progress[0].percent", vec![pb::Progress { percent: -1, ..valid.clone() }]),
        ("progress[0].step", vec![pb::Progress { step: "x".repeat(101), ..valid.clone() }]),
        ("progress[0].message", vec![pb::Progress { message: "x".repeat(2001), ..valid.clone() }]),
    ] {
        let status = workers.report_progress(pb::ReportProgressRequest { progress }).await;
        assert_eq!(violations(&status.unwrap_err()), [field]);
    }

    let long = value(json!("x".repeat(256 << 10)));
    let completions = vec![pb::Completion { lease: lease.clone(), result: Some(long) }];
    let request = pb::CompleteExecutionsRequest { completions };
    let status = workers.complete_executions(request).await.unwrap_err();
    assert_eq!(violations(&status), ["completions[0].result"]);

    let error =
        |code: &str, message: String| Some(pb::ExecutionError { code: code.into(), message });
    for (field, error) in [
        ("failures[0].error", None),
        ("failures[0].error.code", error("", String::new())),
        ("failures[0].error.code", error("no luck", String::new())),
        ("failures[0].error.code", error(&"X".repeat(65), String::new())),
        ("failures[0].error.message", error("NO_LUCK", "x".repeat(2001))),
    ] {
        let failures = vec![pb::Failure { lease: lease.clone(), error, permanent: false }];
        let status = workers.fail_executions(pb::FailExecutionsRequest { failures }).await;
        assert_eq!(violations(&status.unwrap_err()), [field]);
    }
}

#[tokio::test]
async fn an_attempt_has_a_hundred_steps_at_the_most() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    for step in 1..=100 {
        scene.progress(&lease, 0, &format!("step {step}"), "").await;
    }

    let progress =
        vec![pb::Progress { lease: Some(lease), step: "one more".into(), ..Default::default() }];
    let request = pb::ReportProgressRequest { progress };
    let refused = scene.workers.clone().report_progress(request).await.unwrap_err();

    assert_eq!(violations(&refused), ["progress[0].step"]);
    assert_eq!(scene.get(&id).await.revision, 102);
    let execution_id = id;
    let request =
        pb::ListExecutionStepsRequest { execution_id, page_size: 200, ..Default::default() };
    let steps = scene.executions.clone().list_execution_steps(request).await.unwrap();
    assert_eq!(steps.into_inner().steps.len(), 100);
}
