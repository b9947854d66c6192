//! What must hold of whatever claims to be the answer of an authenticator.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chrono::DateTime;
use coset::{
    CborSerializable as _, CoseKeyBuilder,
    cbor::{Value, into_writer},
    iana::{Algorithm, EllipticCurve, OkpKeyParameter},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Assertion, Attestation, Parts, RelyingParty, client_data::ClientData, public_key::PublicKey,
    store::Passkey,
};
use crate::config::PasskeyConfig;

/// A credential id.
const ID: [u8; 16] = [3; 16];
/// User present, user verified.
const FLAGS: u8 = 0b101;
const ATTESTED: u8 = 1 << 6;

fn relying_party() -> RelyingParty {
    let config = PasskeyConfig {
        webauthn_rp_id: "localhost".to_owned(),
        webauthn_rp_name: "ihuman".to_owned(),
        webauthn_origins: Vec::new(),
    };
    RelyingParty::new(&config).expect("what is configured without being told")
}

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed")
}

fn public_key() -> Vec<u8> {
    let crv = OkpKeyParameter::Crv as i64;
    let x = Value::Bytes(key().public_key().as_ref().to_vec());
    let key = CoseKeyBuilder::new_okp_key()
        .algorithm(Algorithm::EdDSA)
        .param(crv, Value::from(EllipticCurve::Ed25519 as i64))
        .param(OkpKeyParameter::X as i64, x);
    key.build().to_vec().expect("a key can be written")
}

fn client_data(kind: &str) -> Vec<u8> {
    let origin = "http://localhost:5173";
    json!({"type": kind, "challenge": "AQID", "origin": origin}).to_string().into_bytes()
}

fn authenticator_data(flags: u8, after: &[u8]) -> Vec<u8> {
    [relying_party().id_hash(), &[flags, 0, 0, 0, 9], after].concat()
}

/// Attestation objects.
pub(crate) fn objects() -> Vec<Vec<u8>> {
    let attested = [&[0; 16], [0, 16].as_slice(), &ID, &public_key()].concat();
    let object = |format: &str, statement: Vec<(Value, Value)>| {
        let data = authenticator_data(FLAGS | ATTESTED, &attested);
        let text = |it: &str| Value::Text(it.to_owned());
        let object = Value::Map(vec![
            (text("fmt"), text(format)),
            (text("attStmt"), Value::Map(statement)),
            (text("authData"), Value::Bytes(data)),
        ]);
        let mut bytes = Vec::new();
        into_writer(&object, &mut bytes).expect("a vector takes all");
        bytes
    };
    let algorithm = (Value::Text("alg".to_owned()), Value::from(Algorithm::EdDSA as i64));
    let signature = (Value::Text("sig".to_owned()), Value::Bytes(vec![1; 64]));
    vec![object("none", Vec::new()), object("packed", vec![algorithm, signature])]
}

/// What is registered can be used, and is what the browser says.
pub(crate) fn registration(input: &[u8]) {
    let client_data = client_data("webauthn.create");
    let attestation =
        Attestation::parse("it", ID.to_vec(), client_data, input.to_vec(), Vec::new());
    let Ok(attestation) = attestation else { return };
    let Ok((new, challenge)) = attestation.verify(&relying_party()) else { return };
    assert_eq!((new.credential_id, challenge), (ID.to_vec(), vec![1, 2, 3]));
    assert!(PublicKey::parse(&new.public_key).is_ok());
}

/// A good assertion, cut where its client data end.
pub(crate) fn assertions() -> Vec<Vec<u8>> {
    let (data, client_data, signature) = good();
    vec![[client_data, data, signature].concat()]
}

/// The authenticator data, the client data and the signature of a good assertion.
fn good() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (data, client_data) = (authenticator_data(FLAGS, &[]), client_data("webauthn.get"));
    let read = ClientData::parse(&client_data).expect("client data of our own");
    let signature = key().sign(&[&data, read.hash()].concat()).as_ref().to_vec();
    (data, client_data, signature)
}

/// Nothing passes but what the key signed.
pub(crate) fn assertion(input: &[u8]) {
    let (good_data, good_client_data, _) = good();
    let Some((client_data, rest)) = input.split_at_checked(good_client_data.len()) else { return };
    let Some((data, signature)) = rest.split_at_checked(good_data.len()) else { return };
    let user_id = Uuid::from_u128(1);
    let parts = Parts {
        credential_id: ID.to_vec(),
        client_data_json: client_data.to_vec(),
        authenticator_data: data.to_vec(),
        signature: signature.to_vec(),
        user_handle: user_id.as_bytes().to_vec(),
    };
    let Ok(assertion) = Assertion::parse("it", parts) else { return };
    let relying_party = relying_party();
    let Ok((read, _)) = assertion.client_data(&relying_party) else { return };
    let passkey = Passkey {
        passkey_id: Uuid::nil(),
        user_id,
        credential_id: ID.to_vec(),
        public_key: public_key(),
        sign_count: 0,
        name: String::new(),
        transports: Vec::new(),
        user_verifying: false,
        backup_eligible: false,
        backed_up: false,
        last_used_at: None,
        created_at: DateTime::UNIX_EPOCH,
    };
    let verified = assertion.verify(&read, &relying_party, &passkey, None);
    assert_eq!(verified.is_ok(), [assertions()[0].as_slice()].contains(&input));
}
