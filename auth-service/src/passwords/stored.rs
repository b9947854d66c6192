//! The forms in which a password is stored: our own, and those that accounts were imported with.

use argon2::{Params, PasswordHash};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};

/// What a stored Argon2 hash may ask for at the most, in KiB, passes and lanes: it
/// must not take the machine down.
pub(crate) const MEMORY_MAX: u32 = 128 << 10;
pub(crate) const PASSES_MAX: u32 = 10;
pub(crate) const LANES_MAX: u32 = 8;
/// What bcrypt may cost, as the exponent of its rounds: 14 takes about a second.
pub(crate) const BCRYPT_COSTS: std::ops::RangeInclusive<u8> = 4..=14;

/// Marks our own form when the pepper is in it.
pub(super) const PEPPERED: &str = "pepper:";
/// Marks the hash of another system.
const IMPORTED: &str = "import:";
/// Marks Argon2id over the SHA-256 of another system.
const OVER_SHA256: &str = "sha256:";

/// A stored hash, read.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// Argon2id of the password in the form NFKC, under the pepper or not.
    Own { peppered: bool, hash: PasswordHash },
    /// Argon2 of the password as it was typed.
    Argon2(PasswordHash),
    /// bcrypt of the password as it was typed.
    Bcrypt(String),
    /// Argon2id of the SHA-256 in hex of the password as it was typed with a salt.
    Sha256 { salt: Salt, hash: PasswordHash },
}

/// What was put before or after a password before it was hashed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Salt {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_suffix: bool,
}

/// What is wrong with the hash of another system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable(pub(crate) &'static str);

impl Stored {
    /// None if it can't be read or asks for too much.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(OVER_SHA256) {
            let mut parts = rest.splitn(3, ':');
            let is_suffix = parts.next()? == "suffix";
            let bytes = BASE64.decode(parts.next()?).ok()?;
            let hash = phc(parts.next()?).ok()?;
            return Some(Stored::Sha256 { salt: Salt { bytes, is_suffix }, hash });
        }
        if let Some(rest) = text.strip_prefix(IMPORTED) {
            return match rest.starts_with("$argon2") {
                true => phc(rest).ok().map(Stored::Argon2),
                false => check_bcrypt(rest).ok().map(|()| Stored::Bcrypt(rest.to_owned())),
            };
        }
        let (peppered, rest) = match text.strip_prefix(PEPPERED) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        phc(rest).ok().map(|hash| Stored::Own { peppered, hash })
    }
}

/// The Argon2 hash of another system, as it is stored.
///
/// # Errors
/// When it can't be read, or asks for too much.
pub(crate) fn import_argon2(text: &str) -> Result<String, Unusable> {
    phc(text).map(|_| format!("{IMPORTED}{text}"))
}

/// The bcrypt hash of another system, as it is stored.
///
/// # Errors
/// When it can't be read, or asks for too much.
pub(crate) fn import_bcrypt(text: &str) -> Result<String, Unusable> {
    check_bcrypt(text).map(|()| format!("{IMPORTED}{text}"))
}

/// Argon2id over the SHA-256 of another system, as it is stored.
pub(super) fn over_sha256(salt: &Salt, argon2id: &PasswordHash) -> String {
    let position = if salt.is_suffix { "suffix" } else { "prefix" };
    format!("{OVER_SHA256}{position}:{}:{argon2id}", BASE64.encode(&salt.bytes))
}

fn phc(text: &str) -> Result<PasswordHash, Unusable> {
    let shape = Unusable("must be a PHC string of argon2i, argon2d or argon2id");
    let hash = PasswordHash::new(text).map_err(|_| Unusable(shape.0))?;
    if !hash.algorithm.as_str().starts_with("argon2") || hash.hash.is_none() || hash.salt.is_none()
    {
        return Err(shape);
    }
    let params = Params::try_from(&hash).map_err(|_| shape)?;
    if params.m_cost() > MEMORY_MAX {
        return Err(Unusable("must have at most 131072 KiB of memory: m"));
    }
    if params.t_cost() > PASSES_MAX {
        return Err(Unusable("must have at most 10 passes: t"));
    }
    if params.p_cost() > LANES_MAX {
        return Err(Unusable("must have at most 8 lanes: p"));
    }
    Ok(hash)
}

fn check_bcrypt(text: &str) -> Result<(), Unusable> {
    let shape =
        Unusable("must be a bcrypt string of 60 characters that begins with $2a$, $2b$ or $2y$");
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|it| text.strip_prefix(it));
    let Some((cost, digest)) = rest.and_then(|it| it.split_once('$')) else { return Err(shape) };
    let allowed = |it: u8| it.is_ascii_alphanumeric() || it == b'.' || it == b'/';
    if cost.len() != 2 || !cost.bytes().all(|it| it.is_ascii_digit()) {
        return Err(shape);
    }
    if digest.len() != 53 || !digest.bytes().all(allowed) {
        return Err(shape);
    }
    match cost.parse::<u8>() {
        Ok(cost) if BCRYPT_COSTS.contains(&cost) => Ok(()),
        Ok(_) => Err(Unusable("must have a cost of 4 to 14")),
        Err(_) => Err(shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_hash_can_not_ask_for_too_much() {
        let hash = |params| format!("$argon2id$v=19${params}$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA");

        assert!(Stored::read(&hash("m=131072,t=10,p=8")).is_some());
        for (params, names) in
            [("m=131073,t=1,p=1", "m"), ("m=8,t=11,p=1", "t"), ("m=99,t=1,p=9", "p")]
        {
            let problem = import_argon2(&hash(params)).unwrap_err();
            assert!(problem.0.ends_with(names), "{params}: {problem:?}");
            assert!(Stored::read(&hash(params)).is_none());
        }
    }

    #[test]
    fn a_bcrypt_hash_has_its_shape_and_a_bounded_cost() {
        let hash = |start: &str| format!("{start}{}", "a".repeat(53));

        for good in ["$2a$04$", "$2b$14$", "$2y$10$"] {
            assert!(import_bcrypt(&hash(good)).is_ok(), "{good}");
        }
        for (bad, problem) in [("$2b$03$", "cost"), ("$2b$15$", "cost"), ("$2b$31$", "cost")] {
            assert!(import_bcrypt(&hash(bad)).unwrap_err().0.contains(problem), "{bad}");
        }
        for bad in ["$2x$10$", "$2b$5$", "$1$10$", "", "$2b$+5$", "$2b$1ä$"] {
            assert!(import_bcrypt(&hash(bad)).unwrap_err().0.contains("60 characters"), "{bad}");
        }
        assert!(import_bcrypt(&hash("$2b$10$").replace('a', "ä")).is_err());
    }
}
