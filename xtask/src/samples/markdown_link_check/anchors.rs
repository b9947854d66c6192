//! What a fragment can lead to: headings, named as GitHub names them, and elements with an id.

use std::collections::HashMap;

/// Names for headings, no two alike.
#[derive(Default)]
pub(super) struct Slugs {
    /// How many times each name was asked for.
    used: HashMap<String, usize>,
}

impl Slugs {
    /// The name of the next heading: lower case, hyphens for spaces, no punctuation, and a number
    /// when it was there before.
    pub(super) fn next(&mut self, heading: &str) -> String {
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut name = slug.clone();
        let mut number = self.used.get(&slug).copied().unwrap_or_default();
        // "a-1" may be a heading of its own. The number is kept, so this never starts over.
        while self.used.contains_key(&name) {
            number += 1;
            name = format!("{slug}-{number}");
        }
        self.used.insert(slug, number);
        self.used.entry(name.clone()).or_default();
        name
    }
}

/// The values of `id` and `name` attributes.
pub(super) fn html_anchors(html: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    for (at, _) in html.match_indices('=') {
        let before = html[..at].trim_end();
        let attribute = ["id", "name", "ID", "NAME"].into_iter().any(|attribute| {
            let rest = before.strip_suffix(attribute);
            rest.is_some_and(|rest| rest.ends_with(char::is_whitespace))
        });
        if !attribute {
            continue;
        }
        let value = html[at + 1..].trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next(),
            _ => value.split([' ', '\t', '\n', '>', '/']).next(),
        };
        anchors.extend(value.filter(|value| !value.is_empty()).map(str::to_owned));
    }
    anchors
}

/// Undoes percent-encoding. What does not become UTF-8 stays as it is.
pub(super) fn decode(fragment: &str) -> String {
    let bytes = fragment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = fragment.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| fragment.to_owned())
}
