//! One installation: a migrated database, secrets, both services, the first
//! administrator and the sample skills.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use ihuman_migrations::{LoginRole, Password, PgConnectOptions, login_url};
use tokio::io::AsyncWriteExt;
use tonic::Code;

use crate::{
    client::{Clients, explain, reason},
    pair::{Configuration, Logs, Pair, Ports, Service},
    postgres::Server,
    programs::Programs,
    publish, samples, secrets,
    state::State,
};

/// Whom the first administrator logs in as.
pub(crate) const ADMIN_EMAIL: &str = "admin@ihuman.local";

/// A database that is ready for the services, and what they are started with.
pub(crate) struct Installation {
    programs: Programs,
    configuration: Configuration,
    dir: PathBuf,
    /// What is remembered in the directory.
    pub(crate) state: State,
}

/// How the first administrator was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admin {
    /// Created, with the password of the state, which nobody has seen yet.
    New,
    /// There, with the password of the state.
    Known,
    /// There, with a password that we do not know.
    Unknown,
}

impl Installation {
    /// Creates the database if need be, migrates it, and sets the passwords of
    /// the login roles to those of the state.
    pub(crate) async fn set_up(
        programs: Programs,
        server: &Server,
        database: &PgConnectOptions,
        dir: &Path,
        state: State,
    ) -> Result<Self> {
        server.refuse_others()?;
        if ihuman_migrations::create_database(database).await? {
            println!("  created the database {}", database.get_database().unwrap_or_default());
        }
        let report = ihuman_migrations::migrate(database, |it| {
            println!("  applied {:04} {} ({:.1?})", it.version, it.description, it.elapsed);
        })
        .await?;
        if report.applied.is_empty() {
            println!("  the database is up to date");
        }
        for role in LoginRole::ALL {
            let password = Password::parse(state.role_password(role))?;
            ihuman_migrations::set_password(database, role, &password).await?;
        }
        let url = |role| login_url(database, role, state.role_password(role));
        let configuration = Configuration {
            auth_database_url: url(LoginRole::Auth),
            catalog_database_url: url(LoginRole::Catalog),
            master_key_file: master_key(dir)?,
            settings: Vec::new(),
        };
        Ok(Self { programs, configuration, dir: dir.to_owned(), state })
    }

    /// Adds to what the services are configured with.
    pub(crate) fn configure(&mut self, settings: &[(&'static str, String)]) {
        self.configuration.settings.extend_from_slice(settings);
    }

    /// Starts both services and waits until they are ready.
    pub(crate) async fn start(&self, ports: Ports, logs: &Logs) -> Result<Pair> {
        let catalog = self.configuration.catalog(&self.programs, ports);
        Pair::start(&self.auth(ports), &catalog, ports, logs).await
    }

    /// Sees to it that there is an administrator.
    pub(crate) async fn administrator(&mut self, ports: Ports) -> Result<Admin> {
        if self.state.admin_announced {
            return Ok(Admin::Known);
        }
        // The password is kept before it is used: whatever happens in between, the
        // next run tries the same one.
        self.state.save(&self.dir)?;
        create_admin(&self.auth(ports), &self.state.admin_password).await?;
        let clients = Clients::new(&ports.auth_url(), &ports.catalog_url())?;
        let found = match clients.login(ADMIN_EMAIL, &self.state.admin_password).await {
            Ok(_) => Admin::New,
            Err(status) if reason(&status) == "LOGIN_FAILED" => Admin::Unknown,
            Err(status) => bail!("the administrator cannot log in: {}", explain(&status)),
        };
        self.state.admin_announced = true;
        self.state.save(&self.dir)?;
        Ok(found)
    }

    /// Publishes the sample skills that were not published before, as the first
    /// administrator; returns how many.
    pub(crate) async fn load_samples(&mut self, ports: Ports) -> Result<usize> {
        let mut missing = samples::all()?;
        missing.retain(|it| !self.state.samples_loaded.contains(&it.name));
        if missing.is_empty() {
            return Ok(0);
        }
        let clients = Clients::new(&ports.auth_url(), &ports.catalog_url())?;
        let admin = match clients.login(ADMIN_EMAIL, &self.state.admin_password).await {
            Ok((_, admin)) => admin,
            Err(status) => {
                println!("the sample skills are not loaded: {}", explain(&status));
                return Ok(0);
            }
        };
        let mut published = 0;
        for sample in missing {
            match publish::publish(&admin, &sample, &sample.name).await {
                Ok(_) => published += 1,
                Err(status) if status.code() == Code::AlreadyExists => {}
                Err(status) => bail!("{} is not published: {}", sample.name, explain(&status)),
            }
            self.state.samples_loaded.insert(sample.name);
        }
        self.state.save(&self.dir)?;
        Ok(published)
    }

    fn auth(&self, ports: Ports) -> Service {
        self.configuration.auth(&self.programs, ports)
    }
}

/// The file with the master key, which is generated once.
fn master_key(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("master.key");
    match fs::metadata(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            secrets::write(&path, &secrets::master_key()?)?;
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    Ok(path)
}

/// Runs the service's own command for it, with the password where nobody sees it.
async fn create_admin(auth: &Service, password: &str) -> Result<()> {
    let mut child = auth
        .command()
        .args(["create-admin", "--email", ADMIN_EMAIL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run auth-service create-admin")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(format!("{password}\n").as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stderr);
        bail!("auth-service create-admin: {}: {}", output.status, problem.trim());
    }
    Ok(())
}
