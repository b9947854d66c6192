//! A device that holds a passkey, and the browser before it, which do as they are told.

use std::sync::Arc;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ihuman_proto::auth::v1::{
    self as pb, complete_login_request::Proof, reauthenticate_request::SecondFactor,
};
use ihuman_shared::testing::Caller;
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

use crate::support::{Auth, bearer, named};

pub(crate) const ORIGIN: &str = "http://localhost:5173";

/// One passkey, and what is said about it. It behaves well until a field is changed.
#[derive(Clone)]
pub(crate) struct Device {
    key: Arc<Key>,
    pub(crate) credential_id: Vec<u8>,
    /// How often it signed, as it says; it does not count while this is none.
    pub(crate) sign_count: Option<u32>,
    pub(crate) origin: String,
    pub(crate) rp_id: String,
    pub(crate) user_present: bool,
    pub(crate) user_verified: bool,
    pub(crate) backup_eligible: bool,
    pub(crate) backed_up: bool,
    /// More of the client data, as a JSON object.
    pub(crate) more: serde_json::Value,
    /// Extensions, in CBOR.
    pub(crate) extensions: Option<Vec<u8>>,
    pub(crate) user_handle: Vec<u8>,
    /// Whether it signs its own attestation.
    pub(crate) attests: bool,
}

enum Key {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Device {
    pub(crate) fn p256() -> Self {
        Self::of(Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()))
    }

    pub(crate) fn ed25519() -> Self {
        Self::of(Key::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    pub(crate) fn rsa() -> Self {
        Self::of(Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    fn of(key: Key) -> Self {
        Device {
            key: Arc::new(key),
            credential_id: [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat(),
            sign_count: None,
            origin: ORIGIN.to_owned(),
            rp_id: "localhost".to_owned(),
            user_present: true,
            user_verified: true,
            backup_eligible: false,
            backed_up: false,
            more: json!({"crossOrigin": false}),
            extensions: None,
            user_handle: Vec::new(),
            attests: false,
        }
    }

    /// `navigator.credentials.create()`
    pub(crate) fn create(
        &mut self,
        options: &pb::PasskeyCreationOptions,
    ) -> pb::PasskeyAttestation {
        self.user_handle.clone_from(&options.user.as_ref().unwrap().id);
        let client_data_json = self.client_data("webauthn.create", &options.challenge);
        let data = self.authenticator_data(true);
        let mut statement = map(&[]);
        if self.attests {
            let signature = self.sign(&data, &client_data_json);
            statement =
                map(&[(text("alg"), integer(self.algorithm())), (text("sig"), bytes(&signature))]);
        }
        let format = if self.attests { "packed" } else { "none" };
        let attestation_object = map(&[
            (text("fmt"), text(format)),
            (text("attStmt"), statement),
            (text("authData"), bytes(&data)),
        ]);
        pb::PasskeyAttestation {
            credential_id: self.credential_id.clone(),
            client_data_json,
            attestation_object,
            transports: vec!["internal".to_owned(), "hybrid".to_owned()],
        }
    }

    /// `navigator.credentials.get()`
    pub(crate) fn get(&mut self, options: &pb::PasskeyRequestOptions) -> pb::PasskeyAssertion {
        self.sign_count = self.sign_count.map(|it| it + 1);
        let client_data_json = self.client_data("webauthn.get", &options.challenge);
        let authenticator_data = self.authenticator_data(false);
        let signature = self.sign(&authenticator_data, &client_data_json);
        pb::PasskeyAssertion {
            credential_id: self.credential_id.clone(),
            client_data_json,
            authenticator_data,
            signature,
            user_handle: self.user_handle.clone(),
        }
    }

    fn client_data(&self, kind: &str, challenge: &[u8]) -> Vec<u8> {
        let challenge = BASE64.encode(challenge);
        let mut json = json!({"type": kind, "challenge": challenge, "origin": self.origin});
        for (name, value) in self.more.as_object().unwrap() {
            json[name] = value.clone();
        }
        json.to_string().into_bytes()
    }

    fn authenticator_data(&self, is_new: bool) -> Vec<u8> {
        let flags = [
            self.user_present,
            false,
            self.user_verified,
            self.backup_eligible,
            self.backed_up,
            false,
            is_new,
            self.extensions.is_some(),
        ];
        let flags = flags.iter().rev().fold(0, |sum, it| sum << 1 | u8::from(*it));
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend(self.sign_count.unwrap_or(0).to_be_bytes());
        if is_new {
            data.extend([0; 16]);
            data.extend((self.credential_id.len() as u16).to_be_bytes());
            data.extend(&self.credential_id);
            data.extend(self.public_key());
        }
        data.extend(self.extensions.iter().flatten());
        data
    }

    fn sign(&self, data: &[u8], client_data: &[u8]) -> Vec<u8> {
        let message = [data, digest(&SHA256, client_data).as_ref()].concat();
        match self.key.as_ref() {
            Key::P256(key) => key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(&message).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let random = SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn algorithm(&self) -> i64 {
        match self.key.as_ref() {
            Key::P256(_) => -7,
            Key::Ed25519(_) => -8,
            Key::Rsa(_) => -257,
        }
    }

    /// A COSE_Key.
    fn public_key(&self) -> Vec<u8> {
        let algorithm = (integer(3), integer(self.algorithm()));
        match self.key.as_ref() {
            Key::P256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                map(&[
                    (integer(1), integer(2)),
                    algorithm,
                    (integer(-1), integer(1)),
                    (integer(-2), bytes(x)),
                    (integer(-3), bytes(y)),
                ])
            }
            Key::Ed25519(key) => map(&[
                (integer(1), integer(1)),
                algorithm,
                (integer(-1), integer(6)),
                (integer(-2), bytes(key.public_key().as_ref())),
            ]),
            Key::Rsa(key) => {
                let parts: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
                map(&[
                    (integer(1), integer(3)),
                    algorithm,
                    (integer(-1), bytes(&parts.n)),
                    (integer(-2), bytes(&parts.e)),
                ])
            }
        }
    }
}

impl Auth {
    pub(crate) async fn creation_options(&self, caller: &Caller) -> pb::PasskeyCreationOptions {
        let request = pb::BeginPasskeyRegistrationRequest {};
        let response = self.passkeys(caller).begin_passkey_registration(request).await.unwrap();
        response.into_inner().options.unwrap()
    }

    pub(crate) async fn finish_registration(
        &self,
        caller: &Caller,
        attestation: pb::PasskeyAttestation,
        request_id: &str,
    ) -> Result<pb::FinishPasskeyRegistrationResponse, Status> {
        let request = pb::FinishPasskeyRegistrationRequest {
            name: "My phone".to_owned(),
            attestation: Some(attestation),
            request_id: request_id.to_owned(),
        };
        let request = named("finish-1", request);
        let response = self.passkeys(caller).finish_passkey_registration(request).await?;
        Ok(response.into_inner())
    }

    pub(crate) async fn register_passkey(
        &self,
        caller: &Caller,
        device: &mut Device,
    ) -> Result<pb::Passkey, Status> {
        let attestation = device.create(&self.creation_options(caller).await);
        Ok(self.finish_registration(caller, attestation, "").await?.passkey.unwrap())
    }

    pub(crate) async fn delete_passkey(&self, caller: &Caller, id: &str) -> Result<(), Status> {
        let request = pb::DeletePasskeyRequest { passkey_id: id.to_owned() };
        self.passkeys(caller).delete_passkey(named("delete-1", request)).await.map(drop)
    }

    /// An account with `device` as its second factor, and the session that registered it,
    /// which has not proved it.
    pub(crate) async fn person_with_passkey(
        &self,
        email: &str,
        device: &mut Device,
    ) -> (pb::User, Caller) {
        let (user, tokens) = self.person(email).await;
        let caller = bearer(&user, &tokens);
        self.register_passkey(&caller, device).await.unwrap();
        (user, caller)
    }

    /// What a passkey signs to step up in the session of `caller`.
    pub(crate) async fn step_up_options(&self, caller: &Caller) -> pb::PasskeyRequestOptions {
        let request = pb::BeginReauthenticationRequest {};
        let response = self.auth_as(caller).begin_reauthentication(request).await.unwrap();
        response.into_inner().passkey.unwrap()
    }

    /// The caller, once `device` has proved that it is still they.
    pub(crate) async fn step_up(&self, caller: &Caller, device: &mut Device) -> Caller {
        let assertion = device.get(&self.step_up_options(caller).await);
        self.reauthenticate(caller, "", Some(SecondFactor::Passkey(assertion))).await.unwrap()
    }

    /// The question for a passkey that logs in alone.
    pub(crate) async fn begin_passkey_login(&self) -> pb::LoginChallenge {
        let request = pb::BeginPasskeyLoginRequest {};
        let response = self.auth().begin_passkey_login(request).await.unwrap();
        response.into_inner().challenge.unwrap()
    }

    /// Answers `challenge` with what `device` says.
    pub(crate) async fn complete_with(
        &self,
        challenge: &pb::LoginChallenge,
        device: &mut Device,
    ) -> Result<pb::CompleteLoginResponse, Status> {
        let assertion = device.get(challenge.passkey.as_ref().unwrap());
        self.complete(challenge, Proof::Passkey(assertion)).await
    }

    /// Logs in with `device` alone.
    pub(crate) async fn login_alone(
        &self,
        device: &mut Device,
    ) -> Result<pb::CompleteLoginResponse, Status> {
        self.complete_with(&self.begin_passkey_login().await, device).await
    }
}

// CBOR by hand (RFC 8949), so that the service is not tested with its own reader.

fn head(kind: u8, value: u64) -> Vec<u8> {
    let kind = kind << 5;
    match value {
        0..24 => vec![kind | value as u8],
        24..256 => vec![kind | 24, value as u8],
        _ => [&[kind | 25], (value as u16).to_be_bytes().as_slice()].concat(),
    }
}

pub(crate) fn integer(value: i64) -> Vec<u8> {
    match value {
        0.. => head(0, value as u64),
        _ => head(1, (-1 - value) as u64),
    }
}

pub(crate) fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [head(3, value.len() as u64), value.as_bytes().to_vec()].concat()
}

pub(crate) fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let entries_in_order = entries.iter().flat_map(|(key, value)| [key.clone(), value.clone()]);
    [head(5, entries.len() as u64), entries_in_order.flatten().collect()].concat()
}
