//! Executions as workers see them.

use std::time::Duration;

use ihuman_proto::catalog::v1::{self as pb, ExecutionState as State, LeaseState};
use ihuman_shared::{access::Role, parse::value, testing::violations};
use serde_json::json;
use tokio::time::Instant;

use crate::scene::{Scene, executions, lease_of, object, publish, take, wanted, workers};

fn ids(leased: &[pb::LeasedExecution]) -> Vec<String> {
    leased.iter().map(|it| it.execution.as_ref().unwrap().id.clone()).collect()
}

#[tokio::test]
async fn the_highest_priority_is_leased_first_and_then_the_oldest() {
    let scene = Scene::start().await;
    let mut created = Vec::new();
    for priority in [0, 9, 5, 9, 0] {
        let request = pb::CreateExecutionRequest { priority, ..Default::default() };
        created.push(scene.create_with(request).await.id);
    }

    let leased = ids(&scene.lease(100).await);

    assert_eq!(leased, [1, 3, 2, 0, 4].map(|it| created[it].clone()));
}

#[tokio::test]
async fn a_lease_comes_with_all_that_is_needed_to_carry_it_out() {
    let scene = Scene::start().await;
    let created = scene.create().await;

    let leased = scene.lease(1).await.remove(0);

    let execution = leased.execution.unwrap();
    assert_eq!(execution.parameters, Some(object(json!({"name": "Ada"}))));
    assert_eq!((execution.state(), execution.attempt), (State::Running, 1));
    assert_eq!(execution.created_by, created.created_by);
    assert!(leased.expire_time.unwrap().seconds > created.create_time.unwrap().seconds + 25);
    let skill = leased.skill.unwrap();
    assert_eq!((&*skill.name, skill.version), ("greet", 1));
    assert_eq!(skill.allowed_tools, ["read"]);
    assert!(skill.parameters_schema.unwrap().fields.contains_key("required"));
}

#[tokio::test]
async fn a_person_leases_only_their_own_and_a_service_account_anybodys() {
    let scene = Scene::start().await;
    let own = scene.create().await.id;
    let other = scene.credentials().person(Role::Executor).await;

    let mut theirs = workers(&scene.catalog.service, &other);
    assert_eq!(take(&mut theirs, 1).await, []);
    let mut persons = workers(&scene.catalog.service, &scene.person);
    assert_eq!(ids(&take(&mut persons, 1).await), [own]);
    let another = scene.create().await.id;
    assert_eq!(ids(&scene.lease(1).await), [another]);
    let third = scene.create().await.id;
    let admin = scene.credentials().person(Role::Admin).await;
    let mut admins = workers(&scene.catalog.service, &admin);
    assert_eq!(ids(&take(&mut admins, 1).await), [third]);
}

#[tokio::test]
async fn a_worker_may_ask_for_some_skills_only() {
    let scene = Scene::start().await;
    scene.create().await;
    let wave = publish(&scene.catalog.database, scene.person.user_id, "wave").await;
    let request = pb::CreateExecutionRequest { skill_id: wave.to_string(), ..Default::default() };
    let waving = scene.create_with(request).await.id;
    let of_skills = async |names: &[&str]| {
        let skill_names = names.iter().map(|it| (*it).to_owned()).collect();
        let request = pb::LeaseExecutionsRequest { skill_names, ..wanted(100) };
        let leased = scene.workers.clone().lease_executions(request).await.unwrap();
        ids(&leased.into_inner().leased_executions)
    };

    assert_eq!(of_skills(&["nothing"]).await, Vec::<String>::new());
    assert_eq!(of_skills(&["wave", "nothing"]).await, [waving]);
    assert_eq!(of_skills(&["wave", "greet"]).await.len(), 1);
}

#[tokio::test]
async fn after_a_lease_expired_only_its_successor_is_heard() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let old = scene.lease_one().await;
    scene.progress(&old, 1, "look", "").await;
    let expired = scene.expire(&id).await;
    assert_eq!(
        (expired.state(), &*expired.message),
        (State::Queued, "the worker did not report in time")
    );
    // Not taken for a repeated failure, although the execution waits again.
    assert_eq!(scene.fail(&old, true).await, LeaseState::Lost);
    let new = scene.lease_one().await;

    assert_eq!(scene.heartbeat(&old).await.state(), LeaseState::Lost);
    assert_eq!(scene.progress(&old, 50, "", "").await, LeaseState::Lost);
    assert_eq!(scene.fail(&old, true).await, LeaseState::Lost);
    assert_eq!(scene.complete(&old, json!("old")).await, LeaseState::Lost);
    assert_eq!(scene.complete(&new, json!("new")).await, LeaseState::Held);
    assert_eq!(scene.complete(&old, json!("old")).await, LeaseState::Lost);

    let execution = scene.get(&id).await;
    assert_eq!(execution.result, Some(value(json!("new"))));
    assert_eq!(execution.attempt, 2);
    assert_eq!(scene.steps(&id).await[0].state(), State::Failed);
}

#[tokio::test]
async fn a_lease_that_expired_is_lost_even_before_anybody_noticed() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    scene.let_expire(&id).await;

    assert_eq!(scene.complete(&lease, json!(1)).await, LeaseState::Lost);
}

#[tokio::test]
async fn the_last_attempt_that_expires_fails_the_execution() {
    let scene = Scene::start().await;
    let request = pb::CreateExecutionRequest { max_attempts: 1, ..Default::default() };
    let id = scene.create_with(request).await.id;
    scene.lease_one().await;

    assert_eq!(scene.expire(&id).await.state(), State::Failed);

    assert_eq!(scene.get(&id).await.error.unwrap().code, "LEASE_EXPIRED");
}

#[tokio::test]
async fn a_failed_attempt_is_taken_again_when_its_wait_is_over() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    scene.fail(&lease, false).await;

    let wait = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let request = pb::LeaseExecutionsRequest { wait, ..wanted(1) };
    let leased = scene.workers.clone().lease_executions(request).await.unwrap().into_inner();

    assert_eq!(ids(&leased.leased_executions), std::slice::from_ref(&id));
    scene.complete(&lease_of(&leased.leased_executions[0]), json!(1)).await;
    assert_eq!(scene.get(&id).await.error, None);
}

#[tokio::test]
async fn every_field_of_a_lease_request_has_its_limits() {
    let scene = Scene::start().await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let valid = wanted(1);
    for (field, request) in [
        ("worker", pb::LeaseExecutionsRequest { worker: String::new(), ..valid.clone() }),
        ("worker", pb::LeaseExecutionsRequest { worker: "x".repeat(101), ..valid.clone() }),
        ("max_executions", wanted(101)),
        ("max_executions", wanted(-1)),
        (
            "skill_names",
            pb::LeaseExecutionsRequest { skill_names: vec!["x".into(); 101], ..valid.clone() },
        ),
        (
            "skill_names[0]",
            pb::LeaseExecutionsRequest { skill_names: vec!["X".into()], ..valid.clone() },
        ),
        ("wait", pb::LeaseExecutionsRequest { wait: seconds(21), ..valid.clone() }),
        ("wait", pb::LeaseExecutionsRequest { wait: seconds(-1), ..valid.clone() }),
        (
            "lease_duration",
            pb::LeaseExecutionsRequest { lease_duration: seconds(4), ..valid.clone() },
        ),
        (
            "lease_duration",
            pb::LeaseExecutionsRequest { lease_duration: seconds(601), ..valid.clone() },
        ),
    ] {
        let status = scene.workers.clone().lease_executions(request).await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
}

#[tokio::test]
async fn a_waiting_worker_gets_work_as_soon_as_it_arrives() {
    let scene = Scene::start().await;
    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    for _ in 0..3 {
        let request = pb::LeaseExecutionsRequest { wait, ..wanted(1) };
        let mut workers = scene.workers.clone();
        let waiting = tokio::spawn(async move { workers.lease_executions(request).await });
        // The wait began: a look at the empty queue is over.
        scene.workers.clone().lease_executions(wanted(1)).await.unwrap();

        let created = Instant::now();
        let id = scene.create().await.id;
        let leased = waiting.await.unwrap().unwrap().into_inner().leased_executions;

        assert_eq!(ids(&leased), [id]);
        assert!(created.elapsed() < Duration::from_millis(500), "{:?}", created.elapsed());
    }
}

#[tokio::test]
async fn a_wait_ends_with_nothing_when_its_time_is_over_or_the_service_stops() {
    let scene = Scene::start().await;
    let wait = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let request = pb::LeaseExecutionsRequest { wait, ..wanted(1) };
    let leased = scene.workers.clone().lease_executions(request).await.unwrap();
    assert_eq!(leased.into_inner().leased_executions, []);

    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let request = pb::LeaseExecutionsRequest { wait, ..wanted(1) };
    let mut workers = scene.workers.clone();
    let waiting = tokio::spawn(async move { workers.lease_executions(request).await });
    scene.workers.clone().lease_executions(wanted(1)).await.unwrap();
    let stopped = Instant::now();
    scene.catalog.service.stop().await;
    let leased = waiting.await.unwrap().unwrap();
    assert_eq!(leased.into_inner().leased_executions, []);
    assert!(stopped.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_batch_is_no_larger_than_clients_take() {
    let scene = Scene::start().await;
    let mut executions = executions(&scene.catalog.service, &scene.person);
    for _ in 0..20 {
        let parameters = Some(object(json!({"name": "x".repeat(250 << 10)})));
        let skill_id = scene.skill_id.to_string();
        let request = pb::CreateExecutionRequest { skill_id, parameters, ..Default::default() };
        executions.create_execution(request).await.unwrap();
    }

    let (first, second) = (scene.lease(100).await, scene.lease(100).await);

    assert_eq!((first.len(), second.len()), (12, 8));
}
