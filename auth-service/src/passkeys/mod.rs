//! Passkeys: keys that only a device of the account's owner can sign with (W3C Web Authentication Level 3).

mod assertion;
mod attestation;
mod authenticator_data;
mod cbor;
mod challenge;
mod client_data;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod options;
mod parse;
mod proof;
mod public_key;
mod registration;
mod relying_party;
pub(crate) mod rpc;
pub(crate) mod store;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor, Change},
    page::Page,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use self::store::Passkey;
pub(crate) use self::{
    assertion::{Assertion, Parts},
    attestation::Attestation,
    challenge::{Ceremony, Challenges},
    options::{CreationOptions, Descriptor, RequestOptions, options_for_anybody, request_options},
    proof::{Claim, Proof, Refusal, prove},
    registration::{begin_registration, finish_registration},
    relying_party::{RelyingParty, is_domain},
};
use crate::{context::Context, mail, mfa, users};

/// How many passkeys an account has at the most.
const COUNT_MAX: i64 = 20;
const NAME_MAX: usize = 100;
/// How long an answered challenge is remembered after it expired: longer than the
/// clocks of two replicas differ.
const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(1);

/// What is wrong with an answer of an authenticator, as in "is not signed by its key".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flaw(&'static str);

/// The result of a step of the standard.
type Checked<T> = std::result::Result<T, Flaw>;

/// What the owner calls a passkey.
#[derive(Clone, Debug)]
pub(crate) struct PasskeyName(String);

impl PasskeyName {
    /// # Errors
    /// `InvalidFields`, when it is no name of one line.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        ihuman_shared::parse::line(field, text, NAME_MAX).map(PasskeyName)
    }
}

/// The caller's passkeys.
pub(crate) async fn list(
    context: &Context,
    caller: &Principal,
    page: Page<Uuid>,
) -> Result<(Vec<Passkey>, String)> {
    let mut conn = context.db.acquire().await?;
    let passkeys = store::list(&mut conn, caller.user_id, page.after, page.limit()).await?;
    page.cut(passkeys, |last| last.passkey_id)
}

/// Renames a passkey of the caller's.
pub(crate) async fn rename(
    context: &Context,
    caller: &Principal,
    passkey_id: Uuid,
    name: PasskeyName,
) -> Result<Passkey> {
    let mut tx = context.db.begin().await?;
    users::store::lock(&mut tx, caller.user_id).await?;
    let old = own(&mut tx, caller, passkey_id).await?;
    store::update_name(&mut tx, passkey_id, &name.0).await?;
    let new = Passkey { name: name.0, ..old.clone() };
    let (was, is) = (json!({"name": old.name}), json!({"name": new.name}));
    let change = Change::changed("passkey.update", "passkey", passkey_id, was, is);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(new)
}

/// Removes a passkey of the caller's.
///
/// # Errors
/// `WrongState`, when the password is too short to stand alone and would have to.
pub(crate) async fn delete(context: &Context, caller: &Principal, passkey_id: Uuid) -> Result<()> {
    let mut tx = context.db.begin().await?;
    let (user, _) = mfa::lock_own(&mut tx, context, caller).await?;
    let old = own(&mut tx, caller, passkey_id).await?;
    store::delete(&mut tx, passkey_id).await?;
    let state = mfa::changed(&mut tx, context, &user, mail::Kind::PasskeyRemoved).await?;
    let new = json!({"mfa_enabled": state.enabled});
    let change = Change::changed("passkey.delete", "passkey", passkey_id, recorded(&old), new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(())
}

/// Forgets answered challenges that nobody would accept any more; returns how many.
pub(crate) async fn forget_old(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    store::delete_expired_challenges(conn, now - REMEMBERED_FOR, limit).await
}

/// A passkey that is not the caller's is not there.
async fn own(conn: &mut PgConnection, caller: &Principal, passkey_id: Uuid) -> Result<Passkey> {
    let found = store::find(conn, passkey_id).await?;
    found.filter(|it| it.user_id == caller.user_id).ok_or(Error::NotFound("passkey"))
}

/// What the audit trail tells of a passkey.
fn recorded(passkey: &Passkey) -> Value {
    json!({
        "user_id": passkey.user_id,
        "name": passkey.name,
        "transports": passkey.transports,
        "user_verifying": passkey.user_verifying,
        "backed_up": passkey.backed_up,
    })
}
