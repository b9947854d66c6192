//! What a service must find in its database before it starts.

use sqlx::PgConnection;

/// What of the database a service can start with.
pub(super) struct Fitness {
    /// Whether the role may write to the service's own table.
    pub(super) is_allowed: bool,
    /// Whether the schema is that of this release, or a later one.
    pub(super) is_migrated: bool,
}

/// Fails when there is no `table` at all.
pub(super) async fn fitness(conn: &mut PgConnection, table: &str) -> sqlx::Result<Fitness> {
    sqlx::query_as!(
        Fitness,
        r#"select has_table_privilege($1::text, 'insert') as "is_allowed!",
                  to_regproc('auth.get_master_key_check') is not null as "is_migrated!""#,
        table,
    )
    .fetch_one(conn)
    .await
}
