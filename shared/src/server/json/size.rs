//! How large a JSON request may be: in bytes, and in values, which take far more memory than they have bytes.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The longest body that is read, whatever the service reads, in bytes.
const BYTES_MAX: usize = 4 << 20;

/// The most values that are read, whatever the service reads. Each takes about a
/// kilobyte until the message is encoded.
const VALUES_MAX: usize = 50_000;

/// How many values may be in memory at once, over all requests and answers that are
/// converted off the runtime: two of the largest.
static ROOM: Semaphore = Semaphore::const_new(2 * VALUES_MAX);

/// The greatest size of one request.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Size {
    pub(super) bytes: usize,
    pub(super) values: usize,
}

impl Size {
    /// What may become a message of `message_max` bytes. Names of fields and escapes
    /// make JSON longer than the message; a value takes two bytes of it or more.
    pub(in crate::server) fn of_message(message_max: usize) -> Self {
        Self {
            bytes: message_max.saturating_mul(2).min(BYTES_MAX),
            values: (message_max / 2).min(VALUES_MAX),
        }
    }
}

/// No fewer than the values in this JSON, up to where it stops being JSON: each but the
/// first comes after one of these characters, outside of a string.
pub(super) fn values(json: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

/// Waits until there is room for the values of a message of `length` bytes, each of
/// which takes four or more.
pub(super) async fn room_for_message(length: usize) -> SemaphorePermit<'static> {
    room(length / 4).await
}

/// Waits until there is room for `values`; more than the most count as the most.
pub(super) async fn room(values: usize) -> SemaphorePermit<'static> {
    let permits = u32::try_from(values.min(VALUES_MAX)).unwrap_or(u32::MAX);
    ROOM.acquire_many(permits).await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_strings_is_no_value() {
        for (json, expected) in [
            ("", 0),
            ("7", 0),
            ("[1, 2, 3]", 3),
            (r#"{"a": [null, {}], "b": 1}"#, 7),
            (r#""[,:{""#, 0),
            (r#"["\",", "\\", ","]"#, 3),
            (r#"["\\\",", 1]"#, 2),
        ] {
            assert_eq!(values(json.as_bytes()), expected, "{json}");
        }
    }
}
