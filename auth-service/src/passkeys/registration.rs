//! Giving an account a new passkey.

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    idempotency::{self, Earlier, Key},
};
use serde_json::json;
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
    mail,
    mfa::{self, RecoveryCode},
    users,
};

/// What the caller makes a new passkey of.
pub(crate) async fn begin_registration(
    context: &Context,
    caller: &Principal,
) -> Result<CreationOptions> {
    let mut tx = context.db.begin().await?;
    let (user, _) = mfa::lock_own(&mut tx, context, caller).await?;
    let existing = store::list(&mut tx, caller.user_id, None, COUNT_MAX).await?;
    // Before somebody makes one that can't be stored.
    refuse_surplus(existing.len() as i64)?;
    creation_options(context, &user, ceremony(caller)?, existing)
}

/// Stores the passkey that the caller made; returns recovery codes with it if the
/// account had none.
pub(crate) async fn finish_registration(
    context: &Context,
    caller: &Principal,
    name: PasskeyName,
    attestation: &Attestation,
    key: Option<Key>,
) -> Result<(Passkey, Vec<RecoveryCode>)> {
    let (passkey_id, now) = (Uuid::now_v7(), context.now());
    let mut tx = context.db.begin().await?;
    // Two at the same time must not both be the last that fits, nor the first.
    users::store::lock(&mut tx, caller.user_id).await?;
    let codes = mfa::missing_codes(&mut tx, caller.user_id).await?;
    let sealed = seal(context, passkey_id, &codes)?;
    // Before anything is asked of the session: after the first registration, a retry
    // comes from one that has not proved the new passkey.
    let claimed = idempotency::claim(&mut tx, key.as_ref(), passkey_id, Some(&sealed)).await?;
    if let Some(earlier) = claimed {
        return again(&mut tx, context, earlier).await;
    }
    let (user, _) = mfa::lock_own(&mut tx, context, caller).await?;
    let (new, challenge) = attestation.verify(&context.relying_party).map_err(refused)?;
    let answered = context.challenges.check(ceremony(caller)?, &challenge, now).map_err(refused)?;
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
    mfa::changed(&mut tx, context, &user, mail::Kind::PasskeyAdded).await?;
    if !codes.is_empty() {
        mfa::give_codes(&mut tx, context, user.user_id, &codes).await?;
    }
    let mut new = recorded(&passkey);
    new["made_recovery_codes"] = json!(codes.len());
    let change = Change::created("passkey.create", "passkey", passkey_id, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok((passkey, codes))
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

/// What an earlier request with the same `request_id` returned.
async fn again(
    conn: &mut PgConnection,
    context: &Context,
    earlier: Earlier,
) -> Result<(Passkey, Vec<RecoveryCode>)> {
    let passkey = store::find(conn, earlier.entity_id).await?;
    let passkey = passkey.ok_or(Error::NotFound("passkey"))?;
    let sealed = earlier.sealed.unwrap_or_default();
    let text = context.answers.open(&earlier.entity_id.to_string(), &sealed)?;
    let text = String::from_utf8(text).map_err(Error::internal)?;
    let codes = text.lines().map(|it| RecoveryCode::parse("recovery_code", it));
    let codes = codes.collect::<Result<_>>()?;
    Ok((passkey, codes))
}

/// The codes as a retry gets them.
fn seal(context: &Context, passkey_id: Uuid, codes: &[RecoveryCode]) -> Result<Vec<u8>> {
    let texts: Vec<String> = codes.iter().map(RecoveryCode::text).collect();
    context.answers.seal(&passkey_id.to_string(), texts.join("\n").as_bytes())
}

/// Its owner may know what is wrong with it.
fn refused(flaw: Flaw) -> Error {
    Error::invalid("attestation", flaw.0)
}
