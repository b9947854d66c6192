//! Challenges: a login whose password was proved, and what it is named by until the second factor is.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::Origin,
    audit::{self, Actor, Change},
    credentials::Secret,
    error::Reason,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::{
    context::Context,
    mfa::{self, Factor},
    opaque,
    passkeys::{self, Ceremony, RequestOptions},
    users::store::User,
};

/// How long one is good for.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);
/// After so many wrong proofs it is good for nothing.
pub(super) const FAILURES_MAX: i32 = 5;

/// What a challenge is named by.
#[derive(Clone)]
pub(crate) struct ChallengeToken(Secret);

/// What a login still asks for.
pub(crate) struct Challenge {
    pub(crate) token: ChallengeToken,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) factors: Vec<Factor>,
    /// What a passkey would sign, if there is one.
    pub(crate) passkey: Option<RequestOptions>,
}

impl ChallengeToken {
    /// # Errors
    /// `InvalidFields`, when it is empty; `Unauthenticated`, when it can't be one of ours.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        opaque::parse(field, text, invalid).map(ChallengeToken)
    }

    /// What is stored of it.
    pub(super) fn hash(&self) -> Vec<u8> {
        opaque::hash(&self.0)
    }

    /// The token, for who proved the password.
    pub(crate) fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// Asks the owner of a locked account, whose password was proved, for a second factor.
pub(super) async fn open(
    conn: &mut PgConnection,
    context: &Context,
    user: &User,
    device_id: Option<Uuid>,
    origin: &Arc<Origin>,
) -> Result<Challenge> {
    let token = ChallengeToken(opaque::generate()?);
    let (hash, expires_at) = (token.hash(), context.now() + LIFETIME);
    let new = store::challenge::NewChallenge {
        challenge_hash: &hash,
        user_id: user.user_id,
        token_version: user.token_version,
        device_id,
        expires_at,
    };
    store::challenge::insert(conn, new).await?;
    let factors = mfa::store::get_state(conn, user.user_id).await?.factors();
    let new = json!({"factors": factors, "expire_time": expires_at});
    let change = Change::created("login_challenge.create", "user", user.user_id, new);
    audit::record(conn, &Actor::user(user.user_id, origin), change).await?;
    let ceremony = Ceremony::SecondFactor { token_hash: &hash };
    let passkey = passkeys::request_options(context, conn, ceremony, user.user_id).await?;
    Ok(Challenge { token, expires_at, factors, passkey })
}

/// Asks whoever it is for a passkey that stands alone. Nothing is stored, so that asking
/// fills nothing: what the passkey signs names the token.
pub(crate) fn begin_passkey_login(context: &Context) -> Result<Challenge> {
    let token = ChallengeToken(opaque::generate()?);
    let (hash, expires_at) = (token.hash(), context.now() + LIFETIME);
    let ceremony = Ceremony::Alone { token_hash: &hash };
    let passkey = Some(passkeys::options_for_anybody(context, ceremony)?);
    Ok(Challenge { token, expires_at, factors: vec![Factor::Passkey], passkey })
}

pub(super) fn invalid() -> Error {
    Error::Unauthenticated(Reason::ChallengeInvalid)
}
