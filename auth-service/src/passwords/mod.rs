//! Passwords: which ones an account may have, and how they are kept and compared.

mod blocklist;
mod hashing;
mod owner;
pub(crate) mod stored;

use std::ops::RangeInclusive;

use ihuman_shared::{Error, Result, credentials::Secret};
use unicode_normalization::UnicodeNormalization as _;

pub(crate) use self::{
    hashing::{Hasher, Importing, Verdict},
    owner::Owner,
};

/// How many code points a password has after normalization; NIST SP 800-63B-4
/// section 3.1.1.2 asks for 15 where it is the only factor.
const CHARACTERS: RangeInclusive<usize> = 15..=128;
/// How many bytes are normalized at the most.
const BYTES_MAX: usize = 1024;

/// A password of an allowed length that is not among the first to be guessed, in the
/// form NFKC. Whether its owner may have it is still to be asked.
#[derive(Clone)]
pub(crate) struct Candidate {
    field: &'static str,
    text: Secret,
}

/// A password that its account may have, in the form NFKC.
#[derive(Clone)]
pub(crate) struct Password(Secret);

/// What somebody says the password is: good or not.
#[derive(Clone)]
pub(crate) struct Attempt {
    /// As it was typed, which is what other systems hash.
    typed: Secret,
    /// In the form NFKC, which is what we hash.
    normal: Secret,
}

impl Candidate {
    /// # Errors
    /// `InvalidFields`, when it is too short, too long or too common.
    pub(crate) fn parse(field: &'static str, text: String) -> Result<Self> {
        let problem = "must have 15 to 128 characters, counted after NFKC normalization";
        let text = normalize(&text).ok_or_else(|| Error::invalid(field, problem))?;
        if !CHARACTERS.contains(&text.chars().count()) {
            return Err(Error::invalid(field, problem));
        }
        match blocklist::problem(&text) {
            Some(problem) => Err(Error::invalid(field, problem)),
            None => Ok(Candidate { field, text: text.into() }),
        }
    }

    /// The password, if `owner` may have it.
    ///
    /// # Errors
    /// `InvalidFields`, when it follows from who the owner is.
    pub(crate) fn of(self, owner: Owner<'_>) -> Result<Password> {
        match owner.problem(self.text.reveal()) {
            Some(problem) => Err(Error::invalid(self.field, problem)),
            None => Ok(Password(self.text)),
        }
    }

    /// Whether it is what `attempt` says.
    pub(crate) fn is(&self, attempt: &Attempt) -> bool {
        self.text.reveal() == attempt.normal.reveal()
    }
}

impl Attempt {
    /// # Errors
    /// `InvalidFields`, when it is longer than any password can be.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let normal = normalize(&text)
            .ok_or_else(|| Error::invalid(field, format!("must have at most {BYTES_MAX} bytes")))?;
        Ok(Attempt { typed: text.into(), normal: normal.into() })
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

    fn parse(text: &str) -> Result<Candidate> {
        Candidate::parse("password", text.to_owned())
    }

    #[test]
    fn a_password_is_measured_in_characters_after_normalization() {
        let letters = |count| -> String {
            ('a'..='z').flat_map(|it| [it, 'ä']).rev().cycle().take(count).collect()
        };

        assert!(parse(&letters(14)).is_err());
        assert!(parse(&letters(15)).is_ok());
        assert!(parse(&letters(128)).is_ok());
        assert!(parse(&letters(129)).is_err());
        // One ligature becomes three characters.
        assert!(parse("ﬃ x ﬃ y ﬃ z").is_ok());
        assert!(parse(&format!("{}ﬃ", letters(126))).is_err());
        assert!(parse(&"😀".repeat(300)).is_err());
    }

    #[test]
    fn the_same_characters_typed_in_another_way_are_the_same_password() {
        let password = parse("café au lait at nine").unwrap();

        assert!(
            password.is(&Attempt::parse("it", "cafe\u{301} au lait at nine".to_owned()).unwrap())
        );
        assert!(!password.is(&Attempt::parse("it", "cafe au lait at nine".to_owned()).unwrap()));
    }
}
