//! Which items of one array became which of another, in n log n time.
//!
//! The method is that of the patience diff: items that occur once on both sides are anchors, the
//! longest run of anchors in the same order stays, and what lies between two of them is paired by
//! position.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::{Number, Value};

/// One step of the way from one array to the other.
#[derive(Clone, Copy)]
pub(super) enum Pair<'a> {
    /// The item stays.
    Same,
    /// The item stays in its place and may have changed.
    Both(&'a Value, &'a Value),
    /// The item is only in the earlier array.
    Removed(&'a Value),
    /// The item is only in the later array.
    Added(&'a Value),
}

/// The whole way, in order.
pub(super) fn pairs<'a>(from: &'a [Value], to: &'a [Value]) -> Vec<Pair<'a>> {
    let head = from.iter().zip(to).take_while(|(a, b)| same(a, b)).count();
    let (from, to) = (&from[head..], &to[head..]);
    let tail = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| same(a, b)).count();
    let (from, to) = (&from[..from.len() - tail], &to[..to.len() - tail]);

    let mut pairs = vec![Pair::Same; head];
    let (mut from_next, mut to_next) = (0, 0);
    for (from_at, to_at) in anchors(from, to) {
        gap(&from[from_next..from_at], &to[to_next..to_at], &mut pairs);
        pairs.push(Pair::Same);
        (from_next, to_next) = (from_at + 1, to_at + 1);
    }
    gap(&from[from_next..], &to[to_next..], &mut pairs);
    pairs.extend(std::iter::repeat_n(Pair::Same, tail));
    pairs
}

fn gap<'a>(from: &'a [Value], to: &'a [Value], pairs: &mut Vec<Pair<'a>>) {
    let both = from.len().min(to.len());
    pairs.extend(from.iter().zip(to).map(|(from, to)| Pair::Both(from, to)));
    pairs.extend(from[both..].iter().map(Pair::Removed));
    pairs.extend(to[both..].iter().map(Pair::Added));
}

/// Indices of equal items, rising on both sides.
fn anchors(from: &[Value], to: &[Value]) -> Vec<(usize, usize)> {
    let later = unique(to);
    let mut candidates: Vec<(usize, usize)> = unique(from)
        .into_iter()
        .filter_map(|(hash, at)| Some((at, *later.get(&hash)?)))
        .filter(|(from_at, to_at)| same(&from[*from_at], &to[*to_at]))
        .collect();
    candidates.sort_unstable();
    longest_rising(&candidates)
}

/// Where each item is that occurs once, by its hash.
fn unique(items: &[Value]) -> HashMap<u64, usize> {
    let mut places: HashMap<u64, Option<usize>> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        let mut hasher = DefaultHasher::new();
        hash(item, &mut hasher);
        places.entry(hasher.finish()).and_modify(|place| *place = None).or_insert(Some(at));
    }
    places.into_iter().filter_map(|(hash, at)| Some((hash, at?))).collect()
}

/// The longest subsequence whose second members rise, by patience sorting.
fn longest_rising(candidates: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The last candidate of the best subsequence of each length, and what comes before each.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(candidates.len());
    for (index, (_, to_at)) in candidates.iter().enumerate() {
        let length = ends.partition_point(|end| candidates[*end].1 < *to_at);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(index);
        } else {
            ends[length] = index;
        }
    }
    let mut rising = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(index) = next {
        rising.push(candidates[index]);
        next = before[index];
    }
    rising.reverse();
    rising
}

/// Equality of JSON values, in which 1 and 1.0 are the same number (RFC 6902, section 4.6).
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let has = |(name, a)| b.get(name).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(has)
        }
        _ => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    // Two integers are compared as such: above 2^53 different ones may be the same double.
    a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
}

/// Values that are the same have the same hash.
fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => 0u8.hash(hasher),
        Value::Bool(flag) => (1u8, flag).hash(hasher),
        // Adding zero turns -0 into 0.
        Value::Number(number) => (2u8, number.as_f64().map(|n| (n + 0.0).to_bits())).hash(hasher),
        Value::String(text) => (3u8, text).hash(hasher),
        Value::Array(items) => {
            (4u8, items.len()).hash(hasher);
            items.iter().for_each(|item| hash(item, hasher));
        }
        Value::Object(members) => {
            (5u8, members.len()).hash(hasher);
            // The order is that of the names: the map is sorted.
            for (name, member) in members {
                name.hash(hasher);
                hash(member, hasher);
            }
        }
    }
}
