//! What a service stands on: its database, its clock, its hints, and the gate in front of it.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, interval_at, sleep, timeout},
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
    tasks::Tasks,
};

/// How often the database is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer: as long as requests wait for a connection.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// How much later than the server the tasks beside it are given up.
const OVERDUE_BY: Duration = Duration::from_millis(500);

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
    /// Counts requests, and refusals.
    pub limiter: RateLimit,
    /// Tells that the service is stopping.
    pub shutdown: Shutdown,
    /// What goes on beside the requests, and may end when the service stops.
    pub tasks: Tasks,
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
        let limiter = RateLimit::new(config.rate_limit, db.clone());
        Ok(Self {
            db,
            clock,
            notifications,
            master_key,
            authenticator,
            limiter,
            shutdown,
            tasks: Tasks::default(),
            config,
        })
    }

    /// How tokens are made and checked.
    pub fn tokens(&self) -> &TokenConfig {
        &self.config.tokens
    }

    /// How many requests one caller may send.
    pub fn rate_limit(&self) -> &RateLimitConfig {
        &self.config.rate_limit
    }

    /// Serves `stack` behind the access rules of `package` until told to stop; then lets
    /// what runs beside it end too, within the same `shutdown_timeout`.
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
            self.limiter.clone(),
            self.config.trusted_proxies.clone(),
            self.clock.clone(),
            self.db.clone(),
        );
        let stack = stack
            .gate(gate)
            .readiness(watch_database(self.db.connect_options()))
            .trusted_proxies(self.config.trusted_proxies.clone());
        let config = &self.config.server;
        let ending = async {
            server::serve(config, listener, stack, self.shutdown.clone()).await?;
            self.tasks.ended().await;
            Ok(())
        };
        let served = tokio::select! {
            served = ending => served,
            () = overdue(&self.shutdown, config.shutdown_timeout) => {
                tracing::warn!("stopped with tasks still running");
                Ok(())
            }
        };
        self.authenticator.write_uses().await;
        served
    }
}

/// Returns when a stop has taken as long as it may, and the moment that the server needs
/// to notice that as well.
async fn overdue(shutdown: &Shutdown, shutdown_timeout: Duration) {
    shutdown.begun().await;
    sleep(shutdown_timeout + OVERDUE_BY).await;
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

/// Whether the database answers, until nobody wants to know. Asked by a connection of
/// its own: those of the pool may all be busy, which is no reason to send requests to
/// replicas that are no less so.
fn watch_database(options: Arc<PgConnectOptions>) -> Readiness {
    let (sender, receiver) = watch::channel(true);
    tokio::spawn(async move {
        // It has just answered.
        let mut ticks = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        let mut connection = None;
        while !sender.is_closed() {
            ticks.tick().await;
            let answers = timeout(ANSWERS_WITHIN, ping(connection.take(), &options)).await;
            connection = answers.ok().and_then(Result::ok);
            let ready = connection.is_some();
            sender.send_if_modified(|it| std::mem::replace(it, ready) != ready);
        }
    });
    receiver
}

/// The connection, or a new one, if it answers.
async fn ping(
    connection: Option<PgConnection>,
    options: &PgConnectOptions,
) -> sqlx::Result<PgConnection> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => PgConnection::connect_with(options).await?,
    };
    connection.ping().await?;
    Ok(connection)
}
