//! Reading many skills: lists and searches give ids in order, and the rows follow.
//!
//! Each query is a file of its own, so that a test can ask for its plan.

use std::collections::{BTreeMap, HashMap};

use ihuman_shared::Result;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::Skill;
use crate::skills::{
    Difficulty, State,
    list::{Filter, Key, Sort},
};

/// Begins the transaction that a list or search reads in. Each is planned for the
/// filters that are set: one plan for all would use no index of theirs. The catalog
/// is small enough to be in memory, where a page costs the same wherever it is.
pub const READ: &str = "begin read only; set local plan_cache_mode = 'force_custom_plan'; \
     set local random_page_cost = 1.1";

/// One place of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The skill, without its body and parameters_schema.
    pub skill: Skill,
    /// What it is sorted by.
    pub key: Key,
}

/// One match of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// The skill, without its body and parameters_schema.
    pub skill: Skill,
    /// How well it matches.
    pub rank: f32,
}

/// At most `limit` active skills in this order, after the key `after`.
pub async fn list(
    conn: &mut PgConnection,
    filter: &Filter,
    sort: Sort,
    after: Option<&Key>,
    limit: i64,
) -> Result<Vec<Listed>> {
    let keys = match sort {
        Sort::Newest => newest(conn, filter, after, limit).await?,
        Sort::Name => by_name(conn, filter, after, limit).await?,
        Sort::Popularity => by_popularity(conn, filter, after, limit).await?,
        Sort::Rating => by_rating(conn, filter, after, limit).await?,
    };
    let mut skills = heads(conn, keys.iter().map(|it| it.0).collect()).await?;
    let listed = keys
        .into_iter()
        .filter_map(|(skill_id, key)| skills.remove(&skill_id).map(|skill| Listed { skill, key }));
    Ok(listed.collect())
}

async fn newest(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> Result<Vec<(Uuid, Key)>> {
    let after = after.and_then(Key::newest);
    let rows = sqlx::query_file!(
        "src/skills/store/list_newest.sql",
        filter.category,
        filter.difficulty,
        filter.tag,
        filter.author_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.skill_id, Key::Newest(it.skill_id))).collect())
}

async fn by_name(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> Result<Vec<(Uuid, Key)>> {
    let after = after.and_then(Key::name);
    let rows = sqlx::query_file!(
        "src/skills/store/list_by_name.sql",
        filter.category,
        filter.difficulty,
        filter.tag,
        filter.author_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.skill_id, Key::Name(it.name))).collect())
}

async fn by_popularity(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> Result<Vec<(Uuid, Key)>> {
    let (count, skill_id) = after.and_then(Key::popularity).unzip();
    let rows = sqlx::query_file!(
        "src/skills/store/list_by_popularity.sql",
        filter.category,
        filter.difficulty,
        filter.tag,
        filter.author_id,
        count,
        skill_id,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let keyed = |count, skill_id| (skill_id, Key::Popularity(count, skill_id));
    Ok(rows.into_iter().map(|it| keyed(it.execution_count, it.skill_id)).collect())
}

async fn by_rating(
    conn: &mut PgConnection,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> Result<Vec<(Uuid, Key)>> {
    let (rating, skill_id) = after.and_then(Key::rating).unzip();
    let rows = sqlx::query_file!(
        "src/skills/store/list_by_rating.sql",
        filter.category,
        filter.difficulty,
        filter.tag,
        filter.author_id,
        rating,
        skill_id,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let keyed = |rating: f64, skill_id| (skill_id, Key::Rating(rating.to_bits(), skill_id));
    Ok(rows.into_iter().map(|it| keyed(it.rating, it.skill_id)).collect())
}

/// At most `limit` active skills that match `query`, which is in the language of
/// `websearch_to_tsquery`, the best first; `name` is the one that matches best.
pub async fn search(
    conn: &mut PgConnection,
    query: &str,
    name: &str,
    after: Option<(f32, Uuid)>,
    limit: i64,
) -> Result<Vec<Found>> {
    let (rank, skill_id) = after.unzip();
    let rows = sqlx::query_file!("src/skills/store/search.sql", query, name, rank, skill_id, limit)
        .fetch_all(&mut *conn)
        .await?;
    let mut skills = heads(conn, rows.iter().map(|it| it.skill_id).collect()).await?;
    let found = rows.into_iter().filter_map(|row| {
        skills.remove(&row.skill_id).map(|skill| Found { skill, rank: row.rank })
    });
    Ok(found.collect())
}

/// The skills with these ids, without their body and parameters_schema.
async fn heads(conn: &mut PgConnection, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Skill>> {
    let skills =
        sqlx::query_file_as!(Skill, "src/skills/store/heads.sql", &ids).fetch_all(conn).await?;
    Ok(skills.into_iter().map(|it| (it.skill_id, it)).collect())
}
