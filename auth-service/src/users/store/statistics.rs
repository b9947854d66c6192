//! Counting accounts.

use chrono::{DateTime, Utc};
use ihuman_shared::{Result, access::Role};
use sqlx::PgConnection;

use super::{Kind, State};

/// The accounts of one role, kind and state.
pub(crate) struct Group {
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    pub(crate) count: i64,
    pub(crate) new_count: i64,
    pub(crate) active_count: i64,
}

/// Each group that has any; new and active is what was so after `since`.
pub(crate) async fn count(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<Vec<Group>> {
    let groups = sqlx::query_as!(
        Group,
        r#"select role as "role: Role", kind as "kind: Kind", state as "state: State", count(*) as "count!",
               count(*) filter (where created_at > $1) as "new_count!",
               count(*) filter (where last_login_at > $1 or used.user_id is not null) as "active_count!"
           from users
           left join (select distinct user_id from sessions where refreshed_at > $1) used using (user_id)
           group by role, kind, state"#,
        since,
    )
    .fetch_all(conn)
    .await?;
    Ok(groups)
}
