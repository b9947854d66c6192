//! What holds for every sample skill, and a file of cases for each.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{EMBEDDED, all, example, outcome::RESULT_BYTES_MAX};

mod cron_explainer;
mod csv_profile;
mod json_diff;
mod markdown_link_check;
mod password_strength;
mod text_redactor;
mod word_statistics;

/// Runs a skill, and checks what must hold of every run.
fn run(name: &str, parameters: &Value) -> Result<Value, String> {
    let mut steps: Vec<(String, u32)> = Vec::new();
    let result = super::run(name, parameters, &mut |step, percent| {
        steps.push((step.to_owned(), percent));
    });
    assert!(steps.is_sorted_by(|a, b| a.1 < b.1), "{name} goes back: {steps:?}");
    assert!(steps.iter().all(|(step, percent)| step.len() <= 100 && *percent < 100));
    if let Ok(result) = &result {
        assert!(result.to_string().len() <= RESULT_BYTES_MAX);
    }
    result
}

/// Runs a skill that must succeed.
fn ok(name: &str, parameters: Value) -> Value {
    run(name, &parameters).unwrap_or_else(|error| panic!("{name} failed: {error}"))
}

/// Runs a skill that must refuse its parameters.
fn refusal(name: &str, parameters: Value) -> String {
    run(name, &parameters).expect_err("these parameters are wrong")
}

/// Runs a skill on a large input. What takes quadratic time on 250,000 characters takes minutes,
/// so the bound leaves a slow machine room.
fn quick(name: &str, parameters: Value) -> Result<Value, String> {
    let start = Instant::now();
    let result = run(name, &parameters);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{name} took {took:?}");
    result
}

#[test]
fn every_manifest_is_read_and_meets_the_limits_of_the_contract() {
    let slug = |text: &str, max: usize| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=max).contains(&text.len()) && text.chars().all(plain)
    };
    let samples = all().unwrap();
    assert_eq!(samples.len(), 7);
    for sample in samples {
        let name = &sample.name;
        assert!(slug(name, 64) && !name.contains("--"), "{name}");
        assert!(!name.starts_with('-') && !name.ends_with('-'), "{name}");
        assert!((1..=1024).contains(&sample.description.chars().count()), "{name}");
        assert_eq!(sample.license, "Apache-2.0");
        assert!((1..=500).contains(&sample.compatibility.chars().count()), "{name}");
        assert_eq!(sample.metadata["author"], "ihuman");
        assert!(sample.metadata.values().all(|value| value.chars().count() <= 1024), "{name}");
        assert!(slug(&sample.category, 64), "{name}");
        let difficulties = ["beginner", "intermediate", "advanced", "expert"];
        assert!(difficulties.contains(&sample.difficulty.as_str()), "{name}");
        assert!((1..=10).contains(&sample.tags.len()), "{name}");
        assert!(sample.tags.iter().all(|tag| slug(tag, 48)), "{name}");
        assert!(sample.allowed_tools.is_empty(), "{name} needs no tool");
        assert!(sample.body.starts_with("# ") && sample.body.lines().count() < 500, "{name}");
    }
}

#[test]
fn every_schema_is_one_of_an_object_and_describes_each_parameter() {
    for sample in all().unwrap() {
        let schema = &sample.parameters_schema;
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{}", sample.name);
        assert_eq!(schema["type"], "object");
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema.to_string().len() <= 64 * 1024);
        for (parameter, rules) in schema["properties"].as_object().unwrap() {
            assert!(rules["description"].is_string(), "{} {parameter}", sample.name);
            if let Some(default) = rules.get("default") {
                assert!(jsonschema::draft202012::is_valid(rules, default), "{parameter}");
            }
            let table = sample.body.contains(&format!("| `{parameter}` |"));
            assert!(table, "the body of {} does not explain {parameter}", sample.name);
        }
    }
}

#[test]
fn every_example_has_the_result_that_the_body_shows() {
    for sample in all().unwrap() {
        let (parameters, shown) = example(&sample.body).unwrap();
        assert_eq!(parameters, sample.example_parameters);
        assert_eq!(ok(&sample.name, parameters), shown, "{}", sample.name);
    }
}

#[test]
fn every_skill_names_three_to_five_steps() {
    for sample in all().unwrap() {
        let mut steps = Vec::new();
        super::run(&sample.name, &sample.example_parameters, &mut |step, percent| {
            steps.push((step.to_owned(), percent));
        })
        .unwrap();
        assert!((3..=5).contains(&steps.len()), "{}: {steps:?}", sample.name);
        assert_eq!(steps[0].1, 0, "{}", sample.name);
    }
}

#[test]
fn no_skill_takes_what_its_schema_does_not_allow() {
    for embedded in &EMBEDDED {
        for parameters in [json!(null), json!([]), json!("text"), json!({}), json!({"other": 1})] {
            let message = refusal(embedded.name, parameters);
            assert!(message.starts_with('/') || message.starts_with("parameters"), "{message}");
        }
    }
    assert_eq!(refusal("no-such-skill", json!({})), "there is no sample skill \"no-such-skill\"");
}

/// Texts that break what is careless with Unicode, and long runs of what parsers look for.
fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> =
        ["", " ", "\u{feff}", "\0", "e\u{301}\u{301}", "👩‍👩‍👧‍👦", "\u{202e}abc", "\r\n\r"]
            .map(str::to_owned)
            .into();
    let parts = [
        "[",
        "]",
        "(",
        "![",
        "[a](",
        "[a][",
        "[a]: ",
        "<",
        "<a ",
        "*",
        "`",
        "> ",
        "- ",
        "#",
        "|",
        "\"",
        "\",",
        ",",
        "\n",
        "a.",
        "@",
        "a@",
        "a@b.",
        ":",
        "1:",
        "1.",
        "::1 ",
        "4 ",
        "4111-",
        "4111111111111111",
        "0",
        "~",
        "/",
        ". ",
        "\u{300}",
        "é",
        "\\",
        "&#0;",
        "http://",
        "id=",
    ];
    texts.extend(parts.map(|part| part.repeat(2000)));
    texts
}

#[test]
fn no_text_makes_a_skill_panic() {
    for text in hostile_texts() {
        try_all(&text);
    }
}

proptest! {
    #[test]
    fn no_short_text_of_special_characters_makes_a_skill_panic(
        text in "[\\[\\]()!<>@:./#*_`~0-9a-f \n\\\\\",é|=&-]{0,80}",
    ) {
        try_all(&text);
    }
}

/// Gives a text to every skill. Some may refuse it.
fn try_all(text: &str) {
    let short: String = text.chars().take(200).collect();
    run("word-statistics", &json!({"text": text})).unwrap();
    run("text-redactor", &json!({"text": text, "numbered": true})).unwrap();
    run("markdown-link-check", &json!({"markdown": text, "check_shortcuts": true})).unwrap();
    let _ = run("csv-profile", &json!({"csv": text}));
    let _ = run("csv-profile", &json!({"csv": text, "header": false, "delimiter": "|"}));
    let _ = run("password-strength", &json!({"password": short, "context": ["abc", "ÄÖÜ"]}));
    let _ = run("cron-explainer", &json!({"expression": short}));
    let _ = run("cron-explainer", &json!({"expression": format!("{short} * * * *")}));
    run("json-diff", &json!({"from": {text: [text]}, "to": {text: {"": 1}}})).unwrap();
}
