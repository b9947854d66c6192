//! The rules for publishing, changing and rating skills.

mod audit;
mod cost;
pub mod housekeeping;
pub mod list;
mod manifest;
mod parameters_schema;
pub mod rpc;
pub mod schema;
pub mod search;
pub mod store;
mod version;

use chrono::Utc;
use ihuman_shared::{
    Error, Result,
    access::{Principal, RateLimit},
    audit::{self as trail, Actor, Change},
    error::Reason,
    idempotency::{self, Key},
};
use serde_json::json;
use sqlx::{PgPool, types::Json};
use uuid::Uuid;

pub use self::{
    manifest::{
        AllowedTools, Body, Category, Compatibility, Description, Difficulty, License, Metadata,
        NewSkill, SkillName, State, Tag, Tags, Update,
    },
    parameters_schema::ParametersSchema,
    store::Skill,
    version::SkillVersion,
};

/// The kind of thing, in errors and in the audit trail.
const KIND: &str = "skill";
const UPDATE: &str = "/ihuman.catalog.v1.SkillService/UpdateSkill";
const ARCHIVE: &str = "/ihuman.catalog.v1.SkillService/ArchiveSkill";

/// Publishes a skill at version 1, or returns the one that an earlier request with
/// the same key published.
///
/// # Errors
/// `AlreadyExists` if the name is taken, `RequestIdReused`.
pub async fn create(
    db: &PgPool,
    caller: &Principal,
    new: NewSkill,
    key: Option<&Key>,
) -> Result<Skill> {
    let skill = first_version(caller.user_id, new);

    let mut tx = db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key, skill.skill_id, None).await? {
        return present(store::get(&mut tx, earlier.entity_id).await?);
    }
    store::insert(&mut tx, &skill).await?;
    let change = Change::created("skill.create", KIND, skill.skill_id, audit::all(&skill));
    trail::record(&mut tx, &Actor::from(caller), change).await?;
    let created = present(store::get(&mut tx, skill.skill_id).await?)?;
    tx.commit().await?;
    Ok(created)
}

fn first_version(author_id: Uuid, new: NewSkill) -> Skill {
    let now = Utc::now();
    let mut skill = Skill {
        skill_id: Uuid::now_v7(),
        name: new.name.text().to_owned(),
        description: new.description.0,
        license: new.license.0,
        compatibility: new.compatibility.0,
        metadata: Json(new.metadata.0),
        allowed_tools: new.allowed_tools.0,
        body: new.body.0,
        parameters_schema: new.parameters_schema.json().clone(),
        category: new.category.0,
        difficulty: new.difficulty,
        tags: new.tags.0,
        author_id,
        version: 1,
        digest: String::new(),
        state: State::Active,
        created_at: now,
        updated_at: now,
        execution_count: 0,
        rating: 0.0,
        rating_count: 0,
    };
    skill.digest = skill.content().digest();
    skill
}

/// One skill, archived or not.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: &PgPool, which: Which) -> Result<Skill> {
    let mut conn = db.acquire().await?;
    present(match which {
        Which::Id(skill_id) => store::get(&mut conn, skill_id).await?,
        Which::Name(name) => store::find(&mut conn, name.text()).await?,
    })
}

/// Which skill.
#[derive(Clone, Debug)]
pub enum Which {
    /// The one with this id.
    Id(Uuid),
    /// The one with this name.
    Name(SkillName),
}

/// Changes a skill. A change of what is run makes a new version; no change leaves
/// no trace.
///
/// # Errors
/// `NotFound`, `NotAllowed` for all but the author and administrators, `WrongState`
/// for an archived skill.
pub async fn update(
    db: &PgPool,
    limiter: &RateLimit,
    caller: &Principal,
    skill_id: Uuid,
    update: Update,
) -> Result<Skill> {
    let mut tx = db.begin().await?;
    let old = present(store::lock(&mut tx, skill_id).await?)?;
    if !may_change(caller, &old) {
        tx.rollback().await?;
        return refuse(db, limiter, caller, UPDATE).await;
    }
    if old.state == State::Archived {
        return Err(Error::WrongState { subject: KIND, description: "is archived".to_owned() });
    }
    let new = old.clone().updated(update);
    let Some((old_values, new_values)) = audit::difference(&old, &new) else { return Ok(old) };

    if new.version != old.version {
        store::insert_version(&mut tx, &new, caller.user_id).await?;
    }
    store::update(&mut tx, &new).await?;
    let change = Change::changed("skill.update", KIND, skill_id, old_values, new_values);
    trail::record(&mut tx, &Actor::from(caller), change).await?;
    let updated = present(store::get(&mut tx, skill_id).await?)?;
    tx.commit().await?;
    Ok(updated)
}

/// Takes a skill out of the catalog. Archiving an archived one changes nothing.
///
/// # Errors
/// `NotFound`, `NotAllowed` for all but the author and administrators.
pub async fn archive(
    db: &PgPool,
    limiter: &RateLimit,
    caller: &Principal,
    skill_id: Uuid,
) -> Result<Skill> {
    let mut tx = db.begin().await?;
    let old = present(store::lock(&mut tx, skill_id).await?)?;
    if !may_change(caller, &old) {
        tx.rollback().await?;
        return refuse(db, limiter, caller, ARCHIVE).await;
    }
    if old.state == State::Archived {
        return Ok(old);
    }
    let new = Skill { state: State::Archived, ..old };

    store::update(&mut tx, &new).await?;
    let (was, is) = (json!({"state": "active"}), json!({"state": "archived"}));
    let change = Change::changed("skill.archive", KIND, skill_id, was, is);
    trail::record(&mut tx, &Actor::from(caller), change).await?;
    let archived = present(store::get(&mut tx, skill_id).await?)?;
    tx.commit().await?;
    Ok(archived)
}

/// One to five stars.
#[derive(Clone, Copy, Debug)]
pub struct Stars(i16);

impl Stars {
    /// The number of them.
    pub fn parse(field: &str, number: i32) -> Result<Self> {
        match i16::try_from(number) {
            Ok(stars @ 1..=5) => Ok(Stars(stars)),
            _ => Err(Error::invalid(field, "must be 1 to 5")),
        }
    }
}

/// Gives a skill stars, in place of the caller's earlier ones. The same stars again
/// change nothing.
///
/// # Errors
/// `NotFound`, `WrongState` unless an execution of it that the caller created has
/// succeeded.
pub async fn rate(db: &PgPool, caller: &Principal, skill_id: Uuid, stars: Stars) -> Result<Skill> {
    let (user_id, Stars(stars)) = (caller.user_id, stars);

    let mut tx = db.begin().await?;
    if !store::lock_stats(&mut tx, skill_id).await? {
        return Err(Error::NotFound(KIND));
    }
    if !store::has_succeeded(&mut tx, skill_id, user_id).await? {
        let description = "has no succeeded execution of the caller's".to_owned();
        return Err(Error::WrongState { subject: KIND, description });
    }
    let earlier = store::rating(&mut tx, skill_id, user_id).await?;
    if earlier != Some(stars) {
        store::rate(&mut tx, skill_id, user_id, earlier, stars).await?;
        let was = earlier.map(|it| json!({"stars": it})).unwrap_or_default();
        let change = Change::changed("skill.rate", KIND, skill_id, was, json!({"stars": stars}));
        trail::record(&mut tx, &Actor::from(caller), change).await?;
    }
    let rated = present(store::get(&mut tx, skill_id).await?)?;
    tx.commit().await?;
    Ok(rated)
}

fn present(skill: Option<Skill>) -> Result<Skill> {
    skill.ok_or(Error::NotFound(KIND))
}

fn may_change(caller: &Principal, skill: &Skill) -> bool {
    caller.is_admin() || caller.user_id == skill.author_id
}

/// Records the attempt, which is part of the audit trail as well, and counts it before.
async fn refuse<T>(db: &PgPool, limiter: &RateLimit, caller: &Principal, path: &str) -> Result<T> {
    limiter.deny(caller.user_id).await?;
    let mut conn = db.acquire().await?;
    trail::refuse(&mut conn, &Actor::from(caller), path, Reason::NotAllowed).await?;
    Err(Error::NotAllowed("only its author and administrators may change a skill"))
}

impl Skill {
    /// How many bytes its texts have in a list, about.
    fn bytes(&self) -> usize {
        let metadata: usize = self.metadata.iter().map(|(key, it)| key.len() + it.len()).sum();
        let tools: usize = self.allowed_tools.iter().map(String::len).sum();
        let others = [&self.description, &self.license, &self.compatibility, &self.category];
        metadata + tools + others.into_iter().map(String::len).sum::<usize>()
    }

    /// What is run at its version.
    fn content(&self) -> SkillVersion<'_> {
        SkillVersion {
            name: &self.name,
            allowed_tools: &self.allowed_tools,
            body: &self.body,
            parameters_schema: &self.parameters_schema,
        }
    }

    /// The skill with these changes, at a new version if they change what is run.
    fn updated(mut self, update: Update) -> Self {
        fn set<T>(value: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *value = new;
            }
        }
        set(&mut self.description, update.description.map(|it| it.0));
        set(&mut self.license, update.license.map(|it| it.0));
        set(&mut self.compatibility, update.compatibility.map(|it| it.0));
        set(&mut self.metadata, update.metadata.map(|it| Json(it.0)));
        set(&mut self.allowed_tools, update.allowed_tools.map(|it| it.0));
        set(&mut self.body, update.body.map(|it| it.0));
        set(&mut self.parameters_schema, update.parameters_schema.map(|it| it.json().clone()));
        set(&mut self.category, update.category.map(|it| it.0));
        set(&mut self.difficulty, update.difficulty);
        set(&mut self.tags, update.tags.map(|it| it.0));
        let digest = self.content().digest();
        if digest != self.digest {
            self.digest = digest;
            self.version += 1;
        }
        self
    }
}
