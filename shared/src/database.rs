//! The connection to PostgreSQL.

use std::time::Duration;

use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::log::LevelFilter;

use crate::credentials::Secret;

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
    /// Opens the pool. `schema` is where names without a schema are looked up.
    ///
    /// # Errors
    /// When the address can't be read or the server can't be reached.
    pub async fn connect(&self, service: &str, schema: &str) -> anyhow::Result<PgPool> {
        let options = self.options()?.application_name(service).options([
            ("search_path", schema),
            ("statement_timeout", "15s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ]);
        let options = options.log_slow_statements(LevelFilter::Warn, Duration::from_secs(1));
        let pool = PgPoolOptions::new()
            .min_connections(self.db_pool_min.min(self.db_pool_max))
            .max_connections(self.db_pool_max)
            .acquire_timeout(Duration::from_secs(3))
            // A ping before each use doubles the round trips; a dead connection
            // is found out by the query itself.
            .test_before_acquire(false);
        Ok(pool.connect_with(options).await?)
    }

    fn options(&self) -> anyhow::Result<PgConnectOptions> {
        if let Some(url) = &self.database_url {
            let options = url.reveal().parse::<PgConnectOptions>();
            // The error may quote the address, with its password.
            return options.map_err(|_| anyhow::anyhow!("DATABASE_URL is not a postgres:// URL"));
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
