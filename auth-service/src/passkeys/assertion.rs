//! Using a passkey: every step of WebAuthn section 7.2 that is the service's.

use ihuman_shared::{Error, Result};
use uuid::Uuid;

use super::{
    Checked, Flaw, RelyingParty,
    authenticator_data::{AuthenticatorData, CREDENTIAL_ID_MAX},
    client_data::{ClientData, Purpose},
    parse,
    public_key::PublicKey,
    store::Passkey,
};

/// The greatest authenticator data, in bytes: 37, and extensions that nobody asked for.
const AUTHENTICATOR_DATA_MAX: usize = 2 << 10;
/// The longest signature, in bytes: one of a key of 4096 bits.
const SIGNATURE_MAX: usize = 512;
/// No user handle is longer (section 5.4.3), in bytes.
const USER_HANDLE_MAX: usize = 64;

/// What an authenticator answered when it was asked to sign a challenge.
pub(crate) struct Assertion {
    credential_id: Vec<u8>,
    client_data: Vec<u8>,
    authenticator_data: Vec<u8>,
    signature: Vec<u8>,
    user_handle: Vec<u8>,
}

/// The parts of an assertion as they come.
pub(crate) struct Parts {
    pub(crate) credential_id: Vec<u8>,
    pub(crate) client_data_json: Vec<u8>,
    pub(crate) authenticator_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) user_handle: Vec<u8>,
}

/// What a good assertion says.
#[derive(Debug)]
pub(super) struct Asserted {
    pub(super) user_verified: bool,
    pub(super) backed_up: bool,
    pub(super) sign_count: u32,
}

impl Assertion {
    /// # Errors
    /// `InvalidFields`, when something is missing or too long to be what it should.
    pub(crate) fn parse(field: &str, parts: Parts) -> Result<Self> {
        let sub = |name: &str| format!("{field}.{name}");
        if parts.user_handle.len() > USER_HANDLE_MAX {
            let problem = format!("must have at most {USER_HANDLE_MAX} bytes");
            return Err(Error::invalid(sub("user_handle"), problem));
        }
        let data = parts.authenticator_data;
        Ok(Assertion {
            credential_id: parse::bytes(
                &sub("credential_id"),
                parts.credential_id,
                CREDENTIAL_ID_MAX,
            )?,
            client_data: parse::client_data(field, parts.client_data_json)?,
            authenticator_data: parse::bytes(
                &sub("authenticator_data"),
                data,
                AUTHENTICATOR_DATA_MAX,
            )?,
            signature: parse::bytes(&sub("signature"), parts.signature, SIGNATURE_MAX)?,
            user_handle: parts.user_handle,
        })
    }

    /// Which passkey it claims to be of.
    pub(super) fn credential_id(&self) -> &[u8] {
        &self.credential_id
    }

    /// What the browser says that was signed; also returns the challenge, which is left
    /// to check.
    pub(super) fn client_data(
        &self,
        relying_party: &RelyingParty,
    ) -> Checked<(ClientData, Vec<u8>)> {
        let client_data = ClientData::parse(&self.client_data)?;
        let challenge = client_data.check(Purpose::Get, relying_party)?;
        Ok((client_data, challenge))
    }

    /// Checks everything else but the count of signatures against `passkey`, which has
    /// the credential id. Who is not known yet must be named.
    pub(super) fn verify(
        &self,
        client_data: &ClientData,
        relying_party: &RelyingParty,
        passkey: &Passkey,
        owner: Option<Uuid>,
    ) -> Checked<Asserted> {
        let is_owner = self.user_handle == passkey.user_id.as_bytes();
        let is_allowed = match owner {
            Some(owner) => passkey.user_id == owner && (is_owner || self.user_handle.is_empty()),
            None => is_owner,
        };
        if !is_allowed {
            return Err(Flaw("is of another account"));
        }
        let data = AuthenticatorData::parse(&self.authenticator_data)?;
        data.check(relying_party)?;
        if data.attested.is_some() {
            return Err(Flaw("has a new key, which was not asked for"));
        }
        if data.is_backup_eligible() != passkey.backup_eligible {
            return Err(Flaw("says another thing than before of whether the key can be copied"));
        }
        let signed = [&self.authenticator_data, client_data.hash()].concat();
        PublicKey::parse(&passkey.public_key)?.verify(&signed, &self.signature)?;
        Ok(Asserted {
            user_verified: data.is_user_verified(),
            backed_up: data.is_backed_up(),
            sign_count: data.sign_count,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use chrono::Utc;
    use clap::Parser as _;

    use super::{super::Attestation, *};
    use crate::config::PasskeyConfig;

    // What Chromium 156 and its virtual authenticator answered at http://localhost:5400.
    const CREDENTIAL_ID: &str = "SJfZv+Z9t2I0yOz7hIYrFQBPSfrCIMmuSQv1V0sESDU=";
    const USER_HANDLE: &str = "AaIHoliHcpyyQm6gb6Wblg==";
    const CREATED: [&str; 2] = [
        "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiUXpTSmRkSGxNOXhIMnVicUNPRjhuUUFBQWFJSHB1ekJtcHl5MGIxM3ppWjBfRHBFSUhCYWdxVWk2OEZUQWE5bEdTNWZQZ0FOSkdRIiwib3JpZ2luIjoiaHR0cDovL2xvY2FsaG9zdDo1NDAwIiwiY3Jvc3NPcmlnaW4iOmZhbHNlfQ==",
        "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YVikSZYN5YgOjGh0NBcPZHZgW4/krrmihjLHmVzzuoMdl2NFAAAAAQECAwQFBgcIAQIDBAUGBwgAIEiX2b/mfbdiNMjs+4SGKxUAT0n6wiDJrkkL9VdLBEg1pQECAyYgASFYIPZRahg9wrVC07a8EwFUkNCQ/4+d0XuYFO+4rFi8vI+JIlggdgM53LMp/RyLcbs0hah1RyInF/pRwHe+mqmqcb7NiPw=",
    ];
    const SIGNED: [&str; 3] = [
        "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoiZUhQTVJ2N0l5UHVvUFpZU0R1M20wd0FBQWFJSHB1MUJyQ0tKa182S0hxMmJnTmNoZ0xxZkZSV29GN3ZJX2owYUkzUEIyMVdiNWZ3Iiwib3JpZ2luIjoiaHR0cDovL2xvY2FsaG9zdDo1NDAwIiwiY3Jvc3NPcmlnaW4iOmZhbHNlfQ==",
        "SZYN5YgOjGh0NBcPZHZgW4/krrmihjLHmVzzuoMdl2MFAAAAAg==",
        "MEYCIQCKyuTvlQSbxSEe4RJtL96lYnh+Vr9MeJHHBN8xflmY/wIhAPLTGvCocFC/KWUwejRTNu4oDOMuLDfpuQJ3e+j0J6IH",
    ];

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        passkeys: PasskeyConfig,
    }

    fn localhost() -> RelyingParty {
        RelyingParty::new(&Command::parse_from(["test"]).passkeys).unwrap()
    }

    fn bytes(text: &str) -> Vec<u8> {
        BASE64.decode(text).unwrap()
    }

    fn created(client_data: &[u8], object: &[u8]) -> Attestation {
        let id = bytes(CREDENTIAL_ID);
        Attestation::parse("it", id, client_data.to_vec(), object.to_vec(), Vec::new()).unwrap()
    }

    fn passkey() -> Passkey {
        let [client_data, object] = CREATED.map(bytes);
        let (new, _) = created(&client_data, &object).verify(&localhost()).unwrap();
        Passkey {
            passkey_id: Uuid::now_v7(),
            user_id: Uuid::from_slice(&bytes(USER_HANDLE)).unwrap(),
            credential_id: new.credential_id,
            public_key: new.public_key,
            sign_count: i64::from(new.sign_count),
            name: "Chromium".to_owned(),
            transports: Vec::new(),
            user_verifying: new.user_verified,
            backup_eligible: new.backup_eligible,
            backed_up: new.backed_up,
            last_used_at: None,
            created_at: Utc::now(),
        }
    }

    fn verify(signed: &[Vec<u8>; 3], passkey: &Passkey) -> Checked<Asserted> {
        let [client_data_json, authenticator_data, signature] = signed.clone();
        let (credential_id, user_handle) = (bytes(CREDENTIAL_ID), bytes(USER_HANDLE));
        let parts =
            Parts { credential_id, client_data_json, authenticator_data, signature, user_handle };
        let assertion = Assertion::parse("it", parts).unwrap();
        let relying_party = localhost();
        let (client_data, _) = assertion.client_data(&relying_party)?;
        assertion.verify(&client_data, &relying_party, passkey, None)
    }

    #[test]
    fn what_a_browser_answered_is_right_and_no_changed_bit_is() {
        let (passkey, signed) = (passkey(), SIGNED.map(bytes));
        let asserted = verify(&signed, &passkey).unwrap();
        assert_eq!((asserted.sign_count, asserted.user_verified), (2, true));

        for part in 0..signed.len() {
            for bit in 0..signed[part].len() * 8 {
                let mut changed = signed.clone();
                changed[part][bit / 8] ^= 1 << (bit % 8);
                assert!(verify(&changed, &passkey).is_err(), "part {part}, bit {bit}");
            }
            for length in 1..signed[part].len() {
                let mut short = signed.clone();
                short[part].truncate(length);
                assert!(verify(&short, &passkey).is_err(), "part {part}, {length} bytes");
            }
        }
    }

    #[test]
    fn no_changed_bit_of_a_registration_does_harm() {
        let (relying_party, [client_data, object]) = (localhost(), CREATED.map(bytes));

        for bit in 0..object.len() * 8 {
            let mut changed = object.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok((new, _)) = created(&client_data, &changed).verify(&relying_party) {
                // Nothing is signed: what is left is what the account would have anyway.
                assert_eq!(new.credential_id, bytes(CREDENTIAL_ID), "bit {bit}");
                assert!(PublicKey::parse(&new.public_key).is_ok(), "bit {bit}");
            }
        }
        for length in 1..object.len() {
            let short = created(&client_data, &object[..length]);
            assert!(short.verify(&relying_party).is_err(), "{length} bytes");
        }
    }
}
