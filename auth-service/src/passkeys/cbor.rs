//! Reading CBOR (RFC 8949) from an authenticator.

use coset::cbor::{Value, de::from_reader_with_recursion_limit};

use super::{Checked, Flaw};

/// No structure of WebAuthn is nested deeper (CTAP 2.2 section 8 allows four levels).
const DEPTH_MAX: usize = 8;

/// The entries of a map, in the order that they came in.
pub(super) type Map = Vec<(Value, Value)>;

/// The first item, and what follows it.
pub(super) fn first(bytes: &[u8]) -> Checked<(Value, &[u8])> {
    let mut rest = bytes;
    let item = from_reader_with_recursion_limit(&mut rest, DEPTH_MAX);
    item.map(|it| (it, rest)).map_err(|_| Flaw("is not CBOR"))
}

/// The one item that `bytes` are.
pub(super) fn only(bytes: &[u8]) -> Checked<Value> {
    match first(bytes)? {
        (item, []) => Ok(item),
        _ => Err(Flaw("has bytes after its end")),
    }
}

/// Takes the value of a text key out of a map, where it must be once.
pub(super) fn take(map: &mut Map, name: &str) -> Checked<Value> {
    let mut found = map.extract_if(.., |(key, _)| key.as_text() == Some(name));
    let (first, second) = (found.next(), found.next());
    match (first, second) {
        (Some((_, value)), None) => Ok(value),
        _ => Err(Flaw("lacks a part, or has it twice")),
    }
}
