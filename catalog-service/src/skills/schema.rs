//! Checks parameters against the schema of a skill version.

use std::{
    fmt::Write as _,
    sync::{Arc, LazyLock},
};

use ihuman_shared::{Error, Result, error::Violation};
use jsonschema::{
    Draft, PatternOptions, ValidationError, ValidationOptions, Validator,
    error::ValidationErrorKind,
};
use moka::sync::Cache;
use serde_json::Value;

use super::cost;

/// How many violations an error names: a response's headers hold few more.
const VIOLATIONS_MAX: usize = 20;
/// How many bytes of a path, and of a description, an error names.
const PATH_BYTES_MAX: usize = 96;
const DESCRIPTION_BYTES_MAX: usize = 120;
/// How much memory one compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 128 * 1024;
/// How much memory all compiled schemas may take, by a cautious estimate.
const CACHE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Compiled schemas by the digest of their skill version, which never changes.
static COMPILED: LazyLock<Cache<String, Arc<Compiled>>> = LazyLock::new(|| {
    Cache::builder()
        .max_capacity(CACHE_BYTES_MAX)
        .weigher(|_, compiled: &Arc<Compiled>| compiled.bytes)
        .build()
});

struct Compiled {
    validator: Validator,
    bytes: u32,
}

/// Checks `parameters` against `schema`, which is that of the skill version with
/// this `digest`.
///
/// # Errors
/// `InvalidFields` with everything that is wrong, 20 at the most, by paths such as
/// `parameters.rows[2].name`.
pub fn validate(digest: &str, schema: &Value, parameters: &Value) -> Result<()> {
    let compiled = match COMPILED.get(digest) {
        Some(compiled) => compiled,
        None => {
            let validator = compile(schema).map_err(|error| Error::internal(*error))?;
            let compiled = Arc::new(Compiled { validator, bytes: estimate(schema) });
            COMPILED.insert(digest.to_owned(), Arc::clone(&compiled));
            compiled
        }
    };
    if !cost::is_bounded(schema, parameters) {
        return Err(Error::invalid(
            "parameters",
            "must take less work to check against the skill's parameters_schema",
        ));
    }
    let violations: Vec<Violation> = compiled
        .validator
        .iter_errors(parameters)
        .flat_map(|error| explain(&error, parameters))
        .take(VIOLATIONS_MAX)
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::InvalidFields(violations)) }
}

/// Compiles a schema of draft 2020-12. Nothing is fetched, and patterns are
/// matched in a time that is linear in the text.
pub(super) fn compile(schema: &Value) -> Result<Validator, Box<ValidationError<'static>>> {
    let patterns =
        PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let options: ValidationOptions = jsonschema::options();
    options
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(Box::new)
}

/// A compiled schema takes some ten times its text, and its patterns beside.
fn estimate(schema: &Value) -> u32 {
    let text = u32::try_from(schema.to_string().len()).unwrap_or(u32::MAX);
    let patterns = u32::try_from(cost::patterns(schema)).unwrap_or(u32::MAX);
    let of_patterns = patterns.saturating_mul(PATTERN_BYTES_MAX as u32);
    text.saturating_mul(10).saturating_add(of_patterns)
}

/// What is wrong, of which each missing or unknown property is a thing of its own.
fn explain(error: &ValidationError<'_>, parameters: &Value) -> Vec<Violation> {
    let path = path("parameters", error.instance_path().as_str(), parameters);
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![violation(path + &step(name), "is required")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .take(VIOLATIONS_MAX)
            .map(|name| violation(format!("{path}{}", step(name)), "is not allowed"))
            .collect(),
        // The value itself is the caller's, and may be long or a secret.
        _ => vec![violation(path, &error.masked_with("the value").to_string())],
    }
}

fn violation(mut field: String, description: &str) -> Violation {
    field.truncate(field.floor_char_boundary(PATH_BYTES_MAX));
    let end = description.floor_char_boundary(DESCRIPTION_BYTES_MAX);
    Violation { field, description: description[..end].to_owned() }
}

/// Where in `schema`, which is the field `field`, its compilation failed.
pub(super) fn place(field: &str, error: &ValidationError<'_>, schema: &Value) -> String {
    let mut place = path(field, error.instance_path().as_str(), schema);
    place.truncate(place.floor_char_boundary(PATH_BYTES_MAX));
    place
}

/// The JSON pointer `pointer` into `value` as `field.rows[2].name`.
fn path(field: &str, pointer: &str, value: &Value) -> String {
    let mut path = field.to_owned();
    let mut at = Some(value);
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        match at {
            Some(Value::Array(items)) => {
                // Writing to a string can't fail.
                let _ = write!(path, "[{name}]");
                at = name.parse().ok().and_then(|index: usize| items.get(index));
            }
            _ => {
                path += &step(&name);
                at = at.and_then(|it| it.get(&name));
            }
        }
    }
    path
}

/// `.name`, or `["a name"]` for what is no plain word.
fn step(name: &str) -> String {
    let plain = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
    if !name.is_empty() && name.chars().all(plain) {
        format!(".{name}")
    } else {
        format!("[{}]", Value::from(name))
    }
}
