//! Devices that logged in before, which a stranger's failures do not make wait.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Error, Result, credentials::MasterKey};
use uuid::Uuid;

/// How long a device is known after a login.
const KNOWN_FOR: TimeDelta = TimeDelta::days(90);
/// No token of ours is longer, in bytes.
const TOKEN_MAX: usize = 256;
/// A UUID and a number of seconds.
const BODY_LEN: usize = 24;

/// Makes and reads device tokens: a random id and an expiry under an HMAC-SHA256 that
/// is bound to the account, so that nothing needs to be stored.
pub(crate) struct Devices(hmac::Key);

/// What a client says its device is: good or not.
#[derive(Clone)]
pub(crate) struct DeviceToken(String);

impl DeviceToken {
    /// # Errors
    /// `InvalidFields`, when it is longer than any can be.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        match text.len() <= TOKEN_MAX {
            true => Ok(DeviceToken(text)),
            false => Err(Error::invalid(field, format!("must have at most {TOKEN_MAX} bytes"))),
        }
    }
}

impl Devices {
    pub(crate) fn new(master_key: &MasterKey) -> Self {
        Devices(hmac::Key::new(HMAC_SHA256, &master_key.derive("device token")))
    }

    /// What `device_id` shows from now on to be known to the account.
    pub(crate) fn issue(&self, user_id: Uuid, device_id: Uuid, now: DateTime<Utc>) -> String {
        let expires_at = (now + KNOWN_FOR).timestamp().to_be_bytes();
        let body = [device_id.as_bytes().as_slice(), &expires_at].concat();
        let tag = hmac::sign(&self.0, &bound(user_id, &body));
        BASE64.encode([&body, tag.as_ref()].concat())
    }

    /// The device, if the account knows it.
    pub(crate) fn find(
        &self,
        user_id: Uuid,
        token: &DeviceToken,
        now: DateTime<Utc>,
    ) -> Option<Uuid> {
        let bytes = BASE64.decode(&token.0).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY_LEN)?;
        hmac::verify(&self.0, &bound(user_id, body), tag).ok()?;
        let (device_id, expires_at) = body.split_at_checked(16)?;
        let expires_at = i64::from_be_bytes(expires_at.try_into().ok()?);
        (now.timestamp() < expires_at).then(|| Uuid::from_slice(device_id).ok())?
    }
}

/// The parts have fixed lengths, so that no two pairs make the same text.
fn bound(user_id: Uuid, body: &[u8]) -> Vec<u8> {
    [user_id.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_to_its_account_for_90_days_and_to_no_other() {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap();
        let (devices, now) = (Devices::new(&key), Utc::now());
        let (user_id, device_id) = (Uuid::now_v7(), Uuid::new_v4());
        let text = devices.issue(user_id, device_id, now);
        let find = |user_id, text: &str, days| {
            let token = DeviceToken::parse("it", text.to_owned()).unwrap();
            devices.find(user_id, &token, now + TimeDelta::days(days))
        };

        assert_eq!(find(user_id, &text, 89), Some(device_id));
        assert_eq!(find(user_id, &text, 90), None);
        assert_eq!(find(Uuid::now_v7(), &text, 0), None);
        for broken in
            ["", "a", &text[1..], &text[..40], &text.replace(|it: char| it.is_ascii_digit(), "a")]
        {
            assert_eq!(find(user_id, broken, 0), None, "{broken}");
        }
        assert!(DeviceToken::parse("it", "a".repeat(257)).is_err());
    }
}
