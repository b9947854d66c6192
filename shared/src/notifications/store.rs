//! Sending hints.

use sqlx::PgConnection;

use super::Channel;
use crate::Result;

/// Sends a hint at the commit. PostgreSQL sends equal ones of a transaction once.
///
/// # Errors
/// As the database has it.
pub async fn notify(conn: &mut PgConnection, channel: Channel) -> Result<()> {
    sqlx::query!("select pg_notify($1, '')", channel.name()).execute(conn).await?;
    Ok(())
}
