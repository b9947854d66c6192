//! Rating skills, and the figures that are kept of them.

use catalog_service::SERVICE;
use ihuman_proto::catalog::v1::{RateSkillRequest, Skill};
use ihuman_shared::{
    access::Role,
    testing::{Caller, TestDatabase, TestService, violations},
};
use tonic::Status;
use uuid::Uuid;

use super::{Catalog, Skills, a_skill, get, publish, refusal, skills, start};

async fn rate(client: &mut Skills, skill_id: &str, stars: i32) -> Result<Skill, Status> {
    let request = RateSkillRequest { skill_id: skill_id.to_owned(), stars };
    Ok(client.rate_skill(request).await?.into_inner().skill.unwrap())
}

/// An execution of the skill by the caller, as the room of executions leaves it.
async fn execute(catalog: &Catalog, skill_id: &str, caller: &Caller, state: &str) {
    sqlx::query(
        "insert into catalog.executions (execution_id, skill_id, skill_version, parameters, state,
             max_attempts, priority, created_by)
         values ($1, $2, 1, '{}', $3, 1, 5, $4)",
    )
    .bind(Uuid::now_v7())
    .bind(Uuid::parse_str(skill_id).unwrap())
    .bind(state)
    .bind(caller.user_id)
    .execute(&catalog.database.superuser)
    .await
    .unwrap();
}

#[tokio::test]
async fn only_who_had_it_succeed_rates_a_skill() {
    let (catalog, author, mut client) = start().await;
    let skill = publish(&mut client, a_skill("rated")).await.unwrap();
    let other_skill = publish(&mut client, a_skill("other")).await.unwrap();
    let viewer = catalog.credentials.person(Role::Viewer).await;
    let mut viewers = skills(&catalog, &viewer);
    execute(&catalog, &skill.id, &author, "succeeded").await;
    execute(&catalog, &other_skill.id, &viewer, "succeeded").await;
    for state in ["queued", "running", "failed", "cancelled"] {
        execute(&catalog, &skill.id, &viewer, state).await;
    }

    let status = rate(&mut viewers, &skill.id, 5).await.unwrap_err();
    assert_eq!(refusal(&status), "FailedPrecondition WrongState");

    execute(&catalog, &skill.id, &viewer, "succeeded").await;
    let rated = rate(&mut viewers, &skill.id, 5).await.unwrap();
    assert_eq!((rated.rating, rated.rating_count), (5.0, 1));
}

#[tokio::test]
async fn a_rating_replaces_the_callers_earlier_one() {
    let (catalog, author, mut client) = start().await;
    let skill = publish(&mut client, a_skill("rated")).await.unwrap();
    let other = catalog.credentials.person(Role::Executor).await;
    for caller in [&author, &other] {
        execute(&catalog, &skill.id, caller, "succeeded").await;
    }

    rate(&mut client, &skill.id, 1).await.unwrap();
    rate(&mut skills(&catalog, &other), &skill.id, 4).await.unwrap();
    let last = rate(&mut client, &skill.id, 3).await.unwrap();
    let same = rate(&mut client, &skill.id, 3).await.unwrap();

    assert_eq!((last.rating, last.rating_count), (3.5, 2));
    assert_eq!(same, last);
    assert_eq!(get(&mut client, &skill.id).await.unwrap(), last);
    let records: i64 = sqlx::query_scalar(
        "select count(*) from audit.audit_logs where action = 'skill.rate' and outcome = 'succeeded'",
    )
    .fetch_one(&catalog.database.superuser)
    .await
    .unwrap();
    assert_eq!(records, 3, "the same stars again leave no trace");
}

#[tokio::test]
async fn ratings_at_once_are_all_counted() {
    let (catalog, _, mut client) = start().await;
    let skill = publish(&mut client, a_skill("rated")).await.unwrap();
    let mut calls = Vec::new();
    for number in 0..6 {
        let caller = catalog.credentials.person(Role::Viewer).await;
        execute(&catalog, &skill.id, &caller, "succeeded").await;
        for stars in [1, 2, 3 + number % 3] {
            let (mut client, id) = (skills(&catalog, &caller), skill.id.clone());
            calls.push(tokio::spawn(async move { rate(&mut client, &id, stars).await }));
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }

    let rated = get(&mut client, &skill.id).await.unwrap();
    let (sum, count): (i64, i64) =
        sqlx::query_as("select sum(stars), count(*) from catalog.skill_ratings")
            .fetch_one(&catalog.database.superuser)
            .await
            .unwrap();

    assert_eq!((rated.rating_count, count), (6, 6));
    assert_eq!(rated.rating, sum as f64 / 6.0);
}

#[tokio::test]
async fn a_rating_has_one_to_five_stars() {
    let (catalog, author, mut client) = start().await;
    let skill = publish(&mut client, a_skill("rated")).await.unwrap();
    execute(&catalog, &skill.id, &author, "succeeded").await;

    for stars in [i32::MIN, -1, 0, 6, 65_537] {
        let status = rate(&mut client, &skill.id, stars).await.unwrap_err();
        assert_eq!(violations(&status), ["stars"]);
    }
    let status = rate(&mut client, &Uuid::now_v7().to_string(), 3).await.unwrap_err();
    assert_eq!(refusal(&status), "NotFound NotFound");
}

#[tokio::test]
async fn executions_are_counted_within_seconds() {
    let (catalog, _, mut client) = start().await;
    let skill = publish(&mut client, a_skill("popular")).await.unwrap();
    let db = &catalog.database.superuser;
    for _ in 0..3 {
        sqlx::query(
            "insert into catalog.skill_usage (skill_id, executions) values ($1, 1), ($1, 2)",
        )
        .bind(Uuid::parse_str(&skill.id).unwrap())
        .execute(db)
        .await
        .unwrap();
    }

    // The task runs every second; asking until it has is as long as it takes.
    while get(&mut client, &skill.id).await.unwrap().execution_count < 9 {}

    let skill = get(&mut client, &skill.id).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("select count(*) from catalog.skill_usage").fetch_one(db).await.unwrap();
    assert_eq!((skill.execution_count, left), (9, 0));
}

#[tokio::test]
async fn request_ids_are_forgotten_after_a_day() {
    let database = TestDatabase::create().await;
    for hours in [23, 25] {
        sqlx::query(
            "insert into catalog.idempotency_keys
                 (principal_id, method, request_id, request_digest, entity_id, created_at)
             values ($1, 'CreateSkill', $1, '', $1, now() - make_interval(hours => $2))",
        )
        .bind(Uuid::now_v7())
        .bind(hours)
        .execute(&database.superuser)
        .await
        .unwrap();
    }

    let service = TestService::start(SERVICE, &database, &[], catalog_service::stack).await;

    let kept = "select count(*) from catalog.idempotency_keys";
    let count =
        async || -> i64 { sqlx::query_scalar(kept).fetch_one(&database.superuser).await.unwrap() };
    while count().await == 2 {}
    assert_eq!(count().await, 1);
    service.stop().await;
}
