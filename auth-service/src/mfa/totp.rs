//! Codes of authenticators (RFC 6238): HMAC-SHA-1, 6 digits, steps of 30 seconds.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY},
    rand,
};
use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use ihuman_shared::{Error, Result};

/// As long as the output of SHA-1, as RFC 4226 section 4 recommends.
const SECRET_LEN: usize = 20;
const DIGITS: usize = 6;
const STEP_SECONDS: i64 = 30;
/// How many steps an authenticator's clock may be off, either way.
const DRIFT: i64 = 1;
/// A code with spaces in it is no longer, in bytes.
const TYPED_MAX: usize = 32;

/// What an authenticator computes codes from.
pub(crate) struct TotpSecret([u8; SECRET_LEN]);

/// What somebody says an authenticator shows.
pub(crate) struct TotpCode([u8; DIGITS]);

impl TotpSecret {
    /// A new one.
    ///
    /// # Errors
    /// `Internal`, when there is no randomness.
    pub(crate) fn generate() -> Result<Self> {
        let mut bytes = [0; SECRET_LEN];
        let filled = rand::fill(&mut bytes);
        filled.map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))?;
        Ok(TotpSecret(bytes))
    }

    /// The one that [`bytes`](Self::bytes) gave.
    ///
    /// # Errors
    /// `Internal`, when it is none.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into();
        bytes.map(TotpSecret).map_err(|_| Error::internal(anyhow::anyhow!("not a TOTP secret")))
    }

    /// What to seal.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What authenticators read: 32 characters.
    pub(crate) fn base32(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// The latest step around `now` whose code is `code`, so that it is not good for a
    /// later step too.
    pub(crate) fn step_of(&self, code: &TotpCode, now: DateTime<Utc>) -> Option<i64> {
        let step = now.timestamp().div_euclid(STEP_SECONDS);
        let mut found = None;
        // Each is compared, whichever it is: the time it takes says nothing.
        for step in step - DRIFT..=step + DRIFT {
            if verify_slices_are_equal(&self.code(step), &code.0).is_ok() {
                found = Some(step);
            }
        }
        found
    }

    /// RFC 4226 section 5.3.
    fn code(&self, step: i64) -> [u8; DIGITS] {
        let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let offset = usize::from(tag.as_ref()[SECRET_LEN - 1] & 0xf);
        let number = tag.as_ref()[offset..offset + 4].iter();
        let mut number = number.fold(0, |all, byte| all << 8 | u32::from(*byte)) & 0x7fff_ffff;
        let mut digits = [0; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        digits
    }
}

impl TotpCode {
    /// # Errors
    /// `InvalidFields`, when no authenticator could say it.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self> {
        let digits: Vec<u8> = match text.len() <= TYPED_MAX {
            true => text.bytes().filter(|it| *it != b' ').collect(),
            false => Vec::new(),
        };
        let digits = digits.try_into().ok();
        let digits = digits.filter(|it: &[u8; DIGITS]| it.iter().all(u8::is_ascii_digit));
        digits.map(TotpCode).ok_or_else(|| Error::invalid(field, "must have 6 digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: TotpSecret = TotpSecret(*b"12345678901234567890");

    fn step_of(code: &str, seconds: i64) -> Option<i64> {
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        SECRET.step_of(&TotpCode::parse("it", code).unwrap(), now)
    }

    /// RFC 6238 appendix B, of whose 8 digits ours are the last 6.
    #[test]
    fn the_codes_are_those_of_the_standard() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(step_of(code, seconds), Some(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_before_its_own_and_one_after() {
        let good = |seconds| step_of("050471", seconds) == Some(1_111_111_111 / 30);
        let begins = 1_111_111_111 / 30 * 30;

        assert!(good(begins - 30) && good(begins) && good(begins + 59));
        assert!(!good(begins - 31) && !good(begins + 60));
    }

    #[test]
    fn a_code_has_six_digits_with_spaces_or_without() {
        assert!(TotpCode::parse("it", " 050 471 ").is_ok());
        for wrong in ["", "05047", "0504711", "05047a", "٠٥٠٤٧١", "-50471", &" ".repeat(33)] {
            assert!(TotpCode::parse("it", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_32_characters_of_base32() {
        assert_eq!(SECRET.base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_ne!(TotpSecret::generate().unwrap().0, TotpSecret::generate().unwrap().0);
    }
}
