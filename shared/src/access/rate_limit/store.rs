//! What the auth schema grants of each subject's quota, to both services alike.

use std::time::Duration;

use sqlx::PgConnection;

use super::{Quota, lease::Grant};
use crate::Result;

pub(super) async fn lease_requests(
    conn: &mut PgConnection,
    subject: &str,
    wanted: u32,
    quota: Quota,
) -> Result<Grant> {
    let row = sqlx::query!(
        r#"select granted as "granted!", remaining as "remaining!", resets_in_ms as "resets_in_ms!"
           from auth.lease_requests($1, $2, $3, $4)"#,
        subject,
        i64::from(wanted),
        i64::from(quota.max_requests),
        i64::try_from(quota.window.as_millis()).unwrap_or(i64::MAX),
    )
    .fetch_one(conn)
    .await?;
    // None is greater than the quota, or negative.
    let count = |it: i64| u32::try_from(it).unwrap_or_default();
    Ok(Grant {
        granted: count(row.granted),
        remaining: count(row.remaining),
        resets_in: Duration::from_millis(u64::try_from(row.resets_in_ms).unwrap_or_default()),
    })
}
