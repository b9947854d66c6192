//! Accounts that come from other systems, with the passwords that their owners have.

mod foreign;
pub(crate) mod rpc;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Permissions, Principal, Role},
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
    users::{
        self, DisplayName, Email,
        store::{Kind, NewUser},
    },
};

/// How long results are kept: longer than any `request_id` that leads to them.
const KEPT_FOR: TimeDelta = TimeDelta::hours(25);

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
/// `PermissionMissing`, when a role grants what the caller lacks; `Overloaded`, while
/// another batch is being hashed.
pub(crate) async fn import(
    context: &Context,
    caller: &Principal,
    entries: Vec<Read>,
    key: Option<Key>,
) -> Result<Vec<Outcome>> {
    for entry in entries.iter().flatten() {
        users::check_given_by(caller, entry.role.permissions(), Permissions::default())?;
    }
    // Before the transaction, so that no connection waits for it.
    let prepared = prepare(context, &entries).await?;

    let user_import_id = Uuid::now_v7();
    let mut tx = context.db.begin().await?;
    if let Some(earlier) = idempotency::claim(&mut tx, key.as_ref(), user_import_id, None).await? {
        let results = store::get_results(&mut tx, earlier.entity_id).await?;
        return serde_json::from_value(results).map_err(Error::internal);
    }
    let (outcomes, changes) = open(&mut tx, entries, &prepared, context.now()).await?;
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
    let owners = {
        let mut conn = context.db.acquire().await?;
        store::find_owners(&mut conn, &email_keys(entries)).await?
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

/// What is looked for of each entry: nothing of one that was not read.
fn email_keys(entries: &[Read]) -> Vec<String> {
    let key = |it: &Read| it.as_ref().map(|it| it.email.key().to_owned()).unwrap_or_default();
    entries.iter().map(key).collect()
}

/// Opens an account for each entry whose address is free, and says what
/// became of all and what is to be recorded.
async fn open(
    conn: &mut PgConnection,
    entries: Vec<Read>,
    prepared: &[Prepared],
    now: DateTime<Utc>,
) -> Result<(Vec<Outcome>, Vec<Change>)> {
    let user_ids: Vec<Uuid> = entries.iter().map(|_| Uuid::now_v7()).collect();
    let people = user_ids.iter().zip(&entries).zip(prepared);
    let people = people.filter_map(|((user_id, entry), prepared)| match (entry, prepared) {
        (Ok(entry), Prepared::Free(hash)) => Some(entry.person(*user_id, hash.as_deref(), now)),
        _ => None,
    });
    let people: Vec<NewPerson<'_>> = people.collect();
    store::insert_people(conn, &people).await?;
    let owners = store::find_owners(conn, &email_keys(&entries)).await?;

    let opened = people.iter().filter(|it| owners.contains(&Some(it.user.user_id)));
    let changes = opened.map(NewPerson::created).collect();
    let places = entries.into_iter().zip(user_ids.iter().zip(owners));
    let outcomes = places.map(|(entry, (user_id, owner))| match (entry, owner) {
        (Err(violations), _) => Ok(refused(violations)),
        (Ok(_), Some(owner)) if owner == *user_id => Ok(Outcome::Created(owner)),
        (Ok(_), Some(owner)) => Ok(Outcome::AlreadyExists(owner)),
        // Only if the account was deleted at this moment.
        (Ok(_), None) => Err(Error::Conflict),
    });
    Ok((outcomes.collect::<Result<_>>()?, changes))
}

impl Entry {
    fn person<'a>(
        &'a self,
        user_id: Uuid,
        hash: Option<&'a str>,
        now: DateTime<Utc>,
    ) -> NewPerson<'a> {
        let user = NewUser {
            user_id,
            kind: Kind::Person,
            email: Some(self.email.as_str()),
            email_key: Some(self.email.key()),
            display_name: self.display_name.as_str(),
            password_hash: hash,
            role: self.role,
        };
        NewPerson { user, email_verified_at: self.email_verified.then_some(now) }
    }
}

impl NewPerson<'_> {
    fn created(&self) -> Change {
        let mut new = self.user.recorded();
        new["email_verified"] = json!(self.email_verified_at.is_some());
        Change::created("user.import", "user", self.user.user_id, new)
    }
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
