//! Creates that may be repeated safely, by the caller's `request_id` (AIP-155).

mod store;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use prost::Message;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result, parse};

/// How long a `request_id` is remembered.
const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

/// A create that a caller may repeat.
#[derive(Clone, Debug)]
pub struct Key {
    principal_id: Uuid,
    method: &'static str,
    request_id: Uuid,
    digest: Vec<u8>,
}

/// What an earlier create with the same key made.
#[derive(Debug)]
pub struct Earlier {
    /// The thing.
    pub entity_id: Uuid,
    /// The secret that was remembered with it.
    pub sealed: Option<Vec<u8>>,
}

impl Key {
    /// The key of a request, if it has a `request_id`. `request` must hold no
    /// secret: a hash of it is stored. The nil id stands for a caller who is not known.
    ///
    /// # Errors
    /// `InvalidFields` if `request_id` is not a UUID.
    pub fn of(
        principal_id: Uuid,
        method: &'static str,
        request_id: &str,
        request: &impl Message,
    ) -> Result<Option<Self>> {
        if request_id.is_empty() {
            return Ok(None);
        }
        let request_id = parse::uuid("request_id", request_id)?;
        let digest = digest(&SHA256, &request.encode_to_vec()).as_ref().to_vec();
        Ok(Some(Key { principal_id, method, request_id, digest }))
    }
}

/// Claims `key` for the thing that is about to be made, or says what an earlier
/// request made. Of two at the same time, the second waits for the first to commit.
///
/// # Errors
/// `RequestIdReused` if the earlier request was another one.
pub async fn claim(
    conn: &mut PgConnection,
    key: Option<&Key>,
    entity_id: Uuid,
    sealed: Option<&[u8]>,
) -> Result<Option<Earlier>> {
    let Some(key) = key else { return Ok(None) };
    if store::insert(conn, key, entity_id, sealed).await? {
        return Ok(None);
    }
    let (earlier, request_digest) = store::get(conn, key).await?;
    if request_digest != key.digest {
        return Err(Error::RequestIdReused);
    }
    Ok(Some(earlier))
}

/// Forgets at most `limit` keys of more than 24 hours before `now`; returns how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<u64> {
    store::delete_old(conn, now - KEPT_FOR, limit).await
}

/// Forgets what `principal_id` asked for, and the answers: a repetition is then another
/// create.
pub async fn forget(conn: &mut PgConnection, principal_id: Uuid) -> Result<()> {
    store::delete_of_principal(conn, principal_id).await
}
