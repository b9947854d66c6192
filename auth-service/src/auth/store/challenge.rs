//! The `login_challenges` table.

use chrono::{DateTime, Utc};
use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) struct NewChallenge<'a> {
    pub(crate) challenge_hash: &'a [u8],
    pub(crate) user_id: Uuid,
    pub(crate) token_version: i64,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) device_proved: bool,
    pub(crate) expires_at: DateTime<Utc>,
}

pub(crate) struct ChallengeRow {
    pub(crate) user_id: Uuid,
    pub(crate) token_version: i64,
    /// The known device that it was asked for on.
    pub(crate) device_id: Option<Uuid>,
    /// Whether the second factor was proved there before.
    pub(crate) device_proved: bool,
}

pub(crate) async fn insert(conn: &mut PgConnection, new: NewChallenge<'_>) -> Result<()> {
    sqlx::query!(
        "insert into login_challenges (challenge_hash, user_id, token_version, device_id, device_proved, expires_at)
         values ($1, $2, $3, $4, $5, $6)",
        new.challenge_hash,
        new.user_id,
        new.token_version,
        new.device_id,
        new.device_proved,
        new.expires_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The challenge, if it lives at `now` and saw fewer than `failures_max` wrong proofs.
pub(crate) async fn find(
    conn: &mut PgConnection,
    challenge_hash: &[u8],
    now: DateTime<Utc>,
    failures_max: i32,
) -> Result<Option<ChallengeRow>> {
    let challenge = sqlx::query_as!(
        ChallengeRow,
        "select user_id, token_version, device_id, device_proved from login_challenges
         where challenge_hash = $1 and expires_at > $2 and failures < $3",
        challenge_hash,
        now,
        failures_max,
    )
    .fetch_optional(conn)
    .await?;
    Ok(challenge)
}

pub(crate) async fn update_failed(conn: &mut PgConnection, challenge_hash: &[u8]) -> Result<()> {
    sqlx::query!(
        "update login_challenges set failures = failures + 1 where challenge_hash = $1",
        challenge_hash,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses a challenge up, if nobody has; returns whether.
pub(crate) async fn delete(conn: &mut PgConnection, challenge_hash: &[u8]) -> Result<bool> {
    let deleted =
        sqlx::query!("delete from login_challenges where challenge_hash = $1", challenge_hash);
    Ok(deleted.execute(conn).await?.rows_affected() == 1)
}

/// Ends every login of the account that waits for a second factor.
pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!("delete from login_challenges where user_id = $1", user_id).execute(conn).await?;
    Ok(())
}

pub(crate) async fn delete_expired(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from login_challenges
         where expires_at <= $1 and ctid = any(array(
             select ctid from login_challenges where expires_at <= $1 limit $2))",
        now,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
