//! The schemas that a skill may ask its parameters to meet.

use ihuman_shared::{Error, Result};
use serde_json::{Value, json};

use super::{cost, schema};

/// How many bytes a schema has at the most, as JSON text.
pub(super) const BYTES_MAX: usize = 64 * 1024;
/// How deep it nests at the most.
const DEPTH_MAX: usize = 28;
/// How many patterns it has at the most.
const PATTERNS_MAX: usize = 64;
/// The one dialect that it may declare.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A JSON Schema of draft 2020-12 that compiles, stands on its own, and can be
/// checked in a bounded time.
#[derive(Clone, Debug, PartialEq)]
pub struct ParametersSchema(Value);

impl ParametersSchema {
    /// Any object, when the skill does not say.
    pub fn any() -> Self {
        ParametersSchema(json!({"type": "object"}))
    }

    /// A JSON object of at most `BYTES_MAX` bytes as a schema.
    ///
    /// # Errors
    /// `InvalidFields` with the first thing that is wrong.
    pub fn parse(field: &str, schema: Value) -> Result<Self> {
        check_shape(field, &schema)?;
        if schema.get("type") != Some(&json!("object")) {
            return Err(Error::invalid(field, "must have \"type\": \"object\" at the top"));
        }
        if cost::patterns(&schema) > PATTERNS_MAX {
            return Err(Error::invalid(
                field,
                format!("must have at most {PATTERNS_MAX} patterns"),
            ));
        }
        if !cost::is_finite(&schema) {
            let problem = "must not refer to itself, or to too much, without going into a property";
            return Err(Error::invalid(field, problem));
        }
        schema::compile(&schema).map_err(|error| {
            let place = schema::place(field, &error, &schema);
            Error::invalid(place, describe(&error.to_string()))
        })?;
        Ok(ParametersSchema(schema))
    }

    /// The schema as JSON.
    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// Depth, and what would reach out of the document or change how it is read.
fn check_shape(field: &str, schema: &Value) -> Result<()> {
    let mut parts = vec![(schema, 1)];
    while let Some((part, depth)) = parts.pop() {
        if depth > DEPTH_MAX {
            return Err(Error::invalid(field, format!("must nest at most {DEPTH_MAX} deep")));
        }
        let text = |keyword: &str| part.get(keyword).and_then(Value::as_str);
        if text("$ref").is_some_and(|it| !it.starts_with('#')) {
            return Err(Error::invalid(field, "must not have a $ref that does not begin with #"));
        }
        if text("$dynamicRef").is_some() || text("$recursiveRef").is_some() {
            return Err(Error::invalid(field, "must not have a $dynamicRef or $recursiveRef"));
        }
        if depth > 1 && text("$id").is_some() {
            return Err(Error::invalid(field, "must not have an $id below the top"));
        }
        if text("$schema").is_some_and(|it| it.trim_end_matches('#') != DIALECT) {
            return Err(Error::invalid(field, format!("must have no $schema but {DIALECT}")));
        }
        parts.extend(cost::children(part).into_iter().map(|it| (it, depth + 1)));
    }
    Ok(())
}

/// The compiler's words, which may quote the schema at length.
fn describe(problem: &str) -> String {
    let end = problem.floor_char_boundary(200);
    format!("must be a JSON Schema of draft 2020-12: {}", &problem[..end])
}
