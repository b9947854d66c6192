//! Password hashes of other systems, and how bad they may be.

use ihuman_shared::{Error, Result, parse::Fields};

use crate::passwords::stored::{Salt, Unusable, import_argon2, import_bcrypt};

/// No hash of another system is longer, in bytes.
const TEXT_MAX: usize = 512;
const SALT_MAX: usize = 64;

/// A password hash of another system.
pub(crate) enum ForeignHash {
    /// In the form in which it is stored until the first login.
    Stored(String),
    /// Too fast to be stored as it is.
    Sha256 { digest: [u8; 32], salt: Salt },
}

impl ForeignHash {
    pub(crate) fn argon2(field: &str, text: &str) -> Result<Self> {
        stored(field, text, import_argon2)
    }

    pub(crate) fn bcrypt(field: &str, text: &str) -> Result<Self> {
        stored(field, text, import_bcrypt)
    }

    /// `is_suffix` says where the salt was, if that is known.
    pub(crate) fn sha256(
        field: &str,
        hex: &str,
        salt: Vec<u8>,
        is_suffix: Result<Option<bool>>,
    ) -> Result<Self> {
        let mut fields = Fields::default();
        let refused =
            |name: &str, problem: &str| Error::invalid(format!("{field}.{name}"), problem);
        let digest = digest(hex).ok_or_else(|| refused("hex", "must be 64 hexadecimal digits"));
        let digest = fields.take(digest);
        let has_salt = !salt.is_empty();
        let bytes = match salt.len() <= SALT_MAX {
            true => Ok(salt),
            false => Err(refused("salt", &format!("must have at most {SALT_MAX} bytes"))),
        };
        let bytes = fields.take(bytes);
        let is_suffix = is_suffix.and_then(|it| match it {
            None if has_salt => Err(refused("salt_position", "is required with a salt")),
            it => Ok(it.unwrap_or_default()),
        });
        let is_suffix = fields.take(is_suffix);
        fields.finish((|| {
            let salt = Salt { bytes: bytes?, is_suffix: is_suffix? };
            Some(ForeignHash::Sha256 { digest: digest?, salt })
        })())
    }
}

fn stored(
    field: &str,
    text: &str,
    import: impl Fn(&str) -> Result<String, Unusable>,
) -> Result<ForeignHash> {
    if text.len() > TEXT_MAX {
        return Err(Error::invalid(field, format!("must have at most {TEXT_MAX} bytes")));
    }
    let stored = import(text).map_err(|unusable| Error::invalid(field, unusable.0))?;
    Ok(ForeignHash::Stored(stored))
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    bytes?.try_into().ok()
}
