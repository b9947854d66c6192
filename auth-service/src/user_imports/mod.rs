//! Accounts that come from other systems, with the passwords that their owners have.

mod foreign;
pub(crate) mod rpc;
mod store;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Principal, Role},
    audit::{self, Actor, Change},
    error::Violation,
    idempotency::{self, Key},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::foreign::ForeignHash;
use self::store::NewPerson;
use crate::{
    context::Context,
    passwords::Importing,
    users::{DisplayName, Email},
};

/// An account to open.
pub(crate) struct Entry {
    pub(crate) email: Email,
    pub(crate) display_name: DisplayName,
    pub(crate) role: Role,
    /// None leaves it to the owner to set one.
    pub(crate) password: Option<ForeignHash>,
    /// Whether the other system verified the address.
    pub(crate) email_verified: bool,
}

/// An entry as it came: read, or what is wrong with it.
pub(crate) type Read = Result<Entry, Vec<Violation>>;

/// What an entry comes to before it is stored.
enum Prepared {
    /// Its address is taken, or it is refused.
    Left,
    /// With the hash to store, if it has a password.
    Free(Option<String>),
}

/// What became of an entry.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The account is open.
    Created(Uuid),
    /// This account has the address.
    AlreadyExists(Uuid),
    /// What is wrong: fields, and what is allowed.
    Refused(Vec<(String, String)>),
}

/// Opens the accounts that can be opened, in one transaction.
///
/// # Errors
/// `Overloaded`, while another batch is being hashed.
pub(crate) async fn import(
    context: &Context,
    caller: &Principal,
    entries: Vec<Read>,
    key: Option<Key>,
) -> Result<Vec<Outcome>> {
    // Before the transaction, so that no connection waits for it.
    let prepared = prepare(context, &entries).await?;

    let user_import_id = Uuid::now_v7();
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), user_import_id, None).await? {
        let results = store::get_results(&mut tx, earlier.entity_id).await?;
        return serde_json::from_value(results).map_err(Error::internal);
    }
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    for (entry, prepared) in entries.into_iter().zip(prepared) {
        let outcome = match entry {
            Ok(entry) => open(&mut tx, entry, prepared, context.now(), &mut changes).await?,
            Err(violations) => refused(violations),
        };
        outcomes.push(outcome);
    }
    if key.is_some() {
        let results = serde_json::to_value(&outcomes).map_err(Error::internal)?;
        store::insert(&mut tx, user_import_id, &results).await?;
    }
    audit::record_all(&mut tx, &Actor::from(caller), changes).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// Hashes what has to be hashed. Nothing is computed where the address is taken, which
/// makes a retry cheap.
async fn prepare(context: &Context, entries: &[Read]) -> Result<Vec<Prepared>> {
    let key = |it: &Read| it.as_ref().map(|it| it.email.key().to_owned()).unwrap_or_default();
    let email_keys: Vec<String> = entries.iter().map(key).collect();
    let owners = {
        let mut conn = context.db.acquire().await?;
        store::find_owners(&mut conn, &email_keys).await?
    };
    let mut importing: Option<Importing<'_>> = None;
    let mut prepared = Vec::with_capacity(entries.len());
    for (entry, owner) in entries.iter().zip(owners) {
        prepared.push(match entry {
            Ok(entry) if owner.is_none() => Prepared::Free(match &entry.password {
                None => None,
                Some(ForeignHash::Stored(hash)) => Some(hash.clone()),
                Some(ForeignHash::Sha256 { digest, salt }) => {
                    let importing = match &importing {
                        Some(importing) => importing,
                        None => importing.insert(context.hasher.importing()?),
                    };
                    Some(importing.wrap_sha256(*digest, salt.clone()).await?)
                }
            }),
            _ => Prepared::Left,
        });
    }
    Ok(prepared)
}

async fn open(
    conn: &mut PgConnection,
    entry: Entry,
    prepared: Prepared,
    now: DateTime<Utc>,
    changes: &mut Vec<Change>,
) -> Result<Outcome> {
    let Entry { email, display_name, role, email_verified, .. } = entry;
    if let Prepared::Free(password_hash) = prepared {
        let user_id = Uuid::now_v7();
        let new = NewPerson {
            user_id,
            email: email.as_str(),
            email_key: email.key(),
            display_name: display_name.as_str(),
            password_hash: password_hash.as_deref(),
            role,
            email_verified_at: email_verified.then_some(now),
        };
        if store::insert_person(conn, new).await? {
            let new = json!({
                "kind": "person",
                "email": email.as_str(),
                "display_name": display_name.as_str(),
                "role": role.text(),
                "email_verified": email_verified,
            });
            changes.push(Change::created("user.import", "user", user_id, new));
            return Ok(Outcome::Created(user_id));
        }
    }
    let owners = store::find_owners(conn, &[email.key().to_owned()]).await?;
    // None only if the account was deleted at this moment.
    owners.into_iter().flatten().next().map(Outcome::AlreadyExists).ok_or(Error::Conflict)
}

fn refused(violations: Vec<Violation>) -> Outcome {
    Outcome::Refused(violations.into_iter().map(|it| (it.field, it.description)).collect())
}

/// Forgets the results that nobody can ask for any more; returns how many.
pub(crate) async fn forget_old(conn: &mut PgConnection) -> Result<u64> {
    store::delete_old(conn).await
}
