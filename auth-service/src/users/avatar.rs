//! The address of an account's picture.

use axum::http::{Uri, uri::Scheme};
use ihuman_shared::{Error, Result};

const LENGTH_MAX: usize = 2048;

/// The https address of a picture, or nothing. The service never asks for it: who
/// shows the picture does.
#[derive(Clone, Debug)]
pub(crate) struct AvatarUrl(String);

impl AvatarUrl {
    /// # Errors
    /// `InvalidFields`, when it is no such address.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        if text.is_empty() {
            return Ok(AvatarUrl(text));
        }
        let problem = "must be an https address of at most 2048 characters, without a user";
        let refused = || Error::invalid(field, problem);
        if text.len() > LENGTH_MAX {
            return Err(refused());
        }
        // The parser is lenient about quotes and brackets, which may end an
        // attribute of who shows it.
        let is_plain = |it: u8| it.is_ascii_graphic() && !b"\"'<>\\`{}|^".contains(&it);
        if !text.bytes().all(is_plain) {
            return Err(refused());
        }
        let address: Uri = text.parse().map_err(|_| refused())?;
        let has_host = address.host().is_some_and(|it| !it.is_empty());
        let has_user = address.authority().is_some_and(|it| it.as_str().contains('@'));
        match address.scheme() == Some(&Scheme::HTTPS) && has_host && !has_user {
            true => Ok(AvatarUrl(text)),
            false => Err(refused()),
        }
    }

    /// The address; empty for none.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_at_an_https_address_that_can_be_shown_as_it_is() {
        let accepted = |text: &str| AvatarUrl::parse("it", text.to_owned()).is_ok();

        assert!(accepted(""));
        assert!(accepted("https://example.com/ann.png?size=64&v=2"));
        assert!(accepted(&format!("https://example.com/{}", "a".repeat(2028))));
        for text in [
            "http://example.com/a.png",
            "javascript:alert(1)",
            "data:image/png;base64,AAAA",
            "/a.png",
            "example.com",
            "https://",
            "https:///a.png",
            "https://ann:secret@example.com/a.png",
            "https://example.com/a b.png",
            "https://example.com/\"onload=\"x",
            "https://example.com/\n",
            &format!("https://example.com/{}", "a".repeat(2029)),
        ] {
            assert!(!accepted(text), "{text:?}");
        }
    }
}
