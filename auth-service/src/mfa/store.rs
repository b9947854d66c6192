//! The `totps` and `recovery_codes` tables, and what the `users` table says of them.

use chrono::{DateTime, Utc};
use ihuman_shared::{Error, Result, error::OnConstraint as _};
use sqlx::PgConnection;
use uuid::Uuid;

/// Which second factors an account has.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) enabled: bool,
    pub(crate) password_is_short: bool,
    pub(crate) totp_confirmed_at: Option<DateTime<Utc>>,
    pub(crate) passkeys: i64,
    pub(crate) recovery_codes_left: i64,
    pub(crate) recovery_codes_used: i64,
}

/// # Errors
/// `NotFound`
pub(crate) async fn get_state(conn: &mut PgConnection, user_id: Uuid) -> Result<State> {
    let state = sqlx::query_as!(
        State,
        r#"select u.mfa_enabled as enabled, u.password_is_short,
               (select t.created_at from totps t where t.user_id = $1 and t.is_confirmed) as totp_confirmed_at,
               (select count(*) from passkeys p where p.user_id = $1) as "passkeys!",
               (select count(*) from recovery_codes c where c.user_id = $1 and c.used_at is null) as "recovery_codes_left!",
               (select count(*) from recovery_codes c where c.user_id = $1 and c.used_at is not null) as "recovery_codes_used!"
           from users u where u.user_id = $1"#,
        user_id,
    )
    .fetch_optional(conn)
    .await?;
    state.ok_or(Error::NotFound("user"))
}

/// In place of an earlier one.
pub(crate) async fn insert_enrollment(
    conn: &mut PgConnection,
    user_id: Uuid,
    sealed: &[u8],
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "insert into totps (user_id, is_confirmed, mfa_secret_sealed, expires_at, created_at)
         values ($1, false, $2, $3, $4)
         on conflict (user_id, is_confirmed) do update
         set mfa_secret_sealed = $2, expires_at = $3, created_at = $4",
        user_id,
        sealed,
        expires_at,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The sealed secret that can be confirmed at `now`.
pub(crate) async fn find_enrollment(
    conn: &mut PgConnection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Vec<u8>>> {
    let sealed = sqlx::query_scalar!(
        "select mfa_secret_sealed from totps
         where user_id = $1 and not is_confirmed and expires_at > $2",
        user_id,
        now,
    );
    Ok(sealed.fetch_optional(conn).await?)
}

/// Makes the enrolled secret the one in use, of which `last_step` is used up.
pub(crate) async fn confirm(
    conn: &mut PgConnection,
    user_id: Uuid,
    last_step: i64,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "with enrolled as (
             delete from totps where user_id = $1 and not is_confirmed returning mfa_secret_sealed
         )
         insert into totps (user_id, is_confirmed, mfa_secret_sealed, last_step, created_at)
         select $1, true, mfa_secret_sealed, $2, $3 from enrolled
         on conflict (user_id, is_confirmed) do update
         set mfa_secret_sealed = excluded.mfa_secret_sealed, last_step = $2, created_at = $3",
        user_id,
        last_step,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes the secret that was not confirmed.
pub(crate) async fn delete_enrollment(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!("delete from totps where user_id = $1 and not is_confirmed", user_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The sealed secret that is in use.
pub(crate) async fn find_secret(conn: &mut PgConnection, user_id: Uuid) -> Result<Option<Vec<u8>>> {
    let sealed = sqlx::query_scalar!(
        "select mfa_secret_sealed from totps where user_id = $1 and is_confirmed",
        user_id,
    );
    Ok(sealed.fetch_optional(conn).await?)
}

/// Uses the code of `step` up, if neither it nor a later one was; returns whether.
pub(crate) async fn update_last_step(
    conn: &mut PgConnection,
    user_id: Uuid,
    step: i64,
) -> Result<bool> {
    let updated = sqlx::query!(
        "update totps set last_step = $2 where user_id = $1 and is_confirmed and last_step < $2",
        user_id,
        step,
    )
    .execute(conn)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Deletes the secret in use and the enrolled one; returns whether one was in use.
pub(crate) async fn delete_totp(conn: &mut PgConnection, user_id: Uuid) -> Result<bool> {
    let deleted =
        sqlx::query_scalar!("delete from totps where user_id = $1 returning is_confirmed", user_id);
    Ok(deleted.fetch_all(conn).await?.contains(&true))
}

/// Says whether logins need a second factor, by whether there is one, and that they are
/// not those of before; returns the first.
///
/// # Errors
/// `WrongState`, when there is none and the password is too short to stand alone.
pub(crate) async fn update_enabled(conn: &mut PgConnection, user_id: Uuid) -> Result<bool> {
    let description = "has fewer than 15 characters, which is too few without a second factor: \
                       change it before";
    sqlx::query_scalar!(
        "update users
         set mfa_enabled = exists (select from totps where user_id = $1 and is_confirmed)
                 or exists (select from passkeys where user_id = $1),
             factors_version = factors_version + 1
         where user_id = $1
         returning mfa_enabled",
        user_id,
    )
    .fetch_one(conn)
    .await
    .on_constraint(
        "users_short_password_check",
        Error::WrongState { subject: "password", description: description.to_owned() },
    )
}

/// Says that logins need no second factor, gives the account's tokens another version,
/// and puts `unusable` in place of a password that is too short to stand alone; returns
/// the version.
pub(crate) async fn reset(conn: &mut PgConnection, user_id: Uuid, unusable: &str) -> Result<i64> {
    let token_version = sqlx::query_scalar!(
        "update users
         set mfa_enabled = false, password_is_short = false, token_version = token_version + 1,
             password_hash = case when password_is_short then $2 else password_hash end
         where user_id = $1
         returning token_version",
        user_id,
        unusable,
    );
    Ok(token_version.fetch_one(conn).await?)
}

pub(crate) async fn insert_recovery_codes(
    conn: &mut PgConnection,
    user_id: Uuid,
    hashes: &[Vec<u8>],
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "insert into recovery_codes (user_id, code_hash, created_at)
         select $1, code_hash, $3 from unnest($2::bytea[]) as code_hash",
        user_id,
        hashes,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses a code up, if nobody has; returns whether.
pub(crate) async fn use_recovery_code(
    conn: &mut PgConnection,
    user_id: Uuid,
    hash: &[u8],
    now: DateTime<Utc>,
) -> Result<bool> {
    let used = sqlx::query!(
        "update recovery_codes set used_at = $3
         where user_id = $1 and code_hash = $2 and used_at is null",
        user_id,
        hash,
        now,
    )
    .execute(conn)
    .await?;
    Ok(used.rows_affected() == 1)
}

pub(crate) async fn delete_recovery_codes(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!("delete from recovery_codes where user_id = $1", user_id).execute(conn).await?;
    Ok(())
}

/// Deletes secrets that can't be confirmed any more.
pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from totps
         where not is_confirmed and expires_at <= $1 and ctid = any(array(
             select ctid from totps where not is_confirmed and expires_at <= $1 limit $2))",
        now,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
