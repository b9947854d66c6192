//! Removing from an account what says whose it was.

use ihuman_shared::{Result, access::Role};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Kind, State, User};

/// What a deleted account is called.
const DISPLAY_NAME: &str = "Deleted user";

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
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        DISPLAY_NAME,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}
