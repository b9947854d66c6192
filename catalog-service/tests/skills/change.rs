//! Changing and archiving skills.

use ihuman_proto::catalog::v1::{
    ArchiveSkillRequest, Difficulty, Skill, SkillState, UpdateSkillRequest,
};
use ihuman_shared::{access::Role, testing::violations};
use prost_types::FieldMask;
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

use super::{Catalog, Skills, a_skill, get, object, publish, refusal, skills, start};

async fn update(client: &mut Skills, skill: Skill, paths: &[&str]) -> Result<Skill, Status> {
    let paths = paths.iter().map(|it| (*it).to_owned()).collect();
    let request = UpdateSkillRequest { skill: Some(skill), update_mask: Some(FieldMask { paths }) };
    Ok(client.update_skill(request).await?.into_inner().skill.unwrap())
}

async fn archive(client: &mut Skills, skill_id: &str) -> Result<Skill, Status> {
    let request = ArchiveSkillRequest { skill_id: skill_id.to_owned() };
    Ok(client.archive_skill(request).await?.into_inner().skill.unwrap())
}

async fn count(catalog: &Catalog, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&catalog.database.superuser).await.unwrap()
}

#[tokio::test]
async fn the_mask_says_what_changes() {
    let (_catalog, _, mut client) = start().await;
    let before = publish(&mut client, a_skill("changed")).await.unwrap();
    let after = Skill {
        description: "Better.".to_owned(),
        license: "MIT".to_owned(),
        tags: vec!["new".to_owned()],
        name: "not-named-by-the-mask".to_owned(),
        ..before.clone()
    };

    let updated = update(&mut client, after, &["description", "tags"]).await.unwrap();

    assert_eq!(updated.description, "Better.");
    assert_eq!(updated.tags, ["new"]);
    assert_eq!((updated.license.as_str(), updated.name.as_str()), ("", "changed"));
    assert_eq!(get(&mut client, &before.id).await.unwrap(), updated);
    let nanos = |it: &Skill| it.update_time.map(|it| (it.seconds, it.nanos));
    assert!(nanos(&updated) > nanos(&before));
}

#[tokio::test]
async fn only_a_change_of_what_is_run_makes_a_new_version() {
    let (catalog, _, mut client) = start().await;
    let first = publish(&mut client, a_skill("versioned")).await.unwrap();
    let other = Skill {
        description: "Other.".to_owned(),
        license: "MIT".to_owned(),
        compatibility: "none".to_owned(),
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        allowed_tools: vec!["Read".to_owned()],
        body: "# New".to_owned(),
        parameters_schema: object(json!({"type": "object", "required": ["a"]})),
        category: "other".to_owned(),
        difficulty: Difficulty::Expert.into(),
        tags: vec!["t".to_owned()],
        ..first.clone()
    };

    let about =
        ["description", "license", "compatibility", "metadata", "category", "difficulty", "tags"];
    for path in about {
        let updated = update(&mut client, other.clone(), &[path]).await.unwrap();
        assert_eq!((updated.version, &updated.digest), (1, &first.digest), "{path}");
    }
    let mut digests = vec![first.digest];
    for (path, version) in [("body", 2), ("allowed_tools", 3), ("parameters_schema", 4)] {
        let updated = update(&mut client, other.clone(), &[path]).await.unwrap();
        assert_eq!(updated.version, version, "{path}");
        assert!(!digests.contains(&updated.digest), "{path}");
        digests.push(updated.digest);
    }
    let stored: Vec<String> =
        sqlx::query_scalar("select digest from catalog.skill_versions order by version")
            .fetch_all(&catalog.database.superuser)
            .await
            .unwrap();
    assert_eq!(stored, digests);
}

#[tokio::test]
async fn a_change_that_changes_nothing_leaves_no_trace() {
    let (catalog, _, mut client) = start().await;
    let schema = json!({"type": "object", "properties": {"n": {"maximum": 1e300, "minimum": 0.1}}});
    let skill = Skill { parameters_schema: object(schema), ..a_skill("same") };
    let before = publish(&mut client, skill).await.unwrap();

    let after = update(&mut client, before.clone(), &["*"]).await.unwrap();

    assert_eq!(after, before);
    assert_eq!(count(&catalog, "select count(*) from audit.audit_logs").await, 1);
    assert_eq!(count(&catalog, "select count(*) from catalog.skill_versions").await, 1);
}

#[tokio::test]
async fn a_star_replaces_everything_that_may_change() {
    let (_catalog, _, mut client) = start().await;
    let whole = Skill {
        license: "MIT".to_owned(),
        body: "# Body".to_owned(),
        tags: vec!["t".to_owned()],
        parameters_schema: object(json!({"type": "object", "required": ["a"]})),
        ..a_skill("replaced")
    };
    let before = publish(&mut client, whole).await.unwrap();
    let bare = Skill { id: before.id.clone(), ..a_skill("ignored") };

    let after = update(&mut client, bare, &["*"]).await.unwrap();

    assert_eq!((after.name.as_str(), after.version), ("replaced", 2));
    assert!(after.license.is_empty() && after.body.is_empty() && after.tags.is_empty());
    assert_eq!(after.parameters_schema, object(json!({"type": "object"})));
}

#[tokio::test]
async fn a_mask_names_what_may_change_and_nothing_else() {
    let (_catalog, _, mut client) = start().await;
    let skill = publish(&mut client, a_skill("masked")).await.unwrap();

    for paths in [
        &[][..],
        &["name"],
        &["id"],
        &["version"],
        &["digest"],
        &["rating"],
        &["state"],
        &["nonsense"],
        &["body", "name"],
        &["*", "body"],
        &["metadata.key"],
    ] {
        let status = update(&mut client, skill.clone(), paths).await.unwrap_err();
        assert_eq!(violations(&status), ["update_mask"], "{paths:?}");
    }
    let request = UpdateSkillRequest { skill: Some(skill), update_mask: None };
    let status = client.update_skill(request).await.unwrap_err();
    assert_eq!(violations(&status), ["update_mask"]);
    let status = client.update_skill(UpdateSkillRequest::default()).await.unwrap_err();
    assert_eq!(violations(&status), ["skill"]);
}

#[tokio::test]
async fn new_values_have_the_limits_of_new_skills() {
    let (_catalog, _, mut client) = start().await;
    let skill = publish(&mut client, a_skill("limited")).await.unwrap();
    let wrong = Skill {
        description: String::new(),
        tags: vec!["NO".to_owned()],
        category: "not looked at".to_owned(),
        ..skill
    };

    let status = update(&mut client, wrong, &["tags", "description"]).await.unwrap_err();

    assert_eq!(violations(&status), ["skill.description", "skill.tags[0]"]);
}

#[tokio::test]
async fn only_the_author_and_administrators_change_a_skill() {
    let (catalog, developer, mut client) = start().await;
    let skill = publish(&mut client, a_skill("owned")).await.unwrap();
    let other = catalog.credentials.person(Role::Developer).await;
    let admin = catalog.credentials.person(Role::Admin).await;
    let key = catalog.credentials.api_key(developer.user_id, &["skills:*".to_owned()]).await;
    let changed = |license: &str| Skill { license: license.to_owned(), ..skill.clone() };

    let mut others = skills(&catalog, &other);
    let status = update(&mut others, changed("theirs"), &["license"]).await.unwrap_err();
    assert_eq!(refusal(&status), "PermissionDenied NotAllowed");
    let status = archive(&mut others, &skill.id).await.unwrap_err();
    assert_eq!(refusal(&status), "PermissionDenied NotAllowed");
    assert_eq!(get(&mut others, &skill.id).await.unwrap(), skill);

    update(&mut skills(&catalog, &admin), changed("admin"), &["license"]).await.unwrap();
    update(&mut skills(&catalog, &key), changed("key"), &["license"]).await.unwrap();
    let archived = archive(&mut skills(&catalog, &admin), &skill.id).await.unwrap();
    assert_eq!((archived.license.as_str(), archived.state()), ("key", SkillState::Archived));
    assert_eq!(archived.author_id, developer.user_id.to_string());
}

#[tokio::test]
async fn who_may_not_change_a_skill_fills_no_audit_trail_with_it() {
    let catalog = Catalog::start_with(&["--rate-limit-public-max-requests", "20"]).await;
    let author = catalog.credentials.person(Role::Developer).await;
    let other = catalog.credentials.person(Role::Developer).await;
    let skill = publish(&mut skills(&catalog, &author), a_skill("owned")).await.unwrap();
    let mut others = skills(&catalog, &other);

    let mut refused = Vec::new();
    for _ in 0..15 {
        refused.push(archive(&mut others, &skill.id).await.unwrap_err());
        refused.push(update(&mut others, skill.clone(), &["license"]).await.unwrap_err());
    }

    assert_eq!(refusal(&refused[0]), "PermissionDenied NotAllowed");
    assert_eq!(refusal(&refused[29]), "ResourceExhausted RateLimited");
    let records = "select count(*) from audit.audit_logs where outcome = 'denied'";
    assert!((18..=22).contains(&count(&catalog, records).await));
    assert_eq!(get(&mut others, &skill.id).await.unwrap(), skill, "what is allowed goes on");
}

#[tokio::test]
async fn an_archived_skill_is_readable_and_does_not_change() {
    let (catalog, _, mut client) = start().await;
    let skill = publish(&mut client, a_skill("archived")).await.unwrap();

    let archived = archive(&mut client, &skill.id).await.unwrap();
    let again = archive(&mut client, &skill.id).await.unwrap();
    let status = update(&mut client, skill.clone(), &["body"]).await.unwrap_err();

    assert_eq!(archived.state(), SkillState::Archived);
    assert_eq!(again, archived);
    assert_eq!(get(&mut client, &skill.id).await.unwrap(), archived);
    assert_eq!(refusal(&status), "FailedPrecondition WrongState");
    let records = "select count(*) from audit.audit_logs where action = 'skill.archive'";
    assert_eq!(count(&catalog, records).await, 1);
    let status = publish(&mut client, a_skill("archived")).await.unwrap_err();
    assert_eq!(refusal(&status), "AlreadyExists AlreadyExists");
}

#[tokio::test]
async fn what_is_not_there_does_not_change() {
    let (_catalog, _, mut client) = start().await;
    let unknown = Skill { id: Uuid::now_v7().to_string(), ..a_skill("unknown") };

    let status = update(&mut client, unknown.clone(), &["body"]).await.unwrap_err();
    assert_eq!(refusal(&status), "NotFound NotFound");
    let status = archive(&mut client, &unknown.id).await.unwrap_err();
    assert_eq!(refusal(&status), "NotFound NotFound");
    let status = archive(&mut client, "seven").await.unwrap_err();
    assert_eq!(violations(&status), ["skill_id"]);
    let status = update(&mut client, a_skill("no-id"), &["body"]).await.unwrap_err();
    assert_eq!(violations(&status), ["skill.id"]);
}

#[tokio::test]
async fn changes_at_once_each_make_a_version_of_their_own() {
    let (catalog, _, mut client) = start().await;
    let skill = publish(&mut client, a_skill("contended")).await.unwrap();

    let calls = (0..10).map(|number| {
        let (mut client, body) = (client.clone(), format!("body {number}"));
        let skill = Skill { body, ..skill.clone() };
        tokio::spawn(async move { update(&mut client, skill, &["body"]).await })
    });
    let mut versions = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        versions.push(call.await.unwrap().unwrap().version);
    }

    versions.sort_unstable();
    assert_eq!(versions, (2..=11).collect::<Vec<_>>());
    assert_eq!(count(&catalog, "select count(*) from catalog.skill_versions").await, 11);
}
