//! What xtask remembers of an installation between two runs, in a private file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::Path,
};

use anyhow::{Context, Result};
use ihuman_migrations::LoginRole;
use serde::{Deserialize, Serialize};

use crate::{secrets, workspace};

/// The secrets of an installation, and what was done with it.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    /// The password of the cluster's superuser.
    pub(crate) superuser_password: String,
    /// The passwords of the login roles, by name.
    role_passwords: BTreeMap<String, String>,
    /// The password that the first administrator was created with.
    pub(crate) admin_password: String,
    /// Whether it has been shown.
    pub(crate) admin_announced: bool,
    /// The names of the sample skills that were loaded.
    pub(crate) samples_loaded: BTreeSet<String>,
}

impl State {
    /// New secrets, and nothing done.
    pub(crate) fn new() -> Result<Self> {
        let mut role_passwords = BTreeMap::new();
        for role in LoginRole::ALL {
            role_passwords.insert(role.name().to_owned(), secrets::password()?);
        }
        Ok(Self {
            superuser_password: secrets::password()?,
            role_passwords,
            admin_password: secrets::password()?,
            admin_announced: false,
            samples_loaded: BTreeSet::new(),
        })
    }

    /// The state that is kept in this directory; a new one if there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("state.json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("cannot read {}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let state = Self::new()?;
                state.save(dir)?;
                Ok(state)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Takes the login roles' passwords from the state in another directory, which
    /// gets new ones if it has none.
    pub(crate) fn share_roles(&mut self, dir: &Path) -> Result<()> {
        workspace::create_own(dir, 0o711)?;
        self.role_passwords = Self::open(dir)?.role_passwords;
        Ok(())
    }

    /// Keeps the state in this directory.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        secrets::write(&dir.join("state.json"), &serde_json::to_string_pretty(self)?)
    }

    /// The password of this role.
    pub(crate) fn role_password(&self, role: LoginRole) -> &str {
        self.role_passwords.get(role.name()).map_or("", String::as_str)
    }
}
