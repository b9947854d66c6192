//! What a service stands on: its database, its clock, its hints, and the gate in front of it.

use std::time::Duration;

use sqlx::{Connection as _, PgPool};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{interval, sleep, timeout},
};

use crate::{
    access::{Gate, RateLimit, RateLimitConfig, Rules, TrustedProxies},
    clock::Clock,
    config::{MasterKeyConfig, Problem},
    credentials::{self, Authenticator, MasterKey, Revocations, TokenConfig},
    database::DatabaseConfig,
    notifications::Notifications,
    server::{self, Readiness, ServerConfig, Shutdown, Stack},
    service::Service,
};

/// How often the database is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How often a master key that the database does not know yet is compared again.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// What both services are configured with.
#[derive(clap::Args, Clone)]
pub struct PlatformConfig {
    /// Where the database is.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// Where the master key is.
    #[command(flatten)]
    pub master_key: MasterKeyConfig,

    /// How tokens are made and checked.
    #[command(flatten)]
    pub tokens: TokenConfig,

    /// How many requests one caller may send.
    #[command(flatten)]
    pub rate_limit: RateLimitConfig,

    /// Networks, in CIDR notation and separated by commas, whose x-forwarded-for is believed.
    #[arg(long, env, default_value = "")]
    pub trusted_proxies: TrustedProxies,

    /// The server's limits and face.
    #[command(flatten)]
    pub server: ServerConfig,
}

/// What a service stands on.
#[derive(Clone)]
pub struct Platform {
    /// The database, as the service's own role.
    pub db: PgPool,
    /// What time it is.
    pub clock: Clock,
    /// Hints from the other replicas.
    pub notifications: Notifications,
    /// The operator's secret.
    pub master_key: MasterKey,
    /// Verifies credentials.
    pub authenticator: Authenticator,
    /// Tells that the service is stopping.
    pub shutdown: Shutdown,
    config: PlatformConfig,
}

impl Platform {
    /// Connects `service`.
    ///
    /// # Errors
    /// When the database can't be reached or is not migrated; [`Problem`], when the
    /// master key can't be read or is not the one of the database.
    pub async fn connect(
        service: Service,
        config: PlatformConfig,
        clock: Clock,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let master_key = config.master_key.read().map_err(Problem)?;
        let db = config.database.connect(service).await?;
        if !credentials::is_of_database(&master_key, &db).await? {
            compare_later(master_key.clone(), db.clone(), shutdown.clone());
        }
        let notifications = Notifications::listen(db.clone());
        let revocations = Revocations::follow(db.clone(), &notifications).await?;
        let authenticator =
            Authenticator::new(&config.tokens, &master_key, revocations, clock.clone(), db.clone())
                .await?;
        Ok(Self { db, clock, notifications, master_key, authenticator, shutdown, config })
    }

    /// How tokens are made and checked.
    pub fn tokens(&self) -> &TokenConfig {
        &self.config.tokens
    }

    /// How many requests one caller may send.
    pub fn rate_limit(&self) -> &RateLimitConfig {
        &self.config.rate_limit
    }

    /// Serves `stack` behind the access rules of `package` until told to stop.
    ///
    /// # Errors
    /// When an RPC declares no rule, or the server can't be set up.
    pub async fn serve(
        &self,
        package: &str,
        listener: TcpListener,
        stack: Stack,
    ) -> anyhow::Result<()> {
        let gate = Gate::new(
            Rules::of_packages(&[package])?,
            self.authenticator.clone(),
            RateLimit::new(self.config.rate_limit, self.db.clone()),
            self.config.trusted_proxies.clone(),
            self.clock.clone(),
            self.db.clone(),
        );
        let stack = stack.gate(gate).readiness(watch_database(self.db.clone()));
        let served =
            server::serve(&self.config.server, listener, stack, self.shutdown.clone()).await;
        self.authenticator.write_uses().await;
        served
    }
}

/// Stops the service should the database come to have another master key: it had none,
/// because auth-service has never started.
fn compare_later(master_key: MasterKey, db: PgPool, shutdown: Shutdown) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = sleep(COMPARE_EVERY) => {}
            }
            match credentials::is_of_database(&master_key, &db).await {
                Ok(true) => return,
                Err(error) if error.is::<Problem>() => {
                    tracing::error!(%error, "stopping");
                    shutdown.begin();
                }
                // Not yet, or not to be known just now.
                Ok(false) | Err(_) => {}
            }
        }
    });
}

/// Whether the database answers, until nobody wants to know.
fn watch_database(db: PgPool) -> Readiness {
    let (sender, receiver) = watch::channel(true);
    tokio::spawn(async move {
        let mut ticks = interval(PROBE_EVERY);
        while !sender.is_closed() {
            ticks.tick().await;
            let answers = timeout(PROBE_EVERY, async { db.acquire().await?.ping().await }).await;
            let ready = matches!(answers, Ok(Ok(())));
            sender.send_if_modified(|it| std::mem::replace(it, ready) != ready);
        }
    });
    receiver
}
