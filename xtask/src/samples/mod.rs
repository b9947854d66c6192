//! The sample skills: their manifests, built into the binary, and the code that carries them out.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use parameters::Parameters;

mod cron_explainer;
mod csv_profile;
mod front_matter;
mod json_diff;
mod markdown_link_check;
mod outcome;
mod parameters;
mod password_strength;
#[cfg(test)]
mod tests;
mod text_redactor;
mod word_statistics;

/// A sample skill, as it is published to the catalog.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The name, which is also its directory under `samples/skills`.
    pub(crate) name: String,
    /// What the skill does and when to use it.
    pub(crate) description: String,
    /// An SPDX expression.
    pub(crate) license: String,
    /// What the skill needs of its surroundings.
    pub(crate) compatibility: String,
    /// All of the front matter's metadata, category, difficulty and tags among it.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The shelf that it stands on.
    pub(crate) category: String,
    /// The word: beginner, intermediate, advanced or expert.
    pub(crate) difficulty: String,
    /// At most 10.
    pub(crate) tags: Vec<String>,
    /// The tools that the skill may use.
    pub(crate) allowed_tools: Vec<String>,
    /// The instructions, Markdown.
    pub(crate) body: String,
    /// The JSON Schema that parameters must meet.
    pub(crate) parameters_schema: Value,
    /// The parameters of the example in the body.
    pub(crate) example_parameters: Value,
}

/// Tells the caller which step begins, and how much is done, in percent.
type Step<'a> = &'a mut dyn FnMut(&str, u32);

struct Embedded {
    name: &'static str,
    manifest: &'static str,
    schema: &'static str,
    run: fn(&Parameters<'_>, Step<'_>) -> Result<Value, String>,
}

const EMBEDDED: [Embedded; 7] = [
    Embedded {
        name: "word-statistics",
        manifest: include_str!("../../../samples/skills/word-statistics/SKILL.md"),
        schema: include_str!("../../../samples/skills/word-statistics/parameters.schema.json"),
        run: word_statistics::run,
    },
    Embedded {
        name: "csv-profile",
        manifest: include_str!("../../../samples/skills/csv-profile/SKILL.md"),
        schema: include_str!("../../../samples/skills/csv-profile/parameters.schema.json"),
        run: csv_profile::run,
    },
    Embedded {
        name: "json-diff",
        manifest: include_str!("../../../samples/skills/json-diff/SKILL.md"),
        schema: include_str!("../../../samples/skills/json-diff/parameters.schema.json"),
        run: json_diff::run,
    },
    Embedded {
        name: "markdown-link-check",
        manifest: include_str!("../../../samples/skills/markdown-link-check/SKILL.md"),
        schema: include_str!("../../../samples/skills/markdown-link-check/parameters.schema.json"),
        run: markdown_link_check::run,
    },
    Embedded {
        name: "password-strength",
        manifest: include_str!("../../../samples/skills/password-strength/SKILL.md"),
        schema: include_str!("../../../samples/skills/password-strength/parameters.schema.json"),
        run: password_strength::run,
    },
    Embedded {
        name: "cron-explainer",
        manifest: include_str!("../../../samples/skills/cron-explainer/SKILL.md"),
        schema: include_str!("../../../samples/skills/cron-explainer/parameters.schema.json"),
        run: cron_explainer::run,
    },
    Embedded {
        name: "text-redactor",
        manifest: include_str!("../../../samples/skills/text-redactor/SKILL.md"),
        schema: include_str!("../../../samples/skills/text-redactor/parameters.schema.json"),
        run: text_redactor::run,
    },
];

/// Every sample skill.
pub(crate) fn all() -> Result<Vec<Sample>> {
    EMBEDDED
        .iter()
        .map(|embedded| read(embedded).with_context(|| format!("samples/skills/{}", embedded.name)))
        .collect()
}

/// Carries out a sample skill. `step` is called with the name of each step as it begins and the
/// percentage done (0–100).
///
/// The result is at most 256 KiB of JSON text. An error says which parameter is wrong and why.
pub(crate) fn run(
    name: &str,
    parameters: &Value,
    step: &mut dyn FnMut(&str, u32),
) -> Result<Value, String> {
    let embedded = EMBEDDED
        .iter()
        .find(|embedded| embedded.name == name)
        .ok_or_else(|| format!("there is no sample skill {name:?}"))?;
    let schema = serde_json::from_str(embedded.schema)
        .map_err(|error| format!("the schema of {name} is not JSON: {error}"))?;
    let parameters = Parameters::check(&schema, parameters)?;
    outcome::within_limit((embedded.run)(&parameters, step)?)
}

fn read(embedded: &Embedded) -> Result<Sample> {
    let (front, body) = front_matter::parse(embedded.manifest).context("SKILL.md")?;
    ensure!(front.name == embedded.name, "SKILL.md: the name is {:?}", front.name);
    let metadata = |key: &str| {
        front.metadata.get(key).cloned().with_context(|| format!("SKILL.md: no metadata {key}"))
    };
    let (example_parameters, _) = example(body).context("SKILL.md: the example")?;
    Ok(Sample {
        category: metadata("category")?,
        difficulty: metadata("difficulty")?,
        tags: metadata("tags")?.split_whitespace().map(str::to_owned).collect(),
        body: body.to_owned(),
        parameters_schema: serde_json::from_str(embedded.schema)
            .context("parameters.schema.json")?,
        example_parameters,
        name: front.name,
        description: front.description,
        license: front.license,
        compatibility: front.compatibility,
        metadata: front.metadata,
        allowed_tools: front.allowed_tools,
    })
}

/// The parameters and the result that the section "Example" of a body shows.
fn example(body: &str) -> Result<(Value, Value)> {
    let (_, section) = body.split_once("\n## Example\n").context("there is no such section")?;
    let mut blocks = section.split("```json\n").skip(1).map(|rest| {
        let (block, _) = rest.split_once("\n```").context("a block of code is not closed")?;
        serde_json::from_str(block).context("a block of code is not JSON")
    });
    let parameters = blocks.next().context("the parameters are missing")??;
    let result = blocks.next().context("the result is missing")??;
    Ok((parameters, result))
}
