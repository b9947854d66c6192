//! Giving an account a new passkey.

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    error::Reason,
    idempotency::{self, Key},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Attestation, COUNT_MAX, Flaw, PasskeyName,
    challenge::Ceremony,
    options::{CreationOptions, creation_options},
    recorded,
    store::{self, Passkey},
};
use crate::{
    context::Context,
    users::{
        self,
        store::{State, User},
    },
};

/// What the caller makes a new passkey of.
pub(crate) async fn begin_registration(
    context: &Context,
    caller: &Principal,
) -> Result<CreationOptions> {
    let mut conn = context.db.acquire().await?;
    let user = users::store::get(&mut conn, caller.user_id).await?;
    let existing = store::list(&mut conn, caller.user_id, None, COUNT_MAX).await?;
    // Before somebody makes one that can't be stored.
    refuse_surplus(existing.len() as i64)?;
    creation_options(context, &user, ceremony(caller)?, existing)
}

/// Stores the passkey that the caller made.
pub(crate) async fn finish_registration(
    context: &Context,
    caller: &Principal,
    name: PasskeyName,
    attestation: &Attestation,
    key: Option<Key>,
) -> Result<Passkey> {
    let (passkey_id, now) = (Uuid::now_v7(), context.now());
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), passkey_id, None).await? {
        let found = store::find(&mut tx, earlier.entity_id).await?;
        return found.ok_or(Error::NotFound("passkey"));
    }
    let (new, challenge) = attestation.verify(&context.relying_party).map_err(refused)?;
    let answered = context.challenges.check(ceremony(caller)?, &challenge, now).map_err(refused)?;
    // Two at the same time must not both be the last that fits.
    let user = lock_active(&mut tx, caller.user_id).await?;
    refuse_surplus(store::count(&mut tx, user.user_id).await?)?;
    if !store::insert_used_challenge(&mut tx, &answered.nonce, answered.expires_at).await? {
        return Err(refused(Flaw("has a challenge that was answered before")));
    }
    let passkey = Passkey {
        passkey_id,
        user_id: user.user_id,
        credential_id: new.credential_id,
        public_key: new.public_key,
        sign_count: i64::from(new.sign_count),
        name: name.0,
        transports: attestation.transports().to_vec(),
        user_verifying: new.user_verified,
        backup_eligible: new.backup_eligible,
        backed_up: new.backed_up,
        last_used_at: None,
        created_at: now,
    };
    store::insert(&mut tx, &passkey).await?;
    let change = Change::created("passkey.create", "passkey", passkey_id, recorded(&passkey));
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(passkey)
}

/// Registrations are bound to the session, so that nobody can be made to finish that of
/// another.
fn ceremony(caller: &Principal) -> Result<Ceremony<'static>> {
    let session_id = caller.session_id().ok_or(Error::SessionRequired)?;
    Ok(Ceremony::Registration { session_id })
}

fn refuse_surplus(count: i64) -> Result<()> {
    if count >= COUNT_MAX {
        let description = format!("an account has at most {COUNT_MAX}");
        return Err(Error::QuotaExceeded { subject: "passkeys", description });
    }
    Ok(())
}

/// The account, which nobody else changes until the transaction ends. One that was
/// closed a moment ago gets nothing new.
async fn lock_active(conn: &mut PgConnection, user_id: Uuid) -> Result<User> {
    let user = users::store::lock(conn, user_id).await?;
    match user.state {
        State::Active => Ok(user),
        _ => Err(Error::Unauthenticated(Reason::CredentialsRevoked)),
    }
}

/// Its owner may know what is wrong with it.
fn refused(flaw: Flaw) -> Error {
    Error::invalid("attestation", flaw.0)
}
