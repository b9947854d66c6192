//! The public keys that passkeys have, and the signatures that they verify.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use coset::{
    AsCborValue as _, CoseKey, Label,
    cbor::Value,
    iana::{Algorithm, Ec2KeyParameter, EllipticCurve, KeyType, OkpKeyParameter, RsaKeyParameter},
};

use super::{Checked, Flaw, cbor};

/// The algorithms that a passkey may have, the best first, by their numbers in the
/// IANA registry of COSE. RS256 is what older trusted platform modules have.
pub(crate) const ALGORITHMS: [i32; 3] =
    [Algorithm::ES256 as i32, Algorithm::EdDSA as i32, Algorithm::RS256 as i32];

/// The longest modulus: one of 4096 bits.
const MODULUS_MAX: usize = 512;

/// A key of one of [`ALGORITHMS`].
pub(super) enum PublicKey {
    Es256(ParsedPublicKey),
    EdDsa(ParsedPublicKey),
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
}

impl PublicKey {
    /// Reads a COSE_Key as WebAuthn section 5.8.5 restricts it: no compressed points,
    /// and no curve but the one of its algorithm.
    pub(super) fn parse(cose: &[u8]) -> Checked<Self> {
        let unusable = Flaw("has a public key that can't be used");
        let key = CoseKey::from_cbor_value(cbor::only(cose)?).map_err(|_| unusable)?;
        let is = |kty, alg| {
            key.kty == coset::KeyType::Assigned(kty)
                && key.alg == Some(coset::Algorithm::Assigned(alg))
        };
        let parsed = |algorithm, bytes: &[u8]| {
            let parsed = ParsedPublicKey::new(algorithm, bytes);
            parsed.map_err(|_| unusable)
        };
        if is(KeyType::EC2, Algorithm::ES256) {
            on(&key, Ec2KeyParameter::Crv as i64, EllipticCurve::P_256)?;
            let x = bytes(&key, Ec2KeyParameter::X as i64, 32..=32)?;
            let y = bytes(&key, Ec2KeyParameter::Y as i64, 32..=32)?;
            let point = [&[4], x, y].concat();
            return parsed(&ECDSA_P256_SHA256_ASN1, &point).map(PublicKey::Es256);
        }
        if is(KeyType::OKP, Algorithm::EdDSA) {
            on(&key, OkpKeyParameter::Crv as i64, EllipticCurve::Ed25519)?;
            let x = bytes(&key, OkpKeyParameter::X as i64, 32..=32)?;
            return parsed(&ED25519, x).map(PublicKey::EdDsa);
        }
        if is(KeyType::RSA, Algorithm::RS256) {
            let n = bytes(&key, RsaKeyParameter::N as i64, 256..=MODULUS_MAX)?.to_vec();
            let e = bytes(&key, RsaKeyParameter::E as i64, 1..=8)?.to_vec();
            return Ok(PublicKey::Rs256(RsaPublicKeyComponents { n, e }));
        }
        Err(Flaw("has a public key of an algorithm that was not offered"))
    }

    /// The number of its algorithm in the IANA registry of COSE.
    pub(super) fn algorithm(&self) -> i32 {
        match self {
            PublicKey::Es256(_) => Algorithm::ES256 as i32,
            PublicKey::EdDsa(_) => Algorithm::EdDSA as i32,
            PublicKey::Rs256(_) => Algorithm::RS256 as i32,
        }
    }

    /// Checks that the key signed `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Checked<()> {
        let verified = match self {
            PublicKey::Es256(key) | PublicKey::EdDsa(key) => key.verify_sig(message, signature),
            PublicKey::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verified.map_err(|_| Flaw("is not signed by its key"))
    }
}

fn parameter(key: &CoseKey, label: i64) -> Option<&Value> {
    key.params.iter().find(|(it, _)| *it == Label::Int(label)).map(|(_, value)| value)
}

fn on(key: &CoseKey, label: i64, curve: EllipticCurve) -> Checked<()> {
    match parameter(key, label) {
        Some(value) if *value == Value::from(curve as i64) => Ok(()),
        _ => Err(Flaw("has a public key on a curve that was not offered")),
    }
}

fn bytes(key: &CoseKey, label: i64, lengths: std::ops::RangeInclusive<usize>) -> Checked<&[u8]> {
    let found = parameter(key, label).and_then(Value::as_bytes);
    let found = found.filter(|it| lengths.contains(&it.len()));
    found.map(Vec::as_slice).ok_or(Flaw("has a public key with a part of a wrong size"))
}
