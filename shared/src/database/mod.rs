//! The connection to PostgreSQL.

mod store;

use std::time::Duration;

use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;
use tracing::log::LevelFilter;

use self::store::Fitness;
use crate::{config::Problem, credentials::Secret, service::Service};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What PostgreSQL says when a schema, or a table, is not there.
const MISSING: [&str; 2] = ["3F000", "42P01"];
/// What it says to a role that may not even look.
const NOT_ALLOWED: &str = "42501";

/// Where the database is: one URL, or its parts.
#[derive(clap::Args, Clone)]
pub struct DatabaseConfig {
    /// The whole address, as in postgres://user:password@host:5432/name.
    #[arg(long, env, hide_env_values = true)]
    pub database_url: Option<Secret>,

    /// The server, when there is no DATABASE_URL.
    #[arg(long, env, default_value = "localhost")]
    pub db_host: String,

    /// The server's port.
    #[arg(long, env, default_value_t = 5432)]
    pub db_port: u16,

    /// The role to log in as.
    #[arg(long, env)]
    pub db_user: Option<String>,

    /// The role's password.
    #[arg(long, env, hide_env_values = true)]
    pub db_password: Option<Secret>,

    /// The database.
    #[arg(long, env, default_value = "ihuman")]
    pub db_name: String,

    /// How many connections to keep open.
    #[arg(long, env, default_value_t = 2)]
    pub db_pool_min: u32,

    /// How many connections to open at the most.
    #[arg(long, env, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub db_pool_max: u32,
}

impl DatabaseConfig {
    /// Opens the pool for `service`, once it is sure that the service can work with it.
    ///
    /// # Errors
    /// [`Problem`], when the address can't be read or the role is not the service's;
    /// others, when the server can't be reached or the database is not migrated.
    pub async fn connect(&self, service: Service) -> anyhow::Result<PgPool> {
        let (min, max) = (self.db_pool_min, self.db_pool_max);
        if min > max {
            let problem = format!("DB_POOL_MIN {min} must not be more than DB_POOL_MAX {max}");
            return Err(Problem(problem).into());
        }
        let options = self.options()?.application_name(service.name).options([
            ("search_path", service.schema),
            ("statement_timeout", "15s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]);
        let options = options.log_slow_statements(LevelFilter::Warn, Duration::from_secs(1));
        check(&options, service).await?;
        let pool = PgPoolOptions::new()
            .min_connections(min)
            .max_connections(max)
            .acquire_timeout(CONNECT_TIMEOUT)
            // A ping before each use doubles the round trips; a dead connection
            // is found out by the query itself.
            .test_before_acquire(false);
        Ok(pool.connect_with(options).await?)
    }

    fn options(&self) -> Result<PgConnectOptions, Problem> {
        if let Some(url) = &self.database_url {
            let url = url.reveal();
            let is_ours = ["postgres://", "postgresql://"].iter().any(|it| url.starts_with(it));
            // The error may quote the address, with its password.
            let options = url.parse::<PgConnectOptions>().ok().filter(|_| is_ours);
            return options.ok_or(Problem("DATABASE_URL is not a postgres:// URL".to_owned()));
        }
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.db_host)
            .port(self.db_port)
            .database(&self.db_name);
        let options = match &self.db_user {
            Some(user) => options.username(user),
            None => options,
        };
        Ok(match &self.db_password {
            Some(password) => options.password(password.reveal()),
            None => options,
        })
    }
}

/// By one plain connection: a pool tries until its time is up, and then does not say
/// what failed.
async fn check(options: &PgConnectOptions, service: Service) -> anyhow::Result<()> {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let connected = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await;
    let mut conn = match connected {
        Ok(Ok(conn)) => conn,
        Ok(Err(error)) => {
            let error = match error {
                sqlx::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            };
            anyhow::bail!("cannot connect to the database at {place}: {error}");
        }
        Err(_) => anyhow::bail!("cannot connect to the database at {place}: no answer"),
    };
    let fitness = match store::fitness(&mut conn, service.own_table).await {
        Ok(fitness) => fitness,
        Err(sqlx::Error::Database(error)) => match error.code().as_deref() {
            Some(code) if MISSING.contains(&code) => return Err(not_migrated()),
            Some(NOT_ALLOWED) => return Err(not_the_role(service)),
            _ => return Err(sqlx::Error::Database(error).into()),
        },
        Err(error) => return Err(error.into()),
    };
    match fitness {
        Fitness { is_allowed: false, .. } => Err(not_the_role(service)),
        Fitness { is_migrated: false, .. } => Err(not_migrated()),
        Fitness { .. } => Ok(conn.close().await?),
    }
}

fn not_migrated() -> anyhow::Error {
    anyhow::anyhow!("the database is not migrated: run migrate")
}

fn not_the_role(Service { name, own_table, .. }: Service) -> anyhow::Error {
    Problem(format!("the role of the database is not that of {name}: it may not write {own_table}"))
        .into()
}
