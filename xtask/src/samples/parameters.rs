//! The parameters of one run: checked against the skill's own schema, which also has the defaults.

use serde_json::{Map, Value};

/// Parameters that meet their schema.
pub(super) struct Parameters<'a> {
    given: &'a Map<String, Value>,
    schema: &'a Value,
}

impl<'a> Parameters<'a> {
    /// Refuses what does not meet the schema. The message names the place and the rule, never the
    /// value: a parameter may be a secret.
    pub(super) fn check(schema: &'a Value, given: &'a Value) -> Result<Self, String> {
        let validator = jsonschema::draft202012::new(schema)
            .map_err(|error| format!("the schema of the skill is wrong: {}", error.masked()))?;
        validator.validate(given).map_err(|error| {
            let place = error.instance_path().as_str();
            let place = if place.is_empty() { "parameters" } else { place };
            format!("{place}: {}", error.masked())
        })?;
        let given = given.as_object().ok_or("parameters: a JSON object is needed")?;
        Ok(Self { given, schema })
    }

    /// The value given, or else the schema's default.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.given.get(name).or_else(|| self.schema.get("properties")?.get(name)?.get("default"))
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, String> {
        self.value(name).and_then(Value::as_str).ok_or_else(|| missing(name, "a string"))
    }

    /// A whole number, which may be written as 10.0: a `google.protobuf.Struct` has only doubles.
    pub(super) fn count(&self, name: &str) -> Result<usize, String> {
        let number = self.value(name).and_then(Value::as_f64);
        let whole = number.filter(|n| n.fract() == 0.0 && (0.0..=1e9).contains(n));
        whole.map(|n| n as usize).ok_or_else(|| missing(name, "a whole number"))
    }

    /// True or false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        self.value(name).and_then(Value::as_bool).ok_or_else(|| missing(name, "true or false"))
    }

    /// A list of strings.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, String> {
        let list = self.value(name).and_then(Value::as_array);
        let texts = list.and_then(|list| list.iter().map(Value::as_str).collect());
        texts.ok_or_else(|| missing(name, "a list of strings"))
    }
}

fn missing(name: &str, kind: &str) -> String {
    format!("/{name}: {kind} is needed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_come_from_the_schema_and_whole_doubles_are_whole_numbers() {
        let schema = json!({"type": "object", "properties": {
            "top": {"type": "integer", "default": 10}, "deep": {"type": "boolean"}}});
        let given = json!({});
        assert_eq!(Parameters::check(&schema, &given).unwrap().count("top").unwrap(), 10);
        let given = json!({"top": 3.0});
        let parameters = Parameters::check(&schema, &given).unwrap();
        assert_eq!(parameters.count("top").unwrap(), 3);
        assert_eq!(parameters.flag("deep").unwrap_err(), "/deep: true or false is needed");
        assert!(Parameters::check(&schema, &json!({"top": 3.5})).is_err());
    }

    #[test]
    fn a_refusal_names_the_place_and_never_the_value() {
        let schema = json!({"type": "object", "additionalProperties": false,
            "properties": {"password": {"type": "string", "maxLength": 3}}});
        let refusal = |given: Value| Parameters::check(&schema, &given).err().unwrap();
        let message = refusal(json!({"password": "hunter2"}));
        assert!(message.starts_with("/password: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
        assert!(refusal(json!({"other": 1})).contains("other"));
        assert!(refusal(json!([1])).starts_with("parameters: "));
    }
}
