//! What a login asks of the `users` table.

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, access::Role};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Kind, Login, State, User};

/// # Errors
/// `NotFound`
pub(crate) async fn get(conn: &mut PgConnection, user_id: Uuid) -> Result<Login> {
    let login = sqlx::query_as!(
        Login,
        r#"select user_id, password_hash, state as "state: State", mfa_enabled, token_version,
               factors_version, last_login_at, email_verified_at is not null as "is_verified!"
           from users where user_id = $1"#,
        user_id,
    )
    .fetch_optional(conn)
    .await?;
    login.ok_or(Error::NotFound("user"))
}

/// The account, which nobody else changes until the transaction ends; none if it was
/// closed, or got another password, or its first or no second factor, since
/// `password_hash` and `mfa_enabled` were read.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    user_id: Uuid,
    password_hash: &str,
    mfa_enabled: bool,
) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"select user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at
           from users
           where user_id = $1 and password_hash = $2 and mfa_enabled = $3 and state = 'active'
           for no key update"#,
        user_id,
        password_hash,
        mfa_enabled,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// Remembers a login of a locked account.
pub(crate) async fn update_last_login(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"update users set last_login_at = $2 where user_id = $1
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        now,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}
