//! Reading what requests hold, with errors that name the field, and writing what responses hold.

use chrono::{DateTime, Utc};
use prost_types::{Duration, ListValue, Struct, Timestamp, Value, value::Kind};
use serde_json::{Map, Number};
use uuid::Uuid;

use crate::{Error, Result, error::Violation};

/// Integers up to here are exact in a JSON number of `google.protobuf.Value`.
pub(crate) const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// How many violations an error names: it travels in headers, which are limited.
const VIOLATIONS_MAX: usize = 20;

/// Gathers what is wrong with the fields of a request, so that its sender learns
/// of all at once, or of the first 20.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<Violation>,
    failure: Option<Error>,
}

impl Fields {
    /// The value of a field, or none if it is not allowed.
    pub fn take<T>(&mut self, parsed: Result<T>) -> Option<T> {
        match parsed {
            Ok(value) => return Some(value),
            Err(Error::InvalidFields(violations)) => {
                self.violations.extend(violations);
                self.violations.truncate(VIOLATIONS_MAX);
            }
            Err(failure) => self.failure = Some(failure),
        }
        None
    }

    /// What the fields make together.
    ///
    /// # Errors
    /// `InvalidFields` with everything that was wrong.
    pub fn finish<T>(self, whole: Option<T>) -> Result<T> {
        match (self.failure, whole) {
            (Some(failure), _) => Err(failure),
            (None, Some(whole)) if self.violations.is_empty() => Ok(whole),
            (None, _) => Err(Error::InvalidFields(self.violations)),
        }
    }
}

/// A UUID in text form.
pub fn uuid(field: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| Error::invalid(field, "must be a UUID"))
}

/// A UUID in text form, or none if it is empty.
pub fn optional_uuid(field: &str, text: &str) -> Result<Option<Uuid>> {
    if text.is_empty() { Ok(None) } else { uuid(field, text).map(Some) }
}

/// A text of `min` to `max` characters, without control characters other than
/// line ends and tabs. NUL is refused with them, which PostgreSQL can't store.
pub fn text(field: &str, text: String, min: usize, max: usize) -> Result<String> {
    let allowed = |it: char| !it.is_control() || matches!(it, '\n' | '\r' | '\t');
    // Bytes first, so that counting characters of something huge is bounded too.
    if text.len() > max * 4 || !(min..=max).contains(&text.chars().count()) {
        return Err(Error::invalid(field, format!("must have {min} to {max} characters")));
    }
    if !text.chars().all(allowed) {
        return Err(Error::invalid(field, "must not have control characters"));
    }
    Ok(text)
}

/// A word of 1 to `max` characters of a-z, 0-9 and "-".
pub fn slug(field: &str, text: String, max: usize) -> Result<String> {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    if text.is_empty() || text.len() > max || !text.bytes().all(allowed) {
        let problem = format!("must have 1 to {max} characters of a-z, 0-9 and -");
        return Err(Error::invalid(field, problem));
    }
    Ok(text)
}

/// A text that must not be left out.
///
/// # Errors
/// `InvalidFields`, when it is empty.
pub fn required_text(field: &str, text: String) -> Result<String> {
    required(field, Some(text).filter(|it| !it.is_empty()))
}

/// A field that must be set.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::invalid(field, "is required"))
}

/// The paths that an `update_mask` names, all of `mutable` or fewer; `*` names all
/// (AIP-134).
///
/// # Errors
/// `InvalidFields`, when it names nothing, or something that can't be changed.
pub fn update_mask<'a>(mask: &'a [String], mutable: &[&'a str]) -> Result<Vec<&'a str>> {
    let paths: Vec<&str> = mask.iter().map(String::as_str).collect();
    if paths == ["*"] {
        return Ok(mutable.to_vec());
    }
    if paths.is_empty() || !paths.iter().all(|it| mutable.contains(it)) {
        let problem = format!("must name one or more of {}, or be *", mutable.join(", "));
        return Err(Error::invalid("update_mask", problem));
    }
    Ok(paths)
}

/// A time.
pub fn time(field: &str, time: Timestamp) -> Result<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok();
    nanos
        .and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos))
        .ok_or_else(|| Error::invalid(field, "must be a time between the years 1 and 9999"))
}

/// A length of time that is not negative.
pub fn duration(field: &str, duration: Duration) -> Result<std::time::Duration> {
    duration.try_into().map_err(|_| Error::invalid(field, "must not be negative"))
}

/// A time, as a response holds it.
pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

/// A `google.protobuf.Struct` as JSON, of at most `bytes_max` bytes as text.
pub fn object(field: &str, object: Struct, bytes_max: usize) -> Result<serde_json::Value> {
    json(field, Value { kind: Some(Kind::StructValue(object)) }, bytes_max)
}

/// A `google.protobuf.Value` as JSON, of at most `bytes_max` bytes as text.
pub fn json(field: &str, value: Value, bytes_max: usize) -> Result<serde_json::Value> {
    let value = to_json(field, value)?;
    let size = serde_json::to_string(&value).map_err(Error::internal)?.len();
    if size > bytes_max {
        let problem = format!("must have at most {bytes_max} bytes as JSON text");
        return Err(Error::invalid(field, problem));
    }
    Ok(value)
}

fn to_json(field: &str, value: Value) -> Result<serde_json::Value> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(it)) => it.into(),
        Some(Kind::NumberValue(it)) => number(field, it)?.into(),
        Some(Kind::StringValue(it)) if it.contains('\0') => {
            return Err(Error::invalid(field, "must not have the character U+0000"));
        }
        Some(Kind::StringValue(it)) => it.into(),
        Some(Kind::ListValue(list)) => {
            let items: Result<Vec<_>> =
                list.values.into_iter().map(|it| to_json(field, it)).collect();
            items?.into()
        }
        Some(Kind::StructValue(object)) => {
            let mut map = Map::new();
            for (name, value) in object.fields {
                if name.contains('\0') {
                    return Err(Error::invalid(field, "must not have the character U+0000"));
                }
                map.insert(name, to_json(field, value)?);
            }
            map.into()
        }
    })
}

fn number(field: &str, number: f64) -> Result<Number> {
    if number.fract() == 0.0 && number.abs() <= INTEGER_MAX {
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| Error::invalid(field, "must not have NaN or infinity"))
}

/// JSON, as a response holds it.
pub fn value(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(it) => Kind::BoolValue(it),
        serde_json::Value::Number(it) => Kind::NumberValue(it.as_f64().unwrap_or_default()),
        serde_json::Value::String(it) => Kind::StringValue(it),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(value).collect() })
        }
        serde_json::Value::Object(map) => Kind::StructValue(fields(map)),
    };
    Value { kind: Some(kind) }
}

/// A JSON object, as a response holds it; anything else is empty.
pub fn structure(json: serde_json::Value) -> Struct {
    match json {
        serde_json::Value::Object(map) => fields(map),
        _ => Struct::default(),
    }
}

fn fields(map: Map<String, serde_json::Value>) -> Struct {
    Struct { fields: map.into_iter().map(|(name, it)| (name, value(it))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_through_the_contract_unchanged() {
        let before = serde_json::json!({"a": [1, 2.5, null, true, "x"], "b": {"c": -7}});

        let after = object("it", structure(before.clone()), 1000).unwrap();

        assert_eq!(after, before);
    }

    #[test]
    fn text_is_measured_in_characters_and_never_holds_a_nul() {
        assert!(text("it", "äöü".to_owned(), 1, 3).is_ok());
        assert!(text("it", "äöüß".to_owned(), 1, 3).is_err());
        assert!(text("it", "a\0b".to_owned(), 1, 3).is_err());
        assert!(text("it", String::new(), 1, 3).is_err());
    }

    #[test]
    fn what_json_can_not_say_is_refused() {
        for number in [f64::NAN, f64::INFINITY] {
            let value = Value { kind: Some(Kind::NumberValue(number)) };
            assert!(json("it", value, 100).is_err());
        }
    }
}
