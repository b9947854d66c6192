//! The note that a running `cargo xtask dev` leaves for `demo`, and for its successor.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{postgres::command_line, secrets};

/// The note's file.
const FILE: &str = "running.json";

/// Where the services are, and how to log in.
#[derive(Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) auth_url: String,
    pub(crate) catalog_url: String,
    pub(crate) admin_email: String,
    pub(crate) admin_password: String,
    /// The services' process ids, each the leader of its group.
    pub(crate) ids: Vec<u32>,
}

impl Running {
    /// The note, if there is one.
    pub(crate) fn read(home: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(home.join(FILE)).ok()?).ok()
    }

    /// Leaves the note until what is returned is dropped.
    pub(crate) fn announce(&self, home: &Path) -> Result<impl Drop + use<>> {
        let path = home.join(FILE);
        secrets::write(&path, &serde_json::to_string_pretty(self)?)?;
        Ok(Withdraw(path))
    }
}

struct Withdraw(std::path::PathBuf);

impl Drop for Withdraw {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Stops the services of a `dev` that was killed. The caller holds its lock, so
/// whoever wrote the note is gone.
pub(crate) async fn stop_leftovers(home: &Path) -> Result<()> {
    let Some(note) = Running::read(home) else { return Ok(()) };
    for id in note.ids {
        // The number may be another program's by now.
        let ours = || {
            let program = command_line(&id.to_string());
            program.contains("auth-service") || program.contains("catalog-service")
        };
        let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else { continue };
        if ours() {
            println!("Stopping a service that an earlier run left behind ({id})");
            let _ = kill_process_group(pid, Signal::TERM);
        }
        for _ in 0..150 {
            if !ours() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        if ours() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
    fs::remove_file(home.join(FILE)).context("cannot remove the note of an earlier run")
}
