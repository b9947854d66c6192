//! The Ed25519 keys (RFC 8032) that access tokens are signed with, and how they follow one another.

mod key_set;
mod revocation;
mod ring;
pub(crate) mod rotation;
pub(crate) mod rpc;
pub(crate) mod store;
pub(crate) mod web;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    credentials::Sealer,
    idempotency::{self, Key},
    notifications::{self, Channel},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::{NewKey, Row};
pub(crate) use self::{
    key_set::{JsonWebKey, KeySet},
    revocation::revoke,
    ring::KeyRing,
};
use crate::context::{Context, kept_for};

/// What private keys are sealed for.
pub(crate) const PURPOSE: &str = "signing key";

/// What a key is for just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Next,
    Active,
    Retired,
}

/// A key and its times.
#[derive(Clone, Debug)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) state: State,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) activates_at: Option<DateTime<Utc>>,
    /// When its last token has expired, once that is known.
    pub(crate) removed_at: Option<DateTime<Utc>>,
}

/// Every key, newest first.
pub(crate) async fn list(context: &Context) -> Result<Vec<SigningKey>> {
    if context.signing_keys.has_shared_secret() {
        return Ok(Vec::new());
    }
    let mut conn = context.db.acquire().await?;
    let rows = store::list(&mut conn).await?;
    Ok(schedule(rows, kept_for(context.access_lifetime()), context.now()))
}

/// Makes the next key ahead of its time.
pub(crate) async fn rotate(
    context: &Context,
    caller: &Principal,
    key: Option<Key>,
) -> Result<SigningKey> {
    let refused = |description: &str| Error::WrongState {
        subject: "signing_key",
        description: description.to_owned(),
    };
    let Some(sealer) = context.signing_keys.sealer() else {
        return Err(refused("can't be made: tokens are signed with a shared secret"));
    };
    let (kid, now) = (Uuid::now_v7(), context.now());
    let kept_for = kept_for(context.access_lifetime());
    let mut tx = context.db.begin().await?;
    store::lock(&mut tx).await?;
    let claimed = idempotency::claim(&mut tx, key.as_ref(), kid, None).await?;
    let known = schedule(store::list(&mut tx).await?, kept_for, now);
    if let Some(earlier) = claimed {
        let kid = earlier.entity_id.to_string();
        return known.into_iter().find(|it| it.kid == kid).ok_or(Error::NotFound("signing_key"));
    }
    if known.iter().any(|it| it.state == State::Next) {
        return Err(refused("has a next one already"));
    }
    let activates_at = now + rotation::publish_ahead(&context.config);
    create(&mut tx, sealer, kid, now, activates_at, &Actor::from(caller)).await?;
    tx.commit().await?;
    let (activates_at, kid) = (Some(activates_at), kid.to_string());
    Ok(SigningKey { kid, state: State::Next, created_at: now, activates_at, removed_at: None })
}

/// What each key is for at `now`. `rows` are all of them, newest first.
fn schedule(rows: Vec<Row>, kept_for: TimeDelta, now: DateTime<Utc>) -> Vec<SigningKey> {
    let mut later = None;
    let mut has_active = false;
    let state = |row: Row| {
        let Some(activates_at) = row.activates_at else {
            let (kid, created_at) = (row.kid, row.created_at);
            let state = State::Retired;
            return SigningKey { kid, state, created_at, activates_at: None, removed_at: None };
        };
        let state = match () {
            () if activates_at > now => State::Next,
            () if !has_active => State::Active,
            () => State::Retired,
        };
        has_active |= state == State::Active;
        let removed_at = later.replace(activates_at).map(|it: DateTime<Utc>| it + kept_for);
        SigningKey {
            kid: row.kid,
            state,
            created_at: row.created_at,
            activates_at: Some(activates_at),
            removed_at,
        }
    };
    rows.into_iter().map(state).collect()
}

/// Makes a key that signs from `activates_at` on, and tells the other replicas.
async fn create(
    conn: &mut PgConnection,
    sealer: &Sealer,
    kid: Uuid,
    now: DateTime<Utc>,
    activates_at: DateTime<Utc>,
    actor: &Actor,
) -> Result<()> {
    let failed = |_| Error::internal(anyhow::anyhow!("an Ed25519 key can't be made"));
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(Error::internal)?;

    let kid = kid.to_string();
    let new = NewKey {
        kid: &kid,
        public_key: pair.public_key().as_ref(),
        private_key_sealed: &sealer.seal(&kid, pkcs8.as_ref())?,
        created_at: now,
        activates_at,
    };
    store::insert(conn, new).await?;
    let new = json!({"algorithm": "EdDSA", "activate_time": activates_at});
    let change = Change::created("signing_key.create", "signing_key", &kid, new);
    audit::record(conn, actor, change).await?;
    notifications::notify(conn, Channel::SigningKeys).await?;
    tracing::info!(kid, %activates_at, "made a signing key");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_key_whose_time_has_come_signs_and_the_one_before_is_kept_for_its_tokens() {
        let now = Utc::now();
        let (hour, kept_for) = (TimeDelta::hours(1), TimeDelta::minutes(61));
        let row = |kid: &str, activates_at| Row {
            kid: kid.to_owned(),
            private_key_sealed: Vec::new(),
            created_at: now,
            activates_at,
        };
        let rows = vec![
            row("next", Some(now + hour)),
            row("active", Some(now)),
            row("old", Some(now - hour)),
            row("foreign", None),
        ];

        let keys = schedule(rows, kept_for, now);

        let seen: Vec<_> =
            keys.iter().map(|it| (it.kid.as_str(), it.state, it.removed_at)).collect();
        assert_eq!(
            seen,
            [
                ("next", State::Next, None),
                ("active", State::Active, Some(now + hour + kept_for)),
                ("old", State::Retired, Some(now + kept_for)),
                ("foreign", State::Retired, None),
            ]
        );
    }
}
