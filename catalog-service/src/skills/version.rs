//! What is run at a version of a skill, and its digest.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

/// What is run at one version of a skill. Versions are added and never changed.
///
/// The digest is the SHA-256, in lower-case hexadecimal, of this JSON object in
/// its canonical form:
///
/// ```json
/// {"allowed_tools":["…"],"body":"…","name":"…","parameters_schema":{"type":"object"}}
/// ```
///
/// Canonical is: UTF-8; no white space outside of strings; the names of each
/// object sorted by code point; in strings, `\"`, `\\`, `\b`, `\f`, `\n`, `\r`,
/// `\t` and `\u00xx` for the other control characters below U+0020, and every
/// other character as it is; whole numbers up to 2^53 without a fraction, others
/// in the shortest form that reads back as the same double.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the contract describes each")]
pub struct SkillVersion<'a> {
    pub name: &'a str,
    pub allowed_tools: &'a [String],
    pub body: &'a str,
    pub parameters_schema: &'a Value,
}

impl SkillVersion<'_> {
    /// The SHA-256 of the canonical form, in lower-case hexadecimal.
    pub fn digest(&self) -> String {
        let mut text = String::new();
        write_canonical(
            &mut text,
            &json!({
                "allowed_tools": self.allowed_tools,
                "body": self.body,
                "name": self.name,
                "parameters_schema": self.parameters_schema,
            }),
        );
        let mut hex = String::with_capacity(64);
        for byte in digest(&SHA256, text.as_bytes()).as_ref() {
            // Writing to a string can't fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// Sorts by itself: whether `serde_json` keeps maps sorted depends on the features
/// that the rest of the build asks of it.
fn write_canonical(text: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write_canonical(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(text, value);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
