//! What an authenticator is given: the secret, as text, as a URI and as a QR code.

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, credentials::Secret};
use qrcode::{EcLevel, QrCode, render::svg};

use super::totp::TotpSecret;

/// The least width and height of the QR code, in pixels.
const QR_CODE_MIN: u32 = 240;
/// How much of an account's address an authenticator shows, in characters: with an issuer
/// as long, each of four bytes, it still fits into a QR code.
const ACCOUNT_MAX: usize = 64;

/// What is shown once.
pub(crate) struct Enrollment {
    pub(crate) secret: Secret,
    pub(crate) uri: Secret,
    pub(crate) qr_code_svg: Secret,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Enrollment {
    /// # Errors
    /// `Internal`, when there is too much to say in a QR code, which the limit of
    /// `issuer` rules out.
    pub(super) fn new(
        issuer: &str,
        account: &str,
        secret: &TotpSecret,
        expires_at: DateTime<Utc>,
    ) -> Result<Self> {
        let uri = uri(issuer, account, secret);
        let qr_code =
            QrCode::with_error_correction_level(&uri, EcLevel::L).map_err(Error::internal)?;
        let qr_code_svg =
            qr_code.render::<svg::Color<'_>>().min_dimensions(QR_CODE_MIN, QR_CODE_MIN).build();
        Ok(Enrollment {
            secret: secret.base32().into(),
            uri: uri.into(),
            qr_code_svg: qr_code_svg.into(),
            expires_at,
        })
    }
}

/// As Google's Key Uri Format has it, which authenticators follow. What it says of the
/// algorithm is what they would assume.
fn uri(issuer: &str, account: &str, secret: &TotpSecret) -> String {
    let account: String = account.chars().take(ACCOUNT_MAX).collect();
    let (issuer, account, secret) = (encode(issuer), encode(&account), secret.base32());
    format!(
        "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}\
         &algorithm=SHA1&digits=6&period=30"
    )
}

/// RFC 3986 section 2.3: everything but unreserved characters in percent-encoding.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_names_issuer_and_account_whatever_they_are() {
        let secret = TotpSecret::read(b"12345678901234567890").unwrap();

        let made = Enrollment::new("Ops & Söhne", "a+b:c@x.org", &secret, Utc::now()).unwrap();

        assert_eq!(
            made.uri.reveal(),
            "otpauth://totp/Ops%20%26%20S%C3%B6hne:a%2Bb%3Ac%40x.org\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Ops%20%26%20S%C3%B6hne\
             &algorithm=SHA1&digits=6&period=30"
        );
        assert!(made.qr_code_svg.reveal().contains("<svg"));
    }

    #[test]
    fn the_longest_address_fits_into_a_qr_code() {
        let secret = TotpSecret::generate().unwrap();

        let made = Enrollment::new(&"😀".repeat(64), &"😀".repeat(254), &secret, Utc::now());

        assert!(made.is_ok_and(|it| it.qr_code_svg.reveal().len() < 512 << 10));
    }
}
