//! Applies the migrations that a database lacks.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use sqlx::{
    ConnectOptions, Connection, PgConnection,
    migrate::{Migrate, MigrateDatabase, Migrator},
    postgres::PgConnectOptions,
};

use crate::MIGRATOR;

/// One migration that has just been applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The number that its file begins with.
    pub version: i64,
    /// The rest of the file's name, in words.
    pub description: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a database was, and is now.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was applied, in order; empty if the database was up to date.
    pub applied: Vec<Applied>,
    /// How many migrations the database has that are newer than this program: an
    /// older release was started again, and goes on with the newer schema.
    pub newer: usize,
}

/// Applies what the database lacks, each migration in a transaction of its own,
/// and calls `on_applied` after each. Two at a time are safe: one waits.
///
/// Needs a direct connection: the lock that makes the other wait belongs to a
/// session, which a pooler in transaction mode would change underneath.
///
/// # Errors
///
/// If the database cannot be reached, a migration fails, or the database has one
/// that differs from, or is older than but unknown to, those of this program.
pub async fn migrate(
    database: &PgConnectOptions,
    mut on_applied: impl FnMut(&Applied),
) -> Result<Report> {
    let mut conn = connect(database).await?;
    conn.lock().await.context("cannot lock the database for migration")?;

    let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    // Applies nothing, and leaves the table of migrations there to be read.
    migrator.run_to(0, &mut conn).await?;
    let before = versions(&mut conn).await?;
    let newer = count_newer(&before)?;

    let mut applied = Vec::new();
    for migration in MIGRATOR.iter().filter(|it| !before.contains(&it.version)) {
        let started = Instant::now();
        migrator.run_to(migration.version, &mut conn).await.with_context(|| {
            format!("migration {:04} ({}) failed", migration.version, migration.description)
        })?;
        let one = Applied {
            version: migration.version,
            description: migration.description.to_string(),
            elapsed: started.elapsed(),
        };
        on_applied(&one);
        applied.push(one);
    }
    // Compares the checksums of all that was applied before.
    migrator.run(&mut conn).await?;

    conn.unlock().await?;
    conn.close().await?;
    Ok(Report { applied, newer })
}

/// Creates the database that the options name unless it is there; says whether
/// it was created.
///
/// # Errors
///
/// If the server cannot be reached or does not allow it.
pub async fn create_database(database: &PgConnectOptions) -> Result<bool> {
    let url = database.to_url_lossy();
    if sqlx::Postgres::database_exists(url.as_str()).await.context("cannot reach PostgreSQL")? {
        return Ok(false);
    }
    sqlx::Postgres::create_database(url.as_str()).await.context("cannot create the database")?;
    Ok(true)
}

/// Drops the database that the options name if it is there, whoever is connected.
///
/// # Errors
///
/// If the server cannot be reached or does not allow it.
pub async fn drop_database(database: &PgConnectOptions) -> Result<()> {
    let url = database.to_url_lossy();
    sqlx::Postgres::force_drop_database(url.as_str()).await.context("cannot drop the database")
}

pub(crate) async fn connect(database: &PgConnectOptions) -> Result<PgConnection> {
    database
        .clone()
        .application_name("migrate")
        .disable_statement_logging()
        .connect()
        .await
        .context("cannot connect to the database")
}

async fn versions(conn: &mut PgConnection) -> Result<HashSet<i64>> {
    let applied = conn.list_applied_migrations(&MIGRATOR.table_name).await?;
    Ok(applied.into_iter().map(|it| it.version).collect())
}

/// A migration that is newer than any of ours comes from a later release. One in
/// between comes from another line of development, and nothing can be said of
/// such a schema.
fn count_newer(applied: &HashSet<i64>) -> Result<usize> {
    let last = MIGRATOR.iter().map(|it| it.version).max().unwrap_or(0);
    for version in applied {
        if *version <= last && !MIGRATOR.version_exists(*version) {
            bail!("the database has migration {version:04}, which this program does not know");
        }
    }
    Ok(applied.iter().filter(|version| **version > last).count())
}
