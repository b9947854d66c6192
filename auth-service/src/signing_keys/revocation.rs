//! Ending the trust in a key whose private half others may know.

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    credentials::Sealer,
    notifications::{self, Channel},
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{SigningKey, State, create, schedule, store};
use crate::{
    context::{Context, kept_for},
    revocations::{self, Revoked},
};

/// Ends every token that a key signed, and removes the key; returns the one that signs
/// from then on.
pub(crate) async fn revoke(context: &Context, caller: &Principal, kid: Uuid) -> Result<SigningKey> {
    let Some(sealer) = context.signing_keys.sealer() else {
        let description = "can't be revoked: tokens are signed with a shared secret".to_owned();
        return Err(Error::WrongState { subject: "signing_key", description });
    };
    let actor = Actor::from(caller);
    let mut tx = context.db.begin().await?;
    store::lock(&mut tx).await?;
    // After the wait for who was at it before, whose key signs from its own time on.
    let now = context.now();
    let keys = list(&mut tx, context, now).await?;
    let Some(key) = keys.iter().find(|it| it.kid == kid.to_string()) else {
        return match revocations::is_dead_key(&mut tx, context, kid).await? {
            true => signing(keys),
            false => Err(Error::NotFound("signing_key")),
        };
    };
    store::delete(&mut tx, &key.kid).await?;
    if key.state == State::Active {
        succeed(&mut tx, sealer, &keys, now, &actor).await?;
    }
    revocations::insert(&mut tx, context, &[Revoked::SigningKey(kid)]).await?;
    let old = json!({"activate_time": key.activates_at});
    let change = Change::changed("signing_key.revoke", "signing_key", &key.kid, old, Value::Null);
    audit::record(&mut tx, &actor, change).await?;
    notifications::notify(&mut tx, Channel::SigningKeys).await?;
    let signing = signing(list(&mut tx, context, now).await?)?;
    tx.commit().await?;
    context.key_set.forget().await;
    // The hint does it too; but what this replica signs from here on should be good.
    if let Err(error) = context.signing_keys.reload(&context.db).await {
        tracing::warn!(error = error.with_cause(), "can't read the signing keys again");
    }
    Ok(signing)
}

/// The key that signs; where the clocks of two replicas differ, the one that is about to.
fn signing(keys: Vec<SigningKey>) -> Result<SigningKey> {
    let own = keys.into_iter().filter(|it| it.activates_at.is_some());
    let signing = own.max_by_key(|it| it.state == State::Active);
    signing.ok_or_else(|| Error::internal(anyhow::anyhow!("no key signs")))
}

/// Has the next key sign now, or a new one if there is none.
async fn succeed(
    conn: &mut PgConnection,
    sealer: &Sealer,
    keys: &[SigningKey],
    now: DateTime<Utc>,
    actor: &Actor,
) -> Result<()> {
    let Some(next) = keys.iter().find(|it| it.state == State::Next) else {
        return create(conn, sealer, Uuid::now_v7(), now, now, actor).await;
    };
    store::update_activation(conn, &next.kid, now).await?;
    let (old, new) = (json!({"activate_time": next.activates_at}), json!({"activate_time": now}));
    let change = Change::changed("signing_key.activate", "signing_key", &next.kid, old, new);
    audit::record(conn, actor, change).await
}

async fn list(
    conn: &mut PgConnection,
    context: &Context,
    now: DateTime<Utc>,
) -> Result<Vec<SigningKey>> {
    Ok(schedule(store::list(conn).await?, kept_for(context.access_lifetime()), now))
}
