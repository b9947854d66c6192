//! How an account presents itself, and what it may do beyond its role.

use ihuman_shared::{Result, access::Role};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Kind, State, User};

/// What is not set stays as it is.
pub(crate) async fn update(
    conn: &mut PgConnection,
    user_id: Uuid,
    display_name: Option<&str>,
    avatar_url: Option<&str>,
) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"update users set display_name = coalesce($2, display_name), avatar_url = coalesce($3, avatar_url)
           where user_id = $1
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        display_name,
        avatar_url,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}

/// Gives the account other permissions beyond its role's, and its tokens another version.
pub(crate) async fn update_permissions(
    conn: &mut PgConnection,
    user_id: Uuid,
    permissions: &[String],
) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"update users set permissions = $2, token_version = token_version + 1 where user_id = $1
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        permissions,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}
