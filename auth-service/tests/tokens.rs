//! Access tokens that must not be accepted.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    credentials::Claims,
    testing::{Caller, Credentials, reason},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Auth;

/// A service, a person, and a key whose public half is published.
struct Forge {
    auth: Auth,
    caller: Caller,
    kid: String,
    public_key: Vec<u8>,
    key: EncodingKey,
}

impl Forge {
    async fn start() -> Self {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{Ed25519KeyPair, KeyPair as _},
        };
        let auth = Auth::start().await;
        let caller = auth.credentials.person(Role::Viewer).await;
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let (kid, public_key) = (Uuid::now_v7().to_string(), pair.public_key().as_ref().to_vec());
        sqlx::query("insert into auth.signing_keys (kid, public_key, private_key_sealed) values ($1, $2, '')")
            .bind(&kid)
            .bind(&public_key)
            .execute(&auth.database.superuser)
            .await
            .unwrap();
        let key = EncodingKey::from_ed_der(pkcs8.as_ref());
        Forge { auth, caller, kid, public_key, key }
    }

    fn claims(&self) -> Claims {
        let now = self.auth.service.clock.now();
        Credentials::claims(self.caller.user_id, self.caller.session_id.unwrap(), Role::Viewer, now)
    }

    fn header(&self) -> Header {
        let (typ, kid) = (Some("at+jwt".to_owned()), Some(self.kid.clone()));
        Header { typ, kid, ..Header::new(Algorithm::EdDSA) }
    }

    fn sign(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }

    /// The token whose claims are changed by `changes`; null takes a claim away.
    fn with(&self, changes: Value) -> String {
        let mut claims = serde_json::to_value(self.claims()).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        self.sign(&self.header(), &claims)
    }

    /// The token with a header that no library would write.
    fn raw(&self, header: Value, signature: &[u8]) -> String {
        let claims = serde_json::to_vec(&self.claims()).unwrap();
        let header = BASE64.encode(header.to_string());
        format!("{header}.{}.{}", BASE64.encode(claims), BASE64.encode(signature))
    }

    async fn answer(&self, token: &str) -> Result<pb::GetCurrentUserResponse, Reason> {
        let caller = Caller { authorization: format!("Bearer {token}"), ..self.caller.clone() };
        self.auth.accepts(&caller).await.map_err(|status| reason(&status))
    }
}

#[tokio::test]
async fn a_token_of_ours_is_accepted() {
    let forge = Forge::start().await;

    let answer = forge.answer(&forge.with(json!({}))).await;

    assert_eq!(answer.unwrap().session_id, forge.caller.session_id.unwrap().to_string());
}

#[tokio::test]
async fn a_token_with_other_claims_is_refused() {
    let forge = Forge::start().await;
    let now = forge.auth.service.clock.now().timestamp();
    let cases = [
        json!({"iss": 42}),
        json!({"iss": null}),
        json!({"iss": "somebody"}),
        json!({"aud": null}),
        json!({"aud": 42}),
        json!({"aud": "somebody"}),
        json!({"sub": null}),
        json!({"sub": "not a uuid"}),
        json!({"sid": null}),
        json!({"exp": null}),
        json!({"exp": "tomorrow"}),
        json!({"iat": now + 60}),
        json!({"iat": null}),
        json!({"nbf": now + 3600}),
        json!({"role": "emperor"}),
        json!({"ver": null}),
    ];

    for changes in cases {
        let answer = forge.answer(&forge.with(changes.clone())).await;
        assert_eq!(answer.unwrap_err(), Reason::CredentialsInvalid, "{changes}");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_as_expired() {
    let forge = Forge::start().await;
    let token = forge.with(json!({}));
    forge.answer(&token).await.unwrap();

    forge.auth.service.clock.advance(TimeDelta::hours(1));

    assert_eq!(forge.answer(&token).await.unwrap_err(), Reason::CredentialsExpired);
}

#[tokio::test]
async fn a_token_with_another_header_is_refused() {
    let forge = Forge::start().await;
    let claims = serde_json::to_value(forge.claims()).unwrap();
    let good = forge.header();
    let stranger = EncodingKey::from_secret(&forge.public_key);
    let unknown = Header { kid: Some(Uuid::now_v7().to_string()), ..good.clone() };
    let hs256 = Header { alg: Algorithm::HS256, ..good.clone() };
    let cases = [
        ("wrong typ", forge.sign(&Header { typ: Some("JWT".to_owned()), ..good.clone() }, &claims)),
        ("no typ", forge.sign(&Header { typ: None, ..good.clone() }, &claims)),
        ("unknown kid", forge.sign(&unknown, &claims)),
        ("no kid", forge.sign(&Header { kid: None, ..good.clone() }, &claims)),
        ("public key as secret", jsonwebtoken::encode(&hs256, &claims, &stranger).unwrap()),
        ("alg none", forge.raw(json!({"alg": "none", "typ": "at+jwt", "kid": forge.kid}), b"")),
        ("alg None", forge.raw(json!({"alg": "None", "typ": "at+jwt", "kid": forge.kid}), b"")),
        (
            "no signature",
            forge.raw(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": forge.kid}), b""),
        ),
        (
            "zero signature",
            forge.raw(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": forge.kid}), &[0; 64]),
        ),
    ];

    for (what, token) in cases {
        assert_eq!(forge.answer(&token).await.unwrap_err(), Reason::CredentialsInvalid, "{what}");
    }
}

#[tokio::test]
async fn a_tampered_token_is_refused() {
    let forge = Forge::start().await;
    let token = forge.with(json!({}));
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("a JWT") };
    let admin = Claims {
        role: "admin".to_owned(),
        permissions: vec!["admin:full".to_owned()],
        ..forge.claims()
    };
    let promoted = BASE64.encode(serde_json::to_vec(&admin).unwrap());

    for tampered in [
        format!("{header}.{promoted}.{signature}"),
        format!("{token}A"),
        token[..token.len() - 4].to_owned(),
        format!("{token}.{signature}"),
        token.replace('.', ""),
        "..".to_owned(),
        "a".repeat(9000),
    ] {
        assert_eq!(forge.answer(&tampered).await.unwrap_err(), Reason::CredentialsInvalid);
    }
}
