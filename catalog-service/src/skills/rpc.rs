//! `ihuman.catalog.v1.SkillService`.

use ihuman_proto::catalog::v1::{
    self as pb,
    skill_service_server::{SkillService, SkillServiceServer},
};
use ihuman_shared::{
    Error, Result,
    access::{Principal, RateLimit},
    idempotency::Key,
    page::Page,
    parse::{self, Fields},
    platform::Platform,
    server::Limited,
};
use sqlx::PgPool;
use tonic::{Request, Response, Status, codec::CompressionEncoding};

use super::{
    AllowedTools, Body, Category, Compatibility, Description, Difficulty, License, Metadata,
    NewSkill, ParametersSchema, Skill, SkillName, Stars, State, Tag, Tags, Update, Which,
    list::{Filter, Sort},
    parameters_schema::BYTES_MAX,
    search::Query,
};

/// No request of this service is larger: a body, a schema and what else there is.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

struct Skills {
    db: PgPool,
    limiter: RateLimit,
}

/// The service on this platform.
pub fn server(platform: &Platform) -> Limited<SkillServiceServer<impl SkillService>> {
    let skills = Skills { db: platform.db.clone(), limiter: platform.limiter.clone() };
    Limited::new(REQUEST_BYTES_MAX, |longest| {
        SkillServiceServer::new(skills)
            .max_decoding_message_size(longest)
            .accept_compressed(CompressionEncoding::Gzip)
    })
}

#[tonic::async_trait]
impl SkillService for Skills {
    async fn create_skill(
        &self,
        request: Request<pb::CreateSkillRequest>,
    ) -> Result<Response<pb::CreateSkillResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let key = Key::of(caller.user_id, "CreateSkill", &request.request_id, &request)?;
        let new = new_skill(parse::required("skill", request.skill)?)?;

        let skill = super::create(&self.db, &caller, new, key.as_ref()).await?;

        Ok(Response::new(pb::CreateSkillResponse { skill: Some(skill.into()) }))
    }

    async fn get_skill(
        &self,
        request: Request<pb::GetSkillRequest>,
    ) -> Result<Response<pb::GetSkillResponse>, Status> {
        let which = match parse::required("skill", request.into_inner().skill)? {
            pb::get_skill_request::Skill::SkillId(id) => Which::Id(parse::uuid("skill_id", &id)?),
            pb::get_skill_request::Skill::Name(name) => {
                Which::Name(SkillName::parse("name", name)?)
            }
        };

        let skill = super::get(&self.db, which).await?;

        Ok(Response::new(pb::GetSkillResponse { skill: Some(skill.into()) }))
    }

    async fn list_skills(
        &self,
        request: Request<pb::ListSkillsRequest>,
    ) -> Result<Response<pb::ListSkillsResponse>, Status> {
        let request = request.into_inner();
        let (size, token) = (request.page_size, request.page_token.clone());
        let (filter, sort) = filter(request)?;
        let page = Page::parse("ListSkills", size, &token, &(&filter, sort))?;

        let (skills, next_page_token) = super::list::list(&self.db, &filter, sort, &page).await?;

        let skills = skills.into_iter().map(pb::Skill::from).collect();
        Ok(Response::new(pb::ListSkillsResponse { skills, next_page_token }))
    }

    async fn update_skill(
        &self,
        request: Request<pb::UpdateSkillRequest>,
    ) -> Result<Response<pb::UpdateSkillResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let skill = parse::required("skill", request.skill)?;
        let skill_id = parse::uuid("skill.id", &skill.id)?;
        let update = update(skill, &request.update_mask.unwrap_or_default().paths)?;

        let skill = super::update(&self.db, &self.limiter, &caller, skill_id, update).await?;

        Ok(Response::new(pb::UpdateSkillResponse { skill: Some(skill.into()) }))
    }

    async fn archive_skill(
        &self,
        request: Request<pb::ArchiveSkillRequest>,
    ) -> Result<Response<pb::ArchiveSkillResponse>, Status> {
        let caller = Principal::of(&request)?;
        let skill_id = parse::uuid("skill_id", &request.into_inner().skill_id)?;

        let skill = super::archive(&self.db, &self.limiter, &caller, skill_id).await?;

        Ok(Response::new(pb::ArchiveSkillResponse { skill: Some(skill.into()) }))
    }

    async fn search_skills(
        &self,
        request: Request<pb::SearchSkillsRequest>,
    ) -> Result<Response<pb::SearchSkillsResponse>, Status> {
        let request = request.into_inner();
        let page =
            Page::parse("SearchSkills", request.page_size, &request.page_token, &request.query)?;
        let query = Query::parse("query", request.query)?;

        let (found, next_page_token) = super::search::search(&self.db, &query, &page).await?;

        let matches = found
            .into_iter()
            .map(|it| pb::SkillMatch { skill: Some(it.skill.into()), rank: it.rank });
        Ok(Response::new(pb::SearchSkillsResponse { matches: matches.collect(), next_page_token }))
    }

    async fn rate_skill(
        &self,
        request: Request<pb::RateSkillRequest>,
    ) -> Result<Response<pb::RateSkillResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let skill_id = parse::uuid("skill_id", &request.skill_id)?;
        let stars = Stars::parse("stars", request.stars)?;

        let skill = super::rate(&self.db, &caller, skill_id, stars).await?;

        Ok(Response::new(pb::RateSkillResponse { skill: Some(skill.into()) }))
    }
}

fn new_skill(skill: pb::Skill) -> Result<NewSkill> {
    let mut fields = Fields::default();
    let is_set = [
        ("skill.id", !skill.id.is_empty()),
        ("skill.author_id", !skill.author_id.is_empty()),
        ("skill.version", skill.version != 0),
        ("skill.digest", !skill.digest.is_empty()),
        ("skill.state", skill.state != 0),
        ("skill.create_time", skill.create_time.is_some()),
        ("skill.update_time", skill.update_time.is_some()),
        ("skill.execution_count", skill.execution_count != 0),
        ("skill.rating", skill.rating != 0.0),
        ("skill.rating_count", skill.rating_count != 0),
    ];
    for (field, _) in is_set.into_iter().filter(|it| it.1) {
        fields.take::<()>(Err(Error::invalid(field, "must be left out: the service sets it")));
    }
    let name = fields.take(SkillName::parse("skill.name", skill.name.clone()));
    let update = parse_fields(&mut fields, skill, MUTABLE);
    fields.finish((|| {
        Some(NewSkill {
            name: name?,
            description: update.description?,
            license: update.license?,
            compatibility: update.compatibility?,
            metadata: update.metadata?,
            allowed_tools: update.allowed_tools?,
            body: update.body?,
            parameters_schema: update.parameters_schema?,
            category: update.category?,
            difficulty: update.difficulty?,
            tags: update.tags?,
        })
    })())
}

/// What `UpdateSkillRequest.update_mask` may name.
const MUTABLE: &[&str] = &[
    "description",
    "license",
    "compatibility",
    "metadata",
    "allowed_tools",
    "body",
    "parameters_schema",
    "category",
    "difficulty",
    "tags",
];

/// The fields of `skill` that the mask names; `*` names all (AIP-134).
fn update(skill: pb::Skill, mask: &[String]) -> Result<Update> {
    let paths = parse::update_mask(mask, MUTABLE)?;
    let mut fields = Fields::default();
    let update = parse_fields(&mut fields, skill, &paths);
    fields.finish(Some(update))
}

fn parse_fields(fields: &mut Fields, skill: pb::Skill, paths: &[&str]) -> Update {
    let mut update = Update::default();
    let named = |path: &str| paths.contains(&path);
    if named("description") {
        let parsed = Description::parse("skill.description", skill.description);
        update.description = fields.take(parsed);
    }
    if named("license") {
        update.license = fields.take(License::parse("skill.license", skill.license));
    }
    if named("compatibility") {
        let parsed = Compatibility::parse("skill.compatibility", skill.compatibility);
        update.compatibility = fields.take(parsed);
    }
    if named("metadata") {
        update.metadata = fields.take(Metadata::parse("skill.metadata", skill.metadata));
    }
    if named("allowed_tools") {
        let parsed = AllowedTools::parse("skill.allowed_tools", skill.allowed_tools);
        update.allowed_tools = fields.take(parsed);
    }
    if named("body") {
        update.body = fields.take(Body::parse("skill.body", skill.body));
    }
    if named("parameters_schema") {
        let parsed = parameters_schema("skill.parameters_schema", skill.parameters_schema);
        update.parameters_schema = fields.take(parsed);
    }
    if named("category") {
        update.category = fields.take(Category::parse("skill.category", skill.category));
    }
    if named("difficulty") {
        let parsed = difficulty("skill.difficulty", skill.difficulty);
        let parsed = parsed.and_then(|it| parse::required("skill.difficulty", it));
        update.difficulty = fields.take(parsed);
    }
    if named("tags") {
        update.tags = fields.take(Tags::parse("skill.tags", skill.tags));
    }
    update
}

fn parameters_schema(field: &str, schema: Option<prost_types::Struct>) -> Result<ParametersSchema> {
    match schema {
        Some(schema) => ParametersSchema::parse(field, parse::object(field, schema, BYTES_MAX)?),
        None => Ok(ParametersSchema::any()),
    }
}

fn difficulty(field: &str, number: i32) -> Result<Option<Difficulty>> {
    let known = parse::optional_enum(field, number)?;
    Ok(known.and_then(|it| match it {
        pb::Difficulty::Unspecified => None,
        pb::Difficulty::Beginner => Some(Difficulty::Beginner),
        pb::Difficulty::Intermediate => Some(Difficulty::Intermediate),
        pb::Difficulty::Advanced => Some(Difficulty::Advanced),
        pb::Difficulty::Expert => Some(Difficulty::Expert),
    }))
}

fn filter(request: pb::ListSkillsRequest) -> Result<(Filter, Sort)> {
    let mut fields = Fields::default();
    let category = optional(request.category, |it| Category::parse("category", it));
    let category = fields.take(category);
    let difficulty = fields.take(difficulty("difficulty", request.difficulty));
    let tag = fields.take(optional(request.tag, |it| Tag::parse("tag", it)));
    let author_id = fields.take(parse::optional_uuid("author_id", &request.author_id));
    let sort = fields.take(parse::optional_enum("sort", request.sort));
    let sort = sort.map(|it| match it.unwrap_or_default() {
        pb::SkillSort::Unspecified | pb::SkillSort::Newest => Sort::Newest,
        pb::SkillSort::Name => Sort::Name,
        pb::SkillSort::Popularity => Sort::Popularity,
        pb::SkillSort::Rating => Sort::Rating,
    });
    fields.finish((|| Some((Filter::new(category?, difficulty?, tag?, author_id?), sort?)))())
}

/// What an optional text says, if it is set.
fn optional<T>(text: String, parse: impl FnOnce(String) -> Result<T>) -> Result<Option<T>> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

impl From<Skill> for pb::Skill {
    fn from(skill: Skill) -> Self {
        let state = match skill.state {
            State::Active => pb::SkillState::Active,
            State::Archived => pb::SkillState::Archived,
        };
        let difficulty = match skill.difficulty {
            Difficulty::Beginner => pb::Difficulty::Beginner,
            Difficulty::Intermediate => pb::Difficulty::Intermediate,
            Difficulty::Advanced => pb::Difficulty::Advanced,
            Difficulty::Expert => pb::Difficulty::Expert,
        };
        pb::Skill {
            id: skill.skill_id.to_string(),
            name: skill.name,
            description: skill.description,
            license: skill.license,
            compatibility: skill.compatibility,
            metadata: skill.metadata.0,
            allowed_tools: skill.allowed_tools,
            body: skill.body,
            parameters_schema: (!skill.parameters_schema.is_null())
                .then(|| parse::structure(skill.parameters_schema)),
            category: skill.category,
            difficulty: difficulty.into(),
            tags: skill.tags,
            author_id: skill.author_id.to_string(),
            version: skill.version,
            digest: skill.digest,
            state: state.into(),
            create_time: Some(parse::timestamp(skill.created_at)),
            update_time: Some(parse::timestamp(skill.updated_at)),
            execution_count: skill.execution_count,
            rating: skill.rating,
            rating_count: skill.rating_count,
        }
    }
}
