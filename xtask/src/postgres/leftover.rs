//! Clusters that an earlier run, killed perhaps, left running or lying about.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};

use super::{binaries::Binaries, cluster};

/// What the name of a directory that nobody needs any more begins with.
pub(super) const THROW_AWAY: &str = "throw-away-";

/// Makes us the only user of this directory until the file is dropped; none if
/// somebody else is. The kernel drops it for who is killed.
pub(crate) fn claim(dir: &Path) -> Result<Option<File>> {
    let path = dir.join("owner.lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Stops and removes every throw-away cluster whose owner is gone.
pub(super) fn sweep(home: &Path) -> Result<()> {
    for entry in fs::read_dir(home)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(THROW_AWAY) {
            continue;
        }
        let dir = entry.path();
        if let Some(_owner) = claim(&dir)? {
            stop_unused(home, &dir.join("data"))?;
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }
    Ok(())
}

/// Stops what runs on these data, if anything does, with the programs of the
/// version that made them.
pub(super) fn stop_unused(home: &Path, data: &Path) -> Result<()> {
    if running(data)? {
        stop(&Binaries::find(home, major(data))?, data)?;
    }
    Ok(())
}

/// The version of PostgreSQL that made these data.
pub(super) fn major(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Stops what runs on these data, if anything does: by a fast shutdown, which loses
/// nothing, or else by one that the next start recovers from.
pub(super) fn stop(binaries: &Binaries, data: &Path) -> Result<()> {
    if !running(data)? {
        return Ok(());
    }
    let stop = |mode: &str| {
        let mut command = binaries.command("pg_ctl");
        command.arg("stop").arg("--pgdata").arg(data).args(["--wait", "--silent", "--timeout=20"]);
        cluster::run(command.arg("--mode").arg(mode))
    };
    stop("fast").or_else(|_| stop("immediate"))
}

/// Whether a server runs on these data. A pid file may be stale, and its number
/// may be another program's by now, which neither we nor pg_ctl must signal; then
/// the file is removed.
fn running(data: &Path) -> Result<bool> {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(false) };
    let pid = text.lines().next().unwrap_or_default().trim();
    if pid.parse::<u32>().is_ok() && command_line(pid).contains(&*data.to_string_lossy()) {
        return Ok(true);
    }
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(false)
}

/// What a process was started as; empty if there is none.
pub(crate) fn command_line(pid: &str) -> String {
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return String::from_utf8_lossy(&line).replace('\0', " ");
    }
    // Where there is no /proc, as on macOS.
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", pid]).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default()
}
