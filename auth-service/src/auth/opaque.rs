//! Opaque tokens: 256 random bits in base64url, so that nothing is to be guessed and a fast hash is enough.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ihuman_shared::{Error, Result, credentials::Secret};

/// How many random bytes are in one.
const LEN: usize = 32;

/// A new one.
///
/// # Errors
/// `Internal`, when there is no randomness.
pub(super) fn generate() -> Result<Secret> {
    let mut bytes = [0; LEN];
    let filled = rand::fill(&mut bytes);
    filled.map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))?;
    Ok(BASE64.encode(bytes).into())
}

/// None, when it can't be one of ours.
pub(super) fn parse(text: String) -> Option<Secret> {
    // 4 characters for 3 bytes; more need not be decoded.
    let fits = text.len() == (LEN * 4).div_ceil(3);
    (fits && BASE64.decode(&text).is_ok()).then(|| text.into())
}

/// What is stored of it.
pub(super) fn hash(token: &Secret) -> Vec<u8> {
    digest(&SHA256, token.reveal().as_bytes()).as_ref().to_vec()
}
