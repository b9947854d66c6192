//! The sample skills.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

/// A sample skill, as it is published to the catalog.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) license: String,
    pub(crate) compatibility: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) category: String,
    pub(crate) difficulty: String,
    pub(crate) tags: Vec<String>,
    pub(crate) allowed_tools: Vec<String>,
    pub(crate) body: String,
    pub(crate) parameters_schema: Value,
    pub(crate) example_parameters: Value,
}

/// Every sample skill.
pub(crate) fn all() -> Result<Vec<Sample>> {
    Ok(Vec::new())
}

/// Carries out a sample skill.
pub(crate) fn run(
    name: &str,
    _parameters: &Value,
    _step: &mut dyn FnMut(&str, u32),
) -> Result<Value, String> {
    Err(format!("there is no sample skill {name:?}"))
}
