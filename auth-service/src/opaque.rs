//! Opaque tokens: 256 random bits in base64url, so that nothing is to be guessed and a fast hash is enough.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ihuman_shared::{Error, Result, credentials::Secret, parse};

/// How many random bytes are in one.
const LEN: usize = 32;

/// A new one.
///
/// # Errors
/// `Internal`, when there is no randomness.
pub(crate) fn generate() -> Result<Secret> {
    let mut bytes = [0; LEN];
    let filled = rand::fill(&mut bytes);
    filled.map_err(|_| Error::internal(anyhow::anyhow!("no random numbers")))?;
    Ok(encode(&bytes))
}

/// The token that consists of these 32 bytes.
pub(crate) fn encode(bytes: &[u8]) -> Secret {
    BASE64.encode(bytes).into()
}

/// # Errors
/// `InvalidFields`, when it is empty; what `invalid` makes, when it can't be one of ours.
pub(crate) fn parse(field: &str, text: String, invalid: impl FnOnce() -> Error) -> Result<Secret> {
    let text = parse::required_text(field, text)?;
    // 4 characters for 3 bytes; more need not be decoded.
    let fits = text.len() == (LEN * 4).div_ceil(3);
    match fits && BASE64.decode(&text).is_ok() {
        true => Ok(text.into()),
        false => Err(invalid()),
    }
}

/// What is stored of it.
pub(crate) fn hash(token: &Secret) -> Vec<u8> {
    digest(&SHA256, token.reveal().as_bytes()).as_ref().to_vec()
}
