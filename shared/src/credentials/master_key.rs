//! The one secret that the operator keeps, and what is derived from it.

use std::{fs, path::Path, str::FromStr};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    constant_time::verify_slices_are_equal,
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{Error, Result, config::Problem};

const KEY_LEN: usize = 32;

/// 32 random bytes that are not in the database. Never used itself: each purpose
/// has a key of its own, derived by HKDF-SHA256 (RFC 5869).
#[derive(Clone)]
pub struct MasterKey([u8; KEY_LEN]);

/// Encrypts small secrets for the database with AES-256-GCM.
pub struct Sealer(RandomizedNonceKey);

/// A text that must not be seen: it can be neither printed nor logged.
#[derive(Clone)]
pub struct Secret(String);

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_LEN
    }
}

impl MasterKey {
    /// The key in a file, as [`FromStr`] reads it.
    ///
    /// # Errors
    /// Says what is wrong with the file, without its content.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path);
        text.map_err(|error| format!("can't read {}: {error}", path.display()))?.trim().parse()
    }

    /// Whether it is the same key.
    pub fn is(&self, other: &MasterKey) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// What the database knows it by. Nothing can be learnt from it of the key, or of
    /// what is derived from the key for anything else.
    pub fn check_value(&self) -> [u8; KEY_LEN] {
        self.derive("check")
    }

    /// # Errors
    /// When `check_value` is that of another key.
    pub fn compare(&self, check_value: &[u8]) -> Result<(), Problem> {
        let same = verify_slices_are_equal(&self.check_value(), check_value);
        same.map_err(|_| Problem::another_master_key())
    }

    /// The key for one purpose.
    pub fn derive(&self, purpose: &str) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        Salt::new(HKDF_SHA256, b"ihuman")
            .extract(&self.0)
            .expand(&[purpose.as_bytes()], Length)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes are within what HKDF-SHA256 can give");
        key
    }
}

impl FromStr for MasterKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(text).ok().and_then(|it| it.try_into().ok());
        bytes.map(MasterKey).ok_or_else(|| "must be 32 bytes in base64".to_owned())
    }
}

impl Sealer {
    /// A sealer for one purpose; what it seals, no other can open.
    pub fn new(master_key: &MasterKey, purpose: &str) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &master_key.derive(purpose));
        Sealer(key.expect("AES-256 takes 32 bytes"))
    }

    /// Encrypts `plaintext`, bound to the thing that it belongs to: nonce,
    /// ciphertext and tag in one.
    pub fn seal(&self, belongs_to: &str, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut text = plaintext.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(belongs_to), &mut text);
        let nonce = nonce.map_err(|_| Error::internal(anyhow::anyhow!("encryption failed")))?;
        Ok([nonce.as_ref().as_slice(), &text].concat())
    }

    /// Decrypts what [`seal`](Self::seal) gave for the same thing.
    ///
    /// # Errors
    /// `Internal`, when it was sealed under another key, for another thing, or changed.
    pub fn open(&self, belongs_to: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let failed = || Error::internal(anyhow::anyhow!("a sealed value can't be opened"));
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut text = text.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(belongs_to), &mut text);
        opened.map(|it| it.to_vec()).map_err(|_| failed())
    }
}

impl Secret {
    /// The text, for the one place that it must go to.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Secret(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_for_its_purpose_and_its_owner_only() {
        let master_key = MasterKey([7; KEY_LEN]);
        let sealer = Sealer::new(&master_key, "one");
        let sealed = sealer.seal("alice", b"secret").unwrap();

        assert_eq!(sealer.open("alice", &sealed).unwrap(), b"secret");
        assert!(sealer.open("bob", &sealed).is_err());
        assert!(Sealer::new(&master_key, "two").open("alice", &sealed).is_err());
        assert!(sealer.open("alice", &sealed[..5]).is_err());
    }

    #[test]
    fn a_master_key_has_32_bytes() {
        assert!(BASE64.encode([1; 32]).parse::<MasterKey>().is_ok());
        assert!(BASE64.encode([1; 16]).parse::<MasterKey>().is_err());
        assert!("not base64".parse::<MasterKey>().is_err());
    }
}
