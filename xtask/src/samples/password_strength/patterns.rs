//! Patterns that make a password easier to guess than its length suggests.

use std::collections::HashMap;

use super::words;

/// One pattern, and how many guesses find it by its own rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    pub(super) kind: Kind,
    /// In characters from the beginning.
    pub(super) start: usize,
    /// In characters.
    pub(super) length: usize,
    pub(super) guesses_log10: f64,
}

/// What makes it easier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    CommonWord,
    ContextWord,
    Repetition,
    Sequence,
    Keyboard,
    Year,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::CommonWord => "common-word",
            Self::ContextWord => "context-word",
            Self::Repetition => "repetition",
            Self::Sequence => "sequence",
            Self::Keyboard => "keyboard",
            Self::Year => "year",
        }
    }
}

/// Rows of the keyboard, with and without the shift key, and of the German and French one.
const KEYBOARD_ROWS: [&str; 9] = [
    "`1234567890-=",
    "~!@#$%^&*()_+",
    "qwertyuiop[]\\",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
];
const RUN_MIN: usize = 3;

/// Every pattern, by where it begins. They may overlap.
pub(super) fn find(password: &[char], context: &[&str]) -> Vec<Pattern> {
    let mut patterns = words(password, context);
    patterns.extend(repetitions(password));
    patterns.extend(runs(password, Kind::Sequence, |a, b| {
        let alike = a.is_ascii_digit() && b.is_ascii_digit()
            || a.is_alphabetic() && b.is_alphabetic() && a.is_lowercase() == b.is_lowercase();
        let distance = i64::from(u32::from(b)) - i64::from(u32::from(a));
        (alike && distance.abs() == 1).then_some(distance)
    }));
    for row in KEYBOARD_ROWS {
        let keys: HashMap<char, i64> = row.chars().zip(0..).collect();
        patterns.extend(runs(password, Kind::Keyboard, |a, b| {
            let place = |c: char| keys.get(&c.to_ascii_lowercase());
            let distance = place(b)? - place(a)?;
            (distance.abs() == 1).then_some(distance)
        }));
    }
    patterns.extend(years(password));
    patterns.sort_by(|a, b| (a.start, b.length).cmp(&(b.start, a.length)));
    patterns
}

/// Words forwards and backwards, in any case and with digits or signs for letters.
fn words(password: &[char], context: &[&str]) -> Vec<Pattern> {
    let mut ranks: HashMap<String, (Kind, usize)> = HashMap::new();
    let context = context.iter().map(|word| (word.to_lowercase(), Kind::ContextWord));
    let common = words::COMMON.split_whitespace().map(|word| (word.to_owned(), Kind::CommonWord));
    for (rank, (word, kind)) in context.chain(common).enumerate() {
        ranks.entry(word).or_insert((kind, rank + 1));
    }
    let length_max = ranks.keys().map(|word| word.chars().count()).max().unwrap_or_default();

    let lower: Vec<char> = password.iter().flat_map(|c| c.to_lowercase().next()).collect();
    let with_i: Vec<char> = lower.iter().map(|c| letter_for(*c, 'i')).collect();
    let with_l: Vec<char> = lower.iter().map(|c| letter_for(*c, 'l')).collect();
    let mut patterns = Vec::new();
    for start in 0..password.len() {
        for end in start + RUN_MIN..=password.len().min(start + length_max) {
            let forwards = [&lower, &with_i, &with_l].map(|c| String::from_iter(&c[start..end]));
            let backwards: String = lower[start..end].iter().rev().collect();
            let candidates = forwards.iter().chain([&backwards]);
            let hit = candidates.filter_map(|word| ranks.get(word)).min_by_key(|(_, rank)| *rank);
            if let Some((kind, rank)) = hit {
                // Case, substitution and direction are a few rules that an attacker tries on
                // each word: a factor of two for each one that was used.
                let original = &password[start..end];
                let rules = u32::from(original.iter().any(|c| c.is_uppercase()))
                    + u32::from(with_i[start..end] != lower[start..end])
                    + u32::from(!forwards.iter().any(|word| ranks.contains_key(word)));
                patterns.push(Pattern {
                    kind: *kind,
                    start,
                    length: end - start,
                    guesses_log10: (*rank as f64).log10() + f64::from(rules) * 2f64.log10(),
                });
            }
        }
    }
    patterns
}

/// The letter that a digit or sign stands for. A 1 stands for an i or an l.
fn letter_for(character: char, one: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' | '|' => one,
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        '8' => 'b',
        other => other,
    }
}

/// A block that comes again at once: "aaa", "abcabc". The shortest block that explains most.
fn repetitions(password: &[char]) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    let mut start = 0;
    while start < password.len() {
        let rest = &password[start..];
        let best = (1..=rest.len() / 2)
            .map(|block| {
                let again = rest.iter().zip(&rest[block..]).take_while(|(a, b)| a == b).count();
                (block, block + again / block * block)
            })
            .filter(|(block, length)| *length >= (2 * block).max(RUN_MIN))
            .max_by_key(|(block, length)| (*length, usize::MAX - block));
        let Some((block, length)) = best else {
            start += 1;
            continue;
        };
        let block_log10 = block as f64 * super::pool(&rest[..block]).log10();
        let guesses_log10 = block_log10 + ((length / block) as f64).log10();
        patterns.push(Pattern { kind: Kind::Repetition, start, length, guesses_log10 });
        start += length;
    }
    patterns
}

/// Runs of at least three characters in which each is one `step` from the last, in one direction.
fn runs(password: &[char], kind: Kind, step: impl Fn(char, char) -> Option<i64>) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    let mut start = 0;
    while start + 1 < password.len() {
        let direction = step(password[start], password[start + 1]);
        let more = password[start..]
            .windows(2)
            .take_while(|pair| direction.is_some() && step(pair[0], pair[1]) == direction)
            .count();
        if more + 1 >= RUN_MIN {
            // Where it begins (one of some 50 keys), the direction, and how long it is.
            let guesses = 50.0 * 2.0 * (more + 1) as f64;
            let length = more + 1;
            patterns.push(Pattern { kind, start, length, guesses_log10: guesses.log10() });
        }
        start += more.max(1);
    }
    patterns
}

/// Years from 1900 to 2099.
fn years(password: &[char]) -> Vec<Pattern> {
    let year = |window: &[char]| {
        let digits = window.iter().all(char::is_ascii_digit);
        digits && matches!(window, ['1', '9', ..] | ['2', '0', ..])
    };
    password
        .windows(4)
        .enumerate()
        .filter(|(_, window)| year(window))
        .map(|(start, _)| Pattern {
            kind: Kind::Year,
            start,
            length: 4,
            guesses_log10: 200f64.log10(),
        })
        .collect()
}
