//! A second factor is turned on, used, and asked for again.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use ihuman_proto::auth::v1::{
    CompleteLoginRequest, ConfirmTotpRequest, EnrollTotpRequest, GetMfaStateRequest, LoginRequest,
    ReauthenticateRequest, RegenerateRecoveryCodesRequest, complete_login_request::Proof,
    reauthenticate_request,
};
use tonic::Code;
use totp_rs::Totp;

use super::{
    super::{
        stage::Person,
        telling::{call, refuse, see},
    },
    Story,
};
use crate::client::{Clients, Credentials};

/// How long a code is shown, in seconds.
const STEP: u64 = 30;

/// What Ada keeps: the program on her telephone, and the codes in her drawer.
pub(super) struct Authenticator {
    totp: Totp,
    recovery_codes: RefCell<Vec<String>>,
}

/// A session with what its device is known by.
pub(super) struct Session {
    pub(super) clients: Clients,
    pub(super) device_token: String,
    pub(super) refresh_token: String,
}

impl Authenticator {
    /// The code that is shown so many steps from now.
    fn code(&self, steps_ahead: u64) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(self.totp.generate(now + steps_ahead * STEP).to_string())
    }

    /// One that was not used before.
    pub(super) fn recovery_code(&self) -> Result<Proof> {
        let code = self.recovery_codes.borrow_mut().pop();
        code.map(Proof::RecoveryCode).context("no recovery codes are left")
    }
}

impl Story {
    pub(super) async fn turn_on(&mut self, ada: &Person) -> Result<Authenticator> {
        self.stage.say("She turns on an authenticator");
        let ada = self.stage.login(ada).await?;
        let response = call("EnrollTotp", ada.mfa().enroll_totp(EnrollTotpRequest {}).await)?;
        ensure!(response.qr_code_svg.contains("<svg"), "expected a QR code");
        see(&format!("a secret of {} characters, and a QR code", response.secret.len()));
        let totp = Totp::from_url(&response.otpauth_uri).context("the otpauth URI")?;
        let authenticator = Authenticator { totp, recovery_codes: RefCell::default() };

        let request = ConfirmTotpRequest { code: authenticator.code(0)? };
        let response = call("ConfirmTotp", ada.mfa().confirm_totp(request).await)?;
        let codes = response.recovery_codes;
        ensure!(codes.len() == 10, "expected ten recovery codes, got {}", codes.len());
        see(&format!("confirmed; {} recovery codes, such as {}", codes.len(), codes[0]));
        authenticator.recovery_codes.replace(codes);
        Ok(authenticator)
    }

    pub(super) async fn log_in_with_code(
        &mut self,
        ada: &Person,
        authenticator: &Authenticator,
    ) -> Result<Session> {
        self.stage.say("The password alone gets a challenge now, and a code completes the login");
        // The code of this step was used up to confirm; that of the next is early, but
        // within what clocks may differ by.
        let proof = Proof::TotpCode(authenticator.code(1)?);
        self.complete(&ada.email, &ada.password, proof).await
    }

    pub(super) async fn refuse_code_again(
        &mut self,
        ada: &Person,
        authenticator: &Authenticator,
    ) -> Result<()> {
        self.stage.say("Somebody who saw password and code can't use them again");
        let challenge_token = self.challenge(&ada.email, &ada.password).await?;
        let proof = Some(Proof::TotpCode(authenticator.code(1)?));
        let request = CompleteLoginRequest { challenge_token, proof };
        let refused = self.stage.clients.auth().complete_login(request).await.map(|_| "tokens");
        refuse("CompleteLogin", refused, Code::Unauthenticated, "SECOND_FACTOR_FAILED")
    }

    pub(super) async fn log_in_with_recovery_code(
        &mut self,
        ada: &Person,
        authenticator: &Authenticator,
    ) -> Result<Session> {
        self.stage.say("Without the telephone she logs in elsewhere with a recovery code");
        let code = authenticator.recovery_code()?;
        let session = self.complete(&ada.email, &ada.password, code).await?;
        let response = session.clients.mfa().get_mfa_state(GetMfaStateRequest {}).await;
        let left = call("GetMfaState", response)?.recovery_codes_left;
        ensure!(left == 9, "expected nine codes to be left, got {left}");
        see(&format!("{left} codes are left"));
        Ok(session)
    }

    pub(super) async fn step_up(
        &mut self,
        ada: &Person,
        authenticator: &Authenticator,
        session: Session,
    ) -> Result<Session> {
        self.stage.say("She proves again who she is, and makes new recovery codes");
        let Proof::RecoveryCode(code) = authenticator.recovery_code()? else {
            anyhow::bail!("expected a recovery code")
        };
        let second_factor = Some(reauthenticate_request::SecondFactor::RecoveryCode(code));
        let request = ReauthenticateRequest { password: ada.password.clone(), second_factor };
        let response = session.clients.auth().reauthenticate(request).await;
        let token = call("Reauthenticate", response)?.access_token;
        let clients = session.clients.with(Credentials::bearer(&token)?);

        let request = RegenerateRecoveryCodesRequest {};
        let response = clients.mfa().regenerate_recovery_codes(request).await;
        let codes = call("RegenerateRecoveryCodes", response)?.recovery_codes;
        see(&format!("{} new codes; the old ones are dead", codes.len()));
        authenticator.recovery_codes.replace(codes);
        Ok(Session { clients, ..session })
    }

    /// A login in its two steps.
    pub(super) async fn complete(
        &mut self,
        email: &str,
        password: &str,
        proof: Proof,
    ) -> Result<Session> {
        let challenge_token = self.challenge(email, password).await?;
        let request = CompleteLoginRequest { challenge_token, proof: Some(proof) };
        let response = self.stage.clients.auth().complete_login(request).await;
        let response = call("CompleteLogin", response)?;
        let tokens = response.tokens.context("CompleteLogin returned no tokens")?;
        see(&format!("logged in, session {}", tokens.session_id));
        Ok(Session {
            clients: self.stage.clients.with(Credentials::bearer(&tokens.access_token)?),
            device_token: response.device_token,
            refresh_token: tokens.refresh_token,
        })
    }

    async fn challenge(&mut self, email: &str, password: &str) -> Result<String> {
        self.challenge_from("", email, password).await
    }

    /// The first step of a login, from a device that may be known.
    pub(super) async fn challenge_from(
        &mut self,
        device_token: &str,
        email: &str,
        password: &str,
    ) -> Result<String> {
        let request = LoginRequest {
            email: email.to_owned(),
            password: password.to_owned(),
            device_token: device_token.to_owned(),
        };
        let response = call("Login", self.stage.clients.auth().login(request).await)?;
        ensure!(response.tokens.is_none(), "expected no tokens before the second factor");
        let challenge = response.challenge.context("expected a challenge")?;
        let factors: Vec<_> = challenge
            .factors()
            .map(|it| it.as_str_name().trim_start_matches("SECOND_FACTOR_"))
            .collect();
        see(&format!("Login asks for one of {factors:?}"));
        Ok(challenge.challenge_token)
    }
}
