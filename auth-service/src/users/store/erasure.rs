//! Removing from the tables what says whose an account was.

use chrono::{DateTime, Utc};
use ihuman_shared::{Result, access::Role};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Kind, State, User};

/// What a deleted account is called.
const DISPLAY_NAME: &str = "Deleted user";

/// How much was removed beside the account itself.
pub(crate) struct Erased {
    pub(crate) sessions: i64,
    pub(crate) api_keys: Vec<Uuid>,
    pub(crate) settings: i64,
    pub(crate) passkeys: i64,
}

/// Closes the account for good, and gives its tokens another version.
pub(crate) async fn erase(conn: &mut PgConnection, user_id: Uuid) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"update users
           set state = 'deleted', email = null, email_verified_at = null, password_hash = null, display_name = $2, avatar_url = '',
               permissions = '{}', last_login_at = null, mfa_enabled = false, password_is_short = false,
               token_version = token_version + 1
           where user_id = $1
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        DISPLAY_NAME,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}

/// Ends what belongs to the account, and forgets where it was used from.
pub(crate) async fn erase_belongings(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Erased> {
    let row = sqlx::query!(
        r#"with ended as (
               update sessions
               set ip_address = null, refresh_ip_address = null, user_agent = '',
                   revoked_at = coalesce(revoked_at, $2)
               where user_id = $1
               returning session_id
           ), forgotten as (
               delete from refresh_tokens
               where session_id in (select session_id from sessions where user_id = $1)
           ), revoked as (
               update api_keys set revoked_at = $2
               where user_id = $1 and revoked_at is null
               returning api_key_id
           ), removed as (
               delete from settings where user_id = $1 returning name
           ), removed_passkeys as (
               delete from passkeys where user_id = $1 returning passkey_id
           ), secrets as (
               delete from totps where user_id = $1
           ), codes as (
               delete from recovery_codes where user_id = $1
           ), challenges as (
               delete from login_challenges where user_id = $1
           ), unanswered as (
               delete from idempotency_keys where principal_id = $1
           ), unsent as (
               delete from mails where user_id = $1
           ), unproved as (
               delete from email_tokens where user_id = $1
           )
           select (select count(*) from ended) as "sessions!",
               array(select api_key_id from revoked) as "api_keys!: Vec<Uuid>",
               (select count(*) from removed) as "settings!",
               (select count(*) from removed_passkeys) as "passkeys!""#,
        user_id,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(Erased {
        sessions: row.sessions,
        api_keys: row.api_keys,
        settings: row.settings,
        passkeys: row.passkeys,
    })
}
