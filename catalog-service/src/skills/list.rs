//! Lists of skills: filters, orders, and the keys that their pages go on from.

use ihuman_shared::{Result, page::Page};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Category, Difficulty, Tag,
    store::{self, Skill},
};

/// Which skills to list; what is not set does not matter.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Filter {
    pub(super) category: Option<String>,
    pub(super) difficulty: Option<&'static str>,
    pub(super) tag: Option<String>,
    pub(super) author_id: Option<Uuid>,
}

impl Filter {
    /// The skills that meet all of these.
    pub fn new(
        category: Option<Category>,
        difficulty: Option<Difficulty>,
        tag: Option<Tag>,
        author_id: Option<Uuid>,
    ) -> Self {
        Filter {
            category: category.map(|it| it.0),
            difficulty: difficulty.map(Difficulty::text),
            tag: tag.map(|it| it.0),
            author_id,
        }
    }
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Sort {
    /// Newest first.
    Newest,
    /// By name.
    Name,
    /// The most executions first.
    Popularity,
    /// The highest rating first.
    Rating,
}

/// What a skill is sorted by, and so where a page goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Key {
    /// The id, which sorts by time.
    Newest(Uuid),
    /// The name.
    Name(String),
    /// The count, then the id.
    Popularity(i64, Uuid),
    /// The bits of the rating, then the id: as a decimal it might not read back
    /// as the same number.
    Rating(u64, Uuid),
}

impl Key {
    pub(super) fn newest(&self) -> Option<Uuid> {
        if let Key::Newest(skill_id) = self { Some(*skill_id) } else { None }
    }

    pub(super) fn name(&self) -> Option<&str> {
        if let Key::Name(name) = self { Some(name) } else { None }
    }

    pub(super) fn popularity(&self) -> Option<(i64, Uuid)> {
        if let Key::Popularity(count, skill_id) = self { Some((*count, *skill_id)) } else { None }
    }

    pub(super) fn rating(&self) -> Option<(f64, Uuid)> {
        if let Key::Rating(bits, skill_id) = self {
            Some((f64::from_bits(*bits), *skill_id))
        } else {
            None
        }
    }
}

/// A page of the active skills, and the token of the next.
pub async fn list(
    db: &PgPool,
    filter: &Filter,
    sort: Sort,
    page: &Page<Key>,
) -> Result<(Vec<Skill>, String)> {
    let mut tx = db.begin_with(store::READ).await?;
    let listed = store::list(&mut tx, filter, sort, page.after.as_ref(), page.limit()).await?;
    tx.commit().await?;

    let (listed, next) = page.cut_to_fit(listed, |it| it.skill.bytes(), |last| last.key.clone())?;
    Ok((listed.into_iter().map(|it| it.skill).collect(), next))
}
