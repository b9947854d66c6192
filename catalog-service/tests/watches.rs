//! Following an execution as it changes.

use ihuman_proto::{catalog::v1::ExecutionState as State, error::v1::ErrorReason};
use ihuman_shared::{
    access::Role,
    parse::value,
    testing::{reason, violations},
};
use serde_json::json;
use tonic::Code;

use crate::scene::{Scene, executions, next_change, snapshot, watch};

#[tokio::test]
async fn an_execution_is_watched_from_the_queue_to_its_result() {
    let scene = Scene::start().await;
    let created = scene.create().await;
    let mut watch = scene.watch(&created.id, 0).await;
    assert_eq!(snapshot(&mut watch).await, created);

    let lease = scene.lease_one().await;
    scene.progress(&lease, 10, "look", "looking for Ada").await;
    scene.progress(&lease, 40, "", "found her").await;
    scene.progress(&lease, 80, "wave", "").await;
    scene.complete(&lease, json!({"greeted": true})).await;

    let mut changes = Vec::new();
    while let Some(change) = next_change(&mut watch).await {
        changes.push((
            change.revision,
            change.state(),
            change.progress_percent,
            change.step,
            change.message,
        ));
    }
    let expected = [
        (2, State::Running, 0, "", ""),
        (3, State::Running, 10, "look", "looking for Ada"),
        (4, State::Running, 40, "look", "found her"),
        (5, State::Running, 80, "wave", ""),
        (6, State::Succeeded, 100, "wave", ""),
    ];
    assert_eq!(changes, expected.map(|(r, s, p, step, m)| (r, s, p, step.into(), m.into())));
    let execution = scene.get(&created.id).await;
    assert_eq!(execution.result, Some(value(json!({"greeted": true}))));
    assert_eq!((execution.attempt, execution.revision), (1, 6));
    assert!(execution.start_time.is_some() && execution.end_time.is_some());
    let steps = scene.steps(&created.id).await;
    let steps: Vec<_> =
        steps.iter().map(|it| (it.position, &*it.name, it.state(), &*it.message)).collect();
    let expected = [(1, "look", State::Succeeded, "found her"), (2, "wave", State::Succeeded, "")];
    assert_eq!(steps, expected);
}

#[tokio::test]
async fn a_watch_that_is_resumed_misses_nothing_and_repeats_nothing() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let lease = scene.lease_one().await;
    let report = async {
        for percent in 0..=100 {
            scene.progress(&lease, percent, &format!("step {}", percent / 20), "").await;
        }
        scene.complete(&lease, json!(null)).await;
    };
    let follow = async {
        let mut seen = vec![1];
        let mut cuts = (1..).map(|it| it * 7 % 11);
        'connected: loop {
            let mut watch = scene.watch(&id, *seen.last().unwrap()).await;
            for _ in 0..=cuts.next().unwrap() {
                match next_change(&mut watch).await {
                    Some(change) => seen.push(change.revision),
                    None => break 'connected,
                }
            }
        }
        seen
    };

    let (seen, ()) = tokio::join!(follow, report);

    assert_eq!(seen, (1..=104).collect::<Vec<_>>());
    // Longer than what is read at once.
    let mut watch = scene.watch(&id, 1).await;
    for revision in 2..=104 {
        assert_eq!(next_change(&mut watch).await.unwrap().revision, revision);
    }
    assert_eq!(next_change(&mut watch).await, None);
}

#[tokio::test]
async fn a_watch_needs_no_hint_to_learn_of_a_change() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let mut watch = scene.watch(&id, 1).await;

    sqlx::query(
        "with changed as (
             update catalog.executions set revision = 2, state = 'cancelled'
             where execution_id = $1::uuid returning execution_id)
         insert into catalog.execution_history
             (execution_id, revision, state, attempt, progress_percent, step, message)
         select execution_id, 2, 'cancelled', 0, 0, '', '' from changed",
    )
    .bind(&id)
    .execute(scene.db())
    .await
    .unwrap();

    assert_eq!(next_change(&mut watch).await.unwrap().revision, 2);
    assert_eq!(next_change(&mut watch).await, None);
}

#[tokio::test]
async fn a_hint_of_what_never_was_does_no_harm() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let mut watch = scene.watch(&id, 1).await;
    for payload in [format!("{id}:7"), format!("{id}:"), "nonsense".into(), ",:,".into()] {
        sqlx::query("select pg_notify('ihuman_executions', $1)")
            .bind(payload)
            .execute(scene.db())
            .await
            .unwrap();
    }

    scene.cancel(&id).await.unwrap();

    assert_eq!(next_change(&mut watch).await.unwrap().revision, 2);
    assert_eq!(next_change(&mut watch).await, None);
}

#[tokio::test]
async fn a_watch_of_a_finished_execution_ends() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    scene.cancel(&id).await.unwrap();

    let mut from_the_start = scene.watch(&id, 0).await;
    assert_eq!(snapshot(&mut from_the_start).await.state(), State::Cancelled);
    assert_eq!(next_change(&mut from_the_start).await, None);
    let mut from_the_first = scene.watch(&id, 1).await;
    assert_eq!(next_change(&mut from_the_first).await.unwrap().revision, 2);
    assert_eq!(next_change(&mut from_the_first).await, None);
    assert_eq!(next_change(&mut scene.watch(&id, 2).await).await, None);
    for beyond in [3, -1] {
        let refused = watch(&mut scene.executions.clone(), &id, beyond).await.unwrap_err();
        assert_eq!(violations(&refused), ["after_revision"]);
    }
}

#[tokio::test]
async fn a_watch_tells_its_caller_to_come_again_when_the_service_stops() {
    let scene = Scene::start().await;
    let id = scene.create().await.id;
    let mut watch = scene.watch(&id, 0).await;
    snapshot(&mut watch).await;

    let (ended, ()) = tokio::join!(watch.message(), scene.catalog.service.stop());

    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), ErrorReason::Unavailable);
}

#[tokio::test]
async fn a_watch_ends_with_the_token_that_it_began_with() {
    let scene = Scene::start().await;
    let almost_an_hour_ago = chrono::Utc::now() - chrono::TimeDelta::seconds(3598);
    let admin = scene.credentials().person_at(Role::Admin, almost_an_hour_ago).await;
    let id = scene.create().await.id;
    let mut executions = executions(&scene.catalog.service, &admin);
    let mut watch = watch(&mut executions, &id, 0).await.unwrap();
    snapshot(&mut watch).await;

    let status = watch.message().await.unwrap_err();

    assert_eq!(reason(&status), ErrorReason::CredentialsExpired);
}
