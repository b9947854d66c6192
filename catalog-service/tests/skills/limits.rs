//! Each limit of a skill, which names the field that breaks it.

use std::collections::BTreeMap;

use ihuman_proto::catalog::v1::{Difficulty, Skill, SkillState};
use ihuman_shared::testing::violations;
use prost_types::Timestamp;
use serde_json::json;

use super::{a_skill, get, object, publish, start};

/// What breaks a limit, by the field that the violation must name.
fn breaches() -> Vec<(&'static str, Skill)> {
    let skill = || a_skill("limited");
    let texts = |count: usize, length: usize| -> Vec<String> {
        (0..count).map(|it| format!("{it:0length$}")).collect()
    };
    let named = |name: &str| Skill { name: name.to_owned(), ..skill() };
    let metadata = |key: &str, value: &str| Skill {
        metadata: [(key.to_owned(), value.to_owned())].into(),
        ..skill()
    };
    let entries: BTreeMap<String, String> =
        (0..33).map(|it| (it.to_string(), String::new())).collect();
    vec![
        ("skill.name", named("")),
        ("skill.name", named(&"a".repeat(65))),
        ("skill.name", named("Upper")),
        ("skill.name", named("with space")),
        ("skill.name", named("-begins")),
        ("skill.name", named("ends-")),
        ("skill.name", named("two--in-a-row")),
        ("skill.description", Skill { description: String::new(), ..skill() }),
        ("skill.description", Skill { description: "ä".repeat(1025), ..skill() }),
        ("skill.description", Skill { description: "a\0b".to_owned(), ..skill() }),
        ("skill.license", Skill { license: "l".repeat(201), ..skill() }),
        ("skill.compatibility", Skill { compatibility: "c".repeat(501), ..skill() }),
        ("skill.metadata", Skill { metadata: entries, ..skill() }),
        ("skill.metadata", metadata("", "empty key")),
        ("skill.metadata", metadata(&"k".repeat(65), "")),
        ("skill.metadata[\"key\"]", metadata("key", &"v".repeat(1025))),
        ("skill.allowed_tools", Skill { allowed_tools: texts(65, 3), ..skill() }),
        ("skill.allowed_tools[0]", Skill { allowed_tools: texts(1, 201), ..skill() }),
        ("skill.allowed_tools[0]", Skill { allowed_tools: vec![String::new()], ..skill() }),
        ("skill.allowed_tools[1]", Skill { allowed_tools: vec!["a".to_owned(); 2], ..skill() }),
        ("skill.body", Skill { body: "b".repeat(256 * 1024 + 1), ..skill() }),
        ("skill.category", Skill { category: String::new(), ..skill() }),
        ("skill.category", Skill { category: "c".repeat(65), ..skill() }),
        ("skill.category", Skill { category: "No Slug".to_owned(), ..skill() }),
        ("skill.difficulty", Skill { difficulty: 0, ..skill() }),
        ("skill.difficulty", Skill { difficulty: 99, ..skill() }),
        ("skill.tags", Skill { tags: texts(11, 2), ..skill() }),
        ("skill.tags[0]", Skill { tags: texts(1, 49), ..skill() }),
        ("skill.tags[1]", Skill { tags: vec!["ok".to_owned(), "Bad".to_owned()], ..skill() }),
        ("skill.tags[1]", Skill { tags: vec!["same".to_owned(); 2], ..skill() }),
    ]
}

/// What only the service may set.
fn output_only() -> Vec<(&'static str, Skill)> {
    let skill = || a_skill("limited");
    vec![
        ("skill.id", Skill { id: "x".to_owned(), ..skill() }),
        ("skill.author_id", Skill { author_id: "x".to_owned(), ..skill() }),
        ("skill.version", Skill { version: 1, ..skill() }),
        ("skill.digest", Skill { digest: "x".to_owned(), ..skill() }),
        ("skill.state", Skill { state: SkillState::Active.into(), ..skill() }),
        ("skill.create_time", Skill { create_time: Some(Timestamp::default()), ..skill() }),
        ("skill.update_time", Skill { update_time: Some(Timestamp::default()), ..skill() }),
        ("skill.execution_count", Skill { execution_count: 1, ..skill() }),
        ("skill.rating", Skill { rating: 5.0, ..skill() }),
        ("skill.rating_count", Skill { rating_count: 1, ..skill() }),
    ]
}

#[tokio::test]
async fn what_breaks_a_limit_is_refused_by_the_name_of_its_field() {
    let (_catalog, _, mut client) = start().await;

    for (field, skill) in breaches() {
        let status = publish(&mut client, skill).await.expect_err(field);
        assert_eq!(violations(&status), [field], "{status}");
    }
}

#[tokio::test]
async fn what_the_service_sets_must_be_left_out() {
    let (_catalog, _, mut client) = start().await;

    for (field, skill) in output_only() {
        let status = publish(&mut client, skill).await.expect_err(field);
        assert_eq!(violations(&status), [field], "{status}");
    }
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let (_catalog, _, mut client) = start().await;
    let wrong = Skill {
        id: "mine".to_owned(),
        name: "No".to_owned(),
        license: "l".repeat(201),
        tags: vec!["A".to_owned(), "b".to_owned(), "C".to_owned()],
        parameters_schema: object(json!({"type": "array"})),
        ..Skill::default()
    };

    let status = publish(&mut client, wrong).await.unwrap_err();

    assert_eq!(
        violations(&status),
        [
            "skill.id",
            "skill.name",
            "skill.description",
            "skill.license",
            "skill.parameters_schema",
            "skill.category",
            "skill.difficulty",
            "skill.tags[0]",
            "skill.tags[2]",
        ]
    );
    assert!(status.message().ends_with("; and 6 more"), "{}", status.message());
}

#[tokio::test]
async fn as_much_as_is_allowed_is_stored_and_returned() {
    let (_catalog, _, mut client) = start().await;
    let most = Skill {
        name: "n".repeat(64),
        description: "ä".repeat(1024),
        license: "l".repeat(200),
        compatibility: "c".repeat(500),
        metadata: (0..32).map(|it| (format!("{it:064}"), "v".repeat(1024))).collect(),
        allowed_tools: (0..64).map(|it| format!("{it:0200}")).collect(),
        body: "b".repeat(256 * 1024),
        parameters_schema: object(json!({"type": "object", "description": "d".repeat(65_000)})),
        category: "c".repeat(64),
        difficulty: Difficulty::Advanced.into(),
        tags: (0..10).map(|it| format!("{it:048}")).collect(),
        ..Skill::default()
    };

    let created = publish(&mut client, most.clone()).await.unwrap();
    let read = get(&mut client, &created.id).await.unwrap();

    assert_eq!(read.body, most.body);
    assert_eq!(read.metadata, most.metadata);
    assert_eq!(read.parameters_schema, most.parameters_schema);
    assert_eq!(read.tags, most.tags);
}

#[tokio::test]
async fn a_message_of_more_than_a_mebibyte_is_not_read() {
    let (_catalog, _, mut client) = start().await;
    let huge = Skill { body: "b".repeat(1024 * 1024), ..a_skill("huge") };

    let status = publish(&mut client, huge).await.unwrap_err();

    assert_eq!(super::refusal(&status), "InvalidArgument MalformedRequest");
}
