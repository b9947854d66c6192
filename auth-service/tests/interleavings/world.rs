//! Two replicas, the model of what they should do, and each step taken by both.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    credentials::MasterKey,
    testing::{Caller, reason},
};
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use super::model::{
    AccessToken, ApiKey, Fate, Model, RefreshToken, Refreshed, SESSION_LIFETIME, Session, Use, User,
};
use crate::support::{Auth, PASSWORD, identity};

/// How long what has changed may take to be known everywhere. That it is a second is
/// tested elsewhere; here many other tests are running.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// How often a credential that died is looked at; and once more at the end.
const LOOKS_AT_THE_DEAD: usize = 3;

/// What a step should have come to and did not.
pub(super) type Outcome = Result<(), String>;

pub(super) struct World {
    pub(super) replicas: [Auth; 2],
    pub(super) model: Model,
    pub(super) db: PgPool,
    /// What each credential was when it was looked at last, and how often it was dead.
    seen: HashMap<String, (bool, usize)>,
}

/// A credential and what becomes of it.
struct Probe {
    caller: Caller,
    fate: Fate,
    /// It lived before and does now: no moment may refuse it.
    lived: bool,
}

impl World {
    pub(super) async fn start() -> Self {
        let auth = Auth::start().await;
        let lifetime = format!("{}s", SESSION_LIFETIME.num_seconds());
        let platform = ["--rate-limit-max-requests", "1000000"];
        let identity = ["--session-max-lifetime", lifetime.as_str()];
        let replicas = [
            auth.replica_configured(&platform, &identity).await,
            auth.replica_configured(&platform, &identity).await,
        ];
        let options = auth.database.superuser.connect_options().as_ref().clone();
        let db = PgPool::connect_with(options.options([("search_path", "auth")])).await.unwrap();
        let mut world = World { replicas, model: Model::default(), db, seen: HashMap::new() };
        for email in ["ann@example.com", "bob@example.com"] {
            let user = world.replicas[0].register(email).await;
            world.model.users.push(User {
                user_id: user.id.parse().unwrap(),
                email: email.to_owned(),
                passwords: vec![PASSWORD.to_owned()],
                roles: vec![Role::Viewer],
                is_active: true,
            });
        }
        world
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.replicas[0].service.clock.now()
    }

    pub(super) fn wait(&self, seconds: i64) {
        for replica in &self.replicas {
            replica.service.clock.advance(TimeDelta::seconds(seconds));
        }
    }

    /// Somebody who may do everything, and has just logged in.
    pub(super) async fn admin(&self) -> Caller {
        self.replicas[0].credentials.person_at(Role::Admin, self.now()).await
    }

    /// What the service does by itself now and then.
    pub(super) async fn maintain(&self) -> Outcome {
        let environment = self.replicas[0].database.environment("ihuman_auth");
        let value = |name: &str| environment.iter().find(|it| it.0 == name).unwrap().1.clone();
        let master_key: MasterKey = value("IHUMAN_MASTER_KEY").parse().unwrap();
        let swept = auth_service::sweep(&self.db, self.now()).await;
        swept.map_err(|error| format!("housekeeping: {error}"))?;
        let rotated =
            auth_service::rotate_due(&self.db, &master_key, &identity(), self.now()).await;
        rotated.map_err(|error| format!("the rotation of signing keys: {error}"))
    }

    /// The caller with an access token.
    pub(super) fn bearer(&self, token: usize) -> Caller {
        let token = &self.model.access_tokens[token];
        let session = &self.model.sessions[token.session];
        Caller {
            user_id: self.model.users[session.user].user_id,
            session_id: Some(session.session_id),
            api_key_id: None,
            authorization: format!("Bearer {}", token.text),
        }
    }

    fn keyed(&self, key: &ApiKey, secret: &str) -> Caller {
        Caller {
            user_id: self.model.users[key.user].user_id,
            session_id: None,
            api_key_id: Some(key.id.parse().unwrap()),
            authorization: format!("ApiKey {secret}"),
        }
    }

    /// Adds what a login or a refresh answered, which is told when it expires.
    pub(super) fn add_tokens(
        &mut self,
        session: usize,
        tokens: &pb::Tokens,
    ) -> Result<usize, String> {
        let (access, refresh) = self.model.lifetimes(session, self.now());
        let is = |time: Option<prost_types::Timestamp>, expected: DateTime<Utc>| {
            (time.unwrap().seconds - expected.timestamp()).abs() <= 5
        };
        ensure(is(tokens.access_token_expire_time, access), "the expiry of an access token")?;
        ensure(is(tokens.refresh_token_expire_time, refresh), "the expiry of a refresh token")?;
        self.add_access_token(session, tokens)?;
        self.model.refresh_tokens.push(RefreshToken {
            text: tokens.refresh_token.clone(),
            session,
            expires_at: refresh,
            used: None,
        });
        Ok(self.model.refresh_tokens.len() - 1)
    }

    /// Adds the access token of an answer. What it was issued under it says itself, as
    /// something may have happened at the same time.
    fn add_access_token(&mut self, session: usize, tokens: &pb::Tokens) -> Outcome {
        let payload = tokens.access_token.split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&BASE64.decode(payload).unwrap()).unwrap();
        let version = usize::try_from(claims["ver"].as_i64().unwrap()).unwrap();
        let roles = &self.model.users[self.model.sessions[session].user].roles;
        let role = roles.get(version - 1).map(|it| it.text());
        ensure(role == claims["role"].as_str(), "the role of a version of the rights")?;
        self.model.access_tokens.push(AccessToken {
            text: tokens.access_token.clone(),
            session,
            version,
            expires_at: DateTime::from_timestamp(claims["exp"].as_i64().unwrap(), 0).unwrap(),
        });
        Ok(())
    }

    pub(super) fn open_session(&mut self, user: usize, tokens: &pb::Tokens) -> Outcome {
        let opened_at = self.now();
        let session_id = tokens.session_id.parse().unwrap();
        self.model.sessions.push(Session { session_id, user, opened_at, is_revoked: false });
        self.add_tokens(self.model.sessions.len() - 1, tokens).map(drop)
    }

    /// Refreshes at `replica`, and sees to it that what the model says comes of it.
    pub(super) async fn refresh(
        &mut self,
        replica: usize,
        token: usize,
        request_id: Option<Uuid>,
    ) -> Outcome {
        let expected = self.model.refresh(token, request_id, self.now());
        if expected == Refreshed::Unsettled {
            return Ok(());
        }
        let text = self.model.refresh_tokens[token].text.clone();
        let id = request_id.map(|it| it.to_string()).unwrap_or_default();
        let answer = self.replicas[replica].refresh(&text, &id).await;
        self.refreshed(token, request_id, expected, answer)
    }

    /// Notes what came of a refresh, which must be what was expected.
    pub(super) fn refreshed(
        &mut self,
        token: usize,
        request_id: Option<Uuid>,
        expected: Refreshed,
        answer: Result<pb::Tokens, Status>,
    ) -> Outcome {
        let session = self.model.refresh_tokens[token].session;
        match (expected, answer) {
            (Refreshed::New, Ok(tokens)) => {
                let successor = self.add_tokens(session, &tokens)?;
                let used = Use { at: self.now(), request_id, successor };
                self.model.refresh_tokens[token].used = Some(used);
                Ok(())
            }
            (Refreshed::Again(successor), Ok(tokens)) => {
                let is_same = tokens.refresh_token == self.model.refresh_tokens[successor].text;
                ensure(is_same, "a retry got another refresh token than the lost answer")?;
                self.add_access_token(session, &tokens)
            }
            (Refreshed::Reused, Err(status)) if is(&status, Reason::RefreshTokenReused) => {
                self.model.sessions[session].is_revoked = true;
                Ok(())
            }
            (Refreshed::Refused, Err(status))
                if status.code() == Code::Unauthenticated
                    && !is(&status, Reason::RefreshTokenReused) =>
            {
                Ok(())
            }
            (expected, Ok(_)) => Err(format!("a refresh should be {expected:?}, and got tokens")),
            (expected, Err(status)) => {
                Err(format!("a refresh should be {expected:?}, and is refused: {status}"))
            }
        }
    }

    /// Sees to it that each credential is, on both replicas, what the model says.
    pub(super) async fn check(&mut self, is_last: bool) -> Outcome {
        let probes = self.probes(is_last);
        let started = Instant::now();
        let asked = probes.iter().flat_map(|probe| {
            self.replicas.iter().map(move |replica| look(replica, probe, started))
        });
        join_all(asked).await.into_iter().collect()
    }

    fn probes(&mut self, is_last: bool) -> Vec<Probe> {
        let now = self.now();
        let tokens = (0..self.model.access_tokens.len())
            .map(|it| (self.bearer(it), self.model.fate_of_access_token(it, now)));
        let mut all: Vec<_> = tokens.collect();
        for (at, key) in self.model.api_keys.iter().enumerate() {
            for (number, (secret, _)) in key.secrets.iter().enumerate() {
                let fate = self.model.fate_of_api_key(at, number, now);
                all.push((self.keyed(key, secret), fate));
            }
        }
        let mut probes = Vec::new();
        for (caller, fate) in all {
            let (lived, looks) = self.seen.entry(caller.authorization.clone()).or_default();
            let (was, lives) = (*lived, matches!(fate, Fate::Lives(_)));
            *lived = lives;
            *looks = if lives { 0 } else { *looks + 1 };
            if fate != Fate::Unsettled && (is_last || *looks <= LOOKS_AT_THE_DEAD) {
                probes.push(Probe { caller, fate, lived: was && lives });
            }
        }
        probes
    }
}

/// Presents a credential until it is what it should be.
async fn look(replica: &Auth, probe: &Probe, started: Instant) -> Outcome {
    loop {
        let seen = match replica.accepts(&probe.caller).await {
            Ok(current) => Fate::Lives(current.permissions),
            Err(status) if status.code() == Code::Unauthenticated => Fate::Dead,
            // What a replica says that has not heard of revocations for a while.
            Err(status) if status.code() == Code::Unavailable => Fate::Unsettled,
            Err(status) => return Err(format!("a credential can't be verified: {status}")),
        };
        if seen == probe.fate {
            return Ok(());
        }
        let is_killed = probe.lived && seen == Fate::Dead;
        if is_killed || started.elapsed() > KNOWN_WITHIN {
            let Probe { caller, fate, .. } = probe;
            let what = caller.authorization.get(..20).unwrap_or_default();
            return Err(format!("a credential should be {fate:?}, and is {seen:?}: {what}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn is(status: &Status, expected: Reason) -> bool {
    reason(status) == expected
}

pub(super) fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("{what} is not what it should be")) }
}
