//! What the audit trail says of a skill: its body and schema are long, and appear
//! as the version and digest that they belong to.

use serde_json::{Map, Value, json};

use super::Skill;

/// Every field that an author sets.
pub(super) fn all(skill: &Skill) -> Value {
    json!({
        "name": skill.name,
        "description": skill.description,
        "license": skill.license,
        "compatibility": skill.compatibility,
        "metadata": skill.metadata.0,
        "allowed_tools": skill.allowed_tools,
        "category": skill.category,
        "difficulty": skill.difficulty.text(),
        "tags": skill.tags,
        "version": skill.version,
        "digest": skill.digest,
    })
}

/// The fields that differ, as they were and as they are; none if all are equal.
pub(super) fn difference(old: &Skill, new: &Skill) -> Option<(Value, Value)> {
    let (Value::Object(old), Value::Object(new)) = (all(old), all(new)) else { return None };
    let changed = |from: &Map<String, Value>, to: &Map<String, Value>| {
        let differs = |(name, value): &(&String, &Value)| to.get(*name) != Some(*value);
        let fields = from.iter().filter(differs).map(|(name, it)| (name.clone(), it.clone()));
        Value::Object(fields.collect())
    };
    (old != new).then(|| (changed(&old, &new), changed(&new, &old)))
}
