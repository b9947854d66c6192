//! Finding skills by words.

use ihuman_shared::{Result, page::Page, parse};
use sqlx::PgPool;
use uuid::Uuid;

use super::store::{self, Found};

/// What a page of matches goes on from: the bits of the rank, which as a decimal
/// might not read back as the same number, and the id.
pub type Key = (u32, Uuid);

/// Words, "quoted phrases", or and -not, as in a web search: 1 to 200 characters.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
}

impl Query {
    /// The text form.
    pub fn parse(field: &str, text: String) -> Result<Self> {
        Ok(Query { text: parse::text(field, text, 1, 200)? })
    }

    /// In the language of `websearch_to_tsquery`. Names and tags are stored as the
    /// words between their hyphens, so a hyphenated word is a phrase here.
    fn websearch(&self) -> String {
        let parts = self.text.split('"').enumerate();
        let rewritten: Vec<String> = parts
            .map(
                |(index, part)| if index % 2 == 1 { part.replace('-', " ") } else { phrases(part) },
            )
            .collect();
        rewritten.join("\"")
    }

    /// The name that the query may be, as people write it.
    fn name(&self) -> String {
        let words: Vec<String> = self.text.split_whitespace().map(str::to_lowercase).collect();
        words.join("-")
    }
}

/// Text outside of quotes, with each hyphenated word in quotes.
fn phrases(text: &str) -> String {
    let each = text.split_inclusive(char::is_whitespace).map(|it| {
        let word = it.trim_start_matches('-');
        if !word.trim_end().contains('-') {
            return it.to_owned();
        }
        let not = if it.len() > word.len() { "-" } else { "" };
        format!("{not}\"{}\" ", word.replace('-', " ").trim())
    });
    each.collect()
}

/// A page of the active skills that match, the best first, and the token of the next.
pub async fn search(db: &PgPool, query: &Query, page: &Page<Key>) -> Result<(Vec<Found>, String)> {
    let after = page.after.map(|(bits, skill_id)| (f32::from_bits(bits), skill_id));

    let mut tx = db.begin_with(store::READ).await?;
    let (words, name) = (query.websearch(), query.name());
    let found = store::search(&mut tx, &words, &name, after, page.limit()).await?;
    tx.commit().await?;

    page.cut_to_fit(found, |it| it.skill.bytes(), |last| (last.rank.to_bits(), last.skill.skill_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hyphenated_word_is_a_phrase() {
        let websearch = |text: &str| Query { text: text.to_owned() }.websearch();

        assert_eq!(websearch("pdf-extract"), "\"pdf extract\" ");
        assert_eq!(websearch("find -pdf-extract or x"), "find -\"pdf extract\" or x");
        assert_eq!(websearch("\"well-known words\" -not"), "\"well known words\" -not");
        assert_eq!(websearch("plain words"), "plain words");
    }
}
