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
