//! The client data: what a browser asked an authenticator to sign, and for whom (WebAuthn section 5.8.1).

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::Deserialize;

use super::{Checked, Flaw, RelyingParty};

/// What was read, and the hash that is signed.
pub(crate) struct ClientData {
    collected: Collected,
    hash: Vec<u8>,
}

/// What a passkey is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Create,
    Get,
}

#[derive(Deserialize)]
struct Collected {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<String>,
}

impl ClientData {
    /// The steps of sections 7.1 and 7.2 that decode the text.
    pub(super) fn parse(json: &[u8]) -> Checked<Self> {
        // The standard decodes UTF-8 as the web does, which leaves out a byte order mark.
        let text = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let collected =
            serde_json::from_slice(text).map_err(|_| Flaw("has client data that can't be read"))?;
        let hash = digest(&SHA256, json).as_ref().to_vec();
        Ok(ClientData { collected, hash })
    }

    /// Checks what it was made for and where; returns the challenge, which is left to check.
    pub(super) fn check(&self, purpose: Purpose, relying_party: &RelyingParty) -> Checked<Vec<u8>> {
        let expected = match purpose {
            Purpose::Create => "webauthn.create",
            Purpose::Get => "webauthn.get",
        };
        if self.collected.kind != expected {
            return Err(Flaw("was made for something else"));
        }
        if !relying_party.allows(&self.collected.origin) {
            return Err(Flaw("was made for an origin that is not among WEBAUTHN_ORIGINS"));
        }
        // Nobody is expected to show these pages in a frame of another site.
        if self.collected.cross_origin || self.collected.top_origin.is_some() {
            return Err(Flaw("was made in a frame of another site"));
        }
        let challenge = BASE64.decode(&self.collected.challenge);
        challenge.map_err(|_| Flaw("has no challenge of this service"))
    }

    /// What an authenticator signs of it: its SHA-256.
    pub(super) fn hash(&self) -> &[u8] {
        &self.hash
    }
}
