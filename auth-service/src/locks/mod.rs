//! Locks: who failed to prove a credential waits before the next attempt, ever longer.

mod device;
pub(crate) mod rpc;
mod rule;
pub(crate) mod store;
mod turns;

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Principal, subscriber},
    audit::{self, Actor, Change},
    credentials::MasterKey,
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::{
    device::{Device, DeviceToken, Devices, Home},
    store::Kind,
};
use self::{
    store::{Key, Lock, Scope},
    turns::{Turn, Turns},
};
use crate::{
    context::Context,
    passwords::{Attempt, Verdict},
    users,
};

/// How many counts of one account are shown.
const SHOWN_MAX: i64 = 100;

/// Whose failures are counted.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// Whoever has an address: an IPv6 network of 64 bits counts as one.
    Address(IpAddr),
    /// Strangers to an account.
    Account(Uuid),
    /// Strangers to an account that nobody has.
    Nobody { email_key: String },
    /// A device that the account knows.
    Device { user_id: Uuid, device_id: Uuid },
    /// A session.
    Session { user_id: Uuid, session_id: Uuid },
}

/// Hides whose failures they are from who reads the database.
pub(crate) struct Subjects {
    key: hmac::Key,
    turns: Turns,
}

/// An attempt that was counted as a failure in advance, so that of many at the same
/// time no more are made than the rule allows.
pub(crate) struct Counted {
    subject: Subject,
    key: Key,
    lock: Lock,
    /// Whose failure it is besides, which is counted when it is one: good logins from
    /// one address must not wait for each other.
    address: Option<IpAddr>,
    /// Others wait for it until this attempt is done with.
    _turn: Turn,
}

/// Lets `subject` try to prove a credential once, and counts that as a failure until
/// something else is known. It waits for the attempts of the same subject that came before.
///
/// # Errors
/// `TooManyFailures`, when it or the address has to wait; then nothing is counted.
pub(crate) async fn admit(
    context: &Context,
    kind: Kind,
    subject: Subject,
    address: Option<IpAddr>,
) -> Result<Counted> {
    let key = context.subjects.key(kind, &subject);
    let turn = context.subjects.turns.take(&key.subject_hash).await;
    let now = context.now();
    let mut conn = context.db.acquire().await?;
    if let Some(address) = address {
        refuse_address(&mut conn, context, kind, address).await?;
    }
    let counting = rule::counting(key.scope, now);
    match store::count(&mut conn, &key, &counting).await? {
        Some(lock) => Ok(Counted { subject, key, lock, address, _turn: turn }),
        None => {
            refuse_while(store::find_wait_until(&mut conn, &key).await?, now)?;
            // The wait ended in between.
            Err(Error::Conflict)
        }
    }
}

/// Lets whoever has `address` try to prove a credential of which nobody knows whose it is.
///
/// # Errors
/// `TooManyFailures`, when the address has to wait.
pub(crate) async fn admit_address(context: &Context, kind: Kind, address: IpAddr) -> Result<()> {
    let mut conn = context.db.acquire().await?;
    refuse_address(&mut conn, context, kind, address).await
}

/// Counts a failure of `address` to log in to an account, if it is known to which;
/// returns what to record: the wait that begins, and that it has tried so many.
pub(crate) async fn fail_address(
    context: &Context,
    kind: Kind,
    address: IpAddr,
    account: Option<&Subject>,
) -> Result<Vec<Change>> {
    let subject = Subject::Address(address);
    let key = context.subjects.key(kind, &subject);
    let counting = rule::counting(key.scope, context.now());
    let mut conn = context.db.acquire().await?;
    let lock = store::count(&mut conn, &key, &counting).await?;
    let mut changes: Vec<Change> =
        lock.and_then(|lock| begun(&subject, &lock)).into_iter().collect();
    if let Some(account) = account {
        let mut account_hash = context.subjects.key(kind, account).subject_hash;
        shorten(&mut account_hash);
        let noted = store::note_account(&mut conn, &key, &account_hash, rule::MANY_ACCOUNTS);
        // Once, until its count begins anew.
        if noted.await? == Some(rule::MANY_ACCOUNTS) {
            metrics::counter!("ihuman_credential_stuffing_total").increment(1);
            let new = json!({"kind": kind, "accounts": rule::MANY_ACCOUNTS});
            let address = address.to_string();
            changes.push(Change::created("lock.credential_stuffing", "address", address, new));
        }
    }
    Ok(changes)
}

async fn refuse_address(
    conn: &mut PgConnection,
    context: &Context,
    kind: Kind,
    address: IpAddr,
) -> Result<()> {
    let key = context.subjects.key(kind, &Subject::Address(address));
    refuse_while(store::find_wait_until(conn, &key).await?, context.now())
}

fn refuse_while(wait_until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<()> {
    match wait_until.filter(|it| *it > now) {
        Some(wait_until) => {
            Err(Error::TooManyFailures { retry_after: retry_after(wait_until, now) })
        }
        None => Ok(()),
    }
}

/// Whole seconds, which is what a person is told.
fn retry_after(wait_until: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    let milliseconds = (wait_until - now).num_milliseconds().max(1);
    Duration::from_secs(u64::try_from(milliseconds).unwrap_or(1).div_ceil(1000))
}

impl Counted {
    /// The credential was proved: the count ends, in the transaction of what that
    /// allows. That of the address goes on, or a thief could end it by logging in to an
    /// account of their own.
    pub(crate) async fn succeed(&self, conn: &mut PgConnection) -> Result<()> {
        store::delete(conn, &self.key).await
    }

    /// The credential was not proved; returns what to record: the waits that begin with
    /// it, and whether its address tries many accounts.
    pub(crate) async fn fail(&self, context: &Context) -> Result<Vec<Change>> {
        let mut begun: Vec<Change> = begun(&self.subject, &self.lock).into_iter().collect();
        if let Some(address) = self.address {
            begun.extend(fail_address(context, self.key.kind, address, Some(&self.subject)).await?);
        }
        Ok(begun)
    }

    /// What the hasher says of a password. When it can't say anything, nothing was tried.
    pub(crate) async fn verify(
        &self,
        context: &Context,
        attempt: &Attempt,
        hash: Option<&str>,
    ) -> Result<Verdict> {
        let verdict = context.hasher.verify(attempt, hash).await;
        if verdict.is_err() {
            self.take_back(context).await?;
        }
        verdict
    }

    /// The same for an account that is refused whatever the password is.
    pub(crate) async fn verify_refused(
        &self,
        context: &Context,
        attempt: &Attempt,
        hash: Option<&str>,
    ) -> Result<Verdict> {
        let verdict = context.hasher.verify_refused(attempt, hash).await;
        if verdict.is_err() {
            self.take_back(context).await?;
        }
        verdict
    }

    /// Nothing was tried after all.
    pub(crate) async fn take_back(&self, context: &Context) -> Result<()> {
        let mut conn = context.db.acquire().await?;
        store::take_back(&mut conn, &self.key).await
    }
}

fn begun(subject: &Subject, lock: &Lock) -> Option<Change> {
    if lock.wait_until <= lock.failed_at {
        return None;
    }
    let (entity_type, entity_id) = match subject {
        Subject::Address(address) => ("address", address.to_string()),
        Subject::Nobody { .. } => return None,
        Subject::Account(user_id)
        | Subject::Device { user_id, .. }
        | Subject::Session { user_id, .. } => ("user", user_id.to_string()),
    };
    Some(Change::created("lock.begin", entity_type, entity_id, recorded(lock)))
}

fn recorded(lock: &Lock) -> serde_json::Value {
    json!({
        "kind": lock.kind,
        "scope": lock.scope,
        "failures": lock.failures,
        "wait_until": lock.wait_until,
    })
}

impl Subjects {
    pub(crate) fn new(master_key: &MasterKey) -> Self {
        let key = hmac::Key::new(HMAC_SHA256, &master_key.derive("lock subject"));
        Subjects { key, turns: Turns::new() }
    }

    fn key(&self, kind: Kind, subject: &Subject) -> Key {
        let (scope, user_id, subject_hash) = match subject {
            Subject::Address(address) => match subscriber(*address) {
                IpAddr::V4(it) => (Scope::Address, None, self.bucket(&it.octets())),
                IpAddr::V6(it) => (Scope::Address, None, self.bucket(&it.octets())),
            },
            Subject::Account(user_id) => {
                (Scope::Account, Some(*user_id), self.hash(user_id.as_bytes()))
            }
            Subject::Nobody { email_key } => {
                (Scope::Account, None, self.bucket(email_key.as_bytes()))
            }
            Subject::Device { user_id, device_id } => {
                (Scope::Device, Some(*user_id), self.hash(device_id.as_bytes()))
            }
            Subject::Session { user_id, session_id } => {
                (Scope::Session, Some(*user_id), self.hash(session_id.as_bytes()))
            }
        };
        Key { kind, scope, subject_hash, user_id }
    }

    fn hash(&self, subject: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, subject).as_ref().to_vec()
    }

    /// So few bits that there are no more than a million rows, whatever is invented.
    fn bucket(&self, subject: &[u8]) -> Vec<u8> {
        let mut hash = self.hash(subject);
        shorten(&mut hash);
        hash
    }
}

/// Leaves the first 20 bits.
fn shorten(hash: &mut Vec<u8>) {
    hash.truncate(3);
    if let Some(last) = hash.get_mut(2) {
        *last &= 0xf0;
    }
}

/// The counts of failures of an account.
pub(crate) async fn state(context: &Context, user_id: Uuid) -> Result<Vec<Lock>> {
    let mut conn = context.db.acquire().await?;
    users::store::get(&mut conn, user_id).await?;
    store::list_of_user(&mut conn, user_id, SHOWN_MAX).await
}

/// Ends every count of failures of an account; returns how many there were.
pub(crate) async fn unlock(context: &Context, caller: &Principal, user_id: Uuid) -> Result<u64> {
    let mut tx = context.db.begin().await?;
    let user = users::store::get(&mut tx, user_id).await?;
    user.check_managed_by(caller)?;
    let locks = store::list_of_user(&mut tx, user_id, SHOWN_MAX).await?;
    let ended = store::delete_of_user(&mut tx, user_id).await?;
    if ended == 0 {
        return Ok(0);
    }
    let old = json!({"locks": locks.iter().map(recorded).collect::<Vec<_>>()});
    let new = json!({"locks": []});
    let change = Change::changed("user.unlock", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Forgets counts that did not grow for 30 days; returns how many.
pub(crate) async fn forget_old(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    store::delete_forgotten(conn, now - rule::KEPT_FOR, limit).await
}
