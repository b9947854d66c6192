//! Passwords and keys for local use, and the private files that keep them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result};
use aws_lc_rs::rand;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

/// A new password of 144 random bits, as 24 characters that no shell or URL changes.
pub(crate) fn password() -> Result<String> {
    let mut bytes = [0; 18];
    rand::fill(&mut bytes).context("no random numbers")?;
    // A leading "-" would be read as an option by whoever pastes it.
    Ok(URL_SAFE_NO_PAD.encode(bytes).replace('-', "x"))
}

/// Eight random hexadecimal digits, to tell one thing of ours from another.
pub(crate) fn suffix() -> Result<String> {
    let mut bytes = [0; 4];
    rand::fill(&mut bytes).context("no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A new master key: base64 of 32 random bytes.
pub(crate) fn master_key() -> Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).context("no random numbers")?;
    Ok(STANDARD.encode(bytes))
}

/// A new random UUID, to make a retry of a request safe.
pub(crate) fn request_id() -> Result<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).context("no random numbers")?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// Replaces the file as a whole, readable by its owner alone.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
