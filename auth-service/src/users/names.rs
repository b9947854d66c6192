//! What an account is called: its e-mail address and its display name.

use ihuman_shared::{Error, Result, parse};
use unicode_normalization::UnicodeNormalization as _;

use super::visible;

/// RFC 5321 section 4.5.3.1.3 allows 256 octets with the angle brackets.
const EMAIL_MAX: usize = 254;
const DISPLAY_NAME_MAX: usize = 100;
const QUERY_MAX: usize = 100;

/// An e-mail address as its owner writes it. Whether it takes mail, only mail can tell.
#[derive(Clone, Debug)]
pub(crate) struct Email {
    text: String,
    key: String,
}

/// The name to show to others.
#[derive(Clone, Debug)]
pub(crate) struct DisplayName(String);

/// The beginnings of words of an e-mail address or a display name.
#[derive(Clone, Debug)]
pub(crate) struct Query(String);

impl Query {
    /// None if there is nothing to look for.
    ///
    /// # Errors
    /// `InvalidFields`, when it is longer than what it could find.
    pub(crate) fn parse(field: &str, text: String) -> Result<Option<Self>> {
        let text: String = parse::text(field, text, 0, QUERY_MAX)?.nfc().collect();
        Ok((!text.trim().is_empty()).then_some(Query(text)))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Email {
    /// # Errors
    /// `InvalidFields`, when it can't be an address.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        // Bytes first, so that normalizing something huge is bounded too.
        if text.len() > EMAIL_MAX * 4 {
            return Err(Error::invalid(field, "must have at most 254 characters"));
        }
        let text: String = text.nfc().collect();
        if text.chars().count() > EMAIL_MAX {
            return Err(Error::invalid(field, "must have at most 254 characters"));
        }
        if text.chars().any(|it| it.is_whitespace() || visible::is_invisible(it)) {
            return Err(Error::invalid(field, "must not have spaces or invisible characters"));
        }
        match text.split_once('@') {
            Some((name, host)) if !name.is_empty() && visible::is_host(host) => {
                Ok(Email { key: email_key(&text), text })
            }
            Some((name, host)) if !name.is_empty() && !host.is_empty() && !host.contains('@') => {
                Err(Error::invalid(field, "must have the name of a host after the @"))
            }
            _ => Err(Error::invalid(field, "must have one @, with something on either side")),
        }
    }

    /// The address.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is compared by: the same for every way to write the address.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What is before the @.
    pub(crate) fn local_part(&self) -> &str {
        self.text.split('@').next().unwrap_or_default()
    }
}

/// An address without regard to case, as Unicode has it and not the locale of a database.
pub(crate) fn email_key(email: &str) -> String {
    let composed: String = email.nfc().collect();
    composed.to_lowercase().nfc().collect()
}

impl DisplayName {
    /// # Errors
    /// `InvalidFields`, when it is no name of one line.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let text: String = parse::line(field, text, DISPLAY_NAME_MAX)?.nfc().collect();
        // A few characters are more than one when they are normal.
        let text = parse::line(field, text, DISPLAY_NAME_MAX)?;
        if !visible::is_plain_line(&text) {
            return Err(Error::invalid(field, "must not have control or invisible characters"));
        }
        if visible::is_blank(&text) {
            return Err(Error::invalid(field, "must have something to see"));
        }
        Ok(DisplayName(text))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_at_sign_between_two_parts() {
        let accepted = |text: &str| Email::parse("email", text.to_owned()).is_ok();

        assert!(accepted("ann@example.com"));
        assert!(accepted("änn+tag@exämple.com"));
        for text in ["", "ann", "@", "ann@", "@example.com", "a@b@c", "a n@b", "a@b\n", "a\0@b"] {
            assert!(!accepted(text), "{text:?}");
        }
        for text in ["ada\u{200b}@example.com", "a\u{200d}b@c", "a@b..de", "a@-b.de", "a@b.de."] {
            assert!(!accepted(text), "{text:?}");
        }
        assert!(accepted(&format!("{}@b", "a".repeat(252))));
        assert!(!accepted(&format!("{}@b", "a".repeat(253))));
    }

    #[test]
    fn a_display_name_is_one_line_that_can_be_seen() {
        let accepted = |text: &str| DisplayName::parse("it", text.to_owned()).is_ok();

        assert!(accepted("Ann B. Müller"));
        assert!(accepted(&"ä".repeat(100)));
        assert!(accepted("می\u{200c}خواهم"));
        let (long, grown) = ("a".repeat(101), "\u{fb1d}".repeat(100));
        for text in ["", "  ", "a\nb", "a\0b", "\u{200b}\u{200b}", "\u{202e}Eevil", &long, &grown] {
            assert!(!accepted(text), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_normal_so_that_who_looks_for_it_finds_it() {
        let name = DisplayName::parse("it", "Bjo\u{308}rn".to_owned()).unwrap();
        let query = Query::parse("it", "Bjo\u{308}rn".to_owned()).unwrap().unwrap();

        assert_eq!((name.as_str(), query.as_str()), ("Bj\u{f6}rn", "Bj\u{f6}rn"));
    }

    #[test]
    fn an_address_is_compared_without_regard_to_case_in_any_script() {
        let key = |text: &str| Email::parse("it", text.to_owned()).unwrap().key().to_owned();

        for (one, other) in [
            ("Ann@Example.COM", "ann@example.com"),
            ("ÄNN@example.com", "a\u{308}nn@example.com"),
            ("ΜΑΡΊΑΣ@example.com", "μαρίας@example.com"),
            ("ЯНА@example.com", "яна@example.com"),
        ] {
            assert_eq!(key(one), key(other));
            assert_eq!(email_key(&key(one)), key(one));
        }
        assert_ne!(key("ann@example.com"), key("änn@example.com"));
    }
}
