//! Passwords: which ones an account may have, and how they are kept and compared.

mod blocklist;
mod hashing;
mod owner;
pub(crate) mod stored;
mod threads;

use std::ops::RangeInclusive;

use ihuman_shared::{Error, Result, credentials::Secret, parse};
use unicode_normalization::UnicodeNormalization as _;

pub(crate) use self::{
    hashing::{Hasher, Importing, Verdict},
    owner::Owner,
};

/// How many code points a password has after normalization; NIST SP 800-63B-4
/// section 3.1.1.2 asks for 15 where it is the only factor, and for 8 beside another.
const CHARACTERS: RangeInclusive<usize> = 15..=128;
const CHARACTERS_BESIDE: RangeInclusive<usize> = 8..=128;
/// What is stored of a password that does not work any more, until it is reset: no
/// password has this hash.
pub(crate) const UNUSABLE: &str = "unusable";
/// How many bytes are normalized at the most.
const BYTES_MAX: usize = 1024;

/// A password that is long enough beside a second factor at least, and otherwise as a
/// [`Candidate`] is.
pub(crate) struct Proposal(Candidate);

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

/// What a password alone must have.
const LENGTH: &str = "must have 15 to 128 characters, counted after NFKC normalization";
/// What a password must have at least.
const LENGTH_BESIDE: &str = "must have 15 to 128 characters, or 8 to 128 beside a second \
                             factor, counted after NFKC normalization";

impl Proposal {
    /// # Errors
    /// `InvalidFields`, when it is too short for any account, too long or too common.
    pub(crate) fn parse(field: &'static str, text: String) -> Result<Self> {
        Candidate::within(&CHARACTERS_BESIDE, LENGTH_BESIDE, field, text).map(Proposal)
    }

    /// The same for an account that has a second factor, or has none.
    ///
    /// # Errors
    /// `InvalidFields`, when it is too short to stand alone and would have to.
    pub(crate) fn beside(self, second_factor: bool) -> Result<Candidate> {
        match second_factor || !is_short(&self.0.text) {
            true => Ok(self.0),
            false => Err(Error::invalid(self.0.field, LENGTH)),
        }
    }

    /// Whether it is what `attempt` says.
    pub(crate) fn is(&self, attempt: &Attempt) -> bool {
        self.0.text.reveal() == attempt.normal.reveal()
    }
}

impl Candidate {
    /// # Errors
    /// `InvalidFields`, when it is too short to stand alone, too long or too common.
    pub(crate) fn parse(field: &'static str, text: String) -> Result<Self> {
        Self::within(&CHARACTERS, LENGTH, field, text)
    }

    fn within(
        characters: &RangeInclusive<usize>,
        problem: &str,
        field: &'static str,
        text: String,
    ) -> Result<Self> {
        let text = normalize(&text).ok_or_else(|| Error::invalid(field, problem))?;
        if !characters.contains(&text.chars().count()) {
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
}

impl Password {
    /// Whether it is too short to stand alone.
    pub(crate) fn is_short(&self) -> bool {
        is_short(&self.0)
    }
}

impl Attempt {
    /// # Errors
    /// `InvalidFields`, when it is empty, or longer than any password can be.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        let text = parse::required_text(field, text)?;
        let normal = normalize(&text)
            .ok_or_else(|| Error::invalid(field, format!("must have at most {BYTES_MAX} bytes")))?;
        Ok(Attempt { typed: text.into(), normal: normal.into() })
    }
}

fn is_short(text: &Secret) -> bool {
    text.reveal().chars().count() < *CHARACTERS.start()
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
    fn beside_a_second_factor_eight_characters_are_enough() {
        let propose = |text: &str| Proposal::parse("password", text.to_owned());

        assert!(propose("gxqz lm").is_err());
        assert!(propose("gxqz lmk").unwrap().beside(true).is_ok());
        assert!(propose("gxqz lmk").unwrap().beside(false).is_err());
        assert!(propose("a lamp that hums").unwrap().beside(false).is_ok());
        for common in ["password", "password1", "Passw0rd!", "qwertyui", "12345678", "letmein1"] {
            assert!(propose(common).is_err(), "{common}");
        }
    }

    #[test]
    fn the_same_characters_typed_in_another_way_are_the_same_password() {
        let text = "café au lait at nine".to_owned();
        let password = Proposal::parse("password", text).unwrap();

        assert!(
            password.is(&Attempt::parse("it", "cafe\u{301} au lait at nine".to_owned()).unwrap())
        );
        assert!(!password.is(&Attempt::parse("it", "cafe au lait at nine".to_owned()).unwrap()));
    }
}
