//! `cargo xtask dev`: the whole of ihuman on this machine, in one command.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use ihuman_migrations::PgConnectOptions;

use crate::{
    installation::{ADMIN_EMAIL, Admin, Installation},
    pair::{Logs, Pair, Ports},
    postgres::{Server, claim},
    process::interrupted,
    programs::Programs,
    running::{self, Running},
    state::State,
    workspace,
};

/// Where the private cluster and its secrets are, in xtask's directory.
const PRIVATE: &str = "dev";

/// How to run it.
#[derive(Args)]
pub(crate) struct Options {
    /// Throw the data of earlier runs away first.
    #[arg(long)]
    fresh: bool,
    /// Move every port so many further on: 50051, 50052, 9051 and 9052.
    #[arg(long, default_value_t = 0, value_name = "N")]
    port_offset: u16,
    /// Build the services with optimizations.
    #[arg(long)]
    release: bool,
}

/// Runs until somebody wants it to stop, or a service ends by itself.
pub(crate) async fn run(options: Options) -> Result<()> {
    let home = workspace::home()?;
    let Some(_only) = claim(&home)? else {
        bail!("another `cargo xtask dev` runs in this workspace: stop it first");
    };
    running::stop_leftovers(&home).await?;

    let started = tokio::select! {
        started = start(&options, &home) => started?,
        _ = interrupted() => return Ok(()),
    };
    // Dropped from the last to the first: PostgreSQL outlives the services.
    let Started { _server, _note, mut pair } = started;
    tokio::select! {
        error = pair.ended() => return Err(error),
        _ = interrupted() => {}
    }
    println!("\nStopping.");
    tokio::select! {
        () = pair.stop() => {}
        // Who asks a second time does not want to wait.
        _ = interrupted() => {}
    }
    Ok(())
}

struct Started<N> {
    _server: Server,
    _note: N,
    pair: Pair,
}

async fn start(options: &Options, home: &Path) -> Result<Started<impl Drop + use<>>> {
    let ports = Ports::usual(options.port_offset)?;
    if let Some(server) = Server::given() {
        server.refuse_others()?;
    }
    if options.fresh {
        throw_away(home)?;
    }
    println!("Building the services");
    let programs = Programs::build(options.release).await?;

    println!("Starting PostgreSQL");
    let Prepared { server, database, dir, state } = prepare(home)?;
    println!("  {}", server.describe());
    println!("Migrating the database");
    let mut installation = Installation::set_up(programs, &server, &database, &dir, state).await?;
    println!("Starting the services");
    let pair = installation.start(ports, &Logs::Stream).await?;
    let admin = installation.administrator(ports).await?;
    let published = installation.load_samples(ports).await?;
    if published > 0 {
        println!("Loaded {published} sample skills");
    }
    let running = Running {
        auth_url: ports.auth_url(),
        catalog_url: ports.catalog_url(),
        admin_email: ADMIN_EMAIL.to_owned(),
        admin_password: installation.state.admin_password.clone(),
        ids: pair.ids(),
    };
    let note = running.announce(home)?;
    greet(&running, admin);
    Ok(Started { pair, _note: note, _server: server })
}

/// A database that stays, and what is remembered of it.
pub(crate) struct Prepared {
    pub(crate) server: Server,
    pub(crate) database: PgConnectOptions,
    dir: PathBuf,
    state: State,
}

/// The database of `DATABASE_URL`, or that of the private cluster, which is started.
pub(crate) fn prepare(home: &Path) -> Result<Prepared> {
    let given = Server::given();
    let dir = home.join(given.as_ref().map_or(PRIVATE.to_owned(), Server::directory));
    workspace::create_own(&dir, 0o711)?;
    let state = State::open(&dir)?;
    let (server, database) = match given {
        Some(server) => {
            let database = server.options()?;
            (server, database)
        }
        None => {
            let server = Server::keep(&dir.join("cluster"), &state.superuser_password)?;
            let database = server.database("ihuman")?;
            (server, database)
        }
    };
    Ok(Prepared { server, database, dir, state })
}

fn throw_away(home: &Path) -> Result<()> {
    if Server::given().is_some() {
        bail!("--fresh throws a private cluster away: drop the database of DATABASE_URL yourself");
    }
    let dir = home.join(PRIVATE);
    Server::discard(&dir.join("cluster"))?;
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn greet(running: &Running, admin: Admin) {
    let Running { auth_url, catalog_url, admin_email, admin_password, .. } = running;
    println!("\nihuman is running. Stop it with Ctrl-C; the data stay until --fresh.\n");
    println!("  auth-service     {auth_url}   gRPC, gRPC-Web and JSON");
    println!("  catalog-service  {catalog_url}");
    println!("  administrator    {admin_email}");
    let password = match admin {
        Admin::New => {
            println!("  password         {admin_password}   shown this once: change it,");
            println!("                   and set IHUMAN_ADMIN_PASSWORD for `cargo xtask demo`\n");
            admin_password
        }
        Admin::Known => {
            println!("  password         as shown at the first start, if it was not changed;");
            println!("                   `auth-service recover` replaces one that is lost\n");
            "..."
        }
        Admin::Unknown => {
            println!("  password         the account was there before: its own\n");
            "..."
        }
    };
    println!("Try, in another terminal:\n");
    println!("  cargo xtask demo\n");
    println!("  curl -s {auth_url}/ihuman.auth.v1.AuthService/Login \\");
    println!("    -H 'content-type: application/json' \\");
    println!("    -d '{{\"email\":\"{admin_email}\",\"password\":\"{password}\"}}'\n");
    println!("  curl -s {catalog_url}/ihuman.catalog.v1.SkillService/ListSkills \\");
    println!("    -H 'content-type: application/json' \\");
    println!("    -H 'authorization: Bearer <access_token>' -d '{{}}'\n");
}
