//! `cargo xtask ci`: everything that must hold before a change is merged, in one command.

use std::{
    process::{ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::{interop, prepare, process::succeed, test, workspace};

/// The npm package of buf, and the version that is run.
const BUF: &str = "@bufbuild/buf@1.74.0";

/// Runs every step; the first failure ends it. The tests come last, and have the
/// last word.
pub(crate) async fn run() -> Result<ExitCode> {
    let started = Instant::now();
    step("cargo fmt", cargo(&["fmt", "--all", "--check"])).await?;
    step("cargo clippy", async {
        let check = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        succeed(offline(&mut cargo_command(&check))).await
    })
    .await?;
    step("cargo fmt and Cargo.lock of fuzz/", fuzz()).await?;
    step("cargo xtask prepare --check", prepare::run(true)).await?;
    step("buf lint", buf(&["lint"])).await?;
    step("buf breaking", buf_breaking()).await?;
    step("cargo doc", async {
        let mut command = cargo_command(&["doc", "--workspace", "--no-deps"]);
        succeed(offline(command.env("RUSTDOCFLAGS", "-D warnings"))).await
    })
    .await?;
    step("cargo deny", deny()).await?;
    step("cargo xtask interop", interop::run()).await?;
    println!("\n== {:.0?} so far; cargo xtask test", started.elapsed());
    test::run(&[]).await
}

async fn step(name: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    println!("\n== {name}");
    let started = Instant::now();
    work.await.with_context(|| format!("{name} failed"))?;
    println!("== {name}: {:.1?}", started.elapsed());
    Ok(())
}

fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments);
    command
}

/// The queries are checked against `.sqlx`, whatever database the environment names.
fn offline(command: &mut Command) -> &mut Command {
    command.env("SQLX_OFFLINE", "true")
}

async fn cargo(arguments: &[&str]) -> Result<()> {
    succeed(&mut cargo_command(arguments)).await
}

async fn buf(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("npx");
    command.args(["--yes", "--package", BUF, "--", "buf"]).args(arguments);
    succeed(command.current_dir(workspace::root().join("proto")))
        .await
        .context("buf is run by npx, which comes with Node.js")
}

/// `fuzz/` is formatted, and its lock file holds what the services depend on. It is
/// not built: that needs a nightly toolchain and a C++ compiler, and the tests check
/// the same targets.
async fn fuzz() -> Result<()> {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    cargo(&[&["fmt", "--check"], &manifest[..]].concat()).await?;
    let mut metadata = cargo_command(&["metadata", "--locked", "--format-version", "1"]);
    succeed(metadata.args(manifest).stdout(Stdio::null())).await
}

/// What the contract has promised since the last release still holds.
async fn buf_breaking() -> Result<()> {
    let output = Command::new("git")
        .args(["describe", "--tags", "--abbrev=0", "--match", "v*"])
        .current_dir(workspace::root())
        .stderr(Stdio::null())
        .output()
        .await
        .context("cannot run git")?;
    let tag = String::from_utf8_lossy(&output.stdout);
    let tag = tag.trim();
    if tag.is_empty() {
        println!("SKIPPED: there is no release to compare with (no tag v*)");
        return Ok(());
    }
    println!("against {tag}");
    buf(&["breaking", "--against", &format!("../.git#tag={tag},subdir=proto")]).await
}

/// Runs cargo-deny where it is installed: compiling it takes longer than all the
/// other checks together.
async fn deny() -> Result<()> {
    let installed = cargo_command(&["deny", "--version"]).output().await?;
    if !installed.status.success() {
        println!("SKIPPED: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    cargo(&["deny", "--workspace", "--all-features", "check", "bans", "licenses", "sources"]).await
}
