//! Devices that logged in before, which a stranger's failures do not make wait.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Error, Result, credentials::MasterKey};
use uuid::Uuid;

use crate::users::store::Login;

/// How long a device is known after a login.
const KNOWN_FOR: TimeDelta = TimeDelta::days(90);
/// No token of ours is longer, in bytes.
const TOKEN_MAX: usize = 256;
/// A UUID, a number of seconds and a version.
const BODY_LEN: usize = 32;
/// In the place of a version: no second factor was proved on the device.
const NONE_PROVED: i64 = -1;

/// Makes and reads device tokens: a random id, an expiry and what was proved, under an
/// HMAC-SHA256 that is bound to the account, so that nothing needs to be stored.
pub(crate) struct Devices(hmac::Key);

/// An account as its devices know it.
#[derive(Clone, Copy)]
pub(crate) struct Home {
    pub(crate) user_id: Uuid,
    /// Which password, rights and state it has: another makes strangers of its devices,
    /// or whoever collected tokens with an old password could guess the next on each.
    pub(crate) token_version: i64,
    /// Which second factors it has.
    pub(crate) factors_version: i64,
}

impl From<&Login> for Home {
    fn from(login: &Login) -> Self {
        let Login { user_id, token_version, factors_version, .. } = *login;
        Home { user_id, token_version, factors_version }
    }
}

/// A device that an account knows.
#[derive(Clone, Copy)]
pub(crate) struct Device {
    pub(crate) device_id: Uuid,
    /// Whether one of the present second factors was proved on it: who has only the
    /// password gets as many devices as they like.
    pub(crate) is_proved: bool,
}

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

    /// What `device` shows from now on to be known to the account.
    pub(crate) fn issue(&self, home: Home, device: Device, now: DateTime<Utc>) -> String {
        let expires_at = (now + KNOWN_FOR).timestamp().to_be_bytes();
        let proved = if device.is_proved { home.factors_version } else { NONE_PROVED };
        let body = [device.device_id.as_bytes().as_slice(), &expires_at, &proved.to_be_bytes()];
        let body = body.concat();
        let tag = hmac::sign(&self.0, &bound(home, &body));
        BASE64.encode([&body, tag.as_ref()].concat())
    }

    /// The device, if the account knows it.
    pub(crate) fn find(
        &self,
        home: Home,
        token: &DeviceToken,
        now: DateTime<Utc>,
    ) -> Option<Device> {
        let bytes = BASE64.decode(&token.0).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY_LEN)?;
        hmac::verify(&self.0, &bound(home, body), tag).ok()?;
        let (device_id, numbers) = body.split_at_checked(16)?;
        let (expires_at, proved) = numbers.split_at_checked(8)?;
        let expires_at = i64::from_be_bytes(expires_at.try_into().ok()?);
        let is_proved = i64::from_be_bytes(proved.try_into().ok()?) == home.factors_version;
        let device_id = Uuid::from_slice(device_id).ok()?;
        (now.timestamp() < expires_at).then_some(Device { device_id, is_proved })
    }
}

/// The parts have fixed lengths, so that no two of them make the same text.
fn bound(home: Home, body: &[u8]) -> Vec<u8> {
    [home.user_id.as_bytes().as_slice(), &home.token_version.to_be_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Devices {
        Devices::new(&"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".parse().unwrap())
    }

    fn home() -> Home {
        Home { user_id: Uuid::now_v7(), token_version: 1, factors_version: 0 }
    }

    #[test]
    fn a_device_is_known_to_its_account_for_90_days_and_to_no_other() {
        let (devices, home, now) = (devices(), home(), Utc::now());
        let device_id = Uuid::new_v4();
        let text = devices.issue(home, Device { device_id, is_proved: false }, now);
        let find = |home, text: &str, days| {
            let token = DeviceToken::parse("it", text.to_owned()).unwrap();
            devices.find(home, &token, now + TimeDelta::days(days)).map(|it| it.device_id)
        };

        assert_eq!(find(home, &text, 89), Some(device_id));
        assert_eq!(find(home, &text, 90), None);
        assert_eq!(find(Home { user_id: Uuid::now_v7(), ..home }, &text, 0), None);
        assert_eq!(find(Home { token_version: 2, ..home }, &text, 0), None);
        for broken in
            ["", "a", &text[1..], &text[..40], &text.replace(|it: char| it.is_ascii_digit(), "a")]
        {
            assert_eq!(find(home, broken, 0), None, "{broken}");
        }
        assert!(DeviceToken::parse("it", "a".repeat(257)).is_err());
    }

    #[test]
    fn a_device_that_proved_earlier_factors_or_none_has_not_proved_these() {
        let (devices, home, now) = (devices(), home(), Utc::now());
        let is_proved = |is_proved, later: Home| {
            let text = devices.issue(home, Device { device_id: Uuid::new_v4(), is_proved }, now);
            let token = DeviceToken::parse("it", text).unwrap();
            devices.find(later, &token, now).map(|it| it.is_proved)
        };

        assert_eq!(is_proved(true, home), Some(true));
        assert_eq!(is_proved(true, Home { factors_version: 1, ..home }), Some(false));
        assert_eq!(is_proved(false, home), Some(false));
    }
}
