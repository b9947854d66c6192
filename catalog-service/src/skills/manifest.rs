//! What an author says of a skill, each part parsed to its limits.

use std::collections::{BTreeMap, BTreeSet};

use ihuman_shared::{
    Error, Result,
    parse::{self, Fields},
};

use super::ParametersSchema;

/// How many bytes a body has at the most.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A name, as the Agent Skills standard has it: 1 to 64 characters of a-z, 0-9 and
/// "-", which neither begins nor ends with "-" nor has two in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct SkillName(String);

impl SkillName {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        let text = parse::slug(field, text, 64)?;
        if text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            let problem = "must not begin or end with -, nor have two in a row";
            return Err(Error::invalid(field, problem));
        }
        Ok(SkillName(text))
    }

    /// The text form.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What a skill does and when to use it: 1 to 1,024 characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Description(pub(super) String);

impl Description {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        parse::text(field, text, 1, 1024).map(Description)
    }
}

/// A licence: at most 200 characters.
#[derive(Clone, Debug, PartialEq)]
pub struct License(pub(super) String);

impl License {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        parse::text(field, text, 0, 200).map(License)
    }
}

/// What a skill needs of its surroundings: at most 500 characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Compatibility(pub(super) String);

impl Compatibility {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        parse::text(field, text, 0, 500).map(Compatibility)
    }
}

/// Whatever else the author says: at most 32 entries, keys of 1 to 64 characters,
/// values of at most 1,024.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata(pub(super) BTreeMap<String, String>);

impl Metadata {
    /// The entries, each checked.
    pub fn parse(field: &str, entries: BTreeMap<String, String>) -> Result<Self> {
        if entries.len() > 32 {
            return Err(Error::invalid(field, "must have at most 32 entries"));
        }
        let mut fields = Fields::default();
        let mut parsed = BTreeMap::new();
        for (key, value) in entries {
            if let Some(key) = fields.take(parse::text(field, key, 1, 64)) {
                let path = format!("{field}[{key:?}]");
                parsed.extend(fields.take(parse::text(&path, value, 0, 1024)).map(|it| (key, it)));
            }
        }
        fields.finish(Some(Metadata(parsed)))
    }
}

/// The tools that a skill may use: at most 64, no two the same, each of 1 to 200
/// characters.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowedTools(pub(super) Vec<String>);

impl AllowedTools {
    /// The names, each checked.
    pub fn parse(field: &str, names: Vec<String>) -> Result<Self> {
        list(field, names, 64, |path, name| parse::text(path, name, 1, 200)).map(AllowedTools)
    }
}

/// The instructions: at most 256 KiB.
#[derive(Clone, Debug, PartialEq)]
pub struct Body(pub(super) String);

impl Body {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        if text.len() > BODY_BYTES_MAX {
            return Err(Error::invalid(field, "must have at most 256 KiB"));
        }
        parse::text(field, text, 0, BODY_BYTES_MAX).map(Body)
    }
}

/// The shelf that a skill stands on: 1 to 64 characters of a-z, 0-9 and "-".
#[derive(Clone, Debug, PartialEq)]
pub struct Category(pub(super) String);

impl Category {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        parse::slug(field, text, 64).map(Category)
    }
}

/// A word that a skill is found by: 1 to 48 characters of a-z, 0-9 and "-".
#[derive(Clone, Debug, PartialEq)]
pub struct Tag(pub(super) String);

impl Tag {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        parse::slug(field, text, 48).map(Tag)
    }
}

/// At most 10 tags, no two the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Tags(pub(super) Vec<String>);

impl Tags {
    /// The tags, each checked.
    pub fn parse(field: &str, tags: Vec<String>) -> Result<Self> {
        list(field, tags, 10, |path, tag| Tag::parse(path, tag).map(|it| it.0)).map(Tags)
    }
}

/// What a skill asks of who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the contract describes each")]
pub enum Difficulty {
    Beginner,
    Intermediate,
    Advanced,
    Expert,
}

impl Difficulty {
    /// The text form, as in the database and the audit trail.
    pub fn text(self) -> &'static str {
        match self {
            Difficulty::Beginner => "beginner",
            Difficulty::Intermediate => "intermediate",
            Difficulty::Advanced => "advanced",
            Difficulty::Expert => "expert",
        }
    }
}

/// Whether a skill may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the contract describes each")]
pub enum State {
    Active,
    Archived,
}

/// A skill to publish.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each type says what it is")]
pub struct NewSkill {
    pub name: SkillName,
    pub description: Description,
    pub license: License,
    pub compatibility: Compatibility,
    pub metadata: Metadata,
    pub allowed_tools: AllowedTools,
    pub body: Body,
    pub parameters_schema: ParametersSchema,
    pub category: Category,
    pub difficulty: Difficulty,
    pub tags: Tags,
}

/// The new values of the fields that change.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each type says what it is")]
pub struct Update {
    pub description: Option<Description>,
    pub license: Option<License>,
    pub compatibility: Option<Compatibility>,
    pub metadata: Option<Metadata>,
    pub allowed_tools: Option<AllowedTools>,
    pub body: Option<Body>,
    pub parameters_schema: Option<ParametersSchema>,
    pub category: Option<Category>,
    pub difficulty: Option<Difficulty>,
    pub tags: Option<Tags>,
}

/// At most `max` items, no two the same, each of which `parse` allows.
fn list(
    field: &str,
    items: Vec<String>,
    max: usize,
    parse: impl Fn(&str, String) -> Result<String>,
) -> Result<Vec<String>> {
    if items.len() > max {
        return Err(Error::invalid(field, format!("must have at most {max} items")));
    }
    let mut fields = Fields::default();
    let mut parsed = Vec::with_capacity(items.len());
    let mut seen = BTreeSet::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{field}[{index}]");
        let Some(item) = fields.take(parse(&path, item)) else { continue };
        if !seen.insert(item.clone()) {
            fields.take::<()>(Err(Error::invalid(path, "must not be there twice")));
        }
        parsed.push(item);
    }
    fields.finish(Some(parsed))
}
