//! A worker: it leases executions in batches, carries them out, and reports the results.
//!
//! ```text
//! IHUMAN_URLS=http://127.0.0.1:50052 IHUMAN_API_KEY=ihk_… cargo run --example worker
//! ```
//!
//! Several URLs, separated by commas, are replicas of one service: when a call
//! fails because a replica is gone, it is made again at the next. That is safe for
//! every call of a worker. A lease whose answer got lost expires, and reporting a
//! result twice under one lease counts once.

use std::{collections::HashMap, env, pin::pin, time::Duration};

use ihuman_proto::catalog::v1::{
    CompleteExecutionsRequest, Completion, HeartbeatRequest, Lease, LeaseExecutionsRequest,
    LeaseReport, LeaseState, LeasedExecution, worker_service_client::WorkerServiceClient,
};
use prost_types::{Value, value::Kind};
use tokio::time::{interval, sleep};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::interceptor::InterceptedService,
    transport::Channel,
};

/// How many executions to take at once.
const BATCH: i32 = 20;
/// How long to wait for work in one call, in seconds.
const WAIT: i64 = 10;
/// How long a lease holds unless prolonged, in seconds.
const LEASE: i64 = 5;
/// How long to wait before a call is made again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

type Client = WorkerServiceClient<InterceptedService<Channel, ApiKey>>;

/// Puts the key on every request.
#[derive(Clone)]
struct ApiKey(MetadataValue<Ascii>);

impl tonic::service::Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("x-api-key", self.0.clone());
        Ok(request)
    }
}

/// The replicas of the service, of which one is called at a time.
struct Service {
    replicas: Vec<Client>,
    current: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let key = ApiKey(env::var("IHUMAN_API_KEY")?.parse()?);
    let mut service = Service::connect(&env::var("IHUMAN_URLS")?, &key)?;
    loop {
        let leased = service.lease().await?;
        let completions = carry_out(&mut service, leased).await?;
        if !completions.is_empty() {
            service.complete(completions).await?;
        }
    }
}

/// Carries out executions one after another, and keeps the leases of all of them.
async fn carry_out(
    service: &mut Service,
    executions: Vec<LeasedExecution>,
) -> anyhow::Result<Vec<Completion>> {
    let mut held: HashMap<String, Lease> = executions.iter().map(lease).collect();
    let mut heartbeats = interval(Duration::from_secs(LEASE as u64) / 3);
    heartbeats.tick().await;

    let mut completions = Vec::new();
    for leased in executions {
        let (execution_id, lease) = lease(&leased);
        let mut work = pin!(work(leased));
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = heartbeats.tick() => {
                    for report in service.heartbeat(held.values().cloned().collect()).await? {
                        if report.state() != LeaseState::Held {
                            held.remove(&report.execution_id);
                        }
                    }
                }
            }
        };
        if held.contains_key(&execution_id) {
            completions.push(Completion { lease: Some(lease), result: Some(result) });
        }
    }
    Ok(completions)
}

/// What this worker does: it returns the parameters.
async fn work(leased: LeasedExecution) -> Value {
    let parameters = leased.execution.unwrap_or_default().parameters;
    sleep(Duration::from_millis(1)).await;
    Value { kind: Some(Kind::StructValue(parameters.unwrap_or_default())) }
}

fn lease(leased: &LeasedExecution) -> (String, Lease) {
    let execution_id = leased.execution.as_ref().map(|it| it.id.clone()).unwrap_or_default();
    let lease = Lease { execution_id: execution_id.clone(), lease_id: leased.lease_id.clone() };
    (execution_id, lease)
}

impl Service {
    fn connect(urls: &str, key: &ApiKey) -> anyhow::Result<Self> {
        let mut replicas = Vec::new();
        for url in urls.split(',') {
            let channel = Channel::from_shared(url.to_owned())?.connect_lazy();
            replicas.push(WorkerServiceClient::with_interceptor(channel, key.clone()));
        }
        Ok(Service { replicas, current: 0 })
    }

    async fn lease(&mut self) -> Result<Vec<LeasedExecution>, Status> {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let request = LeaseExecutionsRequest {
            worker: format!("example {}", std::process::id()),
            max_executions: BATCH,
            wait: seconds(WAIT),
            lease_duration: seconds(LEASE),
            ..Default::default()
        };
        let call = async |mut it: Client| it.lease_executions(request.clone()).await;
        Ok(self.call(call).await?.leased_executions)
    }

    async fn heartbeat(&mut self, leases: Vec<Lease>) -> Result<Vec<LeaseReport>, Status> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let request = HeartbeatRequest { leases };
        let call = async |mut it: Client| it.heartbeat(request.clone()).await;
        Ok(self.call(call).await?.reports)
    }

    async fn complete(&mut self, completions: Vec<Completion>) -> Result<(), Status> {
        let request = CompleteExecutionsRequest { completions };
        let call = async |mut it: Client| it.complete_executions(request.clone()).await;
        self.call(call).await?;
        Ok(())
    }

    /// Makes a call until a replica answers it.
    async fn call<T>(
        &mut self,
        call: impl AsyncFn(Client) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        loop {
            match call(self.replicas[self.current].clone()).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if is_worth_a_retry(status.code()) => {
                    eprintln!("trying again elsewhere: {}", status.message());
                    self.current = (self.current + 1) % self.replicas.len();
                    sleep(RETRY_AFTER).await;
                }
                Err(status) => return Err(status),
            }
        }
    }
}

/// Whether the same call may succeed later: the replica stops, is overloaded or
/// was not reached, which clients report as UNKNOWN or CANCELLED too.
fn is_worth_a_retry(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
    )
}
