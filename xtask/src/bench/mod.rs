//! `cargo xtask bench`: how fast it is on this machine, and that it keeps what it promises under load.

mod auth;
mod echo;
mod load;
mod report;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{process, workspace};

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Options {
    /// auth-service: logins beside the bare hash, and calls beside a bare server,
    /// alone and under a storm of logins. Takes about a minute once it is built.
    Auth,
    /// The bare server, which `auth` runs beside it.
    #[command(hide = true)]
    Echo {
        /// The port to listen at, on 127.0.0.1.
        port: u16,
    },
}

/// Measures; a promise that is not kept is a failure.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    match options {
        // What is measured must not wait for a client without optimizations.
        Options::Auth if cfg!(debug_assertions) => again_with_optimizations().await,
        Options::Auth => auth::run().await,
        Options::Echo { port } => echo::serve(port).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn again_with_optimizations() -> Result<ExitCode> {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "--quiet", "--package=xtask", "--", "bench", "auth"]);
    let status = process::run(&mut command).await.context("cannot run the measurement")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
