//! What must hold of any bytes that are presented as a credential.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chrono::DateTime;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use uuid::Uuid;

use super::{
    ApiKey, ApiKeyHasher, Claims, MasterKey, Presented, SharedSecret, Signer, access_token,
};
use crate::{access::Role, testing::Credentials};

/// Keys with the right checksum.
const API_KEYS: [&str; 2] = [
    "ihk_0190a5d2c0de7000800000000000000a_kkkkkkkkkkQ7zQ7zQ7zQ7zQ7zQ7zQ7zQ7zQ7zQ7zQ7z1dJgpH",
    "team7_ffffffffffffffffffffffffffffffff_000000000000000000000000000000000000000000005UNZy",
];
const SECRET: &str = "a shared secret of more than 32 bytes";
const KID: &str = "0190a5d2-c0de-7000-8000-00000000000a";

/// What one deployment accepts.
struct Deployment {
    kid: Option<String>,
    key: DecodingKey,
    validation: Validation,
    good: Vec<String>,
}

struct Tokens {
    deployments: [Deployment; 2],
    /// Signed with a right key, and not to be accepted all the same.
    bad: Vec<String>,
}

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let seed = [7; 32];
    // RFC 8410 section 7: what comes before the private key.
    let pkcs8 = [&b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &seed];
    let pkcs8 = pkcs8.concat();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed");
    let public_key = pair.public_key().as_ref();
    let secret: SharedSecret = SECRET.parse().expect("it is long enough");
    let signers = [Signer::ed25519(KID.to_owned(), &pkcs8), Signer::shared_secret(&secret)];
    let good = signers.map(|signer| {
        let roles = Role::ALL.iter();
        roles.map(|role| signer.sign(&claims(*role)).expect("claims can be signed")).collect()
    });
    let [rotating, shared] = good;
    let validation = |algorithm| access_token::validation(algorithm, "ihuman", "ihuman");
    let deployments = [
        Deployment {
            kid: Some(KID.to_owned()),
            key: DecodingKey::from_ed_der(public_key),
            validation: validation(Algorithm::EdDSA),
            good: rotating,
        },
        Deployment {
            kid: None,
            key: DecodingKey::from_secret(SECRET.as_bytes()),
            validation: validation(Algorithm::HS256),
            good: shared,
        },
    ];
    Tokens { deployments, bad: bad(&pkcs8, public_key) }
});

fn claims(role: Role) -> Claims {
    let (user_id, session_id) = (Uuid::from_u128(1), Uuid::from_u128(2));
    Credentials::claims(user_id, session_id, role, DateTime::from_timestamp_nanos(0))
}

/// Of another kind, for somebody else, and under the public key as if it were secret
/// (RFC 8725 section 2.1).
fn bad(pkcs8: &[u8], public_key: &[u8]) -> Vec<String> {
    let good = claims(Role::Admin);
    let key = EncodingKey::from_ed_der(pkcs8);
    let header = |typ: &str| Header {
        typ: Some(typ.to_owned()),
        kid: Some(KID.to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let confused = Header {
        kid: Some(KID.to_owned()),
        typ: Some("at+jwt".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let elsewhere = Claims { aud: "elsewhere".to_owned(), ..good.clone() };
    let another = Claims { iss: "another".to_owned(), ..good.clone() };
    let public_key = EncodingKey::from_secret(public_key);
    [
        jsonwebtoken::encode(&header("JWT"), &good, &key),
        jsonwebtoken::encode(&header("at+jwt"), &elsewhere, &key),
        jsonwebtoken::encode(&header("at+jwt"), &another, &key),
        jsonwebtoken::encode(&confused, &good, &public_key),
    ]
    .map(|it| it.expect("claims can be signed"))
    .to_vec()
}

/// Tokens of both kinds, and some that must be refused.
pub fn access_tokens() -> Vec<Vec<u8>> {
    let good = TOKENS.deployments.iter().flat_map(|it| &it.good);
    good.chain(&TOKENS.bad).map(|it| it.as_bytes().to_vec()).collect()
}

/// No token is accepted but one that was signed, by the deployment that signed it.
pub fn access_token(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for Deployment { kid, key, validation, good } in &TOKENS.deployments {
        let named = access_token::kid(text).is_ok_and(|it| it == *kid);
        let is_accepted = named && access_token::decode(text, key, validation).is_ok();
        assert_eq!(is_accepted, good.iter().any(|it| it == text), "{text}");
    }
}

/// Keys in text form.
pub fn api_keys() -> Vec<Vec<u8>> {
    API_KEYS.map(|it| it.as_bytes().to_vec()).to_vec()
}

/// What is read of a key is the whole of it, and no other secret passes for its own.
pub fn api_key(input: &[u8]) {
    static HASHER: LazyLock<ApiKeyHasher> = LazyLock::new(|| {
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse::<MasterKey>();
        ApiKeyHasher::new(&key.expect("32 bytes in base64"))
    });
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(key) = ApiKey::parse(text) else {
        return assert!(!API_KEYS.contains(&text), "a good key is refused");
    };
    assert_eq!(key.text(), text);
    let secret = |it: &str| it.rsplit('_').next().map(|it| it[..43].to_owned());
    for good in API_KEYS {
        let stored = ApiKey::parse(good).map(|it| HASHER.hash(&it));
        assert_eq!(stored == Some(HASHER.hash(&key)), secret(text) == secret(good));
    }
}

/// Values of `authorization`, and after a line end one of `x-api-key`.
pub fn headers() -> Vec<Vec<u8>> {
    let texts = ["Bearer a.b.c", "ApiKey ihk_1_2", "bearer  x", "Basic dTpw", "\nihk_1_2", "a\nb"];
    texts.map(|it| it.as_bytes().to_vec()).to_vec()
}

/// A credential is what follows its scheme, unchanged; `authorization` comes first.
pub fn header(input: &[u8]) {
    let (authorization, api_key) = match input.iter().position(|it| *it == b'\n') {
        Some(at) => (&input[..at], Some(&input[at + 1..])),
        None => (input, None),
    };
    let mut map = HeaderMap::new();
    let value = |it: &[u8]| HeaderValue::from_bytes(it).ok();
    if let Some(value) = value(authorization).filter(|_| !authorization.is_empty()) {
        map.insert(AUTHORIZATION, value);
    }
    if let Some(value) = api_key.and_then(value) {
        map.insert("x-api-key", value);
    }
    let present = (map.contains_key(AUTHORIZATION), map.contains_key("x-api-key"));
    let after = |scheme: &str, credential: &str| {
        let text = std::str::from_utf8(authorization).unwrap_or_default();
        text.strip_suffix(credential).is_some_and(|it| {
            it.strip_suffix(' ').is_some_and(|it| it.eq_ignore_ascii_case(scheme))
        })
    };
    match (Presented::in_headers(&map), present) {
        (Ok(Presented::AccessToken(it)), (true, _)) => assert!(after("bearer", it)),
        (Ok(Presented::ApiKey(it)), (true, _)) => assert!(after("apikey", it)),
        (Ok(Presented::ApiKey(it)), (false, true)) => {
            assert_eq!(Some(it.as_bytes()), api_key);
        }
        (Ok(_), _) => panic!("a credential from nowhere"),
        (Err(_), _) => {}
    }
}
