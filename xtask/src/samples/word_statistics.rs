//! `word-statistics`: counts words and sentences, whose boundaries are those of Unicode (UAX #29).

use std::{cmp::Reverse, collections::HashMap};

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    Step,
    outcome::{clip, ratio, round},
    parameters::Parameters,
};

const WORD_SHOWN_MAX: usize = 100;

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let text = parameters.text("text")?;
    let top = parameters.count("top")?;
    let longest = parameters.count("longest")?;
    let words_per_minute = parameters.count("words_per_minute")?;

    step("split the text", 0);
    let characters = text.graphemes(true).filter(|grapheme| !grapheme.contains('\n')).count();
    let spaces = text.graphemes(true).filter(|g| g.trim().is_empty() && !g.contains('\n')).count();
    let sentences = text.unicode_sentences().count();
    let paragraphs = paragraphs(text);

    step("count the words", 40);
    // Lower case is how "The" and "the" become one word.
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in &words {
        *counts.entry(word).or_default() += 1;
    }

    step("rank the words", 70);
    let frequent = most_frequent(&counts, top);
    let long = longest_words(&counts, longest);

    step("estimate the reading time", 90);
    let seconds = (words.len() * 60).div_ceil(words_per_minute);
    let letters: usize = words.iter().map(|word| length(word)).sum();
    Ok(json!({
        "characters": characters,
        "characters_without_spaces": characters - spaces,
        "words": words.len(),
        "unique_words": counts.len(),
        "sentences": sentences,
        "paragraphs": paragraphs,
        "average_word_length": round(ratio(letters, words.len()), 2),
        "average_sentence_length": round(ratio(words.len(), sentences), 2),
        "longest_words": long.iter().map(|(word, length)| {
            json!({"word": clip(word, WORD_SHOWN_MAX), "length": length})
        }).collect::<Vec<_>>(),
        "most_frequent": frequent.iter().map(|(word, count)| json!({
            "word": clip(word, WORD_SHOWN_MAX),
            "count": count,
            "share": round(ratio(*count, words.len()), 4),
        })).collect::<Vec<_>>(),
        "reading_time": {"seconds": seconds, "words_per_minute": words_per_minute},
    }))
}

/// Blocks of lines between blank lines.
fn paragraphs(text: &str) -> usize {
    let mut blank_before = true;
    let mut count = 0;
    for line in text.lines() {
        let blank = line.trim().is_empty();
        count += usize::from(blank_before && !blank);
        blank_before = blank;
    }
    count
}

/// Words that are as frequent as each other are in alphabetical order.
fn most_frequent<'a>(counts: &HashMap<&'a str, usize>, top: usize) -> Vec<(&'a str, usize)> {
    let mut ranked: Vec<_> = counts.iter().map(|(word, count)| (*word, *count)).collect();
    ranked.sort_unstable_by_key(|(word, count)| (Reverse(*count), *word));
    ranked.truncate(top);
    ranked
}

fn longest_words<'a>(counts: &HashMap<&'a str, usize>, top: usize) -> Vec<(&'a str, usize)> {
    let mut ranked: Vec<_> = counts.keys().map(|word| (*word, length(word))).collect();
    ranked.sort_unstable_by_key(|(word, length)| (Reverse(*length), *word));
    ranked.truncate(top);
    ranked
}

/// In characters as a reader sees them.
fn length(word: &str) -> usize {
    word.graphemes(true).count()
}
