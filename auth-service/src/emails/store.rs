//! The `email_tokens` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Kind {
    VerifyEmail,
    ResetPassword,
    ChangeEmail,
}

pub(crate) struct NewToken<'a> {
    pub(crate) user_id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) mail_id: Uuid,
    pub(crate) token_hash: &'a [u8],
    pub(crate) email: &'a str,
    pub(crate) token_version: i64,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Kind {
    /// Its name in the table.
    pub(super) fn text(self) -> &'static str {
        match self {
            Kind::VerifyEmail => "verify_email",
            Kind::ResetPassword => "reset_password",
            Kind::ChangeEmail => "change_email",
        }
    }
}

/// Replaces the token of earlier mails; returns false when there is that of a later
/// one, or when that of this one was used. The ids of mails are UUIDv7, so they sort by
/// time.
pub(crate) async fn upsert(conn: &mut PgConnection, new: NewToken<'_>) -> Result<bool> {
    let written = sqlx::query!(
        "insert into email_tokens as t (user_id, kind, mail_id, token_hash, email, token_version, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (user_id, kind) do update
         set mail_id = $3, token_hash = $4, email = $5, token_version = $6, expires_at = $7, used_at = null
         where t.mail_id < $3 or (t.mail_id = $3 and t.used_at is null)",
        new.user_id,
        new.kind as Kind,
        new.mail_id,
        new.token_hash,
        new.email,
        new.token_version,
        new.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The account of a token that looks as if it worked.
pub(crate) async fn find_user(
    conn: &mut PgConnection,
    kind: Kind,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Uuid>> {
    let user_id = sqlx::query_scalar!(
        "select user_id from email_tokens
         where token_hash = $1 and kind = $2 and used_at is null and expires_at > $3",
        token_hash,
        kind as Kind,
        now,
    );
    Ok(user_id.fetch_optional(conn).await?)
}

/// Uses a token up, if it works; returns the address that it was sent to. One that
/// verifies ends with the address, one that changes the address with the version of the
/// account's tokens, which a change of its password, its role, its permissions or its
/// state raises, and one that resets with either.
pub(crate) async fn update_used(
    conn: &mut PgConnection,
    kind: Kind,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<String>> {
    let email = sqlx::query_scalar!(
        "update email_tokens t set used_at = $3
         from users u
         where t.token_hash = $1 and t.kind = $2 and t.used_at is null and t.expires_at > $3
             and u.user_id = t.user_id and u.state = 'active'
             and (t.kind = 'change_email' or u.email = t.email)
             and (t.kind = 'verify_email' or u.token_version = t.token_version)
         returning t.email",
        token_hash,
        kind as Kind,
        now,
    );
    Ok(email.fetch_optional(conn).await?)
}

/// Deletes one that was not used; returns whether there was one.
pub(crate) async fn delete_unused(
    conn: &mut PgConnection,
    user_id: Uuid,
    kind: Kind,
) -> Result<bool> {
    let deleted = sqlx::query!(
        "delete from email_tokens where user_id = $1 and kind = $2 and used_at is null",
        user_id,
        kind as Kind,
    );
    Ok(deleted.execute(conn).await?.rows_affected() == 1)
}

/// Deletes those that expired before `before`.
pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from email_tokens
         where expires_at < $1 and ctid = any(array(
             select ctid from email_tokens where expires_at < $1 limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!("delete from email_tokens where user_id = $1", user_id).execute(conn).await?;
    Ok(())
}
