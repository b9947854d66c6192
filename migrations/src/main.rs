//! `migrate`: brings a database up to date, once, before the services start.

use std::{fmt::Display, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use ihuman_migrations::{Applied, LoginRole, Password, create_database, migrate, set_password};
use sqlx::postgres::PgConnectOptions;

/// The exit code of a program that was configured wrongly (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;

/// Applies the migrations that a database lacks, and sets the passwords of the
/// login roles that are given.
#[derive(Parser)]
#[command(version, about)]
struct Config {
    /// The database, as its owner: `postgres://<user>:<password>@<host>:<port>/<name>`.
    #[arg(long, env, hide_env_values = true)]
    database_url: Option<String>,
    /// The database's host, when there is no URL.
    #[arg(long, env)]
    db_host: Option<String>,
    /// The database's port, when there is no URL.
    #[arg(long, env, default_value_t = 5432)]
    db_port: u16,
    /// The owner of the database, when there is no URL.
    #[arg(long, env)]
    db_user: Option<String>,
    /// The owner's password, when there is no URL.
    #[arg(long, env, hide_env_values = true)]
    db_password: Option<String>,
    /// The database's name, when there is no URL.
    #[arg(long, env)]
    db_name: Option<String>,
    /// Create the database first unless it is there.
    #[arg(long)]
    create_database: bool,
    /// The password to give to ihuman_auth; left as it is when not given.
    #[arg(long, env, hide_env_values = true)]
    auth_db_password: Option<String>,
    /// The password to give to ihuman_catalog; left as it is when not given.
    #[arg(long, env, hide_env_values = true)]
    catalog_db_password: Option<String>,
    /// The password to give to ihuman_audit; left as it is when not given.
    #[arg(long, env, hide_env_values = true)]
    audit_db_password: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let config = match Config::try_parse() {
        Ok(config) => config,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            error.exit()
        }
        Err(error) => return fail(EX_USAGE, first_line(&error.to_string())),
    };
    let (database, passwords) = match config.database().and_then(|it| Ok((it, config.passwords()?)))
    {
        Ok(parsed) => parsed,
        Err(problem) => return fail(EX_USAGE, problem),
    };
    match run(&config, &database, &passwords).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, format!("{error:#}")),
    }
}

async fn run(
    config: &Config,
    database: &PgConnectOptions,
    passwords: &[(LoginRole, Password)],
) -> anyhow::Result<()> {
    if config.create_database && create_database(database).await? {
        println!("created the database");
    }
    let report = migrate(database, |Applied { version, description, elapsed }| {
        println!("applied {version:04} {description} ({elapsed:.1?})");
    })
    .await?;
    if report.applied.is_empty() {
        println!("nothing to apply");
    }
    if report.newer > 0 {
        println!("the database is {} migration(s) ahead of this release", report.newer);
    }
    for (role, password) in passwords {
        set_password(database, *role, password).await?;
        println!("set the password of {}", role.name());
    }
    Ok(())
}

impl Config {
    fn database(&self) -> Result<PgConnectOptions, String> {
        // Compose and its like pass a variable that is not set as an empty one.
        let given = |value: &Option<String>| value.clone().filter(|it| !it.is_empty());
        if let Some(url) = given(&self.database_url) {
            return url.parse().map_err(|error| format!("DATABASE_URL is no URL: {error}"));
        }
        let missing = || "set DATABASE_URL, or DB_HOST, DB_USER and DB_NAME".to_owned();
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&given(&self.db_host).ok_or_else(missing)?)
            .port(self.db_port)
            .username(&given(&self.db_user).ok_or_else(missing)?)
            .database(&given(&self.db_name).ok_or_else(missing)?);
        if let Some(password) = given(&self.db_password) {
            options = options.password(&password);
        }
        Ok(options)
    }

    fn passwords(&self) -> Result<Vec<(LoginRole, Password)>, String> {
        let mut passwords = Vec::new();
        for role in LoginRole::ALL {
            let (variable, value) = match role {
                LoginRole::Auth => ("AUTH_DB_PASSWORD", &self.auth_db_password),
                LoginRole::Catalog => ("CATALOG_DB_PASSWORD", &self.catalog_db_password),
                LoginRole::Audit => ("AUDIT_DB_PASSWORD", &self.audit_db_password),
            };
            if let Some(value) = value.as_deref().filter(|it| !it.is_empty()) {
                let password =
                    Password::parse(value).map_err(|error| format!("{variable}: {error}"))?;
                passwords.push((role, password));
            }
        }
        Ok(passwords)
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn fail(code: u8, problem: impl Display) -> ExitCode {
    eprintln!("migrate: {problem}");
    ExitCode::from(code)
}
