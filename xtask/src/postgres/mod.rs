//! A PostgreSQL for development and tests: one that is there, or a private cluster.

mod account;
mod binaries;
mod cluster;
mod install;
mod leftover;

use std::{env, fs, path::Path};

use anyhow::{Context, Result};
use ihuman_migrations::PgConnectOptions;

use self::{
    binaries::Binaries,
    cluster::{Cluster, Kind},
};
pub(crate) use self::{cluster::free_port, leftover::claim};
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
        let version = fs::read_to_string(dir.join("data/PG_VERSION")).ok();
        let major = version.and_then(|it| it.trim().parse().ok());
        let binaries = Binaries::find(&workspace::home()?, major)?;
        let cluster = Cluster::start(binaries, dir, password, Kind::Kept)?;
        Ok(Self { url: cluster.url(), cluster: Some(cluster) })
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

    /// Whether the server is ours alone.
    pub(crate) fn is_private(&self) -> bool {
        self.cluster.is_some()
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
