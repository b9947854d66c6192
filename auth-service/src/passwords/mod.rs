//! Passwords: which ones an account may have, and how they are kept and compared.

mod hashing;

use std::ops::RangeInclusive;

use ihuman_shared::{Error, Result, credentials::Secret};
use unicode_normalization::UnicodeNormalization as _;

pub(crate) use self::hashing::Hasher;

/// How many code points a password has after normalization; NIST SP 800-63B-4
/// section 3.1.1.2 asks for 15 where it is the only factor.
const CHARACTERS: RangeInclusive<usize> = 15..=128;
/// How many bytes are normalized at the most.
const BYTES_MAX: usize = 1024;

/// A password that an account may have, in the form NFKC.
#[derive(Clone)]
pub(crate) struct Password(Secret);

/// What somebody says the password is, in the form NFKC: good or not.
#[derive(Clone)]
pub(crate) struct Attempt(Secret);

impl Password {
    /// # Errors
    /// `InvalidFields`, when it is too short or too long.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let problem = "must have 15 to 128 characters, counted after NFKC normalization";
        let text = normalize(&text).ok_or_else(|| Error::invalid(field, problem))?;
        if !CHARACTERS.contains(&text.chars().count()) {
            return Err(Error::invalid(field, problem));
        }
        Ok(Password(text.into()))
    }

    /// Whether it is what `attempt` says.
    pub(crate) fn is(&self, attempt: &Attempt) -> bool {
        self.0.reveal() == attempt.0.reveal()
    }
}

impl Attempt {
    /// # Errors
    /// `InvalidFields`, when it is longer than any password can be.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let text = normalize(&text)
            .ok_or_else(|| Error::invalid(field, format!("must have at most {BYTES_MAX} bytes")))?;
        Ok(Attempt(text.into()))
    }
}

/// The same characters in the same form, however they were typed (NIST SP
/// 800-63B-4 section 3.1.1.2); none if there are too many to look at.
fn normalize(text: &str) -> Option<String> {
    (text.len() <= BYTES_MAX).then(|| text.nfkc().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> bool {
        Password::parse("password", text.to_owned()).is_ok()
    }

    #[test]
    fn a_password_is_measured_in_characters_after_normalization() {
        assert!(!accepted(&"a".repeat(14)));
        assert!(accepted(&"a".repeat(15)));
        assert!(accepted(&"ä".repeat(128)));
        assert!(!accepted(&"a".repeat(129)));
        // One ligature becomes three characters.
        assert!(accepted(&"ﬃ".repeat(5)));
        assert!(!accepted(&"ﬃ".repeat(43)));
        assert!(!accepted(&"😀".repeat(300)));
    }

    #[test]
    fn the_same_characters_typed_in_another_way_are_the_same_password() {
        let password = Password::parse("password", "café au lait at nine".to_owned()).unwrap();

        assert!(
            password.is(&Attempt::parse("it", "cafe\u{301} au lait at nine".to_owned()).unwrap())
        );
        assert!(!password.is(&Attempt::parse("it", "cafe au lait at nine".to_owned()).unwrap()));
    }
}
