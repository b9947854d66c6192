//! Where a watch goes on: an opaque text that grants nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ihuman_shared::{Error, Result};

/// No cursor of ours is longer.
const LENGTH_MAX: usize = 64;
/// What makes a text a cursor of this kind and of no other.
const PREFIX: &str = "revocations:";

/// Everything by transactions below this number has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) i64);

impl Cursor {
    /// # Errors
    /// `InvalidFields`, when it is none of ours. An empty text is the beginning.
    pub(super) fn parse(field: &str, text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Cursor(0));
        }
        decode(text).ok_or_else(|| Self::refused(field))
    }

    /// What is wrong with a cursor that this service did not give.
    pub(super) fn refused(field: &str) -> Error {
        Error::invalid(field, "must be a cursor of this service")
    }

    /// The text form.
    pub(super) fn text(self) -> String {
        BASE64.encode(format!("{PREFIX}{}", self.0))
    }
}

fn decode(text: &str) -> Option<Cursor> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
    let number: i64 = decoded.strip_prefix(PREFIX)?.parse().ok()?;
    (number >= 0).then_some(Cursor(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_it_was_written_and_nothing_else_is_read() {
        for number in [0, 1, i64::MAX] {
            assert_eq!(Cursor::parse("it", &Cursor(number).text()).unwrap(), Cursor(number));
        }
        assert!(Cursor(i64::MAX).text().len() <= LENGTH_MAX);
        for text in
            ["7", "%", &BASE64.encode("7"), &BASE64.encode("revocations:-1"), &"a".repeat(65)]
        {
            assert!(Cursor::parse("it", text).is_err(), "{text}");
        }
    }
}
