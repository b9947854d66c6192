//! Where in a text the values to redact stand, each in one pass over it.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

/// Addresses as people write them: not the quoted local parts and address literals of RFC 5322.
pub(super) fn emails(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        // Neither side can contain an @, so no character is looked at more than twice.
        let local = text[..at]
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || "._%+-'".contains(*c))
            .last();
        let Some((start, _)) = local else { continue };
        let start = at - text[start..at].trim_start_matches(['.', '-', '\'']).len();
        let domain_end = text[at + 1..]
            .find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-'))
            .map_or(text.len(), |length| at + 1 + length);
        let domain = &text[at + 1..domain_end];
        let domain = domain.find("..").map_or(domain, |end| &domain[..end]);
        let domain = domain.trim_end_matches(['.', '-']);
        if start < at && is_domain(domain) {
            found.push(start..at + 1 + domain.len());
        }
    }
    found
}

/// At least two labels, of which the last begins with a letter: so no version and no IP address.
fn is_domain(text: &str) -> bool {
    let Some((_, last)) = text.rsplit_once('.') else { return false };
    let named = last.starts_with(char::is_alphabetic) && last.chars().nth(1).is_some();
    named && !text.starts_with(['.', '-'])
}

/// Four decimal numbers as in RFC 791, with a port after them or not.
pub(super) fn ipv4_addresses(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for token in address_tokens(text) {
        // An address inside an IPv6 address is a part of that one.
        if parse_ipv6(&text[token.clone()]).is_some() {
            continue;
        }
        let mut start = token.start;
        for piece in text[token].split(':') {
            let address = piece.trim_matches('.');
            if address.parse::<Ipv4Addr>().is_ok() {
                let at = start + (piece.len() - piece.trim_start_matches('.').len());
                found.push(at..at + address.len());
            }
            start += piece.len() + 1;
        }
    }
    found
}

/// Every text form of RFC 4291, section 2.2.
pub(super) fn ipv6_addresses(text: &str) -> Vec<Range<usize>> {
    let address = |token: Range<usize>| {
        let found = parse_ipv6(&text[token.clone()])?;
        Some(token.start + found.start..token.start + found.end)
    };
    address_tokens(text).into_iter().filter_map(address).collect()
}

/// Where in a token the address is, if there is one: without the word and colon before it
/// ("src:2001:db8::1"), and without the full stop or colon of the sentence after it.
fn parse_ipv6(token: &str) -> Option<Range<usize>> {
    let parse = |start: usize, end: usize| {
        let address = token.get(start..end)?;
        // "::" and words such as "bed::fade" stand between names in programs more often than for
        // an address.
        let has_digit = address.bytes().any(|byte| byte.is_ascii_digit());
        (has_digit && address.parse::<Ipv6Addr>().is_ok()).then_some(start..end)
    };
    let end = token.trim_end_matches('.').len();
    let ends = [end, token[..end].trim_end_matches(':').len()];
    let starts = [0, token.find(':')? + 1];
    starts.iter().find_map(|start| ends.iter().find_map(|end| parse(*start, *end)))
}

/// Runs of letters, digits, dots, colons and underscores: all that an IP address may be a part of.
fn address_tokens(text: &str) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut open = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        if character.is_alphanumeric() || ".:_".contains(character) {
            open.get_or_insert(at);
        } else if let Some(start) = open.take() {
            tokens.push(start..at);
        }
    }
    tokens
}

/// Payment cards: 13 to 19 digits (ISO/IEC 7812) that begin with 2 to 6, meet the check digit and
/// stand together or in groups.
pub(super) fn card_numbers(text: &str) -> Vec<Range<usize>> {
    let groups = digit_groups(text);
    let mut found = Vec::new();
    let mut first = 0;
    while first < groups.len() {
        match card_at(text, &groups[first..]) {
            Some(count) => {
                found.push(groups[first].start..groups[first + count - 1].end);
                first += count;
            }
            None => first += 1,
        }
    }
    found
}

/// How many groups of digits make the longest card number that begins with the first.
fn card_at(text: &str, groups: &[Range<usize>]) -> Option<usize> {
    let mut digits = String::new();
    let mut longest = None;
    for (index, group) in groups.iter().enumerate() {
        let joined = index == 0 || is_joint(&text[groups[index - 1].end..group.start]);
        if !joined || digits.len() + group.len() > 19 {
            break;
        }
        digits.push_str(&text[group.clone()]);
        let next = text[group.end..].chars().next();
        let stands_alone = next.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        if stands_alone && is_card(&digits) {
            longest = Some(index + 1);
        }
        // Cards are printed in groups of four to six, of which only the last may be of another length.
        if !(4..=6).contains(&group.len()) {
            break;
        }
    }
    longest
}

/// Runs of ASCII digits, without those that belong to a longer word or a decimal number.
fn digit_groups(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut groups = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut before = text[..at].chars().rev();
        let of_a_word = match before.next() {
            Some('.') => before.next().is_some_and(|c| c.is_ascii_digit()),
            Some(c) => c.is_alphanumeric() || c == '_',
            None => false,
        };
        if !of_a_word {
            groups.push(at..at + length);
        }
        at += length;
    }
    groups
}

fn is_joint(between: &str) -> bool {
    matches!(between, " " | "-" | "\u{a0}")
}

fn is_card(digits: &str) -> bool {
    (13..=19).contains(&digits.len())
        && digits.starts_with(['2', '3', '4', '5', '6'])
        && meets_luhn(digits)
}

/// ISO/IEC 7812-1, annex B: the sum with every second digit from the right doubled ends in 0.
fn meets_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0');
            let doubled = if index % 2 == 1 { digit * 2 } else { digit };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}
