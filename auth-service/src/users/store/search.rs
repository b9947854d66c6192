//! Finding accounts by the beginnings of words, through the index on them.

use ihuman_shared::{Result, access::Role};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Filter, Kind, State, User};

/// Those of [`list`](super::list) with a word for each beginning in `query`.
pub(crate) async fn search(
    conn: &mut PgConnection,
    query: &str,
    filter: Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<User>> {
    let users = sqlx::query_file_as!(
        User,
        "src/users/store/search.sql",
        filter.role as Option<Role>,
        filter.kind as Option<Kind>,
        filter.state as Option<State>,
        after,
        limit,
        query,
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}
