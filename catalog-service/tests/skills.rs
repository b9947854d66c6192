//! SkillService.

mod change;
mod create;
mod limits;
mod list;
pub(crate) mod plans;
mod rate;
mod schema;
mod search;

use ihuman_proto::catalog::v1::{
    self as pb, CreateSkillRequest, GetSkillRequest, Skill, get_skill_request,
    skill_service_client::SkillServiceClient,
};
use ihuman_shared::{
    access::Role,
    parse,
    testing::{Caller, reason},
};
use serde_json::Value;
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};

use crate::support::Catalog;

/// A client of SkillService that presents its caller's credentials.
pub(crate) type Skills = SkillServiceClient<InterceptedService<Channel, Caller>>;

pub(crate) fn skills(catalog: &Catalog, caller: &Caller) -> Skills {
    SkillServiceClient::with_interceptor(catalog.service.channel.clone(), caller.clone())
}

/// A running service with a developer who has published nothing yet.
pub(crate) async fn start() -> (Catalog, Caller, Skills) {
    let catalog = Catalog::start().await;
    let developer = catalog.credentials.person(Role::Developer).await;
    let client = skills(&catalog, &developer);
    (catalog, developer, client)
}

/// What a skill must have, and nothing more.
pub(crate) fn a_skill(name: &str) -> Skill {
    Skill {
        name: name.to_owned(),
        description: format!("Does what {name} does."),
        category: "text".to_owned(),
        difficulty: pb::Difficulty::Beginner.into(),
        ..Skill::default()
    }
}

pub(crate) fn object(json: Value) -> Option<prost_types::Struct> {
    Some(parse::structure(json))
}

pub(crate) fn create(skill: Skill) -> CreateSkillRequest {
    CreateSkillRequest { skill: Some(skill), request_id: String::new() }
}

pub(crate) async fn publish(client: &mut Skills, skill: Skill) -> Result<Skill, Status> {
    let response = client.create_skill(create(skill)).await?;
    Ok(response.into_inner().skill.unwrap())
}

pub(crate) async fn get(client: &mut Skills, id: &str) -> Result<Skill, Status> {
    let skill = Some(get_skill_request::Skill::SkillId(id.to_owned()));
    let response = client.get_skill(GetSkillRequest { skill }).await?;
    Ok(response.into_inner().skill.unwrap())
}

/// The code and reason of a refusal, as in `NotFound NotFound`.
pub(crate) fn refusal(status: &Status) -> String {
    format!("{:?} {:?}", status.code(), reason(status))
}
