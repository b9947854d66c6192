//! The rules of credentials as the contract states them, over what is known of each: no service asked.

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::access::{Permissions, Role, Scope};
use uuid::Uuid;

/// So near to a deadline nothing is expected: the service looks at the clock a moment
/// after the model.
const UNSETTLED: TimeDelta = TimeDelta::seconds(5);
const RETRY_WITHIN: TimeDelta = TimeDelta::seconds(30);
const ACCESS_LIFETIME: TimeDelta = TimeDelta::hours(1);
const REFRESH_LIFETIME: TimeDelta = TimeDelta::days(7);
/// How long a session lasts where the model holds.
pub(super) const SESSION_LIFETIME: TimeDelta = TimeDelta::days(12);
/// After so long nobody remembers a token that has expired.
const KEPT_FOR: TimeDelta = TimeDelta::days(30);

#[derive(Default)]
pub(super) struct Model {
    pub(super) users: Vec<User>,
    pub(super) sessions: Vec<Session>,
    pub(super) access_tokens: Vec<AccessToken>,
    pub(super) refresh_tokens: Vec<RefreshToken>,
    pub(super) api_keys: Vec<ApiKey>,
}

pub(super) struct User {
    pub(super) user_id: Uuid,
    pub(super) email: String,
    /// The last is the present one.
    pub(super) passwords: Vec<String>,
    /// The role under each version of the rights, from the first.
    pub(super) roles: Vec<Role>,
    pub(super) is_active: bool,
}

pub(super) struct Session {
    pub(super) session_id: Uuid,
    pub(super) user: usize,
    pub(super) opened_at: DateTime<Utc>,
    pub(super) is_revoked: bool,
}

pub(super) struct AccessToken {
    pub(super) text: String,
    pub(super) session: usize,
    /// Of the rights that it was issued under.
    pub(super) version: usize,
    pub(super) expires_at: DateTime<Utc>,
}

pub(super) struct RefreshToken {
    pub(super) text: String,
    pub(super) session: usize,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) used: Option<Use>,
}

#[derive(Clone, Copy)]
pub(super) struct Use {
    pub(super) at: DateTime<Utc>,
    pub(super) request_id: Option<Uuid>,
    pub(super) successor: usize,
}

pub(super) struct ApiKey {
    pub(super) id: String,
    pub(super) user: usize,
    pub(super) scopes: Vec<String>,
    /// Each secret and when it stops working; the last is the present one.
    pub(super) secrets: Vec<(String, DateTime<Utc>)>,
    pub(super) is_revoked: bool,
}

/// What becomes of a credential that is presented now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives(Vec<String>),
    Dead,
    Unsettled,
}

/// What becomes of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refreshed {
    /// It gets new tokens.
    New,
    /// It gets the refresh token that it got before.
    Again(usize),
    /// It is taken for a theft, which ends the session.
    Reused,
    Refused,
    Unsettled,
}

impl User {
    pub(super) fn role(&self) -> Role {
        *self.roles.last().unwrap()
    }

    pub(super) fn password(&self) -> &str {
        self.passwords.last().unwrap()
    }

    pub(super) fn next_password(&self) -> String {
        format!("{} {}", self.passwords[0], self.passwords.len())
    }
}

impl Model {
    pub(super) fn fate_of_access_token(&self, token: usize, now: DateTime<Utc>) -> Fate {
        let token = &self.access_tokens[token];
        let session = &self.sessions[token.session];
        let user = &self.users[session.user];
        if session.is_revoked || !user.is_active || token.version < user.roles.len() {
            return Fate::Dead;
        }
        match has_passed(token.expires_at, now) {
            Some(false) => Fate::Lives(user.roles[token.version - 1].permissions().texts()),
            Some(true) => Fate::Dead,
            None => Fate::Unsettled,
        }
    }

    pub(super) fn fate_of_api_key(&self, key: usize, secret: usize, now: DateTime<Utc>) -> Fate {
        let key = &self.api_keys[key];
        let owner = &self.users[key.user];
        if key.is_revoked || !owner.is_active {
            return Fate::Dead;
        }
        let scopes = key.scopes.iter().map(|it| Scope::parse(it).unwrap().grants());
        let scopes = scopes.fold(Permissions::default(), Permissions::union);
        match has_passed(key.secrets[secret].1, now) {
            Some(false) => Fate::Lives(owner.role().permissions().intersection(scopes).texts()),
            Some(true) => Fate::Dead,
            None => Fate::Unsettled,
        }
    }

    pub(super) fn refresh(
        &self,
        token: usize,
        request_id: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Refreshed {
        let token = &self.refresh_tokens[token];
        let session = &self.sessions[token.session];
        if session.is_revoked || !self.users[session.user].is_active {
            return Refreshed::Refused;
        }
        if has_passed(token.expires_at + KEPT_FOR, now) != Some(false) {
            return Refreshed::Unsettled;
        }
        let Some(used) = token.used else {
            return match has_passed(token.expires_at, now) {
                Some(true) => Refreshed::Refused,
                Some(false) => Refreshed::New,
                None => Refreshed::Unsettled,
            };
        };
        let is_same = request_id.is_some() && request_id == used.request_id;
        // Whoever used the successor has had the answer.
        if !is_same || self.refresh_tokens[used.successor].used.is_some() {
            return Refreshed::Reused;
        }
        match has_passed(used.at + RETRY_WITHIN, now) {
            Some(true) => Refreshed::Reused,
            Some(false) => Refreshed::Again(used.successor),
            None => Refreshed::Unsettled,
        }
    }

    /// Until when an access token and a refresh token of a session last that are
    /// issued now.
    pub(super) fn lifetimes(
        &self,
        session: usize,
        now: DateTime<Utc>,
    ) -> (DateTime<Utc>, DateTime<Utc>) {
        let end = self.sessions[session].opened_at + SESSION_LIFETIME;
        let refresh_token = (now + REFRESH_LIFETIME).min(end);
        ((now + ACCESS_LIFETIME).min(refresh_token), refresh_token)
    }

    pub(super) fn revoke_sessions(&mut self, user: usize, but: Option<usize>) {
        for (at, session) in self.sessions.iter_mut().enumerate() {
            session.is_revoked |= session.user == user && Some(at) != but;
        }
    }

    /// A token of a session that works now, for what only its owner may do.
    pub(super) fn token_of_session(&self, session: usize, now: DateTime<Utc>) -> Option<usize> {
        (0..self.access_tokens.len()).rev().find(|it| {
            self.access_tokens[*it].session == session
                && matches!(self.fate_of_access_token(*it, now), Fate::Lives(_))
        })
    }

    /// The sessions that have such a token.
    pub(super) fn usable_sessions(&self, now: DateTime<Utc>) -> Vec<usize> {
        let all = 0..self.sessions.len();
        all.filter(|it| self.token_of_session(*it, now).is_some()).collect()
    }

    /// How many live sessions a user has; none when one is about to end by itself.
    pub(super) fn live_sessions(&self, user: usize, now: DateTime<Utc>) -> Option<usize> {
        let mut live = 0;
        for (at, session) in self.sessions.iter().enumerate() {
            let tokens = self.refresh_tokens.iter().filter(|it| it.session == at);
            let expires_at = tokens.map(|it| it.expires_at).max().unwrap();
            let is_over = session.user != user || session.is_revoked;
            if !is_over && !has_passed(expires_at, now)? {
                live += 1;
            }
        }
        Some(live)
    }
}

/// None so near to the deadline that nobody can say.
fn has_passed(deadline: DateTime<Utc>, now: DateTime<Utc>) -> Option<bool> {
    ((deadline - now).abs() > UNSETTLED).then(|| deadline <= now)
}
