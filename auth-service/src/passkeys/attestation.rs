//! Registering a passkey: every step of WebAuthn section 7.1 that is the service's.

use coset::cbor::Value;
use ihuman_shared::{Error, Result};

use super::{
    Checked, Flaw, RelyingParty,
    authenticator_data::{Attested, AuthenticatorData, CREDENTIAL_ID_MAX},
    cbor::{self, Map},
    client_data::{ClientData, Purpose},
    parse,
    public_key::PublicKey,
};

/// The greatest attestation object, in bytes: a key of 4096 bits, a credential id of
/// the greatest length and extensions fit in.
const OBJECT_MAX: usize = 8 << 10;
const TRANSPORTS_MAX: usize = 8;
const TRANSPORT_LEN_MAX: usize = 32;

/// What an authenticator answered when it was asked for a new key.
pub(crate) struct Attestation {
    credential_id: Vec<u8>,
    client_data: Vec<u8>,
    object: Vec<u8>,
    transports: Vec<String>,
}

/// A key that may be stored.
#[derive(Debug)]
pub(super) struct NewKey {
    pub(super) credential_id: Vec<u8>,
    /// A COSE_Key.
    pub(super) public_key: Vec<u8>,
    pub(super) sign_count: u32,
    pub(super) user_verified: bool,
    pub(super) backup_eligible: bool,
    pub(super) backed_up: bool,
}

impl Attestation {
    /// # Errors
    /// `InvalidFields`, when something is missing or too long to be what it should.
    pub(crate) fn parse(
        field: &str,
        credential_id: Vec<u8>,
        client_data: Vec<u8>,
        object: Vec<u8>,
        transports: Vec<String>,
    ) -> Result<Self> {
        let sub = |name: &str| format!("{field}.{name}");
        Ok(Attestation {
            credential_id: parse::bytes(&sub("credential_id"), credential_id, CREDENTIAL_ID_MAX)?,
            client_data: parse::client_data(field, client_data)?,
            object: parse::bytes(&sub("attestation_object"), object, OBJECT_MAX)?,
            transports: self::transports(&sub("transports"), transports)?,
        })
    }

    /// How the authenticator can be reached, as far as the browser knows.
    pub(super) fn transports(&self) -> &[String] {
        &self.transports
    }

    /// Checks everything but the challenge and that the key is new, and returns both:
    /// the challenge is left to check.
    pub(super) fn verify(&self, relying_party: &RelyingParty) -> Checked<(NewKey, Vec<u8>)> {
        let client_data = ClientData::parse(&self.client_data)?;
        let challenge = client_data.check(Purpose::Create, relying_party)?;
        let (format, mut statement, bytes) = self.parts()?;
        let data = AuthenticatorData::parse(&bytes)?;
        data.check(relying_party)?;
        let Some(Attested { credential_id, public_key }) = data.attested else {
            return Err(Flaw("has no new key"));
        };
        if *credential_id != self.credential_id {
            return Err(Flaw("has another credential id than the authenticator says"));
        }
        let key = PublicKey::parse(public_key)?;
        match format.as_str() {
            "none" if statement.is_empty() => {}
            "packed" => {
                let signed = [&bytes, client_data.hash()].concat();
                verify_self_attestation(&key, &mut statement, &signed)?;
            }
            // Attestation was not asked for, and browsers then leave out any other.
            _ => return Err(Flaw("has an attestation statement, which was not asked for")),
        }
        let new = NewKey {
            credential_id: credential_id.to_vec(),
            public_key: public_key.to_vec(),
            sign_count: data.sign_count,
            user_verified: data.is_user_verified(),
            backup_eligible: data.is_backup_eligible(),
            backed_up: data.is_backed_up(),
        };
        Ok((new, challenge))
    }

    /// The format of the attestation statement, the statement, and the authenticator data.
    fn parts(&self) -> Checked<(String, Map, Vec<u8>)> {
        let unreadable = Flaw("has an attestation object that can't be read");
        let mut object = cbor::only(&self.object)?.into_map().map_err(|_| unreadable)?;
        let format = cbor::take(&mut object, "fmt")?.into_text().map_err(|_| unreadable)?;
        let statement = cbor::take(&mut object, "attStmt")?.into_map().map_err(|_| unreadable)?;
        let data = cbor::take(&mut object, "authData")?.into_bytes().map_err(|_| unreadable)?;
        Ok((format, statement, data))
    }
}

/// Section 8.2: a statement that the new key signed itself, which browsers leave in.
fn verify_self_attestation(key: &PublicKey, statement: &mut Map, signed: &[u8]) -> Checked<()> {
    let algorithm = cbor::take(statement, "alg")?;
    let signature = cbor::take(statement, "sig")?;
    if !statement.is_empty() {
        return Err(Flaw("has an attestation statement, which was not asked for"));
    }
    if algorithm != Value::from(key.algorithm()) {
        return Err(Flaw("has an attestation statement of another algorithm than its key"));
    }
    let signature = signature.as_bytes().ok_or(Flaw("has a signature that can't be read"))?;
    key.verify(signed, signature)
}

/// Each once, in the order of the browser. Those that are not known today are kept, as
/// section 5.8.4 asks.
fn transports(field: &str, texts: Vec<String>) -> Result<Vec<String>> {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let fits = |it: &String| (1..=TRANSPORT_LEN_MAX).contains(&it.len()) && it.bytes().all(allowed);
    if texts.len() > TRANSPORTS_MAX || !texts.iter().all(fits) {
        let problem = format!(
            "must have at most {TRANSPORTS_MAX} texts of 1 to {TRANSPORT_LEN_MAX} characters of a-z, 0-9 and -"
        );
        return Err(Error::invalid(field, problem));
    }
    let mut transports = Vec::new();
    for text in texts {
        if !transports.contains(&text) {
            transports.push(text);
        }
    }
    Ok(transports)
}
