//! The public keys, and who makes the private ones.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::future::join_all;
use ihuman_proto::auth::v1 as pb;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Auth, EMAIL, bearer};

const SECRET: &str = "a shared secret of more than 32 bytes";

impl Auth {
    pub(crate) async fn key_set(&self) -> Vec<pb::JsonWebKey> {
        let mut client = self.signing_keys();
        let response = client.get_json_web_key_set(pb::GetJsonWebKeySetRequest {}).await;
        response.unwrap().into_inner().keys
    }

    /// The head and the body of the plain answer.
    async fn jwks(&self) -> (String, Value) {
        let address = self.service.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /.well-known/jwks.json HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), serde_json::from_str(body).unwrap())
    }
}

#[tokio::test]
async fn the_same_keys_are_published_over_rpc_and_http() {
    let auth = Auth::start().await;

    let keys = auth.key_set().await;
    let (head, body) = auth.jwks().await;

    let members = body["keys"].as_array().unwrap();
    assert_eq!((keys.len(), members.len()), (2, 2));
    for (key, member) in keys.iter().zip(members) {
        assert_eq!((&key.kid, &key.x), (&text(member, "kid"), &text(member, "x")));
        assert_eq!((key.kty.as_str(), key.crv.as_str()), ("OKP", "Ed25519"));
        assert_eq!((key.alg.as_str(), key.r#use.as_str()), ("EdDSA", "sig"));
        assert_eq!(BASE64.decode(&key.x).unwrap().len(), 32);
    }
    assert!(head.starts_with("http/1.1 200"));
    assert!(head.contains("cache-control: public, max-age=300"));
    assert!(head.contains("content-type: application/jwk-set+json"));
}

#[tokio::test]
async fn requests_that_are_the_first_with_a_key_are_let_in_at_the_same_time() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);

    let answers = join_all((0..8).map(|_| auth.accepts(&caller))).await;

    assert!(answers.iter().all(Result::is_ok));
}

fn text(member: &Value, name: &str) -> String {
    member[name].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_verifies_with_the_published_key_of_its_kid() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let header = jsonwebtoken::decode_header(&tokens.access_token).unwrap();
    let (_, body) = auth.jwks().await;
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(body).unwrap();

    let jwk = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["ihuman"]);
    let claims = jsonwebtoken::decode::<Value>(&tokens.access_token, &key, &validation).unwrap();

    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(claims.claims["sub"], user.id);
    assert_eq!(claims.claims["sid"], tokens.session_id);
    assert_eq!(claims.claims["role"], "viewer");
    assert_eq!(claims.claims["amr"][0], "pwd");
    assert_eq!(claims.claims["iss"], "ihuman");
}

#[tokio::test]
async fn one_key_is_made_at_the_first_start_and_used_by_every_replica() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let replica = auth.replica().await;

    let there = replica.login(EMAIL).await;

    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    assert_eq!(kid(&tokens.access_token), kid(&there.access_token));
    assert!(auth.accepts(&bearer(&user, &there)).await.is_ok());
    assert!(replica.accepts(&bearer(&user, &tokens)).await.is_ok());
    let record = auth.audited("signing_key.create").await;
    assert_eq!((record.actor_id, record.ip_address.clone()), (None, None));
    assert_eq!(Some(record.entity.1), kid(&tokens.access_token));
    let sealed: bool = auth
        .scalar("select bool_and(length(private_key_sealed) in (0, 12 + 83 + 16, 12 + 85 + 16, 12 + 48 + 16)) from auth.signing_keys")
        .await;
    assert!(sealed);
}

#[tokio::test]
async fn with_a_shared_secret_there_is_no_key_to_publish() {
    let auth = Auth::start_with(&["--jwt-secret", SECRET]).await;
    let (user, tokens) = auth.person(EMAIL).await;

    let header = jsonwebtoken::decode_header(&tokens.access_token).unwrap();
    let (_, body) = auth.jwks().await;

    assert_eq!(header.alg, jsonwebtoken::Algorithm::HS256);
    assert!(auth.accepts(&bearer(&user, &tokens)).await.is_ok());
    assert!(auth.refresh(&tokens.refresh_token, "").await.is_ok());
    assert!(auth.key_set().await.is_empty());
    assert_eq!(body["keys"].as_array().unwrap().len(), 0);
    assert!(auth.audit("signing_key.create").await.is_empty());
}
