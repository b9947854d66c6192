//! `ihuman.catalog.v1.WorkerService`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use ihuman_proto::catalog::v1::{
    self as pb,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    parse::{self, timestamp},
    platform::Platform,
    server::{Deadline, Limited},
};
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Extensions, Request, Response, Status, codec::CompressionEncoding::Gzip};
use uuid::Uuid;

use super::{
    LOOKS_MAX, Leased, Queue, Wanted,
    reports::{self, Failure, Lease, Progress, Verdict},
};
use crate::executions::{Changes, JSON_BYTES_MAX};

/// The largest request in bytes, for batches of results.
const REQUEST_BYTES_MAX: usize = 32 << 20;
/// How many executions one request may name, and how many skills.
const ITEMS_MAX: usize = 100;
/// The longest wait for work.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How much earlier than the caller's deadline a wait ends: what is leased later
/// than that would not reach the caller.
const WAIT_MARGIN: Duration = Duration::from_millis(500);
/// How long a lease holds when the request does not say, and may hold.
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
const LEASE_MIN: Duration = Duration::from_secs(5);
const LEASE_MAX: Duration = Duration::from_secs(600);

struct Workers(Queue);

/// The service, as the stack takes it.
pub fn server(
    platform: &Platform,
    changes: &Changes,
) -> Limited<WorkerServiceServer<impl WorkerService + use<>>> {
    let queue = Queue {
        db: platform.db.clone(),
        changes: changes.clone(),
        shutdown: platform.shutdown.clone(),
        looks: Arc::new(Semaphore::new(LOOKS_MAX)),
    };
    Limited::new(REQUEST_BYTES_MAX, |longest| {
        WorkerServiceServer::new(Workers(queue))
            .max_decoding_message_size(longest)
            .accept_compressed(Gzip)
            .send_compressed(Gzip)
    })
}

#[tonic::async_trait]
impl WorkerService for Workers {
    async fn lease_executions(
        &self,
        request: Request<pb::LeaseExecutionsRequest>,
    ) -> Result<Response<pb::LeaseExecutionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let (_, extensions, request) = request.into_parts();
        let wanted = wanted(request, &extensions)?;

        let leased = super::lease(&self.0, &caller, &wanted).await?;

        let leased_executions = leased.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::LeaseExecutionsResponse { leased_executions }))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let caller = Principal::of(&request)?;
        let leases = leases(request.into_inner().leases.into_iter().map(Some), "leases", "")?;

        let verdicts = reports::heartbeat(&self.0.db, &caller, &leases).await?;

        Ok(Response::new(pb::HeartbeatResponse { reports: to_contract(&leases, &verdicts) }))
    }

    async fn report_progress(
        &self,
        request: Request<pb::ReportProgressRequest>,
    ) -> Result<Response<pb::ReportProgressResponse>, Status> {
        let caller = Principal::of(&request)?;
        let items = request.into_inner().progress;
        let leases = leases(items.iter().map(|it| it.lease.clone()), "progress", ".lease")?;
        let progress = each(items, &leases, progress)?;

        let Queue { db, changes, .. } = &self.0;
        let verdicts = reports::progress(db, changes, &caller, &progress).await?;

        Ok(Response::new(pb::ReportProgressResponse { reports: to_contract(&leases, &verdicts) }))
    }

    async fn complete_executions(
        &self,
        request: Request<pb::CompleteExecutionsRequest>,
    ) -> Result<Response<pb::CompleteExecutionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let items = request.into_inner().completions;
        let leases = leases(items.iter().map(|it| it.lease.clone()), "completions", ".lease")?;
        let completions = each(items, &leases, completion)?;

        let Queue { db, changes, .. } = &self.0;
        let verdicts = reports::complete(db, changes, &caller, completions).await?;

        let reports = to_contract(&leases, &verdicts);
        Ok(Response::new(pb::CompleteExecutionsResponse { reports }))
    }

    async fn fail_executions(
        &self,
        request: Request<pb::FailExecutionsRequest>,
    ) -> Result<Response<pb::FailExecutionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let items = request.into_inner().failures;
        let leases = leases(items.iter().map(|it| it.lease.clone()), "failures", ".lease")?;
        let failures = each(items, &leases, failure)?;

        let Queue { db, changes, .. } = &self.0;
        let verdicts = reports::fail(db, changes, &caller, failures).await?;

        Ok(Response::new(pb::FailExecutionsResponse { reports: to_contract(&leases, &verdicts) }))
    }
}

fn wanted(request: pb::LeaseExecutionsRequest, extensions: &Extensions) -> Result<Wanted> {
    let worker = parse::line("worker", request.worker, 100)?;
    let max_executions = match request.max_executions {
        0 => 1,
        it @ 1..=100 => it.into(),
        _ => return Err(Error::invalid("max_executions", "must be 0 to 100")),
    };
    if request.skill_names.len() > ITEMS_MAX {
        return Err(Error::invalid("skill_names", format!("must have at most {ITEMS_MAX} names")));
    }
    let names = request.skill_names.into_iter().enumerate();
    let names = names.map(|(index, it)| parse::slug(&format!("skill_names[{index}]"), it, 64));
    let skill_names = names.collect::<Result<_>>()?;

    let wait = parse::duration("wait", request.wait.unwrap_or_default())?;
    if wait > WAIT_MAX {
        return Err(Error::invalid("wait", "must be at most 20 seconds"));
    }
    let lease_duration = match request.lease_duration {
        None => LEASE_DEFAULT,
        Some(it) => parse::duration("lease_duration", it)?,
    };
    if !(LEASE_MIN..=LEASE_MAX).contains(&lease_duration) {
        return Err(Error::invalid("lease_duration", "must be 5 seconds to 10 minutes"));
    }
    let until = Instant::now() + wait;
    let deadline = extensions.get::<Deadline>().and_then(|it| it.0.checked_sub(WAIT_MARGIN));
    let until = deadline.map_or(until, |it| it.min(until));
    Ok(Wanted { worker, max_executions, skill_names, until, lease_duration })
}

/// The leases of a request's items, at `list[index]` and `suffix` after it: 1 to
/// 100, each of another execution.
fn leases(
    leases: impl ExactSizeIterator<Item = Option<pb::Lease>>,
    list: &str,
    suffix: &str,
) -> Result<Vec<Lease>> {
    if !(1..=ITEMS_MAX).contains(&leases.len()) {
        return Err(Error::invalid(list, format!("must have 1 to {ITEMS_MAX} items")));
    }
    let mut seen = HashSet::new();
    let parse = |(index, lease): (usize, Option<pb::Lease>)| {
        let field = format!("{list}[{index}]{suffix}");
        let lease = parse::required(&field, lease)?;
        let execution_id: Uuid =
            parse::uuid(&format!("{field}.execution_id"), &lease.execution_id)?;
        let lease_id = parse::uuid(&format!("{field}.lease_id"), &lease.lease_id)?;
        if !seen.insert(execution_id) {
            let field = format!("{field}.execution_id");
            return Err(Error::invalid(field, "must be another execution than the others"));
        }
        Ok(Lease { execution_id, lease_id })
    };
    leases.enumerate().map(parse).collect()
}

/// Parses each item, given its index and its lease.
fn each<T, P>(
    items: Vec<T>,
    leases: &[Lease],
    parse: impl Fn(usize, Lease, T) -> Result<P>,
) -> Result<Vec<P>> {
    let items = items.into_iter().zip(leases).enumerate();
    items.map(|(index, (item, lease))| parse(index, *lease, item)).collect()
}

fn progress(index: usize, lease: Lease, it: pb::Progress) -> Result<Progress> {
    let field = |name| format!("progress[{index}].{name}");
    if !(0..=100).contains(&it.percent) {
        return Err(Error::invalid(field("percent"), "must be 0 to 100"));
    }
    let step = parse::text(&field("step"), it.step, 0, 100)?;
    let message = parse::text(&field("message"), it.message, 0, 2000)?;
    Ok(Progress { lease, percent: it.percent, step, message })
}

fn completion(
    index: usize,
    lease: Lease,
    it: pb::Completion,
) -> Result<(Lease, serde_json::Value)> {
    let field = format!("completions[{index}].result");
    let result = parse::json(&field, it.result.unwrap_or_default(), JSON_BYTES_MAX)?;
    Ok((lease, result))
}

fn failure(index: usize, lease: Lease, it: pb::Failure) -> Result<Failure> {
    let field = |name| format!("failures[{index}].error{name}");
    let error = parse::required(&field(""), it.error)?;
    let allowed = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_';
    if !(1..=64).contains(&error.code.len()) || !error.code.bytes().all(allowed) {
        let problem = "must have 1 to 64 characters of A-Z, 0-9 and _";
        return Err(Error::invalid(field(".code"), problem));
    }
    let message = parse::text(&field(".message"), error.message, 0, 2000)?;
    Ok(Failure { lease, code: error.code, message, permanent: it.permanent })
}

fn to_contract(leases: &[Lease], verdicts: &[Verdict]) -> Vec<pb::LeaseReport> {
    let report = |(lease, verdict): (&Lease, &Verdict)| {
        let (state, expires_at) = match verdict {
            Verdict::Held(expires_at) => (pb::LeaseState::Held, *expires_at),
            Verdict::Lost => (pb::LeaseState::Lost, None),
            Verdict::Cancelled => (pb::LeaseState::Cancelled, None),
        };
        pb::LeaseReport {
            execution_id: lease.execution_id.to_string(),
            state: state.into(),
            expire_time: expires_at.map(timestamp),
        }
    };
    leases.iter().zip(verdicts).map(report).collect()
}

impl From<Leased> for pb::LeasedExecution {
    fn from(it: Leased) -> Self {
        let skill = pb::Skill {
            id: it.execution.skill_id.to_string(),
            name: it.execution.skill_name.clone(),
            version: it.execution.skill_version,
            digest: it.execution.skill_digest.clone(),
            allowed_tools: it.allowed_tools,
            body: it.body,
            parameters_schema: Some(parse::structure(it.parameters_schema)),
            ..Default::default()
        };
        pb::LeasedExecution {
            execution: Some(it.execution.into()),
            lease_id: it.lease_id.to_string(),
            expire_time: Some(timestamp(it.expires_at)),
            skill: Some(skill),
        }
    }
}
