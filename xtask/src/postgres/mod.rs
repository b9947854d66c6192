//! A PostgreSQL for development and tests: one that is there, or a private cluster.

mod account;
mod binaries;
mod cluster;
mod install;
mod leftover;

use std::{env, path::Path};

use anyhow::{Context, Result, bail};
use ihuman_migrations::PgConnectOptions;

use self::{
    binaries::Binaries,
    cluster::{Cluster, Kind},
};
pub(crate) use self::{
    cluster::free_ports,
    leftover::{claim, command_line},
};
use crate::{secrets, workspace};

/// A server that we may create databases and roles on.
pub(crate) struct Server {
    url: String,
    /// Stops when dropped; none if the server is somebody else's.
    cluster: Option<Cluster>,
}

impl Server {
    /// The server of `DATABASE_URL`, or a new cluster that is gone when dropped.
    pub(crate) fn throw_away() -> Result<Self> {
        if let Some(url) = given() {
            return Ok(Self { url, cluster: None });
        }
        let home = workspace::home()?;
        leftover::sweep(&home)?;
        let binaries = Binaries::find(&home, None)?;
        let dir = home.join(format!("{}{}", leftover::THROW_AWAY, secrets::suffix()?));
        let cluster = Cluster::start(binaries, &dir, &secrets::password()?, Kind::ThrowAway)?;
        Ok(Self { url: cluster.url(), cluster: Some(cluster) })
    }

    /// The cluster in this directory, whose data are kept. The caller holds a lock
    /// on the directory, so whatever still runs on the data was left behind.
    pub(crate) fn keep(dir: &Path, password: &str) -> Result<Self> {
        let major = leftover::major(&dir.join("data"));
        let binaries = Binaries::find(&workspace::home()?, major)?;
        let cluster = Cluster::start(binaries, dir, password, Kind::Kept)?;
        Ok(Self { url: cluster.url(), cluster: Some(cluster) })
    }

    /// Stops what runs on the data in this directory, so that they can be removed.
    pub(crate) fn discard(dir: &Path) -> Result<()> {
        leftover::stop_unused(&workspace::home()?, &dir.join("data"))
    }

    /// The server of `DATABASE_URL`, if it is set.
    pub(crate) fn given() -> Option<Self> {
        given().map(|url| Self { url, cluster: None })
    }

    /// What to connect to, as an owner of databases.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A database of that server.
    pub(crate) fn database(&self, name: &str) -> Result<PgConnectOptions> {
        Ok(self.options()?.database(name))
    }

    /// The URL, read.
    pub(crate) fn options(&self) -> Result<PgConnectOptions> {
        self.url.parse().context("DATABASE_URL is no URL of a PostgreSQL database")
    }

    /// Whether the server ends with us.
    pub(crate) fn is_private(&self) -> bool {
        self.cluster.is_some()
    }

    /// The name of a directory for what is remembered of this server.
    pub(crate) fn directory(&self) -> String {
        format!("server-{}", workspace::hash(&self.url))
    }

    /// Refuses a server on another machine: we would give the login roles new
    /// passwords, and lock out whoever uses them there.
    ///
    /// # Errors
    ///
    /// If `DATABASE_URL` names a host other than this one.
    pub(crate) fn refuse_others(&self) -> Result<()> {
        if self.is_private() {
            return Ok(());
        }
        let options = self.options()?;
        let host = options.get_host();
        let here =
            host.starts_with('/') || ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&host);
        let allowed = env::var_os("IHUMAN_ALLOW_REMOTE_DATABASE").is_some();
        if !here && !allowed {
            bail!(
                "DATABASE_URL is on {host}, where this would change the passwords of the roles \
                 ihuman_auth, ihuman_catalog and ihuman_audit: set \
                 IHUMAN_ALLOW_REMOTE_DATABASE=1 if it should"
            );
        }
        Ok(())
    }

    /// One line for people, without the password.
    pub(crate) fn describe(&self) -> String {
        match &self.cluster {
            Some(cluster) => cluster.describe(),
            None => "PostgreSQL of DATABASE_URL".to_owned(),
        }
    }
}

fn given() -> Option<String> {
    env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())
}
