//! A program that computes codes (RFC 6238), and accounts that log in with one.

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::BASE32_NOPAD;
use ihuman_proto::auth::v1::{
    self as pb, complete_login_request::Proof, mfa_service_client::MfaServiceClient,
    reauthenticate_request::SecondFactor,
};
use ihuman_shared::testing::Caller;
use tonic::Status;

use crate::support::{Auth, Known, PASSWORD, bearer, login};

/// What has the secret of an account.
pub(crate) struct Authenticator {
    secret: Vec<u8>,
}

/// An account with a second factor, and the session that turned it on.
pub(crate) struct MfaPerson {
    pub(crate) user: pb::User,
    pub(crate) tokens: pb::Tokens,
    pub(crate) caller: Caller,
    pub(crate) authenticator: Authenticator,
    pub(crate) recovery_codes: Vec<String>,
}

impl Authenticator {
    pub(crate) fn new(secret: &str) -> Self {
        Authenticator { secret: BASE32_NOPAD.decode(secret.as_bytes()).unwrap() }
    }

    /// What it shows at `time`.
    pub(crate) fn code(&self, time: DateTime<Utc>) -> String {
        let step = (time.timestamp() / 30).to_be_bytes();
        let tag = sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret), &step);
        let at = usize::from(tag.as_ref()[19] % 16);
        let number = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap());
        format!("{:06}", number % (1 << 31) % 1_000_000)
    }
}

pub(crate) fn totp_code(code: &str) -> Proof {
    Proof::TotpCode(code.to_owned())
}

pub(crate) fn recovery_code(code: &str) -> Proof {
    Proof::RecoveryCode(code.to_owned())
}

impl Auth {
    pub(crate) fn mfa(&self, caller: &Caller) -> MfaServiceClient<Known> {
        MfaServiceClient::with_interceptor(self.service.channel.clone(), caller.clone())
    }

    /// What `authenticator` shows now.
    pub(crate) fn code(&self, authenticator: &Authenticator) -> String {
        authenticator.code(self.service.clock.now())
    }

    /// Lets the clock go on to the beginning of a step, which is 30 seconds long: what is
    /// shown then was not used, and stays for a while.
    pub(crate) fn wait_for_the_next_code(&self) {
        let now = self.service.clock.now().timestamp_millis();
        self.service.clock.advance(TimeDelta::milliseconds(30_000 - now % 30_000));
    }

    /// An authenticator that proves nothing yet.
    pub(crate) async fn enroll(&self, caller: &Caller) -> Authenticator {
        let response = self.mfa(caller).enroll_totp(pb::EnrollTotpRequest {}).await.unwrap();
        Authenticator::new(&response.into_inner().secret)
    }

    /// Shows what `authenticator` says now; returns the recovery codes.
    pub(crate) async fn confirm(
        &self,
        caller: &Caller,
        authenticator: &Authenticator,
    ) -> Result<Vec<String>, Status> {
        let request = pb::ConfirmTotpRequest { code: self.code(authenticator) };
        Ok(self.mfa(caller).confirm_totp(request).await?.into_inner().recovery_codes)
    }

    /// An account with an authenticator, whose next code was not used.
    pub(crate) async fn person_with_mfa(&self, email: &str) -> MfaPerson {
        let (user, tokens) = self.person(email).await;
        let caller = bearer(&user, &tokens);
        let authenticator = self.enroll(&caller).await;
        let recovery_codes = self.confirm(&caller, &authenticator).await.unwrap();
        self.wait_for_the_next_code();
        MfaPerson { user, tokens, caller, authenticator, recovery_codes }
    }

    /// What a login with [`PASSWORD`] asks for.
    pub(crate) async fn challenge(&self, email: &str) -> pb::LoginChallenge {
        self.challenge_on(email, "").await
    }

    /// The same on a known device.
    pub(crate) async fn challenge_on(&self, email: &str, device_token: &str) -> pb::LoginChallenge {
        let response = self.auth().login(login(email, PASSWORD, device_token)).await.unwrap();
        let response = response.into_inner();
        let challenge = response.challenge.clone().unwrap();
        let nothing_else = pb::LoginResponse {
            challenge: response.challenge.clone(),
            ..pb::LoginResponse::default()
        };
        assert_eq!(response, nothing_else);
        challenge
    }

    pub(crate) async fn complete(
        &self,
        challenge: &pb::LoginChallenge,
        proof: Proof,
    ) -> Result<pb::CompleteLoginResponse, Status> {
        let request = pb::CompleteLoginRequest {
            challenge_token: challenge.challenge_token.clone(),
            proof: Some(proof),
        };
        Ok(self.auth().complete_login(request).await?.into_inner())
    }

    /// Logs in with [`PASSWORD`] and what `authenticator` shows now.
    pub(crate) async fn login_with_code(
        &self,
        email: &str,
        authenticator: &Authenticator,
    ) -> Result<pb::CompleteLoginResponse, Status> {
        let challenge = self.challenge(email).await;
        self.complete(&challenge, totp_code(&self.code(authenticator))).await
    }

    /// The caller, with the access token that a proof of `password` and `second_factor` gets.
    pub(crate) async fn reauthenticate(
        &self,
        caller: &Caller,
        password: &str,
        second_factor: Option<SecondFactor>,
    ) -> Result<Caller, Status> {
        let request = pb::ReauthenticateRequest { password: password.to_owned(), second_factor };
        let response = self.auth_as(caller).reauthenticate(request).await?.into_inner();
        let authorization = format!("Bearer {}", response.access_token);
        Ok(Caller { authorization, ..caller.clone() })
    }
}
