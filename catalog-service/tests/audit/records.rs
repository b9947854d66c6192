//! What each change of a skill, and each refusal, leaves in the trail.

use ihuman_proto::catalog::v1::{
    ArchiveSkillRequest, AuditOutcome, AuditRecord, ListAuditRecordsRequest, RateSkillRequest,
    Skill, UpdateSkillRequest,
};
use ihuman_shared::{access::Role, testing::Caller};
use prost_types::FieldMask;
use serde_json::{Value, json};
use tonic::Request;
use uuid::Uuid;

use super::{Audit, audit, list};
use crate::{
    skills::{Skills, a_skill, create, object, skills},
    support::Catalog,
};

struct Trail {
    catalog: Catalog,
    developer: Caller,
    skills: Skills,
    audit: Audit,
}

impl Trail {
    async fn start() -> Self {
        let catalog = Catalog::start().await;
        let developer = catalog.credentials.person(Role::Developer).await;
        let admin = catalog.credentials.person(Role::Admin).await;
        let (skills, audit) = (skills(&catalog, &developer), audit(&catalog, &admin));
        Self { catalog, developer, skills, audit }
    }

    /// The newest record.
    async fn last(&mut self) -> AuditRecord {
        let request = ListAuditRecordsRequest { page_size: 1, ..Default::default() };
        list(&mut self.audit, request).await.unwrap().remove(0)
    }
}

/// A request with an id of its own, as the trail must name it.
fn identified<T>(message: T) -> (Request<T>, String) {
    let id = Uuid::now_v7().to_string();
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    (request, id)
}

fn values(values: Option<prost_types::Struct>) -> Value {
    values.map_or(Value::Null, |it| ihuman_shared::parse::object("it", it, usize::MAX).unwrap())
}

#[tokio::test]
async fn publishing_a_skill_says_who_what_and_from_where() {
    let mut trail = Trail::start().await;
    let skill = Skill {
        body: "a long text".to_owned(),
        parameters_schema: object(json!({"type": "object", "required": ["a"]})),
        allowed_tools: vec!["Read".to_owned()],
        tags: vec!["t".to_owned()],
        ..a_skill("recorded")
    };
    let (request, request_id) = identified(create(skill));

    let skill = trail.skills.create_skill(request).await.unwrap().into_inner().skill.unwrap();
    let record = trail.last().await;

    assert_eq!(record.action, "skill.create");
    assert_eq!((record.entity_type.as_str(), &record.entity_id), ("skill", &skill.id));
    assert_eq!(record.actor_id, trail.developer.user_id.to_string());
    assert_eq!(record.session_id, trail.developer.session_id.unwrap().to_string());
    assert_eq!(record.api_key_id, "");
    assert_eq!(record.ip_address, "127.0.0.1");
    assert!(record.user_agent.starts_with("tonic/"), "{}", record.user_agent);
    assert_eq!(record.request_id, request_id);
    assert_eq!((record.outcome(), record.reason.as_str()), (AuditOutcome::Succeeded, ""));
    assert!(record.create_time.is_some());
    assert_eq!(record.old_values, None);
    assert_eq!(
        values(record.new_values),
        json!({
            "name": "recorded",
            "description": "Does what recorded does.",
            "license": "",
            "compatibility": "",
            "metadata": {},
            "allowed_tools": ["Read"],
            "category": "text",
            "difficulty": "beginner",
            "tags": ["t"],
            "version": 1,
            "digest": skill.digest,
        })
    );
}

#[tokio::test]
async fn changing_a_skill_says_what_was_and_what_is() {
    let mut trail = Trail::start().await;
    let skill = trail.skills.create_skill(create(a_skill("recorded"))).await.unwrap();
    let old = skill.into_inner().skill.unwrap();
    let update = UpdateSkillRequest {
        skill: Some(Skill { body: "new".to_owned(), license: "MIT".to_owned(), ..old.clone() }),
        update_mask: Some(FieldMask { paths: vec!["body".to_owned(), "license".to_owned()] }),
    };
    let (request, request_id) = identified(update);

    let new = trail.skills.update_skill(request).await.unwrap().into_inner().skill.unwrap();
    let record = trail.last().await;

    assert_eq!((record.action.as_str(), &record.entity_id), ("skill.update", &old.id));
    assert_eq!(record.request_id, request_id);
    let was = json!({"license": "", "version": 1, "digest": old.digest});
    assert_eq!(values(record.old_values), was);
    let is = json!({"license": "MIT", "version": 2, "digest": new.digest});
    assert_eq!(values(record.new_values), is);
}

#[tokio::test]
async fn archiving_and_rating_a_skill_are_recorded() {
    let mut trail = Trail::start().await;
    let skill = trail.skills.create_skill(create(a_skill("recorded"))).await.unwrap();
    let skill_id = skill.into_inner().skill.unwrap().id;
    sqlx::query(
        "insert into catalog.executions (execution_id, skill_id, skill_version, parameters, state,
             max_attempts, priority, created_by)
         values ($1, $2, 1, '{}', 'succeeded', 1, 5, $3)",
    )
    .bind(Uuid::now_v7())
    .bind(Uuid::parse_str(&skill_id).unwrap())
    .bind(trail.developer.user_id)
    .execute(&trail.catalog.database.superuser)
    .await
    .unwrap();

    let rate = |stars| RateSkillRequest { skill_id: skill_id.clone(), stars };
    trail.skills.rate_skill(rate(4)).await.unwrap();
    let first = trail.last().await;
    trail.skills.rate_skill(rate(5)).await.unwrap();
    let second = trail.last().await;
    let archive = ArchiveSkillRequest { skill_id: skill_id.clone() };
    trail.skills.archive_skill(archive).await.unwrap();
    let third = trail.last().await;

    assert_eq!((first.action.as_str(), first.old_values.clone()), ("skill.rate", None));
    assert_eq!(values(first.new_values), json!({"stars": 4}));
    assert_eq!(values(second.old_values), json!({"stars": 4}));
    assert_eq!(values(second.new_values), json!({"stars": 5}));
    assert_eq!((third.action.as_str(), &third.entity_id), ("skill.archive", &skill_id));
    assert_eq!(values(third.old_values), json!({"state": "active"}));
    assert_eq!(values(third.new_values), json!({"state": "archived"}));
}

#[tokio::test]
async fn a_change_with_an_api_key_names_the_key() {
    let mut trail = Trail::start().await;
    let program = trail.catalog.credentials.service_account(Role::Developer).await;

    let mut client = skills(&trail.catalog, &program);
    client.create_skill(create(a_skill("by-a-program"))).await.unwrap();
    let record = trail.last().await;

    assert_eq!(record.actor_id, program.user_id.to_string());
    assert_eq!(record.api_key_id, program.api_key_id.unwrap().to_string());
    assert_eq!(record.session_id, "");
}

#[tokio::test]
async fn a_refused_attempt_is_recorded_and_changes_nothing() {
    let mut trail = Trail::start().await;
    let viewer = trail.catalog.credentials.person(Role::Viewer).await;
    let (request, request_id) = identified(create(a_skill("refused")));

    skills(&trail.catalog, &viewer).create_skill(request).await.unwrap_err();
    let record = trail.last().await;

    assert_eq!(record.action, "/ihuman.catalog.v1.SkillService/CreateSkill");
    assert_eq!((record.entity_type.as_str(), record.entity_id.as_str()), ("", ""));
    assert_eq!(record.outcome(), AuditOutcome::Denied);
    assert_eq!(record.reason, "PERMISSION_MISSING");
    assert_eq!(record.actor_id, viewer.user_id.to_string());
    assert_eq!(record.request_id, request_id);
    assert_eq!((record.old_values, record.new_values), (None, None));
}

#[tokio::test]
async fn an_attempt_on_somebody_elses_skill_is_recorded_too() {
    let mut trail = Trail::start().await;
    let skill = trail.skills.create_skill(create(a_skill("owned"))).await.unwrap();
    let skill_id = skill.into_inner().skill.unwrap().id;
    let other = trail.catalog.credentials.person(Role::Developer).await;

    let request = ArchiveSkillRequest { skill_id };
    skills(&trail.catalog, &other).archive_skill(request).await.unwrap_err();
    let record = trail.last().await;

    assert_eq!(record.action, "/ihuman.catalog.v1.SkillService/ArchiveSkill");
    assert_eq!((record.outcome(), record.reason.as_str()), (AuditOutcome::Denied, "NOT_ALLOWED"));
    assert_eq!(record.actor_id, other.user_id.to_string());
}

#[tokio::test]
async fn a_failed_change_leaves_no_record() {
    let mut trail = Trail::start().await;
    trail.skills.create_skill(create(a_skill("taken"))).await.unwrap();

    trail.skills.create_skill(create(a_skill("taken"))).await.unwrap_err();
    trail.skills.create_skill(create(a_skill("Not Allowed"))).await.unwrap_err();

    let all = list(&mut trail.audit, ListAuditRecordsRequest::default()).await.unwrap();
    assert_eq!(all.len(), 1);
}
