//! The steps of API keys and signing keys.

use chrono::{DateTime, TimeDelta};
use ihuman_proto::auth::v1 as pb;
use ihuman_shared::access::{Permissions, Scope};
use tonic::Code;
use uuid::Uuid;

use super::{
    model::{ApiKey, Fate},
    take::{choose, works},
    world::{Outcome, World, ensure},
};
use crate::api_keys::request;

const SCOPES: [&[&str]; 3] =
    [&["skills:read"], &["skills:*"], &["executions:read", "skills:write"]];

fn may_keep(rights: Permissions) -> bool {
    rights.contains_all(Permissions::from_texts(&["api-keys:write"]))
}

impl World {
    pub(super) fn live_key(&self, number: usize) -> Option<usize> {
        let now = self.now();
        let keys = self.model.api_keys.iter().enumerate();
        let live = keys.filter(|(at, it)| {
            let fate = self.model.fate_of_api_key(*at, it.secrets.len() - 1, now);
            matches!(fate, Fate::Lives(_))
        });
        choose(number, &live.map(|it| it.0).collect::<Vec<_>>())
    }

    /// A session of the user's that may change keys, if its role lets it.
    fn keeper(&self, user: usize) -> Option<usize> {
        let rights = self.model.users[user].role().permissions();
        let usable = self.model.usable_sessions(self.now());
        let mut own = usable.into_iter().filter(|it| self.model.sessions[*it].user == user);
        own.next().filter(|_| may_keep(rights))
    }

    pub(super) async fn create_key(
        &mut self,
        replica: usize,
        session: usize,
        scopes: usize,
    ) -> Outcome {
        let user = self.model.sessions[session].user;
        let scopes = SCOPES[scopes % SCOPES.len()];
        let rights = self.model.users[user].role().permissions();
        let grants = scopes.iter().map(|it| Scope::parse(it).unwrap().grants());
        let grants = grants.fold(Permissions::default(), Permissions::union);
        let expected = match () {
            () if !may_keep(rights) => Err(Code::PermissionDenied),
            () if !rights.contains_all(grants) => Err(Code::InvalidArgument),
            () => Ok(()),
        };
        let token = self.model.token_of_session(session, self.now()).unwrap();
        let order = request(&Uuid::new_v4().to_string(), scopes);
        let answer = self.replicas[replica].create_key(&self.bearer(token), order).await;
        let seen = answer.as_ref().map(drop).map_err(tonic::Status::code);
        ensure(seen == expected, &format!("creating a key, {seen:?} instead of {expected:?},"))?;
        if let Ok((api_key, secret)) = answer {
            let seconds = api_key.expire_time.unwrap().seconds;
            self.model.api_keys.push(ApiKey {
                id: api_key.id,
                user,
                scopes: api_key.scopes,
                secrets: vec![(secret, DateTime::from_timestamp(seconds, 0).unwrap())],
                is_revoked: false,
            });
        }
        Ok(())
    }

    pub(super) async fn rotate_key(
        &mut self,
        replica: usize,
        key: usize,
        overlap_s: i64,
    ) -> Outcome {
        let Some(session) = self.keeper(self.model.api_keys[key].user) else { return Ok(()) };
        let token = self.model.token_of_session(session, self.now()).unwrap();
        let request = pb::RotateApiKeyRequest {
            api_key_id: self.model.api_keys[key].id.clone(),
            overlap: Some(prost_types::Duration { seconds: overlap_s, nanos: 0 }),
            request_id: String::new(),
            expire_time: None,
        };
        let mut client = self.replicas[replica].api_keys(&self.bearer(token));
        let answer =
            client.rotate_api_key(request).await.map_err(works("the rotation of a key"))?;
        let now = self.now();
        let long_ago = now - TimeDelta::days(1);
        let secrets = &mut self.model.api_keys[key].secrets;
        let (secret, expires_at) = (answer.into_inner().key, secrets.last().unwrap().1);
        let last = secrets.len() - 1;
        for (at, old) in secrets.iter_mut().enumerate() {
            // Only the one before works too, and not even that without an overlap.
            let overlaps = at == last && overlap_s > 0;
            let until = if overlaps { now + TimeDelta::seconds(overlap_s) } else { long_ago };
            old.1 = old.1.min(until);
        }
        secrets.push((secret, expires_at));
        Ok(())
    }

    pub(super) async fn revoke_key(&mut self, replica: usize, key: usize) -> Outcome {
        let caller = match self.keeper(self.model.api_keys[key].user) {
            Some(it) => self.bearer(self.model.token_of_session(it, self.now()).unwrap()),
            None => self.admin().await,
        };
        let id = self.model.api_keys[key].id.clone();
        let revoked = self.replicas[replica].revoke_key(&caller, &id).await;
        revoked.map_err(works("the revocation of a key"))?;
        self.model.api_keys[key].is_revoked = true;
        Ok(())
    }

    /// The next signing key; unless there is one already.
    pub(super) async fn rotate_signing_key(&self, replica: usize) -> Outcome {
        let admin = self.admin().await;
        let request = pb::RotateSigningKeyRequest { request_id: String::new() };
        match self.replicas[replica].signing_keys_as(&admin).rotate_signing_key(request).await {
            Err(status) if status.code() != Code::FailedPrecondition => {
                Err(works("the rotation of signing keys")(status))
            }
            _ => Ok(()),
        }
    }
}
