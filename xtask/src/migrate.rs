//! `cargo xtask migrate`: brings the database of `DATABASE_URL`, or of `dev`, up to date.

use anyhow::{Result, bail};

use crate::{
    dev::{Prepared, prepare},
    postgres::{Server, claim},
    workspace,
};

/// Applies what the database lacks.
pub(crate) async fn run() -> Result<()> {
    let home = workspace::home()?;
    let lock = claim(&home)?;
    if lock.is_none() && Server::given().is_none() {
        bail!("`cargo xtask dev` runs, and has migrated its database");
    }
    let Prepared { server: _server, database, .. } = prepare(&home)?;
    ihuman_migrations::create_database(&database).await?;
    let report = ihuman_migrations::migrate(&database, |it| {
        println!("applied {:04} {} ({:.1?})", it.version, it.description, it.elapsed);
    })
    .await?;
    if report.applied.is_empty() {
        println!("nothing to apply");
    }
    Ok(())
}
