//! Executions as those see them who ask for them.

use std::collections::HashSet;

use ihuman_proto::{
    catalog::v1::{self as pb, ExecutionState as State},
    error::v1::ErrorReason,
};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::scene::{Scene, executions, object, publish_version, watch};

fn create_request(scene: &Scene) -> pb::CreateExecutionRequest {
    let skill_id = scene.skill_id.to_string();
    let parameters = Some(object(json!({"name": "Ada"})));
    pb::CreateExecutionRequest { skill_id, parameters, ..Default::default() }
}

#[tokio::test]
async fn parameters_that_the_schema_refuses_are_named() {
    let scene = Scene::start().await;
    let refused = async |parameters| {
        let parameters = Some(object(parameters));
        let request = pb::CreateExecutionRequest { parameters, ..create_request(&scene) };
        scene.executions.clone().create_execution(request).await.unwrap_err()
    };

    let status = refused(json!({"name": 7, "times": "often"})).await;
    let fields: HashSet<_> = violations(&status).into_iter().collect();
    assert_eq!(fields, HashSet::from(["parameters.name".into(), "parameters.times".into()]));

    let status = refused(json!({"name": "x".repeat(256 << 10)})).await;
    assert_eq!(violations(&status), ["parameters"]);
    // Numbers take more room in a message than as text, and yet the limit is one of text.
    let numbers = vec![1; 100_000];
    let status = refused(json!({"numbers": numbers})).await;
    assert!(violations(&status)[0].starts_with("parameters"));
}

#[tokio::test]
async fn every_field_of_a_create_has_its_limits() {
    let scene = Scene::start().await;
    let valid = create_request(&scene);
    for (field, request) in [
        ("skill_id", pb::CreateExecutionRequest { skill_id: "greet".into(), ..valid.clone() }),
        ("priority", pb::CreateExecutionRequest { priority: 10, ..valid.clone() }),
        ("priority", pb::CreateExecutionRequest { priority: -1, ..valid.clone() }),
        ("max_attempts", pb::CreateExecutionRequest { max_attempts: 21, ..valid.clone() }),
        ("max_attempts", pb::CreateExecutionRequest { max_attempts: -1, ..valid.clone() }),
        ("request_id", pb::CreateExecutionRequest { request_id: "again".into(), ..valid.clone() }),
    ] {
        let status = scene.executions.clone().create_execution(request).await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
    let skill_id = Uuid::now_v7().to_string();
    let unknown = pb::CreateExecutionRequest { skill_id, ..valid };
    let status = scene.executions.clone().create_execution(unknown).await.unwrap_err();
    assert_eq!(reason(&status), ErrorReason::NotFound);
}

#[tokio::test]
async fn an_execution_keeps_the_version_that_it_was_created_with() {
    let scene = Scene::start().await;
    let before = scene.create().await;
    publish_version(&scene.catalog.database, scene.person.user_id, scene.skill_id, 2).await;
    let after = scene.create().await;

    let leased = scene.lease(2).await;

    assert_eq!((before.skill_version, after.skill_version), (1, 2));
    let bodies: Vec<_> = leased.iter().map(|it| &*it.skill.as_ref().unwrap().body).collect();
    assert_eq!(bodies, ["Greet, version 1.", "Greet, version 2."]);
    assert_eq!(leased[0].skill.as_ref().unwrap().digest, before.skill_digest);
}

#[tokio::test]
async fn an_archived_skill_takes_no_new_executions_and_finishes_the_old() {
    let scene = Scene::start().await;
    scene.create().await;
    sqlx::query("update catalog.skills set state = 'archived'").execute(scene.db()).await.unwrap();

    let refused = scene.executions.clone().create_execution(create_request(&scene)).await;

    assert_eq!(reason(&refused.unwrap_err()), ErrorReason::WrongState);
    assert_eq!(scene.lease(1).await.len(), 1);
}

#[tokio::test]
async fn twenty_retries_at_the_same_time_create_one_execution() {
    let scene = Scene::start().await;
    let request_id = Uuid::now_v7().to_string();
    let request = pb::CreateExecutionRequest { request_id, ..create_request(&scene) };
    let mut creates = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut executions, request) = (scene.executions.clone(), request.clone());
        creates.spawn(async move {
            let created = executions.create_execution(request).await.unwrap();
            created.into_inner().execution.unwrap()
        });
    }

    let created: HashSet<_> = creates.join_all().await.into_iter().map(|it| it.id).collect();

    assert_eq!(created.len(), 1);
    assert_eq!(scene.lease(100).await.len(), 1);
    let other = pb::CreateExecutionRequest { priority: 5, ..request.clone() };
    let refused = scene.executions.clone().create_execution(other).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::RequestIdReused);
    // A retry answers as the first did, even when a new request would be refused.
    sqlx::query("update catalog.skills set state = 'archived'").execute(scene.db()).await.unwrap();
    let again = scene.executions.clone().create_execution(request).await.unwrap();
    assert!(created.contains(&again.into_inner().execution.unwrap().id));
}

#[tokio::test]
async fn what_is_not_yours_is_not_there() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let stranger = scene.credentials().person(Role::Developer).await;
    let mut theirs = executions(&scene.catalog.service, &stranger);

    let execution_id = id.clone();
    let got = theirs.get_execution(pb::GetExecutionRequest { execution_id }).await.unwrap_err();
    let execution_id = id.clone();
    let request = pb::CancelExecutionRequest { execution_id };
    let cancelled = theirs.cancel_execution(request).await.unwrap_err();
    let execution_id = id.clone();
    let request = pb::ListExecutionStepsRequest { execution_id, ..Default::default() };
    let steps = theirs.list_execution_steps(request).await.unwrap_err();
    let watched = watch(&mut theirs, &id, 0).await.unwrap_err();
    for status in [got, cancelled, steps, watched] {
        assert_eq!(reason(&status), ErrorReason::NotFound);
    }
    let list = theirs.list_executions(pb::ListExecutionsRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().executions, []);

    let admin = scene.credentials().person(Role::Admin).await;
    let mut everybodys = executions(&scene.catalog.service, &admin);
    let list = everybodys.list_executions(pb::ListExecutionsRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().executions[0].id, id);
    let request = pb::CancelExecutionRequest { execution_id: id };
    everybodys.cancel_execution(request).await.unwrap();
}

#[tokio::test]
async fn a_list_has_pages_and_filters_and_the_newest_first() {
    let scene = Scene::start().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(scene.create().await.id);
    }
    scene.cancel(&ids[3]).await.unwrap();
    ids.reverse();
    let list = async |request: pb::ListExecutionsRequest| {
        let list = scene.executions.clone().list_executions(request).await.unwrap().into_inner();
        let ids: Vec<_> = list.executions.into_iter().map(|it| it.id).collect();
        (ids, list.next_page_token)
    };

    let first = pb::ListExecutionsRequest { page_size: 3, ..Default::default() };
    let (mut seen, mut page_token) = list(first.clone()).await;
    while !page_token.is_empty() {
        let next = pb::ListExecutionsRequest { page_token, ..first.clone() };
        let (ids, token) = list(next).await;
        seen.extend(ids);
        page_token = token;
    }
    assert_eq!(seen, ids);
    let state = State::Cancelled.into();
    let skill_id = scene.skill_id.to_string();
    let request = pb::ListExecutionsRequest { state, skill_id, ..Default::default() };
    assert_eq!(list(request).await.0, [ids[3].clone()]);
    let skill_id = Uuid::now_v7().to_string();
    let request = pb::ListExecutionsRequest { skill_id, ..Default::default() };
    assert_eq!(list(request).await.0, Vec::<String>::new());
}

#[tokio::test]
async fn cancelling_ends_what_is_queued_and_what_runs_and_nothing_else() {
    let scene = Scene::start().await;
    let queued = scene.create().await.id;
    assert_eq!(scene.cancel(&queued).await.unwrap().state(), State::Cancelled);
    assert_eq!(scene.lease(1).await, []);

    let running = scene.create().await.id;
    let lease = scene.lease_one().await;
    scene.progress(&lease, 5, "look", "").await;
    let cancelled = scene.cancel(&running).await.unwrap();
    assert_eq!((cancelled.state(), cancelled.revision), (State::Cancelled, 4));
    assert_eq!(scene.cancel(&running).await.unwrap(), cancelled);
    assert_eq!(scene.steps(&running).await[0].state(), State::Cancelled);

    let done = scene.create().await.id;
    let lease = scene.lease_one().await;
    scene.complete(&lease, json!(1)).await;
    let refused = scene.cancel(&done).await.unwrap_err();
    assert_eq!(reason(&refused), ErrorReason::WrongState);
}

#[tokio::test]
async fn one_creator_can_not_fill_the_queue() {
    let scene = Scene::start().await;
    sqlx::query(
        "with ids as (select gen_random_uuid() as id from generate_series(1, 100000)),
         created as (
             insert into catalog.executions (execution_id, skill_id, skill_version, parameters,
                 size, max_attempts, priority, created_by)
             select id, $1, 1, '{}', 0, 1, 0, $2 from ids)
         insert into catalog.execution_queue (execution_id, skill_name, created_by, priority, size)
         select id, 'greet', $2, 0, 0 from ids",
    )
    .bind(scene.skill_id)
    .bind(scene.person.user_id)
    .execute(scene.db())
    .await
    .unwrap();

    let refused = scene.executions.clone().create_execution(create_request(&scene)).await;

    assert_eq!(reason(&refused.unwrap_err()), ErrorReason::QuotaExceeded);
    let other = scene.credentials().person(Role::Executor).await;
    let mut theirs = executions(&scene.catalog.service, &other);
    theirs.create_execution(create_request(&scene)).await.unwrap();
}

#[tokio::test]
async fn every_change_and_every_refusal_is_in_the_audit_trail() {
    let scene = Scene::start().await;
    let request = pb::CreateExecutionRequest { max_attempts: 3, ..create_request(&scene) };
    let id = scene.create_with(request).await.id;
    let lease = scene.lease_one().await;
    scene.progress(&lease, 1, "look", "").await;
    scene.fail(&lease, false).await;
    scene.end_backoff().await;
    scene.lease_one().await;
    scene.expire(&id).await;
    let lease = scene.lease_one().await;
    scene.complete(&lease, json!(null)).await;
    let cancelled = scene.create().await.id;
    scene.cancel(&cancelled).await.unwrap();

    let expected = [
        "execution.create",
        "execution.lease",
        "execution.progress",
        "execution.fail",
        "execution.lease",
        "execution.expire_lease",
        "execution.lease",
        "execution.complete",
    ];
    assert_eq!(scene.audited(&id).await, expected);
    assert_eq!(scene.audited(&cancelled).await, ["execution.create", "execution.cancel"]);

    let viewer = scene.credentials().person(Role::Viewer).await;
    let mut theirs = executions(&scene.catalog.service, &viewer);
    let refused = theirs.create_execution(create_request(&scene)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let denied: String = sqlx::query_scalar(
        "select action from audit.audit_logs where outcome = 'denied' and actor_id = $1",
    )
    .bind(viewer.user_id)
    .fetch_one(scene.db())
    .await
    .unwrap();
    assert_eq!(denied, "/ihuman.catalog.v1.ExecutionService/CreateExecution");
}
