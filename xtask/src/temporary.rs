//! What is there for one run of ours: a directory, a database, a pair of services.

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Result, bail};
use ihuman_migrations::PgConnectOptions;

use crate::{
    installation::{Admin, Installation},
    pair::{Logs, Pair, Ports},
    postgres::Server,
    programs::Programs,
    secrets,
    state::State,
    workspace,
};

/// A private directory, removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create() -> Result<Self> {
        let dir = env::temp_dir().join(format!("ihuman-{}", secrets::suffix()?));
        workspace::create_own(&dir, 0o700)?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An empty database, dropped when this is.
pub(crate) struct Database {
    /// How to connect to it as its owner.
    pub(crate) options: PgConnectOptions,
    outlives_us: bool,
}

impl Database {
    pub(crate) async fn create(server: &Server) -> Result<Self> {
        let options = server.database(&format!("ihuman_{}", secrets::suffix()?))?;
        ihuman_migrations::create_database(&options).await?;
        Ok(Self { options, outlives_us: !server.is_private() })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A private server is about to be gone with all its databases.
        if self.outlives_us {
            let options = self.options.clone();
            // A drop cannot wait for the runtime that it may run on.
            let dropping = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(ihuman_migrations::drop_database(&options))
            });
            if let Ok(Err(error)) = dropping.join() {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Both services on a database of their own, with an administrator.
pub(crate) struct Services {
    pub(crate) ports: Ports,
    pub(crate) admin_password: String,
    // Dropped in this order: nothing outlives what it uses.
    _pair: Pair,
    _database: Database,
    _server: Server,
    _directory: Directory,
}

impl Services {
    /// Builds and starts all of it.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(false, &[]).await
    }

    /// The same, with optimizations if wanted, and configured further.
    pub(crate) async fn start_with(
        release: bool,
        settings: &[(&'static str, String)],
    ) -> Result<Self> {
        println!("Starting a pair of services for this run");
        let programs = Programs::build(release).await?;
        let directory = Directory::create()?;
        let server = Server::throw_away()?;
        let database = Database::create(&server).await?;
        let mut state = State::new()?;
        if !server.is_private() {
            // Roles belong to a server, and `dev` may be using them there.
            state.share_roles(&workspace::home()?.join(server.directory()))?;
        }
        let dir = directory.path();
        let mut installation =
            Installation::set_up(programs, &server, &database.options, dir, state).await?;
        installation.configure(settings);
        let ports = Ports::free()?;
        let pair = installation.start(ports, &Logs::Directory(dir.to_owned())).await?;
        if installation.administrator(ports).await? != Admin::New {
            bail!("auth-service create-admin did not create {}", crate::installation::ADMIN_EMAIL);
        }
        println!("  auth-service {}, catalog-service {}", ports.auth_url(), ports.catalog_url());
        Ok(Self {
            ports,
            admin_password: installation.state.admin_password,
            _pair: pair,
            _database: database,
            _server: server,
            _directory: directory,
        })
    }
}
