//! Publishes a sample skill.

use ihuman_proto::catalog::v1::{CreateSkillRequest, Difficulty, Skill};
use tonic::Status;

use crate::{client::Clients, json, samples::Sample};

/// What the front matter has in its metadata and the contract in fields.
const FIELDS: [&str; 3] = ["category", "difficulty", "tags"];

/// Publishes the sample under this name.
pub(crate) async fn publish(
    clients: &Clients,
    sample: &Sample,
    name: &str,
) -> Result<Skill, Status> {
    let request = CreateSkillRequest { skill: Some(skill(sample, name)), ..Default::default() };
    let response = clients.skills().create_skill(request).await?;
    Ok(response.into_inner().skill.unwrap_or_default())
}

fn skill(sample: &Sample, name: &str) -> Skill {
    let metadata = sample.metadata.iter().filter(|(key, _)| !FIELDS.contains(&key.as_str()));
    Skill {
        name: name.to_owned(),
        description: sample.description.clone(),
        license: sample.license.clone(),
        compatibility: sample.compatibility.clone(),
        metadata: metadata.map(|(key, value)| (key.clone(), value.clone())).collect(),
        allowed_tools: sample.allowed_tools.clone(),
        body: sample.body.clone(),
        parameters_schema: Some(json::to_struct(&sample.parameters_schema)),
        category: sample.category.clone(),
        difficulty: difficulty(&sample.difficulty).into(),
        tags: sample.tags.clone(),
        ..Default::default()
    }
}

fn difficulty(word: &str) -> Difficulty {
    Difficulty::from_str_name(&format!("DIFFICULTY_{}", word.to_uppercase()))
        .unwrap_or(Difficulty::Unspecified)
}
