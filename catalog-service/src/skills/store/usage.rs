//! How often each skill was run: counted apart, and folded into its figures.

use ihuman_shared::Result;
use sqlx::PgConnection;

/// The number of the advisory lock that housekeeping holds: "ihumanhk".
const TURN: i64 = 0x6968_756d_616e_686b;

/// Whether it is this replica's turn, until the transaction ends.
pub async fn take_turn(conn: &mut PgConnection) -> Result<bool> {
    let turn = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "turn!""#, TURN)
        .fetch_one(conn)
        .await?;
    Ok(turn)
}

/// Adds the executions that were counted to the figures of their skills; returns
/// how many skills there were.
pub async fn fold(conn: &mut PgConnection) -> Result<u64> {
    let folded = sqlx::query!(
        "with counted as (delete from skill_usage returning skill_id, executions)
         update skill_stats
         set execution_count = execution_count + total
         from (select skill_id, sum(executions) as total from counted group by skill_id) each
         where skill_stats.skill_id = each.skill_id",
    )
    .execute(conn)
    .await?;
    Ok(folded.rows_affected())
}
