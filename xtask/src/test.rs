//! `cargo xtask test`: every test, with a PostgreSQL of its own.

use std::process::ExitCode;

use anyhow::Result;

use crate::{postgres::Server, process, workspace};

/// Runs `cargo test` with these arguments, on the whole workspace unless they name
/// packages; its exit code is ours.
pub(crate) async fn run(arguments: &[String]) -> Result<ExitCode> {
    let server = Server::throw_away()?;
    println!("{}", server.describe());
    let whole: &[&str] = if names_packages(arguments) { &[] } else { &["--workspace"] };
    let status = process::run(
        workspace::cargo()
            .arg("test")
            .args(whole)
            .args(arguments)
            .env("DATABASE_URL", server.url())
            .env("SQLX_OFFLINE", "true"),
    )
    .await?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn names_packages(arguments: &[String]) -> bool {
    let ours = arguments.iter().take_while(|it| *it != "--");
    ours.into_iter().any(|it| it.starts_with("-p") || it.starts_with("--package"))
}
