//! `cargo xtask interop`: programs in other languages, against a pair of our own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::{
    installation::ADMIN_EMAIL,
    process::succeed,
    temporary::{Directory, Services},
    workspace,
};

/// Runs every program of interop/; the first failure ends it.
pub(crate) async fn run() -> Result<()> {
    let interop = workspace::root().join("interop");
    if !interop.is_dir() {
        bail!("there is no interop/ in this workspace");
    }
    let services = Services::start().await?;

    println!("\ninterop/typescript");
    let typescript = interop.join("typescript");
    succeed(command("npm", &services, &typescript).args(["ci", "--no-audit", "--no-fund"])).await?;
    succeed(command("npm", &services, &typescript).args(["test"])).await.context("typescript")?;

    println!("\ninterop/python");
    let python = interop.join("python");
    let environment = Directory::create()?;
    let bin = environment.path().join("bin");
    let venv = ["-m", "venv"];
    succeed(command("python3", &services, &python).args(venv).arg(environment.path())).await?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let interpreter = bin.join("python");
    let interpreter = interpreter.to_str().context("the path is not UTF-8")?;
    let requirements = ["-r", "requirements.txt"];
    succeed(command(interpreter, &services, &python).args(install).args(requirements)).await?;
    for program in ["generate.py", "main.py"] {
        succeed(command(interpreter, &services, &python).arg(program)).await.context("python")?;
    }

    println!("\nEvery program of interop/ has passed.");
    Ok(())
}

fn command(program: &str, services: &Services, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .env("IHUMAN_AUTH_URL", services.ports.auth_url())
        .env("IHUMAN_CATALOG_URL", services.ports.catalog_url())
        .env("IHUMAN_ADMIN_EMAIL", ADMIN_EMAIL)
        .env("IHUMAN_ADMIN_PASSWORD", &services.admin_password);
    command
}
