//! What a role allows, and who asked is told why not.

use anyhow::{Context, Result, ensure};
use ihuman_proto::{
    access::v1::Role,
    auth::v1::{
        ExplainAccessRequest, RefreshTokenRequest, SetUserRoleRequest,
        explain_access_request::Subject,
    },
};

use super::{
    super::{
        stage::{Person, until_revoked},
        telling::{call, role, see},
    },
    Session, Story,
};
use crate::{
    client::{Clients, Credentials},
    secrets,
};

/// What a key that may only read is asked about.
const CREATE_SKILL: &str = "/ihuman.catalog.v1.SkillService/CreateSkill";

impl Story {
    pub(super) async fn promote(&mut self, ada: &Person, session: &Session) -> Result<Clients> {
        self.stage.say("The administrator makes her a developer; a refresh is enough to notice");
        let request =
            SetUserRoleRequest { user_id: ada.user.id.clone(), role: Role::Developer.into() };
        let response = self.stage.admin.users().set_user_role(request).await;
        let user = call("SetUserRole", response)?.user.context("SetUserRole returned no user")?;
        see(&format!("the role is {}, and tokens that say otherwise are dead", role(&user)));
        until_revoked(&session.clients).await?;
        let request = RefreshTokenRequest {
            refresh_token: session.refresh_token.clone(),
            request_id: secrets::request_id()?,
        };
        let response = self.stage.clients.auth().refresh_token(request).await;
        let tokens = call("RefreshToken", response)?.tokens.context("no tokens")?;
        Ok(self.stage.clients.with(Credentials::bearer(&tokens.access_token)?))
    }

    /// What keeps an API key from publishing, although its owner may.
    pub(super) async fn explain(
        &mut self,
        user_id: &str,
        api_key_id: &str,
    ) -> Result<&'static str> {
        let explain = async |subject| {
            let request =
                ExplainAccessRequest { method: CREATE_SKILL.to_owned(), subject: Some(subject) };
            call("ExplainAccess", self.stage.admin.access().explain_access(request).await)
        };
        let owner = explain(Subject::UserId(user_id.to_owned())).await?;
        ensure!(owner.allowed, "expected the owner to be allowed");
        let key = explain(Subject::ApiKeyId(api_key_id.to_owned())).await?;
        ensure!(!key.allowed, "expected the key to be denied");
        Ok(key.denied_by().as_str_name().trim_start_matches("ACCESS_DENIAL_"))
    }
}
