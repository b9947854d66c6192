//! auth-service on a database of its own, with everything that it is compared with beside it.

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use argon2::{Algorithm, Argon2, Params, Version};
use ihuman_proto::{
    access::v1::Role,
    auth::v1::{
        CreateApiKeyRequest, GetCurrentUserRequest, ListRolesRequest, RefreshTokenRequest,
        RegisterRequest, SetUserRoleRequest, VerifyTokenRequest,
        auth_service_client::AuthServiceClient,
    },
};
use tokio::{process::Command, task::JoinSet, time::sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    load::{Measured, measure},
    report::{self, Line},
};
use crate::{
    client::{Clients, Connection, Credentials, explain},
    installation::ADMIN_EMAIL,
    postgres::free_ports,
    process::Group,
    temporary::Services,
};

/// How long each thing is measured.
const LASTS: Duration = Duration::from_secs(5);
/// The same for what is measured under the storm.
const STORM_LASTS: Duration = Duration::from_secs(12);
/// How many log in at the same time in the storm.
const STORM: usize = 64;
/// How long one of them waits after it was refused: a tenth of what it is told.
const COMES_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How many call at the same time where the most is wanted, each on its own connection.
const CALLERS: usize = 16;
/// How many call during the storm, and how long each waits in between: as people do
/// and not as fast as they can, which would measure how they wait for one another.
const CALLERS_IN_STORM: usize = 8;
const PAUSE_IN_STORM: Duration = Duration::from_millis(10);
const NO_PAUSE: Duration = Duration::ZERO;

const PASSWORD: &str = "a lamp that hums in the attic";
/// What `ARGON2_MEMORY_KIB`, `ARGON2_PASSES` and `ARGON2_LANES` are.
const ARGON2: (u32, u32, u32) = (19_456, 2, 1);

type Client = AuthServiceClient<Connection>;

/// The service, who calls it, and the bare server beside it.
struct Bench {
    services: Services,
    clients: Clients,
    cores: usize,
    echo_url: String,
    _echo: Group,
}

/// Prints the table; a promise that is not kept is a failure.
pub(super) async fn run() -> Result<ExitCode> {
    let cores = thread::available_parallelism()?.get();
    let settings = settings();
    let services = Services::start_with(true, &settings).await?;
    let [port] = free_ports()?;
    let mut echo = Command::new(env::current_exe()?);
    let echo = Group::spawn(echo.args(["bench", "echo", &port.to_string()]))?;
    let echo_url = format!("http://127.0.0.1:{port}");
    let clients = Clients::new(&services.ports.auth_url(), &services.ports.catalog_url())?;
    let bench = Bench { services, clients, cores, echo_url, _echo: echo };

    println!("  opening {STORM} accounts");
    bench.register().await?;
    report::machine(cores, &settings);
    report::head();
    bench.hashes().await?;
    bench.calls().await?;
    let (lines, refused) = bench.storm().await?;
    let is_kept = report::verdict(&lines, refused, STORM_LASTS);
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The hash as it is by default, and limits that nothing here reaches.
fn settings() -> Vec<(&'static str, String)> {
    let (memory_kib, passes, lanes) = ARGON2;
    let most = "1000000000".to_owned();
    vec![
        ("ARGON2_MEMORY_KIB", memory_kib.to_string()),
        ("ARGON2_PASSES", passes.to_string()),
        ("ARGON2_LANES", lanes.to_string()),
        ("RATE_LIMIT_MAX_REQUESTS", most.clone()),
        ("RATE_LIMIT_PUBLIC_MAX_REQUESTS", most),
        ("LOG_LEVEL", "warn".to_owned()),
    ]
}

fn email(number: usize) -> String {
    format!("bench-{number}@example.com")
}

fn failed(status: Status) -> anyhow::Error {
    anyhow::anyhow!(explain(&status))
}

impl Bench {
    async fn register(&self) -> Result<()> {
        for number in 0..STORM {
            let request = RegisterRequest {
                email: email(number),
                password: PASSWORD.to_owned(),
                display_name: "Bench".to_owned(),
                ..RegisterRequest::default()
            };
            self.clients.auth().register(request).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Somebody who calls, on a connection of its own.
    async fn caller(&self, number: usize) -> Result<(Clients, String, String)> {
        let ports = self.services.ports;
        let clients = Clients::new(&ports.auth_url(), &ports.catalog_url())?;
        let (response, known) = clients.login(&email(number), PASSWORD).await.map_err(failed)?;
        let tokens = response.tokens.context("a login without tokens")?;
        Ok((known, tokens.access_token, tokens.refresh_token))
    }

    /// Logins, beside the hash that each of them takes.
    async fn hashes(&self) -> Result<()> {
        let cores = self.cores;
        let bare = tokio::task::spawn_blocking(move || hash_on(cores)).await??;
        let hash = Line::new("argon2id alone, a thread on each core", bare, String::new());
        hash.print();
        let callers = 2 * cores;
        let each = (0..callers).map(|at| (self.clients.clone(), at)).collect();
        let logins = measure(each, LASTS, NO_PAUSE, |(clients, at): (Clients, usize)| async move {
            clients.login(&email(at), PASSWORD).await.map_err(failed)?;
            Ok((clients, at))
        });
        let line = Line::new("Login", logins.await?, String::new());
        let share = format!(
            "{callers} at a time; {:.0} % of the hashes",
            100.0 * line.rate() / hash.rate()
        );
        line.with_note(share).print();
        Ok(())
    }

    /// What is called with a token or a key, beside the bare server.
    async fn calls(&self) -> Result<()> {
        let note = || format!("{CALLERS} at a time");
        let echo = (0..CALLERS).map(|_| {
            let clients = Clients::new(&self.echo_url, &self.echo_url)?;
            Ok(clients.auth())
        });
        let echo = measure(echo.collect::<Result<_>>()?, LASTS, NO_PAUSE, get_current_user).await?;
        Line::new("bare tonic server, the same answer", echo, note()).print();

        let (mut tokens, mut checked, mut refreshed) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..CALLERS {
            let (known, access_token, refresh_token) = self.caller(number).await?;
            tokens.push(known.clone());
            checked.push((known.auth(), access_token));
            refreshed.push((known.auth(), refresh_token));
        }
        let roles = tokens.clone();
        let list = measure(roles, LASTS, NO_PAUSE, list_roles).await?;
        Line::new("ListRoles by token (no database)", list, note()).print();
        let by_token = tokens.iter().map(Clients::auth).collect();
        let by_token = measure(by_token, LASTS, NO_PAUSE, get_current_user).await?;
        Line::new("GetCurrentUser by token (one query)", by_token, note()).print();
        let keys = self.with_api_keys().await?;
        let by_key = measure(keys, LASTS, NO_PAUSE, list_roles).await?;
        Line::new("ListRoles by API key (no database)", by_key, note()).print();
        let verified = measure(checked, LASTS, NO_PAUSE, verify_token).await?;
        Line::new("VerifyToken", verified, note()).print();
        let refreshed = measure(refreshed, LASTS, NO_PAUSE, refresh_token).await?;
        Line::new("RefreshToken", refreshed, note()).print();
        Ok(())
    }

    /// Callers with API keys of an account whose tokens nobody uses: its new role ends
    /// them.
    async fn with_api_keys(&self) -> Result<Vec<Clients>> {
        let (_, admin) =
            self.clients.login(ADMIN_EMAIL, &self.services.admin_password).await.map_err(failed)?;
        let (owner, _, _) = self.caller(CALLERS).await?;
        let current = owner.auth().get_current_user(GetCurrentUserRequest {}).await;
        let user = current.map_err(failed)?.into_inner().user.context("an account")?;
        let role = SetUserRoleRequest { user_id: user.id, role: Role::Developer.into() };
        admin.users().set_user_role(role).await.map_err(failed)?;
        let (developer, _, _) = self.caller(CALLERS).await?;
        let mut keys = Vec::new();
        for number in 0..CALLERS {
            let request = CreateApiKeyRequest {
                name: format!("bench-{number}"),
                scopes: vec!["skills:read".to_owned()],
                ..CreateApiKeyRequest::default()
            };
            let created = developer.api_keys().create_api_key(request).await.map_err(failed)?;
            let ports = self.services.ports;
            let clients = Clients::new(&ports.auth_url(), &ports.catalog_url())?;
            keys.push(clients.with(Credentials::api_key(&created.into_inner().key)?));
        }
        Ok(keys)
    }

    /// What is called with a token while more log in than can be served.
    async fn storm(&self) -> Result<(Vec<Line>, usize)> {
        let (mut clients, mut roles) = (Vec::new(), Vec::new());
        for number in 1..=CALLERS_IN_STORM {
            let (known, _, _) = self.caller(number).await?;
            clients.push(known.auth());
            roles.push(known);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(AtomicUsize::new(0));
        let mut logins = JoinSet::new();
        let began = Instant::now();
        for number in 0..STORM {
            let ports = self.services.ports;
            let clients = Clients::new(&ports.auth_url(), &ports.catalog_url())?;
            logins.spawn(log_in_again(clients, number, is_over.clone(), refused.clone()));
        }
        let (one, other) = tokio::join!(
            measure(clients, STORM_LASTS, PAUSE_IN_STORM, get_current_user),
            measure(roles, STORM_LASTS, PAUSE_IN_STORM, list_roles),
        );
        is_over.store(true, Ordering::Relaxed);
        let mut took = Vec::new();
        while let Some(ended) = logins.join_next().await {
            took.extend(ended??);
        }
        let (logins, refused) =
            (Measured::of(took, began.elapsed()), refused.load(Ordering::Relaxed));
        let note = format!("{STORM} at a time; {refused} were refused");
        let lines = vec![
            Line::new("in a storm: GetCurrentUser by token", one?, "one query".to_owned()),
            Line::new("in a storm: ListRoles by token", other?, "no database".to_owned()),
        ];
        Line::new("in a storm: Login", logins, note).print();
        lines.iter().for_each(Line::print);
        Ok((lines, refused))
    }
}

/// Logs in again and again; returns what each success took.
async fn log_in_again(
    clients: Clients,
    number: usize,
    is_over: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match clients.login(&email(number), PASSWORD).await {
            Ok(_) => took.push(began.elapsed()),
            Err(status) if is_overload(&status) => {
                refused.fetch_add(1, Ordering::Relaxed);
                sleep(COMES_AGAIN_AFTER).await;
            }
            Err(status) => bail!("a login in the storm: {}", explain(&status)),
        }
    }
    Ok(took)
}

fn is_overload(status: &Status) -> bool {
    let says_when = || status.get_details_retry_info().is_some_and(|it| it.retry_delay.is_some());
    status.code() == Code::ResourceExhausted && says_when()
}

async fn get_current_user(mut client: Client) -> Result<Client> {
    client.get_current_user(GetCurrentUserRequest {}).await.map_err(failed)?;
    Ok(client)
}

async fn list_roles(clients: Clients) -> Result<Clients> {
    clients.access().list_roles(ListRolesRequest {}).await.map_err(failed)?;
    Ok(clients)
}

async fn verify_token((mut client, token): (Client, String)) -> Result<(Client, String)> {
    let request = VerifyTokenRequest { token: token.clone(), ..Default::default() };
    let answer = client.verify_token(request).await.map_err(failed)?.into_inner();
    if !answer.active {
        bail!("a good token is not active: {}", answer.inactive_reason);
    }
    Ok((client, token))
}

async fn refresh_token((mut client, refresh_token): (Client, String)) -> Result<(Client, String)> {
    let request = RefreshTokenRequest { refresh_token, ..RefreshTokenRequest::default() };
    let answer = client.refresh_token(request).await.map_err(failed)?.into_inner();
    Ok((client, answer.tokens.context("a refresh without tokens")?.refresh_token))
}

/// Hashes on so many threads, and nothing else.
fn hash_on(cores: usize) -> Result<Measured> {
    let (memory_kib, passes, lanes) = ARGON2;
    let params = Params::new(memory_kib, passes, lanes, None)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let began = Instant::now();
    let hash = || {
        let (mut took, mut out) = (Vec::new(), [0; 32]);
        while began.elapsed() < LASTS {
            let began = Instant::now();
            argon2.hash_password_into(PASSWORD.as_bytes(), b"sixteen bytes ok", &mut out)?;
            took.push(began.elapsed());
        }
        Ok::<_, argon2::Error>(took)
    };
    let took = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(hash)).collect();
        let took = threads.into_iter().map(|it| it.join().map_err(|_| anyhow::anyhow!("a hash")));
        let took = took.map(|it| Ok(it??)).collect::<Result<Vec<_>>>();
        took.map(|it| it.into_iter().flatten().collect())
    })?;
    Ok(Measured::of(took, began.elapsed()))
}
