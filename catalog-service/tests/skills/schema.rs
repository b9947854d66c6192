//! Schemas that authors may send, and what they say of parameters.

use std::time::{Duration, Instant};

use catalog_service::skills::schema::validate;
use ihuman_proto::catalog::v1::Skill;
use ihuman_shared::{Error, Result, parse, testing::violations};
use serde_json::{Value, json};
use tonic::Status;
use uuid::Uuid;

use super::{Skills, a_skill, object, publish, start};

/// Far more than any check takes, and far less than a hostile one would.
const SOON: Duration = Duration::from_secs(5);

async fn publish_schema(client: &mut Skills, schema: Value) -> std::result::Result<Skill, Status> {
    let name = format!("s-{}", Uuid::now_v7());
    publish(client, Skill { parameters_schema: object(schema), ..a_skill(&name) }).await
}

fn check(schema: &Value, parameters: &Value) -> Result<()> {
    // Compiled schemas are kept by their digest.
    validate(&Uuid::now_v7().to_string(), schema, parameters)
}

fn wrong_fields(schema: &Value, parameters: &Value) -> Vec<(String, String)> {
    match check(schema, parameters) {
        Err(Error::InvalidFields(all)) => {
            all.into_iter().map(|it| (it.field, it.description)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A definition that applies the next one twice, so many times.
fn doubling(count: usize, step: impl Fn(String) -> Value) -> Value {
    let mut definitions = serde_json::Map::new();
    for number in 0..count {
        definitions.insert(format!("d{number}"), step(format!("#/$defs/d{}", number + 1)));
    }
    definitions.insert(format!("d{count}"), json!({"type": "object"}));
    json!({"type": "object", "$ref": "#/$defs/d0", "$defs": definitions})
}

#[tokio::test]
async fn a_schema_stands_on_its_own_and_compiles() {
    let (_catalog, _, mut client) = start().await;
    let refused = [
        json!({}),
        json!({"type": "string"}),
        json!({"type": ["object", "null"]}),
        json!({"type": "object", "properties": {"a": {"type": "nonsense"}}}),
        json!({"type": "object", "minProperties": -1}),
        json!({"type": "object", "$ref": "http://192.0.2.1/schema.json"}),
        json!({"type": "object", "$ref": "https://example.com/schema.json"}),
        json!({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}),
        json!({"type": "object", "properties": {"a": {"$ref": "other.json#/a"}}}),
        json!({"type": "object", "allOf": [{"items": [{"$ref": "//example.com/x"}]}]}),
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}}),
        json!({"type": "object", "properties": {"a": {"$dynamicRef": "#a"}}}),
        json!({"type": "object", "properties": {"a": {"$id": "http://192.0.2.1/"}}}),
        json!({"type": "object", "$schema": "http://192.0.2.1/meta"}),
        json!({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}),
        json!({"type": "object", "properties": {"a": {"pattern": "("}}}),
        json!({"type": "object", "properties": {"a": {"pattern": "(a)\\1"}}}),
        json!({"type": "object", "properties": {"a": {"pattern": "(?=a)b"}}}),
        json!({"type": "object", "properties": {"a": {"pattern": "((a{100}){100}){100}"}}}),
    ];
    for schema in refused {
        let status = publish_schema(&mut client, schema.clone()).await.expect_err("hostile");
        let [place] = &violations(&status)[..] else { panic!("{schema}") };
        assert!(place.starts_with("skill.parameters_schema"), "{place}: {schema}");
    }
    let allowed = [
        json!({"type": "object", "$schema": "https://json-schema.org/draft/2020-12/schema"}),
        json!({"type": "object", "$id": "https://example.com/mine", "$ref": "#/$defs/a", "$defs": {"a": {}}}),
        json!({"type": "object", "properties": {"$ref": {"type": "string"}, "$id": {}}}),
        json!({"type": "object", "properties": {"child": {"$ref": "#"}}}),
        json!({"type": "object", "properties": {"a": {"$ref": "#name"}}, "$defs": {"n": {"$anchor": "name"}}}),
        json!({"type": "object", "properties": {"name": {"pattern": "^\\w{1,64}$"}}}),
    ];
    for schema in allowed {
        publish_schema(&mut client, schema).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_schema_is_named_by_its_place() {
    let (_catalog, _, mut client) = start().await;
    let at = [
        (json!({"type": "object", "properties": {"a": {"type": "strin"}}}), ".properties.a.type"),
        (json!({"type": "object", "anyOf": [{}, {"minLength": "x"}]}), ".anyOf[1].minLength"),
        (
            json!({"type": "object", "properties": {"a b": {"pattern": "("}}}),
            r#".properties["a b"].pattern"#,
        ),
    ];
    for (schema, place) in at {
        let status = publish_schema(&mut client, schema).await.unwrap_err();
        assert_eq!(violations(&status), [format!("skill.parameters_schema{place}")]);
    }
}

#[tokio::test]
async fn huge_and_deep_schemas_are_refused() {
    let (_catalog, _, mut client) = start().await;
    let deep = |depth: usize| {
        let nested = (0..depth).fold(json!(true), |inner, _| json!({"not": inner}));
        json!({"type": "object", "properties": {"a": nested}})
    };
    let huge = json!({"type": "object", "description": "d".repeat(64 * 1024)});
    let patterns: Vec<Value> = (0..65).map(|it| json!({"pattern": format!("a{it}")})).collect();
    let patterns = json!({"type": "object", "properties": {"a": {"anyOf": patterns}}});

    for schema in [huge, deep(27), patterns] {
        let status = publish_schema(&mut client, schema).await.unwrap_err();
        assert_eq!(violations(&status), ["skill.parameters_schema"]);
    }
    publish_schema(&mut client, deep(25)).await.unwrap();
    // So deep that the message itself is not read.
    let status = publish_schema(&mut client, deep(200)).await.unwrap_err();
    assert!(violations(&status).is_empty());
}

#[tokio::test]
async fn a_schema_that_asks_for_endless_work_is_refused() {
    let (_catalog, _, mut client) = start().await;
    let twice = |next: String| json!({"allOf": [{"$ref": next}, {"$ref": next}]});
    let once = |next: String| json!({"$ref": next});
    let unevaluated = |next: String| json!({"$ref": next, "unevaluatedProperties": false});
    let started = Instant::now();

    for schema in [
        doubling(40, twice),
        doubling(2000, once),
        doubling(60, unevaluated),
        json!({"type": "object", "$ref": "#"}),
        json!({"type": "object", "$ref": "#/$defs/a", "$defs": {
            "a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
    ] {
        let status = publish_schema(&mut client, schema).await.expect_err("hostile");
        assert_eq!(violations(&status), ["skill.parameters_schema"]);
    }
    assert!(started.elapsed() < SOON);
    let long = publish_schema(&mut client, doubling(100, once)).await.unwrap();
    let long = parse::object("it", long.parameters_schema.unwrap(), usize::MAX).unwrap();
    assert!(check(&long, &json!({})).is_ok());
}

#[test]
fn parameters_that_would_take_endless_work_are_refused_soon() {
    // Harmless for a flat value, and twice the work for each level of a nested one.
    let tree = json!({"$ref": "#/$defs/t", "type": "object", "$defs": {"t": {"allOf": [
        {"properties": {"c": {"$ref": "#/$defs/t"}}}, {"properties": {"c": {"$ref": "#/$defs/t"}}}]}}});
    let nested = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({"c": inner}));
    let started = Instant::now();

    assert!(check(&tree, &nested(3)).is_ok());
    assert_eq!(wrong_fields(&tree, &nested(60))[0].0, "parameters");

    let counted =
        json!({"type": "object", "properties": {"a": {"pattern": "(x?){60}(y*z*){50}$"}}});
    let _ = check(&counted, &json!({"a": "x".repeat(250_000)}));
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_pattern_that_would_backtrack_for_ever_is_matched_soon() {
    let schema = json!({"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}});
    let text = format!("{}!", "a".repeat(100_000));
    let started = Instant::now();

    let wrong = wrong_fields(&schema, &json!({"a": text}));

    assert_eq!(wrong[0].0, "parameters.a");
    assert!(started.elapsed() < SOON);
    assert!(check(&schema, &json!({"a": "aaa"})).is_ok());
}

#[test]
fn every_violation_is_named_by_its_path() {
    let schema = json!({
        "type": "object",
        "required": ["title"],
        "additionalProperties": false,
        "properties": {
            "title": {"type": "string"},
            "mode": {"enum": ["fast", "good"]},
            "rows": {"type": "array", "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "minLength": 1}, "a b": {"minimum": 0}},
            }},
            "2": {"type": "string"},
        },
    });
    let parameters = json!({
        "mode": "slow",
        "rows": [{"name": "ok"}, {"name": 7}, {}, {"name": "", "a b": -1}, "text"],
        "2": 2,
        "extra": true,
        "more/~extra": true,
    });

    let mut fields: Vec<String> =
        wrong_fields(&schema, &parameters).into_iter().map(|it| it.0).collect();

    fields.sort();
    assert_eq!(
        fields,
        [
            "parameters.2",
            "parameters.extra",
            "parameters.mode",
            "parameters.rows[1].name",
            "parameters.rows[2].name",
            "parameters.rows[3].name",
            "parameters.rows[3][\"a b\"]",
            "parameters.rows[4]",
            "parameters.title",
            "parameters[\"more/~extra\"]",
        ]
    );
    assert!(check(&schema, &json!({"title": "t", "rows": []})).is_ok());
}

#[test]
fn an_error_stays_small_and_does_not_quote_the_parameters() {
    let schema = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let long = "k".repeat(500);
    let parameters: serde_json::Map<String, Value> =
        (0..100).map(|it| (format!("{long}{it}"), json!("a secret"))).collect();

    let wrong = wrong_fields(&schema, &Value::Object(parameters));

    assert_eq!(wrong.len(), 20);
    for (field, description) in wrong {
        assert!(field.len() <= 96 && description.len() <= 120);
        assert!(!description.contains("secret"), "{description}");
    }
}

#[test]
fn many_rows_are_checked() {
    let schema = json!({"type": "object", "properties": {"rows": {"type": "array", "items": {
        "type": "object",
        "required": ["name", "size"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]{1,64}$"},
            "size": {"type": "integer", "minimum": 0},
        },
    }}}});
    let rows: Vec<Value> = (0..5_000).map(|it| json!({"name": "alpha", "size": it})).collect();

    assert!(check(&schema, &json!({"rows": rows})).is_ok());
}
