//! `cargo xtask`: what a developer types.

mod bench;
mod ci;
mod client;
mod demo;
mod dev;
mod http;
mod installation;
mod interop;
mod json;
mod migrate;
mod pair;
mod postgres;
mod prepare;
mod process;
mod programs;
mod publish;
mod running;
mod samples;
mod secrets;
mod state;
mod temporary;
mod test;
mod worker;
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
    /// Run both services here, on a database that stays: the place to start.
    Dev(dev::Options),
    /// Tell the story of one skill, step by step, and check each.
    Demo(demo::Options),
    /// Measure on this machine.
    #[command(subcommand)]
    Bench(bench::Options),
    /// Carry out executions of the sample skills.
    Worker(worker::Options),
    /// Run every test, with a throw-away PostgreSQL.
    Test {
        /// Arguments for `cargo test --workspace`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Bring the database of DATABASE_URL, or that of dev, up to date.
    Migrate,
    /// Write .sqlx, which lets the workspace build with no database.
    Prepare {
        /// Write nothing, and fail if .sqlx is not up to date.
        #[arg(long)]
        check: bool,
    },
    /// Run the programs of interop/, which are clients in other languages.
    Interop,
    /// Run everything that must hold before a change is merged.
    Ci,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let lets_work_end = matches!(command, Command::Dev(_) | Command::Worker(_));
    let result = if lets_work_end {
        run(command).await
    } else {
        // Whatever the command has started ends with it: dropping it is enough.
        tokio::select! {
            result = run(command) => result,
            code = process::interrupted() => code.map(ExitCode::from),
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Dev(options) => dev::run(options).await?,
        Command::Worker(options) => worker::run(options).await?,
        Command::Demo(options) => demo::run(options).await?,
        Command::Bench(options) => return bench::run(options).await,
        Command::Test { .. } => return test::run(&arguments_of("test")).await,
        Command::Migrate => migrate::run().await?,
        Command::Prepare { check } => prepare::run(check).await?,
        Command::Interop => interop::run().await?,
        Command::Ci => return ci::run().await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments as they were typed: clap would swallow the `--` between those of
/// cargo and those of the tests.
fn arguments_of(command: &str) -> Vec<String> {
    std::env::args().skip_while(|it| it != command).skip(1).collect()
}
