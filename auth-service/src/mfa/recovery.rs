//! Recovery codes: 75 random bits in Crockford's Base32, so that a fast hash of them is enough.

use aws_lc_rs::{
    digest::{Context, SHA256},
    rand,
};
use ihuman_shared::{Error, Result, credentials::Secret};
use uuid::Uuid;

/// Digits and letters of which none looks like another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 5 bits each.
const CHARACTERS: usize = 15;
/// How they are grouped, for who types them.
const GROUP: usize = 5;
/// How many an account has.
const COUNT: usize = 10;
/// How long what is typed may be, in bytes.
const TYPED_MAX: usize = 64;

/// A code, without its dashes.
#[derive(Clone)]
pub(crate) struct RecoveryCode(Secret);

impl RecoveryCode {
    /// As many as an account has.
    ///
    /// # Errors
    /// `Internal`, when there is no randomness.
    pub(crate) fn generate_all() -> Result<Vec<Self>> {
        (0..COUNT).map(|_| Self::generate()).collect()
    }

    fn generate() -> Result<Self> {
        let mut bytes = [0; CHARACTERS];
        let filled = rand::fill(&mut bytes);
        filled.map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))?;
        // 32 divides 256: each character is as likely.
        let text: String =
            bytes.iter().map(|it| char::from(ALPHABET[usize::from(it & 31)])).collect();
        Ok(RecoveryCode(text.into()))
    }

    /// As it was typed: capitals, spaces and dashes do not matter, nor does taking a
    /// character for one that looks like it.
    ///
    /// # Errors
    /// `InvalidFields`, when it can't be one.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self> {
        let problem = "must have 15 letters and digits, as in 3k9vm-0qz8r-x2t7n";
        let invalid = || Error::invalid(field, problem);
        if text.len() > TYPED_MAX {
            return Err(invalid());
        }
        let typed = text.chars().filter(|it| !it.is_whitespace() && *it != '-');
        let meant = typed.map(|it| match it.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        });
        let text: String = meant.collect();
        let known = text.bytes().all(|it| ALPHABET.contains(&it));
        match known && text.len() == CHARACTERS {
            true => Ok(RecoveryCode(text.into())),
            false => Err(invalid()),
        }
    }

    /// What is stored of it: bound to the account, so that two never look alike.
    pub(crate) fn hash(&self, user_id: Uuid) -> Vec<u8> {
        let mut context = Context::new(&SHA256);
        context.update(user_id.as_bytes());
        context.update(self.0.reveal().as_bytes());
        context.finish().as_ref().to_vec()
    }

    /// The code in groups, for its owner.
    pub(crate) fn text(&self) -> String {
        let (first, rest) = self.0.reveal().split_at(GROUP);
        let (second, third) = rest.split_at(GROUP);
        format!("{first}-{second}-{third}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_was_typed() {
        let user_id = Uuid::now_v7();
        let hash = |text: &str| RecoveryCode::parse("it", text).unwrap().hash(user_id);
        let plain = hash("01k9v-m0qz8-rx2t7");

        for typed in ["01K9VM0QZ8RX2T7", " oIk9v mOqz8 rx2t7\n", "0lk9v--m0qz8--rx2t7"] {
            assert_eq!(hash(typed), plain, "{typed}");
        }
        assert_ne!(hash("01k9v-m0qz8-rx2t8"), plain);
        let of_another = RecoveryCode::parse("it", "01k9v-m0qz8-rx2t7").unwrap();
        assert_ne!(of_another.hash(Uuid::now_v7()), plain);
    }

    #[test]
    fn what_can_not_be_a_code_is_refused() {
        for wrong in ["", "01k9v-m0qz8-rx2t", "01k9v-m0qz8-rx2t7a", "01k9v-m0qz8-rx2tu", "äöüßä"]
        {
            assert!(RecoveryCode::parse("it", wrong).is_err(), "{wrong}");
        }
        assert!(RecoveryCode::parse("it", &"-".repeat(65)).is_err());
    }

    #[test]
    fn ten_different_codes_can_be_read_again() {
        let codes = RecoveryCode::generate_all().unwrap();
        let mut texts: Vec<String> = codes.iter().map(RecoveryCode::text).collect();

        for text in &texts {
            assert_eq!(RecoveryCode::parse("it", text).unwrap().text(), *text);
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 10);
    }
}
