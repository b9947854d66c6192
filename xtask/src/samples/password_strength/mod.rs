//! `password-strength`: how many guesses a password withstands, and why, without repeating it.

use std::collections::HashSet;

use serde_json::{Value, json};

use patterns::{Kind, Pattern};

use super::{Step, outcome::round, parameters::Parameters};

mod patterns;
mod words;

const METHOD: &str = "The password is cut into the parts that are cheapest to guess: a common word \
    costs its rank in our list, doubled for each use of capitals, substituted letters or reversal; \
    a repetition costs its block times how often it comes; a sequence or a run of keys costs 100 \
    times its length; a year costs 200; any other character costs as many guesses as its \
    character sets have characters. The costs are multiplied, and doubled for each pattern, since \
    the attacker does not know where the parts are.";

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let password: Vec<char> = parameters.text("password")?.chars().collect();
    let context = parameters.texts("context")?;

    step("look at the characters", 0);
    let sets: Vec<&str> = sets(&password).into_iter().map(|(name, _)| name).collect();
    let distinct = password.iter().collect::<HashSet<_>>().len();

    step("look for patterns", 20);
    let found = patterns::find(&password, &context);

    step("estimate the guesses", 60);
    let (guesses_log10, used) = cheapest(&password, &found);

    step("write the advice", 90);
    let patterns: Vec<Value> = used
        .iter()
        .map(|pattern| {
            json!({
                "kind": pattern.kind.word(),
                "start": pattern.start,
                "length": pattern.length,
                "guesses_log10": round(pattern.guesses_log10, 2),
            })
        })
        .collect();
    Ok(json!({
        "length": password.len(),
        "distinct_characters": distinct,
        "character_sets": sets,
        "patterns": patterns,
        "guesses_log10": round(guesses_log10, 2),
        "verdict": verdict(guesses_log10),
        "time_to_guess": {
            "online_100_an_hour": duration(guesses_log10 - (100f64 / 3600.0).log10()),
            "offline_10_thousand_a_second": duration(guesses_log10 - 4.0),
            "offline_10_billion_a_second": duration(guesses_log10 - 10.0),
        },
        "advice": advice(password.len(), &used, guesses_log10),
        "method": METHOD,
    }))
}

/// The character sets that are used, and how many characters each has.
fn sets(characters: &[char]) -> Vec<(&'static str, f64)> {
    let other = |c: &char| !c.is_ascii_graphic() && *c != ' ';
    let symbol = |c: &char| c.is_ascii_punctuation() || *c == ' ';
    let used = |test: &dyn Fn(&char) -> bool| characters.iter().any(test);
    [
        ("lower-case", 26.0, used(&char::is_ascii_lowercase)),
        ("upper-case", 26.0, used(&char::is_ascii_uppercase)),
        ("digits", 10.0, used(&char::is_ascii_digit)),
        ("symbols", 33.0, used(&symbol)),
        // Far more exist; an attacker tries those of one alphabet.
        ("other", 100.0, used(&other)),
    ]
    .into_iter()
    .filter_map(|(name, size, used)| used.then_some((name, size)))
    .collect()
}

/// From how many characters an attacker must choose.
fn pool(characters: &[char]) -> f64 {
    sets(characters).iter().map(|(_, size)| size).sum()
}

/// The fewest guesses over all ways to cut the password into patterns and single characters, and
/// the patterns of that way.
fn cheapest<'a>(password: &[char], found: &'a [Pattern]) -> (f64, Vec<&'a Pattern>) {
    let character = pool(password).log10();
    // For each prefix, the cost and the pattern that ends it.
    let mut best: Vec<(f64, Option<&Pattern>)> = vec![(0.0, None)];
    for end in 1..=password.len() {
        let mut cheapest = (best[end - 1].0 + character, None);
        for pattern in found.iter().filter(|pattern| pattern.start + pattern.length == end) {
            let cost = best[pattern.start].0 + pattern.guesses_log10 + 2f64.log10();
            if cost < cheapest.0 {
                cheapest = (cost, Some(pattern));
            }
        }
        best.push(cheapest);
    }

    let mut used = Vec::new();
    let mut end = password.len();
    while end > 0 {
        used.extend(best[end].1);
        end -= best[end].1.map_or(1, |pattern| pattern.length);
    }
    used.reverse();
    (best[password.len()].0, used)
}

fn verdict(guesses_log10: f64) -> &'static str {
    match guesses_log10 {
        ..6.0 => "very weak",
        6.0..8.0 => "weak",
        8.0..10.0 => "fair",
        10.0..14.0 => "strong",
        _ => "very strong",
    }
}

/// The time in which that many seconds pass, in words.
fn duration(seconds_log10: f64) -> String {
    const UNITS: [(&str, f64); 5] = [
        ("years", 31_557_600.0),
        ("days", 86_400.0),
        ("hours", 3_600.0),
        ("minutes", 60.0),
        ("seconds", 1.0),
    ];
    // 10^11.5 seconds are 10,020 years.
    if seconds_log10 > 11.5 {
        return "over 10,000 years".to_owned();
    }
    let seconds = 10f64.powf(seconds_log10);
    let unit = UNITS.into_iter().find(|(_, length)| seconds >= 2.0 * length);
    match unit {
        Some((name, length)) => format!("{:.0} {name}", seconds / length),
        None => "under 2 seconds".to_owned(),
    }
}

fn advice(length: usize, used: &[&Pattern], guesses_log10: f64) -> Vec<&'static str> {
    let has = |kinds: &[Kind]| used.iter().any(|pattern| kinds.contains(&pattern.kind));
    let advice = [
        (length < 12, "Use at least 12 characters: length helps more than symbols."),
        (
            has(&[Kind::CommonWord]),
            "Common words are tried first, with capitals and substituted letters too.",
        ),
        (has(&[Kind::ContextWord]), "Do not use what belongs to you or to the site."),
        (has(&[Kind::Repetition]), "Repeating a part adds almost nothing."),
        (
            has(&[Kind::Sequence, Kind::Keyboard]),
            "Sequences and runs of neighbouring keys are tried early.",
        ),
        (has(&[Kind::Year]), "Years are among the first digits that are tried."),
        (
            guesses_log10 < 10.0,
            "Let a password manager choose at random, or take four or more random words.",
        ),
    ];
    advice.into_iter().filter_map(|(applies, text)| applies.then_some(text)).collect()
}
