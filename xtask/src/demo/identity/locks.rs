//! A stranger guesses, and neither gets in nor locks the owner out.

use anyhow::{Result, bail, ensure};
use ihuman_proto::auth::v1::{GetLockStateRequest, UnlockUserRequest};
use tonic::Code;
use tonic_types::StatusExt;

use super::{
    super::{
        stage::Person,
        telling::{call, refuse, see},
    },
    Session, Story,
};
use crate::client::{explain, reason};

impl Story {
    pub(super) async fn lock_strangers_out(&mut self, ada: &Person) -> Result<()> {
        self.stage.say("A stranger guesses her password, and has to wait after the third time");
        for _ in 0..3 {
            let refused = self.stage.clients.login(&ada.email, "the name of her first cat").await;
            let refused = refused.map(|_| "tokens");
            refuse("Login", refused, Code::Unauthenticated, "LOGIN_FAILED")?;
        }
        match self.stage.clients.login(&ada.email, &ada.password).await {
            Err(status) if reason(&status) == "TOO_MANY_FAILURES" => {
                let wait = status.get_details_retry_info().and_then(|it| it.retry_delay);
                see(&format!("Login, though it is the right one: {}", explain(&status)));
                ensure!(wait.is_some(), "expected to be told how long to wait");
                Ok(())
            }
            Err(status) => bail!("expected TOO_MANY_FAILURES, got {}", explain(&status)),
            Ok(_) => bail!("expected the stranger to have to wait"),
        }
    }

    pub(super) async fn log_in_from_known_device(
        &mut self,
        ada: &Person,
        session: &Session,
    ) -> Result<()> {
        self.stage.say("Her own device is known, and need not wait");
        self.challenge_from(&session.device_token, &ada.email, &ada.password).await?;
        Ok(())
    }

    pub(super) async fn support(&mut self, ada: &Person) -> Result<()> {
        self.stage.say("Support sees the lock, and opens it");
        let request = GetLockStateRequest { user_id: ada.user.id.clone() };
        let response = self.stage.admin.locks().get_lock_state(request).await;
        for lock in call("GetLockState", response)?.locks {
            let (kind, scope) = (lock.kind().as_str_name(), lock.scope().as_str_name());
            see(&format!("{kind} {scope}: {} failures", lock.failure_count));
        }
        let request = UnlockUserRequest { user_id: ada.user.id.clone() };
        let response = self.stage.admin.locks().unlock_user(request).await;
        let ended = call("UnlockUser", response)?.ended_lock_count;
        ensure!(ended > 0, "expected a lock to be opened");
        Ok(())
    }
}
