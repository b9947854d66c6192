//! A worker: leases executions of the sample skills, carries them out and reports.

use std::{collections::BTreeMap, fs, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use ihuman_proto::catalog::v1::{
    CompleteExecutionsRequest, Completion, ExecutionError, FailExecutionsRequest, Failure,
    HeartbeatRequest, Lease, LeaseExecutionsRequest, LeaseReport, LeaseState, LeasedExecution,
    Progress, ReportProgressRequest, worker_service_client::WorkerServiceClient,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::{Code, Status};

use crate::{
    client::{self, Connection, Credentials, explain},
    json,
    process::interrupted,
    samples,
};

/// How long a lease holds: a worker that dies delays its work by this much.
const LEASE_SECONDS: i64 = 30;
/// Three heartbeats for each lease, so that two may be lost.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The longest that the service holds a request for work.
const WAIT_SECONDS: i64 = 20;
/// How often a report is tried before its lease is left to expire.
const TRIES_MAX: u32 = 6;
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Which service to work for.
#[derive(Args)]
pub(crate) struct Options {
    /// catalog-service.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50052")]
    catalog: String,
    /// A file that holds an API key with the scope executions:write.
    #[arg(long, value_name = "FILE")]
    api_key_file: PathBuf,
    /// How many executions to carry out at a time: 1 to 100.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100))]
    at_once: u8,
}

/// Carries out the sample skills until somebody wants it to stop, and then ends
/// what it has begun.
pub(crate) async fn run(options: Options) -> Result<()> {
    let key = fs::read_to_string(&options.api_key_file)
        .with_context(|| format!("cannot read {}", options.api_key_file.display()))?;
    let names = samples::all()?.into_iter().map(|sample| (sample.name.clone(), sample.name));
    let worker = Worker {
        client: client::worker(&options.catalog, Credentials::api_key(key.trim())?)?,
        name: format!("xtask-{}", std::process::id()),
        skills: Arc::new(names.collect()),
        at_once: options.at_once.into(),
    };
    println!("{} waits for work of {}; stop it with Ctrl-C", worker.name, options.catalog);
    let (stop, stopped) = watch::channel(false);
    let mut working = pin!(worker.run(stopped));
    tokio::select! {
        ended = &mut working => return ended,
        _ = interrupted() => println!("Stopping after what has begun"),
    }
    stop.send(true)?;
    tokio::select! {
        ended = working => ended,
        // Who asks a second time does not want to wait: the leases expire.
        _ = interrupted() => Ok(()),
    }
}

/// What carries out executions until it is told to stop.
#[derive(Clone)]
pub(crate) struct Worker {
    /// The service, with credentials that may lease.
    pub(crate) client: WorkerServiceClient<Connection>,
    /// What it is called in records.
    pub(crate) name: String,
    /// Which sample carries out the skill of which name.
    pub(crate) skills: Arc<BTreeMap<String, String>>,
    /// How many executions it carries out at a time.
    pub(crate) at_once: usize,
}

impl Worker {
    /// Works until `stop` becomes true, and then ends what it has begun.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut running = JoinSet::new();
        let mut failures = 0;
        loop {
            while running.try_join_next().is_some() {}
            let free = self.at_once - running.len();
            let leased = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = running.join_next(), if free == 0 => continue,
                leased = self.lease(free), if free > 0 => leased,
            };
            match leased {
                Ok(leased) => {
                    failures = 0;
                    for execution in leased {
                        running.spawn(self.clone().carry_out(execution));
                    }
                }
                Err(status) if client::passing(&status) => {
                    failures += 1;
                    eprintln!("no work: {}; trying again", explain(&status));
                    sleep(backoff(failures)).await;
                }
                Err(status) => bail!("no work: {}", explain(&status)),
            }
        }
        while running.join_next().await.is_some() {}
        Ok(())
    }

    async fn lease(&self, free: usize) -> Result<Vec<LeasedExecution>, Status> {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let request = LeaseExecutionsRequest {
            worker: self.name.clone(),
            max_executions: i32::try_from(free.min(100)).unwrap_or(100),
            skill_names: self.skills.keys().cloned().collect(),
            wait: seconds(WAIT_SECONDS),
            lease_duration: seconds(LEASE_SECONDS),
        };
        Ok(self.client.clone().lease_executions(request).await?.into_inner().leased_executions)
    }

    /// Carries out one execution while it holds the lease.
    async fn carry_out(self, leased: LeasedExecution) {
        let execution = leased.execution.unwrap_or_default();
        let lease = Lease { execution_id: execution.id.clone(), lease_id: leased.lease_id };
        let Some(sample) = self.skills.get(&execution.skill_name).cloned() else { return };
        println!("{}: begins {} ({})", self.name, execution.id, execution.skill_name);

        let parameters = json::from_struct(execution.parameters.unwrap_or_default());
        let (steps, mut begun) = mpsc::unbounded_channel();
        let work = tokio::task::spawn_blocking(move || {
            samples::run(&sample, &parameters, &mut |step, percent| {
                let _ = steps.send((step.to_owned(), percent));
            })
        });
        if !self.report(&lease, &mut begun).await {
            println!("{}: gives up {}: it is no longer ours", self.name, execution.id);
            return;
        }
        let ended = match work.await {
            Ok(Ok(result)) => self.complete(&lease, json::to_value(&result)).await,
            // The same parameters would be wrong again.
            Ok(Err(problem)) => self.fail(&lease, "SKILL_FAILED", &problem, true).await,
            Err(_) => self.fail(&lease, "SKILL_PANICKED", "the skill has a fault", false).await,
        };
        match ended {
            Ok(LeaseState::Held) => println!("{}: ends {}", self.name, execution.id),
            Ok(_) => println!("{}: ends {}, too late to count", self.name, execution.id),
            Err(status) => {
                eprintln!("{}: cannot report {}: {}", self.name, execution.id, explain(&status));
            }
        }
    }

    /// Reports each step as it begins, and that we live in between. Ends when the
    /// work has; false as soon as the lease is lost or the execution cancelled.
    async fn report(
        &self,
        lease: &Lease,
        begun: &mut mpsc::UnboundedReceiver<(String, u32)>,
    ) -> bool {
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.reset();
        loop {
            let state = tokio::select! {
                step = begun.recv() => match step {
                    Some((step, percent)) => self.progress(lease, step, percent).await,
                    None => return true,
                },
                _ = beat.tick() => self.beat(lease).await,
            };
            if matches!(state, Ok(LeaseState::Lost | LeaseState::Cancelled)) {
                return false;
            }
        }
    }

    async fn progress(&self, lease: &Lease, step: String, percent: u32) -> Reported {
        let percent = i32::try_from(percent.min(100)).unwrap_or(100);
        let progress = Progress { lease: Some(lease.clone()), percent, step, ..Default::default() };
        let request = ReportProgressRequest { progress: vec![progress] };
        retry(|| async {
            let mut client = self.client.clone();
            Ok(state(&client.report_progress(request.clone()).await?.into_inner().reports))
        })
        .await
    }

    async fn beat(&self, lease: &Lease) -> Reported {
        let request = HeartbeatRequest { leases: vec![lease.clone()] };
        let response = self.client.clone().heartbeat(request).await?;
        Ok(state(&response.into_inner().reports))
    }

    async fn complete(&self, lease: &Lease, result: prost_types::Value) -> Reported {
        let completion = Completion { lease: Some(lease.clone()), result: Some(result) };
        let request = CompleteExecutionsRequest { completions: vec![completion] };
        retry(|| async {
            let mut client = self.client.clone();
            Ok(state(&client.complete_executions(request.clone()).await?.into_inner().reports))
        })
        .await
    }

    async fn fail(&self, lease: &Lease, code: &str, message: &str, permanent: bool) -> Reported {
        let message = message.chars().take(2000).collect();
        let error = ExecutionError { code: code.to_owned(), message };
        let failure = Failure { lease: Some(lease.clone()), error: Some(error), permanent };
        let request = FailExecutionsRequest { failures: vec![failure] };
        retry(|| async {
            let mut client = self.client.clone();
            Ok(state(&client.fail_executions(request.clone()).await?.into_inner().reports))
        })
        .await
    }
}

/// What became of a report.
type Reported = Result<LeaseState, Status>;

fn state(reports: &[LeaseReport]) -> LeaseState {
    reports.first().map_or(LeaseState::Unspecified, LeaseReport::state)
}

/// Repeats a report that may not have arrived: repeating one that has changes nothing.
async fn retry<F: Future<Output = Reported>>(report: impl Fn() -> F) -> Reported {
    for tried in 1..TRIES_MAX {
        match report().await {
            Err(status) if client::passing(&status) => sleep(backoff(tried)).await,
            Err(status) if status.code() == Code::NotFound => return Ok(LeaseState::Lost),
            done => return done,
        }
    }
    report().await
}

/// Twice as long after each failure, from a quarter of a second.
fn backoff(failures: u32) -> Duration {
    (Duration::from_millis(125) * 2_u32.saturating_pow(failures.min(10))).min(BACKOFF_MAX)
}
