//! Bounds the work of checking a value against a schema, before it is done.
//!
//! References let a short schema ask for endless work: a definition that applies
//! the next one twice doubles it at each step. The count here follows references
//! as a validator would, but looks at each pair of schema and value once.

use std::{collections::HashMap, ptr::from_ref};

use serde_json::{Map, Value};

/// How much work a check may be; a million takes some tenths of a second.
const WORK_MAX: u64 = 1_000_000;
/// How deep schemas may apply one another: each step takes some stack.
const DEPTH_MAX: usize = 128;
/// How many steps of a pattern count as one unit of work.
const PATTERN_STEPS: u64 = 64;

static NOTHING: Value = Value::Null;

/// The work is more than is allowed.
struct TooMuch;

type Work = Result<u64, TooMuch>;

/// Whether checking `value` against `schema` is work that may be done.
pub(super) fn is_bounded(schema: &Value, value: &Value) -> bool {
    Counter::new(schema).apply(schema, value, 0).is_ok()
}

/// Whether no part of `schema` applies itself without end to one and the same
/// value, nor asks for too much work whatever the value is.
pub(super) fn is_finite(schema: &Value) -> bool {
    let mut counter = Counter::new(schema);
    let mut parts = vec![schema];
    while let Some(part) = parts.pop() {
        if part.is_object() && counter.apply(part, &NOTHING, 0).is_err() {
            return false;
        }
        parts.extend(children(part));
    }
    true
}

/// How many patterns a schema has.
pub(super) fn patterns(schema: &Value) -> usize {
    let mut count = 0;
    let mut parts = vec![schema];
    while let Some(part) = parts.pop() {
        count += usize::from(part.get("pattern").is_some_and(Value::is_string));
        count += part.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
        parts.extend(children(part));
    }
    count
}

/// What is directly inside of a value.
pub(super) fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

struct Counter<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    /// The work of each pair of schema and value; none while it is being counted.
    known: HashMap<(*const Value, *const Value), Option<u64>>,
}

impl<'a> Counter<'a> {
    fn new(root: &'a Value) -> Self {
        let mut anchors = HashMap::new();
        let mut parts = vec![root];
        while let Some(part) = parts.pop() {
            if let Some(name) = part.get("$anchor").and_then(Value::as_str) {
                anchors.insert(name, part);
            }
            parts.extend(children(part));
        }
        Self { root, anchors, known: HashMap::new() }
    }

    fn apply(&mut self, schema: &'a Value, value: &'a Value, depth: usize) -> Work {
        let Value::Object(keywords) = schema else { return Ok(1) };
        let pair = (from_ref(schema), from_ref(value));
        match self.known.get(&pair) {
            Some(Some(work)) => return Ok(*work),
            Some(None) => return Err(TooMuch),
            None => {}
        }
        if depth > DEPTH_MAX || self.known.len() as u64 > WORK_MAX {
            return Err(TooMuch);
        }
        self.known.insert(pair, None);
        let mut work = 1;
        for (keyword, argument) in keywords {
            work += self.keyword(keyword, argument, value, depth + 1)?;
        }
        // A validator may go once more through the parts, to learn what they saw.
        if keywords.keys().any(|it| it.starts_with("unevaluated")) {
            work *= 3;
        }
        if work > WORK_MAX {
            return Err(TooMuch);
        }
        self.known.insert(pair, Some(work));
        Ok(work)
    }

    /// The work of one keyword: that of the schemas in it, each on the values that
    /// it applies to.
    fn keyword(&mut self, name: &str, argument: &'a Value, value: &'a Value, depth: usize) -> Work {
        match name {
            "$ref" => match argument.as_str().and_then(|it| self.resolve(it)) {
                Some(target) => self.apply(target, value, depth),
                None => Ok(1),
            },
            "not" | "if" | "then" | "else" => self.apply(argument, value, depth),
            "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "dependencies" => {
                self.all(children(argument), &[value], depth)
            }
            "properties" => {
                let Value::Object(schemas) = argument else { return Ok(1) };
                let mut work = 1;
                for (name, schema) in schemas {
                    work += match value.get(name) {
                        Some(value) => self.apply(schema, value, depth)?,
                        None => 1,
                    };
                }
                Ok(work)
            }
            "patternProperties" => {
                let Value::Object(schemas) = argument else { return Ok(1) };
                let matching: u64 = schemas.keys().map(|it| names(it, value)).sum();
                Ok(matching + self.all(children(argument), &properties(value), depth)?)
            }
            "additionalProperties" | "unevaluatedProperties" => {
                self.all(vec![argument], &properties(value), depth)
            }
            "propertyNames" => {
                let each = self.apply(argument, &NOTHING, depth)?;
                let pattern = argument.get("pattern").and_then(Value::as_str);
                let matching = pattern.map_or(0, |it| names(it, value));
                Ok(matching + each * (1 + value.as_object().map_or(0, Map::len) as u64))
            }
            "items" | "contains" | "unevaluatedItems" | "additionalItems" => {
                self.all(vec![argument], &items(value), depth)
            }
            "prefixItems" => self.all(children(argument), &items(value), depth),
            "pattern" => Ok(match (argument.as_str(), value.as_str()) {
                (Some(pattern), Some(text)) => matching(pattern, text.len()),
                _ => 1,
            }),
            "enum" | "required" => Ok(1 + argument.as_array().map_or(0, Vec::len) as u64),
            _ => Ok(1),
        }
    }

    fn all(&mut self, schemas: Vec<&'a Value>, values: &[&'a Value], depth: usize) -> Work {
        let mut work = 1;
        for schema in schemas {
            for value in values {
                work += self.apply(schema, value, depth)?;
                if work > WORK_MAX {
                    return Err(TooMuch);
                }
            }
        }
        Ok(work)
    }

    /// What a reference inside of the document points to.
    fn resolve(&self, reference: &str) -> Option<&'a Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(&percent_decode(fragment)?);
        }
        self.anchors.get(fragment).copied()
    }
}

fn properties(value: &Value) -> Vec<&Value> {
    value.as_object().map(|it| it.values().collect()).unwrap_or_default()
}

fn items(value: &Value) -> Vec<&Value> {
    value.as_array().map(|it| it.iter().collect()).unwrap_or_default()
}

/// The work of matching the names of an object.
fn names(pattern: &str, value: &Value) -> u64 {
    let names = value.as_object().into_iter().flat_map(Map::keys);
    names.map(|it| matching(pattern, it.len())).sum()
}

/// The work of matching a text of so many bytes: the engine is linear in both the
/// text and the size of the pattern, which repetitions multiply.
fn matching(pattern: &str, text_bytes: usize) -> u64 {
    let counts = pattern.split('{').skip(1).filter_map(|it| it.split('}').next());
    let numbers = counts.flat_map(|it| it.split(',').filter_map(|it| it.trim().parse().ok()).max());
    let repeated = numbers.fold(1_u64, |all, it: u64| all.saturating_mul(it.max(1)).min(4096));
    let steps = (1 + pattern.len() as u64 / 8).saturating_mul(repeated);
    1 + steps.saturating_mul(text_bytes as u64) / PATTERN_STEPS
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}
