//! Publishing skills, and reading one.

use ihuman_proto::catalog::v1::{
    CreateSkillRequest, Difficulty, GetSkillRequest, Skill, SkillState, get_skill_request,
};
use ihuman_shared::{
    access::Role,
    testing::{reason, violations},
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use super::{a_skill, create, get, object, publish, refusal, skills, start};

#[tokio::test]
async fn a_published_skill_is_found_by_id_and_by_name() {
    let (_catalog, developer, mut client) = start().await;
    let whole = Skill {
        license: "Apache-2.0".to_owned(),
        compatibility: "needs a network".to_owned(),
        metadata: [("team".to_owned(), "docs".to_owned())].into(),
        allowed_tools: vec!["Read".to_owned(), "Bash(git:*)".to_owned()],
        body: "# Extract\n\nTake the text out.".to_owned(),
        parameters_schema: object(
            json!({"type": "object", "properties": {"n": {"type": "integer"}}}),
        ),
        difficulty: Difficulty::Expert.into(),
        tags: vec!["pdf".to_owned(), "text".to_owned()],
        ..a_skill("pdf-extract")
    };

    let created = publish(&mut client, whole.clone()).await.unwrap();
    let by_id = get(&mut client, &created.id).await.unwrap();
    let name = Some(get_skill_request::Skill::Name("pdf-extract".to_owned()));
    let by_name = client.get_skill(GetSkillRequest { skill: name }).await.unwrap().into_inner();

    assert_eq!(by_id, created);
    assert_eq!(by_name.skill.as_ref(), Some(&created));
    assert_eq!(created.author_id, developer.user_id.to_string());
    assert_eq!((created.version, created.state()), (1, SkillState::Active));
    assert!(created.create_time.is_some() && created.update_time.is_some());
    let as_sent = Skill {
        id: String::new(),
        author_id: String::new(),
        version: 0,
        digest: String::new(),
        state: 0,
        create_time: None,
        update_time: None,
        ..created
    };
    assert_eq!(as_sent, whole);
}

#[tokio::test]
async fn a_skill_without_a_schema_takes_any_object() {
    let (_catalog, _, mut client) = start().await;

    let created = publish(&mut client, a_skill("plain")).await.unwrap();

    assert_eq!(created.parameters_schema, object(json!({"type": "object"})));
}

#[tokio::test]
async fn the_digest_is_that_of_the_canonical_json() {
    let (catalog, _, mut client) = start().await;
    let skill = Skill {
        allowed_tools: vec!["b".to_owned(), "a".to_owned()],
        body: "Say \"hällo\"\n\u{1F600}".to_owned(),
        parameters_schema: object(
            json!({"type": "object", "properties": {"z": {"minimum": 1.5}, "a": {"maximum": 10}}}),
        ),
        ..a_skill("digested")
    };

    let created = publish(&mut client, skill).await.unwrap();

    let canonical = concat!(
        r#"{"allowed_tools":["b","a"],"body":"Say \"hällo\"\n😀","name":"digested","#,
        r#""parameters_schema":{"properties":{"a":{"maximum":10},"z":{"minimum":1.5}},"type":"object"}}"#
    );
    let computed: String =
        sqlx::query_scalar("select encode(sha256(convert_to($1, 'utf8')), 'hex')")
            .bind(canonical)
            .fetch_one(&catalog.database.superuser)
            .await
            .unwrap();
    assert_eq!(created.digest, computed);
}

#[tokio::test]
async fn a_name_belongs_to_one_skill_for_good() {
    let (catalog, _, mut client) = start().await;
    let other = catalog.credentials.person(Role::Developer).await;
    publish(&mut client, a_skill("taken")).await.unwrap();

    let status = publish(&mut skills(&catalog, &other), a_skill("taken")).await.unwrap_err();

    assert_eq!(refusal(&status), "AlreadyExists AlreadyExists");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_catalog, _, mut client) = start().await;

    let by_id = get(&mut client, &Uuid::now_v7().to_string()).await.unwrap_err();
    let name = Some(get_skill_request::Skill::Name("nobody".to_owned()));
    let by_name = client.get_skill(GetSkillRequest { skill: name }).await.unwrap_err();
    let neither = client.get_skill(GetSkillRequest { skill: None }).await.unwrap_err();

    assert_eq!(refusal(&by_id), "NotFound NotFound");
    assert_eq!(refusal(&by_name), "NotFound NotFound");
    assert_eq!(violations(&neither), ["skill"]);
    let malformed = get(&mut client, "seven").await.unwrap_err();
    assert_eq!(violations(&malformed), ["skill_id"]);
}

#[tokio::test]
async fn a_repeated_request_returns_the_skill_of_the_first() {
    let (_catalog, _, mut client) = start().await;
    let request =
        CreateSkillRequest { request_id: Uuid::now_v7().to_string(), ..create(a_skill("once")) };

    let first = client.create_skill(request.clone()).await.unwrap().into_inner();
    let second = client.create_skill(request.clone()).await.unwrap().into_inner();
    let other = CreateSkillRequest { skill: Some(a_skill("other")), ..request };
    let status = client.create_skill(other).await.unwrap_err();

    assert_eq!(first, second);
    assert_eq!(refusal(&status), "AlreadyExists RequestIdReused");
}

#[tokio::test]
async fn a_request_id_is_its_senders_own() {
    let (catalog, _, mut client) = start().await;
    let other = catalog.credentials.person(Role::Developer).await;
    let request_id = Uuid::now_v7().to_string();
    let of =
        |name: &str| CreateSkillRequest { request_id: request_id.clone(), ..create(a_skill(name)) };

    client.create_skill(of("mine")).await.unwrap();
    let theirs = skills(&catalog, &other).create_skill(of("theirs")).await.unwrap().into_inner();

    assert_eq!(theirs.skill.unwrap().name, "theirs");
}

#[tokio::test]
async fn twenty_requests_at_once_with_one_request_id_publish_one_skill() {
    let (catalog, _, client) = start().await;
    let request =
        CreateSkillRequest { request_id: Uuid::now_v7().to_string(), ..create(a_skill("once")) };

    let calls = (0..20).map(|_| {
        let (mut client, request) = (client.clone(), request.clone());
        tokio::spawn(async move { client.create_skill(request).await })
    });
    let mut ids = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        ids.push(call.await.unwrap().unwrap().into_inner().skill.unwrap().id);
    }

    ids.dedup();
    assert_eq!(ids.len(), 1);
    let records: i64 = sqlx::query_scalar("select count(*) from audit.audit_logs")
        .fetch_one(&catalog.database.superuser)
        .await
        .unwrap();
    assert_eq!(records, 1);
}

#[tokio::test]
async fn only_who_may_write_skills_publishes_one() {
    let catalog = super::Catalog::start().await;
    for role in [Role::Executor, Role::Viewer, Role::Service] {
        for caller in [
            catalog.credentials.person(role).await,
            catalog.credentials.service_account(role).await,
        ] {
            let status =
                publish(&mut skills(&catalog, &caller), a_skill("refused")).await.unwrap_err();
            assert_eq!(refusal(&status), "PermissionDenied PermissionMissing", "{role:?}");
        }
    }
    for (role, name) in [(Role::Admin, "of-an-admin"), (Role::Developer, "of-a-developer")] {
        let program = catalog.credentials.service_account(role).await;
        publish(&mut skills(&catalog, &program), a_skill(name)).await.unwrap();
    }
}

#[tokio::test]
async fn who_may_not_learns_nothing_of_the_request() {
    let catalog = super::Catalog::start().await;
    let viewer = catalog.credentials.person(Role::Viewer).await;

    let status = publish(&mut skills(&catalog, &viewer), Skill::default()).await.unwrap_err();

    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(violations(&status).is_empty());
    assert_eq!(reason(&status).as_str_name(), "ERROR_REASON_PERMISSION_MISSING");
}
