//! The relying party: whom passkeys are made for, and where they may be used.

use aws_lc_rs::digest::{SHA256, digest};

use crate::config::PasskeyConfig;

/// Whom passkeys are made for.
#[derive(Clone, Debug)]
pub(crate) struct RelyingParty {
    id: String,
    id_hash: Vec<u8>,
    name: String,
    origins: Vec<Origin>,
}

/// Where a page or an app may be that uses a passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// This one, as browsers write it.
    Exact(String),
    /// A page on this machine, at any port.
    Local,
}

/// Pages on this machine, at any port.
const LOCAL: &str = "http://localhost:*";
/// What Android calls an app that is signed by the key with a hash.
const ANDROID: &str = "android:apk-key-hash:";

impl RelyingParty {
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn new(config: &PasskeyConfig) -> Result<Self, String> {
        let id = config.webauthn_rp_id.clone();
        let mut texts: Vec<_> =
            config.webauthn_origins.iter().filter(|it| !it.is_empty()).cloned().collect();
        if texts.is_empty() {
            texts.push(if id == "localhost" { LOCAL.to_owned() } else { format!("https://{id}") });
        }
        let origins = texts.iter().map(|it| Origin::parse(it, &id)).collect::<Result<_, _>>()?;
        let id_hash = digest(&SHA256, id.as_bytes()).as_ref().to_vec();
        Ok(RelyingParty { id, id_hash, name: config.webauthn_rp_name.clone(), origins })
    }

    /// A domain.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What people are shown.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The SHA-256 of the id, which authenticators know it by.
    pub(super) fn id_hash(&self) -> &[u8] {
        &self.id_hash
    }

    /// Whether a passkey may be used at `origin`.
    pub(super) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|it| match it {
            Origin::Exact(allowed) => origin == allowed,
            Origin::Local => match origin.strip_prefix("http://localhost") {
                Some("") => true,
                Some(rest) => rest.strip_prefix(':').is_some_and(is_port),
                None => false,
            },
        })
    }
}

impl Origin {
    /// Browsers let a page use the passkeys of its own domain and those above it, so
    /// another origin than these could never work.
    fn parse(text: &str, rp_id: &str) -> Result<Self, String> {
        let problem = |what: &str| Err(format!("WEBAUTHN_ORIGINS: {text} {what}"));
        if let Some(hash) = text.strip_prefix(ANDROID) {
            let allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
            return match hash.len() == 43 && hash.bytes().all(allowed) {
                true => Ok(Origin::Exact(text.to_owned())),
                false => problem("must end with the SHA-256 of a certificate in base64url"),
            };
        }
        if text == LOCAL && rp_id == "localhost" {
            return Ok(Origin::Local);
        }
        let Some((scheme @ ("https" | "http"), authority)) = text.split_once("://") else {
            return problem("must begin with https://, or with http://localhost");
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if scheme == "http" && host != "localhost" {
            return problem("must begin with https://, or with http://localhost");
        }
        if port.is_some_and(|it| !is_port(it)) {
            return problem("must have nothing after the domain but a port");
        }
        // As browsers write it, or it would never be equal.
        if port == Some(if scheme == "https" { "443" } else { "80" }) {
            return problem("must leave out the port that the scheme has anyway");
        }
        let below = host.strip_suffix(rp_id).is_some_and(|it| it.ends_with('.'));
        match is_domain(host) && (host == rp_id || below) {
            true => Ok(Origin::Exact(text.to_owned())),
            false => problem("must have the domain of WEBAUTHN_RP_ID or one below it"),
        }
    }
}

/// Whether it is a domain as browsers write it, in lower case and in ASCII, and no
/// address.
pub(crate) fn is_domain(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let label = |it: &str| (1..=63).contains(&it.len()) && it.bytes().all(allowed);
    let is_address = text.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    text.len() <= 253 && text.split('.').all(label) && !is_address
}

fn is_port(text: &str) -> bool {
    let is_canonical = !text.starts_with('0') && text.bytes().all(|it| it.is_ascii_digit());
    is_canonical && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relying_party(id: &str, origins: &[&str]) -> Result<RelyingParty, String> {
        RelyingParty::new(&PasskeyConfig {
            webauthn_rp_id: id.to_owned(),
            webauthn_rp_name: "ihuman".to_owned(),
            webauthn_origins: origins.iter().map(|it| (*it).to_owned()).collect(),
        })
    }

    #[test]
    fn a_passkey_works_at_the_configured_origins_and_nowhere_else() {
        let android = format!("{ANDROID}{}", "a".repeat(43));
        let configured = ["https://example.com", "https://login.example.com:8443", &android];
        let relying_party = relying_party("example.com", &configured).unwrap();

        for allowed in configured {
            assert!(relying_party.allows(allowed), "{allowed}");
        }
        for refused in [
            "",
            "null",
            "http://example.com",
            "https://example.com:8443",
            "https://example.com/",
            "https://login.example.com",
            "https://evil.com",
            "https://example.com.evil.com",
            "https://notexample.com",
            "HTTPS://EXAMPLE.COM",
            "android:apk-key-hash:",
            "http://localhost",
        ] {
            assert!(!relying_party.allows(refused), "{refused}");
        }
    }

    #[test]
    fn without_origins_it_is_the_domain_itself_or_any_port_of_this_machine() {
        let there = relying_party("example.com", &[""]).unwrap();
        let here = relying_party("localhost", &[]).unwrap();

        assert!(there.allows("https://example.com") && !there.allows("http://localhost"));
        assert!(here.allows("http://localhost") && here.allows("http://localhost:5173"));
        for refused in [
            "https://localhost",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:99999",
            "http://localhost:5173/",
            "http://localhost.evil.com",
            "http://127.0.0.1:5173",
        ] {
            assert!(!here.allows(refused), "{refused}");
        }
    }

    #[test]
    fn an_origin_that_could_never_work_is_refused_at_the_start() {
        for origin in [
            "example.com",
            "http://example.com",
            "https://example.com/",
            "https://example.com/login",
            "https://example.com:443",
            "https://example.com:port",
            "https://EXAMPLE.com",
            "https://evil.com",
            "https://notexample.com",
            "https://.example.com",
            "https://a@example.com",
            "android:apk-key-hash:short",
            LOCAL,
            "*",
        ] {
            assert!(relying_party("example.com", &[origin]).is_err(), "{origin}");
        }
        assert!(relying_party("localhost", &["http://localhost:80"]).is_err());
        assert!(relying_party("localhost", &["https://localhost", LOCAL]).is_ok());
    }
}
