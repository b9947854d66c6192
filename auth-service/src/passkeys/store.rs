//! The tables `passkeys` and `used_passkey_challenges`.

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, error::OnConstraint as _};
use sqlx::PgConnection;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Passkey {
    pub(crate) passkey_id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) credential_id: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) sign_count: i64,
    pub(crate) name: String,
    pub(crate) transports: Vec<String>,
    pub(crate) user_verifying: bool,
    pub(crate) backup_eligible: bool,
    pub(crate) backed_up: bool,
    pub(crate) last_used_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
}

/// What a use changes.
pub(crate) struct Use {
    pub(crate) sign_count: i64,
    pub(crate) user_verifying: bool,
    pub(crate) backed_up: bool,
    pub(crate) used_at: DateTime<Utc>,
}

/// # Errors
/// `AlreadyExists`, when anybody has registered the credential.
pub(crate) async fn insert(conn: &mut PgConnection, new: &Passkey) -> Result<()> {
    sqlx::query!(
        "insert into passkeys (passkey_id, user_id, credential_id, public_key, sign_count, name,
             transports, user_verifying, backup_eligible, backed_up, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.passkey_id,
        new.user_id,
        new.credential_id,
        new.public_key,
        new.sign_count,
        new.name,
        &new.transports,
        new.user_verifying,
        new.backup_eligible,
        new.backed_up,
        new.created_at,
    )
    .execute(conn)
    .await
    .on_constraint("passkeys_credential_key", Error::AlreadyExists("passkey"))?;
    Ok(())
}

pub(crate) async fn find(conn: &mut PgConnection, passkey_id: Uuid) -> Result<Option<Passkey>> {
    let passkey = sqlx::query_as!(
        Passkey,
        "select passkey_id, user_id, credential_id, public_key, sign_count, name, transports,
             user_verifying, backup_eligible, backed_up, last_used_at, created_at
         from passkeys where passkey_id = $1",
        passkey_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(passkey)
}

pub(crate) async fn find_credential(
    conn: &mut PgConnection,
    credential_id: &[u8],
) -> Result<Option<Passkey>> {
    let passkey = sqlx::query_as!(
        Passkey,
        "select passkey_id, user_id, credential_id, public_key, sign_count, name, transports,
             user_verifying, backup_eligible, backed_up, last_used_at, created_at
         from passkeys where credential_id = $1",
        credential_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(passkey)
}

/// Newest first: the ids are UUIDv7, so they sort by time.
pub(crate) async fn list(
    conn: &mut PgConnection,
    user_id: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Passkey>> {
    let passkeys = sqlx::query_as!(
        Passkey,
        "select passkey_id, user_id, credential_id, public_key, sign_count, name, transports,
             user_verifying, backup_eligible, backed_up, last_used_at, created_at
         from passkeys
         where user_id = $1 and ($2::uuid is null or passkey_id < $2)
         order by passkey_id desc
         limit $3",
        user_id,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(passkeys)
}

pub(crate) async fn count(conn: &mut PgConnection, user_id: Uuid) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from passkeys where user_id = $1"#,
        user_id
    );
    Ok(count.fetch_one(conn).await?)
}

pub(crate) async fn update_name(
    conn: &mut PgConnection,
    passkey_id: Uuid,
    name: &str,
) -> Result<()> {
    sqlx::query!("update passkeys set name = $2 where passkey_id = $1", passkey_id, name)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes a use, unless another one that was signed at the same time or later came
/// first; returns whether.
pub(crate) async fn update_used(
    conn: &mut PgConnection,
    passkey_id: Uuid,
    it: &Use,
) -> Result<bool> {
    let updated = sqlx::query!(
        "update passkeys
         set sign_count = $2, user_verifying = user_verifying or $3, backed_up = $4, last_used_at = $5
         where passkey_id = $1 and (sign_count < $2 or (sign_count = 0 and $2 = 0))",
        passkey_id,
        it.sign_count,
        it.user_verifying,
        it.backed_up,
        it.used_at,
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() == 1)
}

pub(crate) async fn delete(conn: &mut PgConnection, passkey_id: Uuid) -> Result<()> {
    sqlx::query!("delete from passkeys where passkey_id = $1", passkey_id).execute(conn).await?;
    Ok(())
}

pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!("delete from passkeys where user_id = $1", user_id).execute(conn).await?;
    Ok(())
}

/// Uses a challenge up; returns whether it was not before. Of two at the same time,
/// the second waits for the first to commit.
pub(crate) async fn insert_used_challenge(
    conn: &mut PgConnection,
    nonce: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<bool> {
    let inserted = sqlx::query!(
        "insert into used_passkey_challenges (nonce, expires_at) values ($1, $2)
         on conflict do nothing",
        nonce,
        expires_at,
    )
    .execute(conn)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) async fn is_used_challenge(conn: &mut PgConnection, nonce: &[u8]) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from used_passkey_challenges where nonce = $1) as "found!""#,
        nonce,
    );
    Ok(found.fetch_one(conn).await?)
}

/// Deletes those that expired before `before`.
pub(crate) async fn delete_expired_challenges(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from used_passkey_challenges
         where expires_at < $1 and ctid = any(array(
             select ctid from used_passkey_challenges where expires_at < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
