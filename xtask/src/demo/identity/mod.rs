//! An account is protected, guessed at, given keys, and taken away.

mod access;
mod keys;
mod locks;
mod second_factor;

use anyhow::{Context, Result, ensure};
use ihuman_proto::auth::v1::{
    ChangePasswordRequest, DeleteUserRequest, RevokeOtherSessionsRequest, UserState,
};
use tonic::Code;

use self::second_factor::{Authenticator, Session};
use super::{
    stage::{Person, Stage, until_revoked},
    telling::{call, refuse, see},
};
use crate::{client::Clients, secrets};

/// The story of one account, from its registration to its deletion.
pub(super) struct Story {
    pub(super) stage: Stage,
}

impl Story {
    /// Tells it; an error says what was expected and is not so.
    pub(super) async fn tell(mut self) -> Result<()> {
        let suffix = secrets::suffix()?;
        let ada = self.stage.register("Ada", &suffix).await?;

        let authenticator = self.turn_on(&ada).await?;
        let session = self.log_in_with_code(&ada, &authenticator).await?;
        self.refuse_code_again(&ada, &authenticator).await?;
        let other = self.log_in_with_recovery_code(&ada, &authenticator).await?;
        let session = self.step_up(&ada, &authenticator, session).await?;

        self.lock_strangers_out(&ada).await?;
        self.log_in_from_known_device(&ada, &session).await?;
        self.support(&ada).await?;

        self.end_other_sessions(&session.clients, &other.clients).await?;
        let developer = self.promote(&ada, &session).await?;
        self.use_api_key(&ada, &developer).await?;
        self.rotate_signing_key(&developer).await?;

        let developer = self.change_password(&ada, developer, &authenticator).await?;
        let actions =
            ["user.register", "mfa.confirm_totp", "user.set_role", "user.change_password"];
        self.stage.audit("user", &ada.user.id, &actions).await?;
        self.delete(&ada, &developer).await
    }

    async fn end_other_sessions(&mut self, current: &Clients, other: &Clients) -> Result<()> {
        self.stage.say("She ends all other sessions, on both services");
        let request = RevokeOtherSessionsRequest {};
        let response = current.sessions().revoke_other_sessions(request).await;
        let ended = call("RevokeOtherSessions", response)?.revoked_session_count;
        ensure!(ended == 2, "expected two other sessions, got {ended}");
        see(&format!("{ended} sessions have ended"));
        until_revoked(other).await
    }

    async fn change_password(
        &mut self,
        ada: &Person,
        developer: Clients,
        authenticator: &Authenticator,
    ) -> Result<Clients> {
        self.stage.say("She changes her password, which ends every session");
        let new_password = secrets::password()?;
        let request = ChangePasswordRequest {
            current_password: ada.password.clone(),
            new_password: new_password.clone(),
        };
        call("ChangePassword", developer.auth().change_password(request).await)?;
        until_revoked(&developer).await?;
        let refused = self.stage.clients.login(&ada.email, &ada.password).await;
        let refused = refused.map(|_| "tokens");
        refuse("Login with the old one", refused, Code::Unauthenticated, "LOGIN_FAILED")?;
        let code = authenticator.recovery_code()?;
        let session = self.complete(&ada.email, &new_password, code).await?;
        Ok(session.clients)
    }

    async fn delete(&mut self, ada: &Person, developer: &Clients) -> Result<()> {
        self.stage.say("The administrator deletes the account, and who she was is forgotten");
        let request = DeleteUserRequest { user_id: ada.user.id.clone() };
        let response = call("DeleteUser", self.stage.admin.users().delete_user(request).await)?;
        let user = response.user.context("DeleteUser returned no user")?;
        ensure!(user.state() == UserState::Deleted, "expected DELETED, got {:?}", user.state());
        ensure!(user.email.is_empty(), "expected no address, got {}", user.email);
        see(&format!("{} is {:?}, with the name {:?}", user.id, user.state(), user.display_name));
        until_revoked(developer).await
    }
}
