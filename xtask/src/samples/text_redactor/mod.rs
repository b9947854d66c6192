//! `text-redactor`: replaces e-mail addresses, IP addresses and card numbers by labels.

use std::{collections::HashMap, ops::Range};

use serde_json::{Map, Value, json};

use super::{Step, parameters::Parameters};

mod find;

/// Finds values of one kind, in the order of the text.
type Find = fn(&str) -> Vec<Range<usize>>;

const KINDS: [(&str, Find); 4] = [
    ("email", find::emails),
    ("ipv4", find::ipv4_addresses),
    ("ipv6", find::ipv6_addresses),
    ("card", find::card_numbers),
];

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let text = parameters.text("text")?;
    let wanted = parameters.texts("kinds")?;
    let numbered = parameters.flag("numbered")?;
    let mut found = Vec::new();

    for (index, (kind, find)) in KINDS.into_iter().enumerate() {
        if wanted.contains(&kind) {
            step(&format!("look for {kind}"), index as u32 * 20);
            found.extend(find(text).into_iter().map(|range| (range, kind)));
        }
    }
    // The first one stands where two overlap, and the longer one of two that begin together.
    found.sort_by_key(|(range, _)| (range.start, usize::MAX - range.end));

    step("replace what was found", 80);
    let redacted = redact(text, &found, numbered);
    let counts: Map<String, Value> = wanted
        .iter()
        .map(|kind| {
            let count = redacted.counts.get(kind).copied().unwrap_or_default();
            let distinct = redacted.labels.get(kind).map_or(0, HashMap::len);
            ((*kind).to_owned(), json!({"found": count, "distinct": distinct}))
        })
        .collect();
    let total: usize = redacted.counts.values().sum();
    Ok(json!({"text": redacted.text, "total": total, "counts": counts}))
}

#[derive(Default)]
struct Redacted {
    text: String,
    /// How often each kind was replaced.
    counts: HashMap<&'static str, usize>,
    /// The number of each value, by kind.
    labels: HashMap<&'static str, HashMap<String, usize>>,
}

fn redact(text: &str, found: &[(Range<usize>, &'static str)], numbered: bool) -> Redacted {
    let mut redacted = Redacted::default();
    let mut next = 0;
    for (range, kind) in found {
        if range.start < next {
            continue;
        }
        let labels = redacted.labels.entry(kind).or_default();
        let new = labels.len() + 1;
        let number = *labels.entry(canonical(kind, &text[range.clone()])).or_insert(new);
        *redacted.counts.entry(kind).or_default() += 1;
        redacted.text.push_str(&text[next..range.start]);
        redacted.text.push_str(&match numbered {
            true => format!("[{kind}-{number}]"),
            false => format!("[{kind}]"),
        });
        next = range.end;
    }
    redacted.text.push_str(&text[next..]);
    redacted
}

/// The same for two ways to write one value.
fn canonical(kind: &str, value: &str) -> String {
    match kind {
        "card" => value.chars().filter(char::is_ascii_digit).collect(),
        "ipv6" => value
            .parse::<std::net::Ipv6Addr>()
            .map_or_else(|_| value.to_owned(), |address| address.to_string()),
        _ => value.to_lowercase(),
    }
}
