//! `json-diff`: the changes that turn one JSON value into another, as a JSON Patch (RFC 6902).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use align::Pair;

use super::{Step, parameters::Parameters};

mod align;

/// A `google.protobuf.Value` of this depth, and the result around it, still fit in the 100 levels
/// of nesting that protobuf decoders allow.
const DEPTH_MAX: usize = 24;
/// Leaves room for the rest of a result of at most 256 KiB.
const CHANGES_BYTES_MAX: usize = 200 * 1024;

pub(super) fn run(parameters: &Parameters<'_>, step: Step<'_>) -> Result<Value, String> {
    let from = parameters.value("from").ok_or("/from: a value is needed")?;
    let to = parameters.value("to").ok_or("/to: a value is needed")?;
    let max_changes = parameters.count("max_changes")?;

    step("measure the values", 0);
    for (name, value) in [("from", from), ("to", to)] {
        if depth_exceeds(value, DEPTH_MAX) {
            return Err(format!("/{name}: the value is nested more than {DEPTH_MAX} deep"));
        }
    }

    step("compare the values", 20);
    let mut diff = Diff { max_changes, ..Diff::default() };
    diff.compare(from, to);

    step("sum up the changes", 90);
    let listed = diff.changes.len();
    let total = diff.added + diff.removed + diff.replaced;
    Ok(json!({
        "equal": total == 0,
        "total": total,
        "counts": {"add": diff.added, "remove": diff.removed, "replace": diff.replaced},
        "changes": diff.changes,
        "truncated": listed < total,
    }))
}

/// Without recursion, so that no depth can exhaust the stack.
fn depth_exceeds(value: &Value, depth_max: usize) -> bool {
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        if depth > depth_max {
            return true;
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => open.extend(members.values().map(|item| (item, depth + 1))),
            _ => {}
        }
    }
    false
}

/// Changes so far, in an order in which they can be applied one after another.
#[derive(Default)]
struct Diff {
    /// Where the comparison is, as a JSON Pointer.
    pointer: String,
    changes: Vec<Value>,
    changes_bytes: usize,
    full: bool,
    max_changes: usize,
    added: usize,
    removed: usize,
    replaced: usize,
}

impl Diff {
    fn compare(&mut self, from: &Value, to: &Value) {
        match (from, to) {
            (Value::Object(from), Value::Object(to)) => self.compare_objects(from, to),
            (Value::Array(from), Value::Array(to)) => self.compare_arrays(from, to),
            _ if align::same(from, to) => {}
            _ => self.replace(from, to),
        }
    }

    fn compare_objects(&mut self, from: &Map<String, Value>, to: &Map<String, Value>) {
        let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for name in names {
            let at = self.enter(name);
            match (from.get(name), to.get(name)) {
                (Some(from), Some(to)) => self.compare(from, to),
                (Some(from), None) => self.remove(from),
                (None, Some(to)) => self.add(to),
                (None, None) => {}
            }
            self.pointer.truncate(at);
        }
    }

    fn compare_arrays(&mut self, from: &[Value], to: &[Value]) {
        // The position in the array as it is once the changes so far have been applied.
        let mut index = 0;
        for pair in align::pairs(from, to) {
            let at = self.enter(&index.to_string());
            match pair {
                Pair::Same => {}
                Pair::Both(from, to) => self.compare(from, to),
                Pair::Removed(from) => self.remove(from),
                Pair::Added(to) => self.add(to),
            }
            self.pointer.truncate(at);
            index += usize::from(!matches!(pair, Pair::Removed(_)));
        }
    }

    /// Appends a reference token (RFC 6901, section 3) and returns where it begins.
    fn enter(&mut self, token: &str) -> usize {
        let at = self.pointer.len();
        self.pointer.push('/');
        for character in token.chars() {
            match character {
                '~' => self.pointer.push_str("~0"),
                '/' => self.pointer.push_str("~1"),
                plain => self.pointer.push(plain),
            }
        }
        at
    }

    fn add(&mut self, value: &Value) {
        self.added += 1;
        self.list(|path| json!({"op": "add", "path": path, "value": value}));
    }

    fn remove(&mut self, previous: &Value) {
        self.removed += 1;
        self.list(|path| json!({"op": "remove", "path": path, "previous": previous}));
    }

    fn replace(&mut self, previous: &Value, value: &Value) {
        self.replaced += 1;
        self.list(
            |path| json!({"op": "replace", "path": path, "value": value, "previous": previous}),
        );
    }

    /// Lists a change while there is room. Changes after one that was left out could not be
    /// applied, so they are left out too. The room also bounds the work: pointers repeat the
    /// names above them.
    fn list(&mut self, change: impl FnOnce(&str) -> Value) {
        self.full |= self.changes.len() >= self.max_changes
            || self.changes_bytes + self.pointer.len() > CHANGES_BYTES_MAX;
        if self.full {
            return;
        }
        let change = change(&self.pointer);
        let bytes = change.to_string().len();
        self.full = self.changes_bytes + bytes > CHANGES_BYTES_MAX;
        if !self.full {
            self.changes_bytes += bytes + 1;
            self.changes.push(change);
        }
    }
}
