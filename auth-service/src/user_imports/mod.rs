//! Accounts that come from other systems, with the passwords that their owners have.

mod foreign;
pub(crate) mod rpc;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
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

/// How long results are kept: longer than any `request_id` that leads to them.
const KEPT_FOR: TimeDelta = TimeDelta::hours(25);

/// An account to open.
pub(crate) struct Entry {
    pub(crate) email: Email,
    pub(crate) display_name: DisplayName,
    pub(crate) role: Role,
    pub(crate) password: ForeignHash,
    /// Whether the other system verified the address.
    pub(crate) email_verified: bool,
}

/// An entry as it came: read, or what is wrong with it.
pub(crate) type Read = Result<Entry, Vec<Violation>>;

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
    let hashes = hash(context, &entries).await?;

    let user_import_id = Uuid::now_v7();
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), user_import_id, None).await? {
        let results = store::get_results(&mut tx, earlier.entity_id).await?;
        return serde_json::from_value(results).map_err(Error::internal);
    }
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    for (entry, hash) in entries.into_iter().zip(hashes) {
        let outcome = match entry {
            Ok(entry) => open(&mut tx, entry, hash, context.now(), &mut changes).await?,
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

/// The hashes to store. None where the address is taken: nothing is computed for it,
/// which makes a retry cheap.
async fn hash(context: &Context, entries: &[Read]) -> Result<Vec<Option<String>>> {
    let email = |it: &Read| it.as_ref().map(|it| it.email.as_str().to_owned()).unwrap_or_default();
    let emails: Vec<String> = entries.iter().map(email).collect();
    let owners = {
        let mut conn = context.db.acquire().await?;
        store::find_owners(&mut conn, &emails).await?
    };
    let mut importing: Option<Importing<'_>> = None;
    let mut hashes = Vec::with_capacity(entries.len());
    for (entry, owner) in entries.iter().zip(owners) {
        hashes.push(match entry {
            Ok(entry) if owner.is_none() => Some(match &entry.password {
                ForeignHash::Stored(hash) => hash.clone(),
                ForeignHash::Sha256 { digest, salt } => {
                    let importing = match &importing {
                        Some(importing) => importing,
                        None => importing.insert(context.hasher.importing()?),
                    };
                    importing.wrap_sha256(*digest, salt.clone()).await?
                }
            }),
            _ => None,
        });
    }
    Ok(hashes)
}

async fn open(
    conn: &mut PgConnection,
    entry: Entry,
    hash: Option<String>,
    now: DateTime<Utc>,
    changes: &mut Vec<Change>,
) -> Result<Outcome> {
    let Entry { email, display_name, role, email_verified, .. } = entry;
    if let Some(hash) = hash {
        let user_id = Uuid::now_v7();
        let new = NewPerson {
            user_id,
            email: email.as_str(),
            display_name: display_name.as_str(),
            password_hash: &hash,
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
    let owners = store::find_owners(conn, &[email.as_str().to_owned()]).await?;
    // None only if the account was deleted at this moment.
    owners.into_iter().flatten().next().map(Outcome::AlreadyExists).ok_or(Error::Conflict)
}

fn refused(violations: Vec<Violation>) -> Outcome {
    Outcome::Refused(violations.into_iter().map(|it| (it.field, it.description)).collect())
}

/// Forgets the results that nobody can ask for any more; returns how many.
pub(crate) async fn forget_old(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    store::delete_old(conn, now - KEPT_FOR, limit).await
}
