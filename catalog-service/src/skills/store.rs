//! The `skills` table and what belongs to a skill: versions, figures and ratings.

mod list;
mod usage;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, error::OnConstraint as _};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

pub use list::{Found, Listed, READ, list, search};
pub use usage::{fold, take_turn};

use super::{Difficulty, State};

/// A skill at its newest version.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the contract describes each")]
pub struct Skill {
    pub skill_id: Uuid,
    pub name: String,
    pub description: String,
    pub license: String,
    pub compatibility: String,
    pub metadata: Json<BTreeMap<String, String>>,
    pub allowed_tools: Vec<String>,
    /// Empty in lists.
    pub body: String,
    /// Null in lists.
    pub parameters_schema: Value,
    pub category: String,
    pub difficulty: Difficulty,
    pub tags: Vec<String>,
    pub author_id: Uuid,
    pub version: i32,
    pub digest: String,
    pub state: State,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub execution_count: i64,
    pub rating: f64,
    pub rating_count: i64,
}

/// What an execution needs to know of a skill's newest version.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the contract describes each")]
pub struct NewestVersion {
    pub skill_id: Uuid,
    pub name: String,
    pub state: State,
    pub version: i32,
    pub digest: String,
    pub parameters_schema: Value,
}

/// Adds a skill, its version 1 and its figures. The times and counts are the
/// database's to set.
pub async fn insert(conn: &mut PgConnection, skill: &Skill) -> Result<()> {
    sqlx::query!(
        "insert into skills (skill_id, name, description, license, compatibility, metadata, category,
             difficulty, tags, author_id, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        skill.skill_id,
        skill.name,
        skill.description,
        skill.license,
        skill.compatibility,
        &skill.metadata as _,
        skill.category,
        skill.difficulty as _,
        &skill.tags,
        skill.author_id,
        skill.version,
    )
    .execute(&mut *conn)
    .await
    .on_constraint("skills_name_key", Error::AlreadyExists("skill"))?;
    insert_version(conn, skill, skill.author_id).await?;
    sqlx::query!("insert into skill_stats (skill_id) values ($1)", skill.skill_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Adds the version that the skill is at.
pub async fn insert_version(
    conn: &mut PgConnection,
    skill: &Skill,
    created_by: Uuid,
) -> Result<()> {
    sqlx::query!(
        "insert into skill_versions (skill_id, version, digest, body, allowed_tools,
             parameters_schema, created_by)
         values ($1, $2, $3, $4, $5, $6, $7)",
        skill.skill_id,
        skill.version,
        skill.digest,
        skill.body,
        &skill.allowed_tools,
        skill.parameters_schema,
        created_by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The skill with this id.
pub async fn get(conn: &mut PgConnection, skill_id: Uuid) -> Result<Option<Skill>> {
    select(conn, Some(skill_id), None).await
}

/// The skill with this name.
pub async fn find(conn: &mut PgConnection, name: &str) -> Result<Option<Skill>> {
    select(conn, None, Some(name)).await
}

async fn select(
    conn: &mut PgConnection,
    skill_id: Option<Uuid>,
    name: Option<&str>,
) -> Result<Option<Skill>> {
    let skill = sqlx::query_as!(
        Skill,
        r#"select s.skill_id, s.name, s.description, s.license, s.compatibility,
                  s.metadata as "metadata: Json<BTreeMap<String, String>>", v.allowed_tools, v.body,
                  v.parameters_schema, s.category, s.difficulty as "difficulty: Difficulty", s.tags,
                  s.author_id, s.version, v.digest, s.state as "state: State", s.created_at,
                  s.updated_at, t.execution_count, t.rating as "rating!", t.rating_count
           from skills s
           join skill_versions v on v.skill_id = s.skill_id and v.version = s.version
           join skill_stats t on t.skill_id = s.skill_id
           where s.skill_id = $1 or s.name = $2"#,
        skill_id,
        name,
    )
    .fetch_optional(conn)
    .await?;
    Ok(skill)
}

/// The skill with this id, which nobody else changes before the transaction ends.
pub async fn lock(conn: &mut PgConnection, skill_id: Uuid) -> Result<Option<Skill>> {
    let locked = sqlx::query!("select from skills where skill_id = $1 for update", skill_id)
        .fetch_optional(&mut *conn)
        .await?;
    // Only now: what was read before the lock was ours may have changed.
    match locked {
        Some(_) => get(conn, skill_id).await,
        None => Ok(None),
    }
}

/// Sets what may change of a skill, except what belongs to a version.
pub async fn update(conn: &mut PgConnection, skill: &Skill) -> Result<()> {
    sqlx::query!(
        "update skills
         set description = $2, license = $3, compatibility = $4, metadata = $5, category = $6,
             difficulty = $7, tags = $8, version = $9, state = $10
         where skill_id = $1",
        skill.skill_id,
        skill.description,
        skill.license,
        skill.compatibility,
        &skill.metadata as _,
        skill.category,
        skill.difficulty as _,
        &skill.tags,
        skill.version,
        skill.state as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What an execution of the skill that begins now would run.
pub async fn newest(conn: &mut PgConnection, skill_id: Uuid) -> Result<Option<NewestVersion>> {
    let newest = sqlx::query_as!(
        NewestVersion,
        r#"select s.skill_id, s.name, s.state as "state: State", s.version, v.digest, v.parameters_schema
           from skills s
           join skill_versions v on v.skill_id = s.skill_id and v.version = s.version
           where s.skill_id = $1"#,
        skill_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(newest)
}

/// Whether an execution of the skill that the user created has succeeded.
pub async fn has_succeeded(conn: &mut PgConnection, skill_id: Uuid, user_id: Uuid) -> Result<bool> {
    let exists = sqlx::query_scalar!(
        r#"select exists (select from executions
               where skill_id = $1 and created_by = $2 and state = 'succeeded') as "exists!""#,
        skill_id,
        user_id,
    )
    .fetch_one(conn)
    .await?;
    Ok(exists)
}

/// Makes every other rating of the skill wait until the transaction ends; whether
/// there is such a skill.
pub async fn lock_stats(conn: &mut PgConnection, skill_id: Uuid) -> Result<bool> {
    let locked = sqlx::query!("select from skill_stats where skill_id = $1 for update", skill_id)
        .fetch_optional(conn)
        .await?;
    Ok(locked.is_some())
}

/// The stars that the user gave.
pub async fn rating(conn: &mut PgConnection, skill_id: Uuid, user_id: Uuid) -> Result<Option<i16>> {
    let stars = sqlx::query_scalar!(
        "select stars from skill_ratings where skill_id = $1 and user_id = $2",
        skill_id,
        user_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(stars)
}

/// Sets the stars that the user gives in place of `earlier`, and counts them. The
/// figures must be [locked](lock_stats).
pub async fn rate(
    conn: &mut PgConnection,
    skill_id: Uuid,
    user_id: Uuid,
    earlier: Option<i16>,
    stars: i16,
) -> Result<()> {
    sqlx::query!(
        "insert into skill_ratings (skill_id, user_id, stars) values ($1, $2, $3)
         on conflict (skill_id, user_id) do update set stars = excluded.stars",
        skill_id,
        user_id,
        stars,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update skill_stats
         set rating_sum = rating_sum + $2, rating_count = rating_count + $3
         where skill_id = $1",
        skill_id,
        i64::from(stars - earlier.unwrap_or_default()),
        i64::from(earlier.is_none()),
    )
    .execute(conn)
    .await?;
    Ok(())
}
