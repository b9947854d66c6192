//! API keys that shrink with their owner, and signing keys that change.

use anyhow::{Context, Result, ensure};
use ihuman_proto::{
    auth::v1::{
        CreateApiKeyRequest, ListSigningKeysRequest, RevokeCurrentApiKeyRequest,
        RotateApiKeyRequest, RotateSigningKeyRequest, VerifyTokenRequest,
    },
    catalog::v1::ListSkillsRequest,
};

use super::{
    super::{
        stage::{Person, until_revoked},
        telling::{call, see},
    },
    Story,
};
use crate::{
    client::{Clients, Credentials, explain, reason},
    secrets,
};

impl Story {
    pub(super) async fn use_api_key(&mut self, ada: &Person, developer: &Clients) -> Result<()> {
        self.stage.say("She makes an API key that may only read skills");
        let request = CreateApiKeyRequest {
            name: "a reader".to_owned(),
            scopes: vec!["skills:read".to_owned()],
            request_id: secrets::request_id()?,
            ..CreateApiKeyRequest::default()
        };
        let response = call("CreateApiKey", developer.api_keys().create_api_key(request).await)?;
        let (first, api_key) = (response.key, response.api_key.context("no key")?);
        let reader = self.stage.clients.with(Credentials::api_key(&first)?);
        call("ListSkills", reader.skills().list_skills(ListSkillsRequest::default()).await)?;
        see("with the key: ListSkills works");
        let explained = self.explain(&ada.user.id, &api_key.id).await?;
        see(&format!("with the key, CreateSkill is denied by {explained}"));

        self.stage.say("She replaces its secret; the old one works for another minute");
        let request = RotateApiKeyRequest {
            api_key_id: api_key.id.clone(),
            overlap: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            request_id: secrets::request_id()?,
            expire_time: None,
        };
        let response = call("RotateApiKey", developer.api_keys().rotate_api_key(request).await)?;
        let successor = self.stage.clients.with(Credentials::api_key(&response.key)?);
        for caller in [&reader, &successor] {
            let answer = caller.skills().list_skills(ListSkillsRequest::default()).await;
            call("ListSkills", answer)?;
        }
        see("both secrets work");

        self.stage.say("Somebody finds the key in a log, and revokes it by having it");
        let request = RevokeCurrentApiKeyRequest {};
        call("RevokeCurrentApiKey", reader.api_keys().revoke_current_api_key(request).await)?;
        until_revoked(&successor).await?;
        let request = VerifyTokenRequest { token: response.key, ..Default::default() };
        let verified = call("VerifyToken", developer.auth().verify_token(request).await)?;
        ensure!(!verified.active, "expected the key not to be active");
        see(&format!("VerifyToken: {}", verified.inactive_reason));
        Ok(())
    }

    pub(super) async fn rotate_signing_key(&mut self, developer: &Clients) -> Result<()> {
        self.stage.say("The administrator has a new signing key made ahead of its time");
        let request = RotateSigningKeyRequest { request_id: secrets::request_id()? };
        match self.stage.admin.signing_keys().rotate_signing_key(request).await {
            Ok(_) => {}
            // Somebody did before, and it does not sign yet.
            Err(status) if reason(&status) == "WRONG_STATE" => see(&explain(&status)),
            Err(status) => anyhow::bail!("RotateSigningKey: {}", explain(&status)),
        }
        let request = ListSigningKeysRequest {};
        let response = self.stage.admin.signing_keys().list_signing_keys(request).await;
        for key in call("ListSigningKeys", response)?.signing_keys {
            let state = key.state().as_str_name().trim_start_matches("SIGNING_KEY_STATE_");
            see(&format!("{} {state}", key.kid));
        }
        let answer = developer.skills().list_skills(ListSkillsRequest::default()).await;
        call("ListSkills", answer)?;
        see("tokens of the present key go on working");
        Ok(())
    }
}
