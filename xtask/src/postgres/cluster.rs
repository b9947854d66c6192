//! A private cluster: created, started on a free port of this machine, and stopped.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{binaries::Binaries, leftover};
use crate::{secrets, workspace};

/// How often another port is tried, when somebody took the free one in between.
const PORTS_TRIED_MAX: u32 = 5;

/// The locale that knows letters beyond ASCII, and nothing of a language.
const LETTERS: &str =
    if cfg!(target_os = "macos") { "--lc-ctype=UTF-8" } else { "--lc-ctype=C.UTF-8" };

/// What is expected of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// They outlive us, and our crash.
    Kept,
    /// They are gone when we are, so nothing waits for the disk.
    ThrowAway,
}

/// A cluster that runs; stopped when dropped.
#[derive(Debug)]
pub(super) struct Cluster {
    binaries: Binaries,
    dir: PathBuf,
    kind: Kind,
    port: u16,
    password: String,
    /// Locked while we live, so that others can tell a cluster that was left behind.
    _owner: File,
}

impl Cluster {
    /// Starts the cluster in this directory, creating it first if it is not there.
    pub(super) fn start(
        binaries: Binaries,
        dir: &Path,
        password: &str,
        kind: Kind,
    ) -> Result<Self> {
        workspace::create_own(dir, 0o711)?;
        let owner = leftover::claim(dir)?.context("another xtask is using this cluster")?;
        let mut cluster = Self {
            binaries,
            dir: dir.to_owned(),
            kind,
            port: 0,
            password: password.to_owned(),
            _owner: owner,
        };
        let data = cluster.data();
        leftover::stop(&cluster.binaries, &data)?;
        if !data.join("PG_VERSION").is_file() {
            cluster.initialize()?;
        }
        for attempt in 1.. {
            match cluster.listen() {
                Ok(()) => break,
                Err(error) if attempt < PORTS_TRIED_MAX && port_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cluster)
    }

    /// What its superuser connects to.
    pub(super) fn url(&self) -> String {
        let Self { password, port, .. } = self;
        format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// One line for people, without the password.
    pub(super) fn describe(&self) -> String {
        format!(
            "PostgreSQL {} of {} on 127.0.0.1:{}, data in {}",
            self.binaries.major,
            self.binaries.dir().display(),
            self.port,
            self.dir.display()
        )
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn initialize(&self) -> Result<()> {
        let data = self.data();
        // What an interrupted run may have left.
        let _ = fs::remove_dir_all(&data);
        workspace::create_own(&data, 0o700)?;
        let password_file = self.dir.join("password");
        secrets::write(&password_file, &self.password)?;
        if let Some(account) = self.binaries.account {
            account.own(&data)?;
            account.own(&password_file)?;
        }
        let mut command = self.binaries.command("initdb");
        command.args(["--username=postgres", "--auth=scram-sha-256"]);
        // The order of bytes, which is the same everywhere, and the letters of all scripts.
        command.args(["--encoding=UTF8", "--locale=C", LETTERS, "--no-instructions"]);
        command.arg("--pwfile").arg(&password_file).arg("--pgdata").arg(&data);
        if self.kind == Kind::ThrowAway {
            command.arg("--no-sync");
        }
        let done = run(&mut command);
        fs::remove_file(&password_file)?;
        if let Err(error) = done.and_then(|()| self.configure()) {
            let _ = fs::remove_dir_all(&data);
            return Err(error);
        }
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        let mut settings = String::from(
            "listen_addresses = '127.0.0.1'\n\
             unix_socket_directories = ''\n\
             password_encryption = 'scram-sha-256'\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             max_connections = 300\n\
             shared_buffers = '128MB'\n",
        );
        if self.kind == Kind::ThrowAway {
            settings.push_str(
                "fsync = off\n\
                 full_page_writes = off\n\
                 synchronous_commit = off\n\
                 wal_level = minimal\n\
                 max_wal_senders = 0\n\
                 autovacuum_naptime = '10s'\n",
            );
        }
        let path = self.data().join("postgresql.conf");
        let mut file = File::options().append(true).open(&path)?;
        file.write_all(settings.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn listen(&mut self) -> Result<()> {
        [self.port] = free_ports()?;
        let log = self.data().join("server.log");
        let _ = fs::remove_file(&log);
        let mut command = self.binaries.command("pg_ctl");
        command.arg("start").arg("--pgdata").arg(self.data()).arg("--log").arg(&log);
        command.args(["--wait", "--timeout=60", "--silent"]);
        command.arg("--options").arg(format!("-p {}", self.port));
        run(&mut command).map_err(|error| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            error.context(format!("PostgreSQL did not start; its log ends with:\n{}", tail(&log)))
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = leftover::stop(&self.binaries, &self.data());
        if let Err(error) = stopped {
            eprintln!("PostgreSQL did not stop: {error:#}");
        } else if self.kind == Kind::ThrowAway
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// Different ports that nobody listens on at this moment.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    // Held until all are found, or one could be found twice.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Address already in use")
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", command.get_program().to_string_lossy(), problem.trim());
    }
    Ok(())
}
