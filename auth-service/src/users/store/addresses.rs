//! The e-mail address of an account, and what possession of it allows.

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, access::Role, error::OnConstraint as _};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Kind, NewUser};

/// Opens the account, or finds the one that has the address: who it is, and whether it
/// is new. To find takes as long as to open, but for what is written. None if another
/// transaction took the address while this waited for it: the next time finds that.
pub(crate) async fn insert_or_find(
    conn: &mut PgConnection,
    new: &NewUser<'_>,
) -> Result<Option<(Uuid, bool)>> {
    let found = sqlx::query!(
        r#"with inserted as (
               insert into users (user_id, kind, email, email_key, display_name, password_hash, role)
               values ($1, $2, $3, $7, $4, $5, $6)
               on conflict do nothing
               returning user_id
           )
           select user_id as "user_id!", true as "is_new!" from inserted
           union all
           select user_id, false from users where email_key = $7
           limit 1"#,
        new.user_id,
        new.kind as Kind,
        new.email,
        new.display_name,
        new.password_hash,
        new.role as Role,
        new.email_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(|it| (it.user_id, it.is_new)))
}

/// Verifies the address that the account has.
pub(crate) async fn update_verified(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!("update users set email_verified_at = $2 where user_id = $1", user_id, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// Gives the account another address, which is verified.
///
/// # Errors
/// `AlreadyExists`, when the address is taken.
pub(crate) async fn update_email(
    conn: &mut PgConnection,
    user_id: Uuid,
    email: &str,
    email_key: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update users set email = $2, email_key = $4, email_verified_at = $3 where user_id = $1",
        user_id,
        email,
        now,
        email_key,
    )
    .execute(conn)
    .await
    .on_constraint("users_email_key", Error::AlreadyExists("user"))?;
    Ok(())
}

/// Sets the password for whoever has the address, which is verified with that, unless
/// it is short and would stand alone; returns the new token version.
pub(crate) async fn reset_password(
    conn: &mut PgConnection,
    user_id: Uuid,
    password_hash: &str,
    is_short: bool,
    now: DateTime<Utc>,
) -> Result<Option<i64>> {
    let token_version = sqlx::query_scalar!(
        "update users
         set password_hash = $2, password_is_short = $3, token_version = token_version + 1,
             email_verified_at = coalesce(email_verified_at, $4)
         where user_id = $1 and (mfa_enabled or not $3)
         returning token_version",
        user_id,
        password_hash,
        is_short,
        now,
    );
    Ok(token_version.fetch_optional(conn).await?)
}
