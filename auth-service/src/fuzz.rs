//! Everything that reads bytes of a caller who has proved nothing, or only who it is; and what must hold of it.
//!
//! A target is a line of [`TARGETS`], and a file of `fuzz/` for cargo-fuzz. The tests
//! run each over inputs near to its seeds.

use std::str::from_utf8;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, TimeDelta};
use ihuman_shared::{
    credentials::{MasterKey, fuzz},
    page::Page,
    testing::fuzz::Target,
};
use uuid::Uuid;

use crate::{
    auth::RefreshToken,
    locks::{DeviceToken, Devices},
    mfa::{RecoveryCode, TotpCode, totp::TotpSecret},
    passkeys,
    passwords::{Attempt, Candidate, Proposal},
    user_imports::ForeignHash,
    users::Email,
};

/// What there is to fuzz.
pub const TARGETS: [Target; 12] = [
    Target { name: "access_token", seeds: fuzz::access_tokens, check: fuzz::access_token },
    Target { name: "api_key", seeds: fuzz::api_keys, check: fuzz::api_key },
    Target { name: "authorization_header", seeds: fuzz::headers, check: fuzz::header },
    Target { name: "page_token", seeds: page_tokens, check: page_token },
    Target { name: "refresh_token", seeds: refresh_tokens, check: refresh_token },
    Target { name: "device_token", seeds: device_tokens, check: device_token },
    Target { name: "imported_hash", seeds: imported_hashes, check: imported_hash },
    Target { name: "registration", seeds: registrations, check: registration },
    Target { name: "totp_code", seeds: totp_codes, check: totp_code },
    Target { name: "recovery_code", seeds: recovery_codes, check: recovery_code },
    Target {
        name: "passkey_registration",
        seeds: passkeys::fuzz::objects,
        check: passkeys::fuzz::registration,
    },
    Target {
        name: "passkey_assertion",
        seeds: passkeys::fuzz::assertions,
        check: passkeys::fuzz::assertion,
    },
];

const FILTER: &str = "this list";

/// Checks one input of the target of this name.
///
/// # Panics
/// When something does not hold, or there is no such target.
pub fn check(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|it| it.name == name).expect("a target of the list");
    (target.check)(input);
}

fn bytes(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Vec<u8>> {
    texts.into_iter().map(|it| it.as_ref().as_bytes().to_vec()).collect()
}

fn page_tokens() -> Vec<Vec<u8>> {
    let token = |filter: &str, number: u128| {
        let page = Page::<Uuid>::parse(1, "", &filter).expect("an empty token is the first page");
        let cut = page.cut(vec![(); 2], |()| Uuid::from_u128(number));
        cut.expect("a UUID can be written").1
    };
    bytes([token(FILTER, 1), token(FILTER, u128::MAX), token("another list", 1)])
}

/// A token goes on with its own list and no other, and where it says.
fn page_token(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    if text.is_empty() {
        return;
    }
    let Ok(page) = Page::<Uuid>::parse(1, text, &FILTER) else { return };
    let after = page.after.expect("only an empty token is the first page");
    assert!(Page::<Uuid>::parse(1, text, &"another list").is_err());
    let (_, again) = page.cut(vec![(); 2], |()| after).expect("a UUID can be written");
    let again = Page::<Uuid>::parse(1, &again, &FILTER).expect("a token that was just made");
    assert_eq!(again.after, Some(after));
}

fn refresh_tokens() -> Vec<Vec<u8>> {
    bytes([BASE64.encode([0; 32]), BASE64.encode([0xff; 32]), BASE64.encode([7; 31])])
}

/// One token has one text: what is looked up can't be written in two ways.
fn refresh_token(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let decoded = BASE64.decode(text).ok().filter(|it| it.len() == 32);
    match RefreshToken::parse("it", text.to_owned()) {
        Ok(token) => {
            assert_eq!(token.reveal(), text);
            assert_eq!(decoded.map(|it| BASE64.encode(it)).as_deref(), Some(text));
        }
        Err(_) => assert_eq!(decoded, None),
    }
}

fn devices() -> (Devices, Uuid, DateTime<chrono::Utc>) {
    let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse::<MasterKey>();
    (Devices::new(&key.expect("32 bytes in base64")), Uuid::from_u128(1), DateTime::UNIX_EPOCH)
}

fn device_tokens() -> Vec<Vec<u8>> {
    let (devices, user_id, now) = devices();
    let expired = now - TimeDelta::days(100);
    bytes([
        devices.issue(user_id, Uuid::from_u128(2), now),
        devices.issue(user_id, Uuid::from_u128(2), expired),
        devices.issue(Uuid::from_u128(3), Uuid::from_u128(2), now),
    ])
}

/// No device is known but by the token that it was given.
fn device_token(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let Ok(token) = DeviceToken::parse("it", text.to_owned()) else { return };
    let (devices, user_id, now) = devices();
    let good = devices.issue(user_id, Uuid::from_u128(2), now);
    let found = devices.find(user_id, &token, now);
    assert_eq!(found, (text == good).then_some(Uuid::from_u128(2)));
}

fn imported_hashes() -> Vec<Vec<u8>> {
    bytes([
        "$2b$04$abcdefghijklmnopqrstuuZCtgzaVsLoLZuPAbPXBWTzv5WZVcuz6",
        "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "$argon2id$v=19$m=131072,t=10,p=8$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "e9619b27f1ec19c7eff5128e24e311f457bcbac76240c07e8d2d2a1d3dd3404d",
    ])
}

/// Whatever is taken is what can be stored, and costs no more than is allowed.
fn imported_hash(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    for read in [ForeignHash::argon2("it", text), ForeignHash::bcrypt("it", text)] {
        if let Ok(ForeignHash::Stored(stored)) = read {
            assert!(stored.ends_with(text) && stored.len() <= text.len() + 16, "{stored}");
        }
    }
    let _ = ForeignHash::sha256("it", text, input.to_vec(), None);
}

fn registrations() -> Vec<Vec<u8>> {
    bytes(["ann@example.com", "a lamp that hums in the attic", "ﬃ x ﬃ y ﬃ z", "é@ü.de"])
}

/// What is read of a text is the same when it is read again.
fn registration(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    if let Ok(email) = Email::parse("it", text.to_owned()) {
        let again = Email::parse("it", email.as_str().to_owned()).expect("what was read");
        assert_eq!(again.as_str(), email.as_str());
    }
    if let Ok(proposal) = Proposal::parse("it", text.to_owned()) {
        let attempt = Attempt::parse("it", text.to_owned()).expect("a password can be tried");
        assert!(proposal.is(&attempt));
        let stands_alone = Candidate::parse("it", text.to_owned()).is_ok();
        assert_eq!(proposal.beside(false).is_ok(), stands_alone);
    }
}

/// The codes of the first three steps under the secret of RFC 4226 appendix D.
const CODES: [&str; 3] = ["755224", "287082", "359152"];

fn totp_codes() -> Vec<Vec<u8>> {
    bytes([CODES[0], "287 082", " 359152 ", "969429"])
}

/// Of a million codes, those of three steps are good.
fn totp_code(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let Ok(code) = TotpCode::parse("it", text) else { return };
    let secret = TotpSecret::read(b"12345678901234567890").expect("20 bytes");
    let now = DateTime::from_timestamp(30, 0).expect("a time");
    let typed = text.replace(' ', "");
    let step = CODES.iter().position(|it| *it == typed);
    assert_eq!(secret.step_of(&code, now), step.map(|it| it as i64));
}

fn recovery_codes() -> Vec<Vec<u8>> {
    bytes(["01k9v-m0qz8-rx2t7", "OIK9V M0QZ8 RX2T7", "01k9vm0qz8rx2t7"])
}

/// A code that was read is the same when it is read as it is shown.
fn recovery_code(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let Ok(code) = RecoveryCode::parse("it", text) else { return };
    let again = RecoveryCode::parse("it", &code.text()).expect("a code as it is shown");
    assert_eq!(again.hash(Uuid::nil()), code.hash(Uuid::nil()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many inputs of each target a test run checks; cargo-fuzz finds more.
    const COUNT: usize = 20_000;

    #[test]
    fn whatever_is_sent_no_reader_panics_and_nothing_passes_for_what_it_is_not() {
        std::thread::scope(|scope| {
            for target in &TARGETS {
                scope.spawn(|| target.check_many(1, COUNT));
            }
        });
    }

    #[test]
    fn each_target_can_be_fuzzed() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
        let manifest = std::fs::read_to_string(format!("{dir}/Cargo.toml")).unwrap();
        for Target { name, .. } in &TARGETS {
            let program = format!("fuzz_targets/{name}.rs");
            assert!(manifest.contains(&format!("path = \"{program}\"")), "{name}");
            let program = std::fs::read_to_string(format!("{dir}/{program}")).unwrap();
            assert!(program.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
