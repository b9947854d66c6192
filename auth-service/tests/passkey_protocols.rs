//! Passkeys as browsers call for them: over gRPC-Web and JSON, on the real socket.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ihuman_proto::auth::v1::{self as pb, complete_login_request::Proof};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    device::Device,
    support::{Auth, EMAIL, bearer},
};

impl Auth {
    /// The body of the answer to a plain request of HTTP/1.1.
    async fn call(
        &self,
        method: &str,
        content_type: &str,
        authorization: &str,
        body: &[u8],
    ) -> Vec<u8> {
        let address = self.service.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /ihuman.auth.v1.{method} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: {content_type}\r\nauthorization: {authorization}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        let end = response.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&response[..end]).to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        match head.contains("transfer-encoding: chunked") {
            true => dechunked(&response[end + 4..]),
            false => response[end + 4..].to_vec(),
        }
    }

    async fn json(&self, method: &str, authorization: &str, message: &Value) -> Value {
        let body = message.to_string().into_bytes();
        let body = self.call(method, "application/json", authorization, &body).await;
        serde_json::from_slice(&body).unwrap()
    }

    async fn web<T: Message + Default>(
        &self,
        method: &str,
        authorization: &str,
        message: &impl Message,
    ) -> T {
        let message = message.encode_to_vec();
        let frame = [&[0], (message.len() as u32).to_be_bytes().as_slice(), &message].concat();
        let body = self.call(method, "application/grpc-web+proto", authorization, &frame).await;
        let (head, rest) = body.split_at(5);
        assert_eq!(head[0], 0, "{}", String::from_utf8_lossy(rest));
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        T::decode(&rest[..length as usize]).unwrap()
    }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|it| it == b"\r\n").unwrap();
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_passkey_is_registered_and_logs_in_over_grpc_web() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let known = bearer(&user, &tokens).authorization;
    let mut device = Device::p256();

    let begin = pb::BeginPasskeyRegistrationRequest {};
    let begun: pb::BeginPasskeyRegistrationResponse =
        auth.web("PasskeyService/BeginPasskeyRegistration", &known, &begin).await;
    let finish = pb::FinishPasskeyRegistrationRequest {
        name: "My phone".to_owned(),
        attestation: Some(device.create(&begun.options.unwrap())),
        request_id: String::new(),
    };
    let finished: pb::FinishPasskeyRegistrationResponse =
        auth.web("PasskeyService/FinishPasskeyRegistration", &known, &finish).await;
    let begin = pb::BeginPasskeyLoginRequest {};
    let begun: pb::BeginPasskeyLoginResponse =
        auth.web("AuthService/BeginPasskeyLogin", "", &begin).await;
    let challenge = begun.challenge.unwrap();
    let complete = pb::CompleteLoginRequest {
        challenge_token: challenge.challenge_token,
        proof: Some(Proof::Passkey(device.get(&challenge.passkey.unwrap()))),
    };
    let opened: pb::CompleteLoginResponse =
        auth.web("AuthService/CompleteLogin", "", &complete).await;

    assert_eq!(finished.passkey.unwrap().name, "My phone");
    assert_eq!(opened.user.unwrap().id, user.id);
}

#[tokio::test]
async fn a_passkey_is_registered_and_logs_in_over_json() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let known = bearer(&user, &tokens).authorization;
    let mut device = Device::p256();

    let begun = auth.json("PasskeyService/BeginPasskeyRegistration", &known, &json!({})).await;
    let options = &begun["options"];
    let made = device.create(&pb::PasskeyCreationOptions {
        user: Some(pb::PasskeyUser { id: bytes(&options["user"]["id"]), ..Default::default() }),
        challenge: bytes(&options["challenge"]),
        ..pb::PasskeyCreationOptions::default()
    });
    let finish = json!({"name": "My phone", "attestation": {
        "credentialId": BASE64.encode(made.credential_id),
        "clientDataJson": BASE64.encode(made.client_data_json),
        "attestationObject": BASE64.encode(made.attestation_object),
        "transports": made.transports,
    }});
    let finished = auth.json("PasskeyService/FinishPasskeyRegistration", &known, &finish).await;
    let begun = auth.json("AuthService/BeginPasskeyLogin", "", &json!({})).await;
    let passkey = &begun["challenge"]["passkey"];
    let signed = device.get(&pb::PasskeyRequestOptions {
        challenge: bytes(&passkey["challenge"]),
        ..pb::PasskeyRequestOptions::default()
    });
    let complete = json!({"challengeToken": begun["challenge"]["challengeToken"], "passkey": {
        "credentialId": BASE64.encode(signed.credential_id),
        "clientDataJson": BASE64.encode(signed.client_data_json),
        "authenticatorData": BASE64.encode(signed.authenticator_data),
        "signature": BASE64.encode(signed.signature),
        "userHandle": BASE64.encode(signed.user_handle),
    }});
    let opened = auth.json("AuthService/CompleteLogin", "", &complete).await;

    assert_eq!((&options["rp"]["id"], &options["timeout"]), (&json!("localhost"), &json!("300s")));
    assert_eq!(options["algorithms"], json!([-7, -8, -257]));
    let selection = &options["authenticatorSelection"];
    assert_eq!(selection["residentKey"], "PASSKEY_RESIDENT_KEY_PREFERRED");
    assert_eq!(passkey["userVerification"], "PASSKEY_USER_VERIFICATION_REQUIRED");
    assert_eq!(finished["passkey"]["name"], "My phone");
    assert_eq!(opened["user"]["id"], json!(user.id));
}
