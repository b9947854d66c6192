//! Both services as child processes: started, awaited, stopped.

use std::{
    collections::HashMap,
    fs::File,
    io::{IsTerminal, Write, stdout},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    time::sleep,
};

use crate::{http, postgres::free_ports, process::Group, programs::Programs};

/// The longest that a service may take until it is ready.
const START_MAX: Duration = Duration::from_secs(60);
/// Longer than a service drains.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Where the services listen, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    auth: u16,
    catalog: u16,
    auth_admin: u16,
    catalog_admin: u16,
}

impl Ports {
    /// The ports that the documentation names, each so many further on. None may
    /// be taken.
    pub(crate) fn usual(offset: u16) -> Result<Self> {
        let port = |port: u16| port.checked_add(offset).context("--port-offset is too large");
        let ports = Self {
            auth: port(50051)?,
            catalog: port(50052)?,
            auth_admin: port(9051)?,
            catalog_admin: port(9052)?,
        };
        for port in [ports.auth, ports.catalog, ports.auth_admin, ports.catalog_admin] {
            TcpListener::bind(("127.0.0.1", port)).with_context(|| {
                format!("port {port} is taken: stop what listens there, or pass --port-offset")
            })?;
        }
        Ok(ports)
    }

    /// Ports that nobody uses at this moment.
    pub(crate) fn free() -> Result<Self> {
        let [auth, catalog, auth_admin, catalog_admin] = free_ports()?;
        Ok(Self { auth, catalog, auth_admin, catalog_admin })
    }

    /// Where auth-service is.
    pub(crate) fn auth_url(self) -> String {
        format!("http://127.0.0.1:{}", self.auth)
    }

    /// Where catalog-service is.
    pub(crate) fn catalog_url(self) -> String {
        format!("http://127.0.0.1:{}", self.catalog)
    }
}

/// What a service's log becomes.
#[derive(Debug, Clone)]
pub(crate) enum Logs {
    /// Lines on our output, each after the service's name.
    Stream,
    /// A file of this directory, named like the service.
    Directory(PathBuf),
}

/// One program and what it is started with.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    name: &'static str,
    colour: u8,
    program: PathBuf,
    environment: HashMap<&'static str, String>,
}

impl Service {
    /// A command of the service's program, with its configuration and nothing of
    /// ours that would change it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for ours in [
            "DB_HOST",
            "DB_PORT",
            "DB_USER",
            "DB_PASSWORD",
            "DB_NAME",
            "IHUMAN_MASTER_KEY",
            "SMTP_HOST",
        ] {
            command.env_remove(ours);
        }
        command.envs(&self.environment);
        command
    }
}

/// What both services need to know.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// The database, as auth-service opens it.
    pub(crate) auth_database_url: String,
    /// The database, as catalog-service opens it.
    pub(crate) catalog_database_url: String,
    /// The file with the master key.
    pub(crate) master_key_file: PathBuf,
    /// Whatever else the services are told.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Configuration {
    /// auth-service at its port.
    pub(crate) fn auth(&self, programs: &Programs, ports: Ports) -> Service {
        let listen = (ports.auth, ports.auth_admin);
        let mut service = self.service("auth", 36, &programs.auth, &self.auth_database_url, listen);
        // Mails show up in the log, with their links; nothing is sent to anybody.
        service.environment.insert("MAIL_TRANSPORT", "print".to_owned());
        service.environment.insert("MAIL_LINK_BASE", "http://localhost:3000".to_owned());
        service
    }

    /// catalog-service at its port.
    pub(crate) fn catalog(&self, programs: &Programs, ports: Ports) -> Service {
        let listen = (ports.catalog, ports.catalog_admin);
        self.service("catalog", 35, &programs.catalog, &self.catalog_database_url, listen)
    }

    fn service(
        &self,
        name: &'static str,
        colour: u8,
        program: &Path,
        database_url: &str,
        (port, admin_port): (u16, u16),
    ) -> Service {
        let mut environment = HashMap::from([
            ("DATABASE_URL", database_url.to_owned()),
            ("LISTEN", format!("127.0.0.1:{port}")),
            ("ADMIN_LISTEN", format!("127.0.0.1:{admin_port}")),
            ("IHUMAN_MASTER_KEY_FILE", self.master_key_file.display().to_string()),
            ("LOG_FORMAT", "pretty".to_owned()),
        ]);
        environment.extend(self.settings.iter().cloned());
        Service { name, colour, program: program.to_owned(), environment }
    }
}

/// Both services; killed when dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    auth: Group,
    catalog: Group,
    /// Where they listen.
    pub(crate) ports: Ports,
}

impl Pair {
    /// Starts both and waits until they are ready.
    pub(crate) async fn start(
        auth: &Service,
        catalog: &Service,
        ports: Ports,
        logs: &Logs,
    ) -> Result<Self> {
        let mut pair = Self { auth: spawn(auth, logs)?, catalog: spawn(catalog, logs)?, ports };
        tokio::select! {
            () = pair.ports.ready() => Ok(pair),
            ended = pair.ended() => Err(ended.with_logs(logs)),
            () = sleep(START_MAX) => {
                Err(anyhow::anyhow!("the services are not ready after {START_MAX:?}").with_logs(logs))
            }
        }
    }

    /// Waits until one of them ends, which neither should.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let (name, status) = tokio::select! {
            status = self.auth.child.wait() => ("auth-service", status),
            status = self.catalog.child.wait() => ("catalog-service", status),
        };
        match status {
            Ok(status) => anyhow::anyhow!("{name} ended: {status}"),
            Err(error) => anyhow::Error::new(error).context(format!("{name} is lost")),
        }
    }

    /// The process ids, for who finds us gone and them still there.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.auth.child.id().into_iter().chain(self.catalog.child.id()).collect()
    }

    /// Lets both end their requests.
    pub(crate) async fn stop(self) {
        tokio::join!(self.auth.stop(STOP_MAX), self.catalog.stop(STOP_MAX));
    }
}

impl Ports {
    async fn ready(self) {
        while !http::ready(&self.auth_url()).await || !http::ready(&self.catalog_url()).await {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

trait WithLogs {
    fn with_logs(self, logs: &Logs) -> Self;
}

impl WithLogs for anyhow::Error {
    /// A log in a file that is about to be removed is worth its last lines.
    fn with_logs(self, logs: &Logs) -> Self {
        let Logs::Directory(dir) = logs else { return self };
        let mut text = String::new();
        for name in ["auth", "catalog"] {
            let log = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            text.push_str(&format!("\n{name}:\n{}", tail.join("\n")));
        }
        let problem = format!("{self:#}{text}");
        anyhow::anyhow!(problem)
    }
}

fn spawn(service: &Service, logs: &Logs) -> Result<Group> {
    let mut command = service.command();
    match logs {
        Logs::Stream => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        Logs::Directory(dir) => {
            let file = File::create(dir.join(format!("{}.log", service.name)))?;
            command.stdout(file.try_clone()?).stderr(file);
        }
    }
    let mut group = Group::spawn(&mut command)?;
    let prefix = match stdout().is_terminal() {
        true => format!("\x1b[{}m{:<7} |\x1b[0m ", service.colour, service.name),
        false => format!("{:<7} | ", service.name),
    };
    if let Some(stream) = group.child.stdout.take() {
        tokio::spawn(relay(stream, prefix.clone()));
    }
    if let Some(stream) = group.child.stderr.take() {
        tokio::spawn(relay(stream, prefix));
    }
    Ok(group)
}

async fn relay(stream: impl AsyncRead + Unpin, prefix: String) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        // Nobody may be reading any more; the services are told to stop all the same.
        let _ = writeln!(stdout(), "{prefix}{}", text.trim_end());
        line.clear();
    }
}
