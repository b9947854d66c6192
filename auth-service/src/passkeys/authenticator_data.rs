//! The authenticator data: what an authenticator says of itself and of the key (WebAuthn section 6.1).

use super::{Checked, Flaw, RelyingParty, cbor};

/// No credential id is longer (section 7.1), in bytes.
pub(super) const CREDENTIAL_ID_MAX: usize = 1023;
/// None that nobody can guess is shorter (section 4, "Credential ID").
pub(super) const CREDENTIAL_ID_MIN: usize = 16;

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENDED: u8 = 1 << 7;

/// What was read.
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    rp_id_hash: &'a [u8],
    flags: u8,
    /// How often the authenticator signed, or 0 if it does not count.
    pub(super) sign_count: u32,
    /// The new key; none when a key that is known was used.
    pub(super) attested: Option<Attested<'a>>,
}

/// A new key.
#[derive(Debug)]
pub(super) struct Attested<'a> {
    pub(super) credential_id: &'a [u8],
    /// A COSE_Key.
    pub(super) public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Checked<Self> {
        let truncated = Flaw("has authenticator data that are too short");
        let (rp_id_hash, rest) = bytes.split_at_checked(32).ok_or(truncated)?;
        let (&[flags], rest) = rest.split_first_chunk().ok_or(truncated)?;
        let (sign_count, mut rest) = rest.split_first_chunk().ok_or(truncated)?;
        let mut attested = None;
        if flags & ATTESTED != 0 {
            let (it, after) = Attested::parse(rest)?;
            (attested, rest) = (Some(it), after);
        }
        if flags & EXTENDED != 0 {
            // None was asked for, and none is looked at.
            (_, rest) = cbor::first(rest)?;
        }
        if !rest.is_empty() {
            return Err(Flaw("has authenticator data that are too long"));
        }
        let sign_count = u32::from_be_bytes(*sign_count);
        Ok(AuthenticatorData { rp_id_hash, flags, sign_count, attested })
    }

    /// Checks what holds for new keys and known ones.
    pub(super) fn check(&self, relying_party: &RelyingParty) -> Checked<()> {
        if self.rp_id_hash != relying_party.id_hash() {
            return Err(Flaw("was made for another relying party"));
        }
        if self.flags & USER_PRESENT == 0 {
            return Err(Flaw("was made without anybody being there"));
        }
        if self.is_backed_up() && !self.is_backup_eligible() {
            return Err(Flaw("says that a key is copied that can't be"));
        }
        Ok(())
    }

    /// Whether the authenticator knows who was there, by a PIN or a fingerprint.
    pub(super) fn is_user_verified(&self) -> bool {
        self.flags & USER_VERIFIED != 0
    }

    /// Whether the key may be copied to other devices.
    pub(super) fn is_backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    /// Whether it is.
    pub(super) fn is_backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}

impl<'a> Attested<'a> {
    /// The key, and what follows it.
    fn parse(bytes: &'a [u8]) -> Checked<(Self, &'a [u8])> {
        let truncated = Flaw("has authenticator data that are too short");
        let (_aaguid, rest) = bytes.split_at_checked(16).ok_or(truncated)?;
        let (length, rest) = rest.split_first_chunk().ok_or(truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(CREDENTIAL_ID_MIN..=CREDENTIAL_ID_MAX).contains(&length) {
            return Err(Flaw("has a credential id that is not of 16 to 1023 bytes"));
        }
        let (credential_id, rest) = rest.split_at_checked(length).ok_or(truncated)?;
        let (_, after) = cbor::first(rest)?;
        let (public_key, after) = rest.split_at(rest.len() - after.len());
        Ok((Attested { credential_id, public_key }, after))
    }
}
