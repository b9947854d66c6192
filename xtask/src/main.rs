//! `cargo xtask`: what a developer types.

mod postgres;
mod prepare;
mod process;
mod secrets;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What a developer types. Everything takes the PostgreSQL of DATABASE_URL if that
/// is set, and otherwise a private one, installed if need be.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test, with a throw-away PostgreSQL.
    Test {
        /// Arguments for `cargo test --workspace`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Write .sqlx, which lets the workspace build with no database.
    Prepare {
        /// Write nothing, and fail if .sqlx is not up to date.
        #[arg(long)]
        check: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // Whatever a command has started ends with it: dropping it here is enough.
    let result = tokio::select! {
        result = run(command) => result,
        code = process::interrupted() => code.map(ExitCode::from),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Test { arguments } => return test::run(&arguments).await,
        Command::Prepare { check } => prepare::run(check).await?,
    }
    Ok(ExitCode::SUCCESS)
}
