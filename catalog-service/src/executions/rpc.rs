//! `ihuman.catalog.v1.ExecutionService`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use ihuman_proto::catalog::v1::{
    self as pb,
    execution_service_server::{ExecutionService, ExecutionServiceServer},
    watch_execution_response,
};
use ihuman_shared::{
    Error, Result,
    access::Principal,
    idempotency::Key,
    page::Page,
    parse::{self, timestamp},
    platform::Platform,
    server::Limited,
};
use tonic::{Request, Response, Status, codec::CompressionEncoding::Gzip};

use super::{
    Change, Changes, Execution, JSON_BYTES_MAX, Quota, State, Step, Update,
    watch::{self, Source},
};

/// The largest request in bytes: the largest parameters, in the form that makes
/// the most of them, a list of one-digit numbers.
const REQUEST_BYTES_MAX: usize = 2 << 20;
/// How many attempts an execution may take when the request does not say.
const ATTEMPTS_DEFAULT: i32 = 3;

struct Executions {
    source: Source,
    changes: Changes,
    quota: Quota,
}

/// The service, as the stack takes it.
pub fn server(
    platform: &Platform,
    changes: &Changes,
) -> Limited<ExecutionServiceServer<impl ExecutionService + use<>>> {
    let source = Source {
        db: platform.db.clone(),
        hub: changes.hub.clone(),
        clock: platform.clock.clone(),
        revocations: platform.authenticator.revocations().clone(),
        shutdown: platform.shutdown.clone(),
    };
    let executions = Executions { source, changes: changes.clone(), quota: Quota::default() };
    Limited::new(REQUEST_BYTES_MAX, |longest| {
        ExecutionServiceServer::new(executions)
            .max_decoding_message_size(longest)
            .accept_compressed(Gzip)
            .send_compressed(Gzip)
    })
}

#[tonic::async_trait]
impl ExecutionService for Executions {
    async fn create_execution(
        &self,
        request: Request<pb::CreateExecutionRequest>,
    ) -> Result<Response<pb::CreateExecutionResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let key = Key::of(caller.user_id, "CreateExecution", &request.request_id, &request)?;
        let request = parse(request)?;

        let Executions { source, changes, quota } = self;
        let execution =
            super::create(&source.db, changes, quota, &caller, key.as_ref(), request).await?;

        Ok(Response::new(pb::CreateExecutionResponse { execution: Some(execution.into()) }))
    }

    async fn get_execution(
        &self,
        request: Request<pb::GetExecutionRequest>,
    ) -> Result<Response<pb::GetExecutionResponse>, Status> {
        let caller = Principal::of(&request)?;
        let execution_id = parse::uuid("execution_id", &request.get_ref().execution_id)?;

        let execution = super::get(&self.source.db, &caller, execution_id).await?;

        Ok(Response::new(pb::GetExecutionResponse { execution: Some(execution.into()) }))
    }

    async fn list_executions(
        &self,
        request: Request<pb::ListExecutionsRequest>,
    ) -> Result<Response<pb::ListExecutionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let it = request.into_inner();
        let skill_id = parse::optional_uuid("skill_id", &it.skill_id)?;
        let state = State::of_filter("state", it.state)?;
        let filter = ("executions", skill_id, it.state);
        let page = Page::parse("ListExecutions", it.page_size, &it.page_token, &filter)?;

        let (rows, next_page_token) =
            super::list(&self.source.db, &caller, skill_id, state, &page).await?;

        let executions = rows.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListExecutionsResponse { executions, next_page_token }))
    }

    async fn cancel_execution(
        &self,
        request: Request<pb::CancelExecutionRequest>,
    ) -> Result<Response<pb::CancelExecutionResponse>, Status> {
        let caller = Principal::of(&request)?;
        let execution_id = parse::uuid("execution_id", &request.get_ref().execution_id)?;

        let execution =
            super::cancel(&self.source.db, &self.changes, &caller, execution_id).await?;

        Ok(Response::new(pb::CancelExecutionResponse { execution: Some(execution.into()) }))
    }

    type WatchExecutionStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchExecutionResponse, Status>> + Send>>;

    async fn watch_execution(
        &self,
        request: Request<pb::WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        let caller = Principal::of(&request)?;
        let it = request.into_inner();
        let execution_id = parse::uuid("execution_id", &it.execution_id)?;

        let updates =
            watch::watch(self.source.clone(), &caller, execution_id, it.after_revision).await?;

        let updates = updates.map(|it| it.map(Into::into).map_err(Into::into));
        Ok(Response::new(Box::pin(updates)))
    }

    async fn list_execution_steps(
        &self,
        request: Request<pb::ListExecutionStepsRequest>,
    ) -> Result<Response<pb::ListExecutionStepsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let it = request.into_inner();
        let execution_id = parse::uuid("execution_id", &it.execution_id)?;
        let page = Page::parse("ListExecutionSteps", it.page_size, &it.page_token, &execution_id)?;

        let (rows, next_page_token) =
            super::list_steps(&self.source.db, &caller, execution_id, &page).await?;

        let steps = rows.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListExecutionStepsResponse { steps, next_page_token }))
    }
}

fn parse(request: pb::CreateExecutionRequest) -> Result<super::Request> {
    let skill_id = parse::uuid("skill_id", &request.skill_id)?;
    let parameters = request.parameters.unwrap_or_default();
    let parameters = parse::object("parameters", parameters, JSON_BYTES_MAX)?;
    if !(0..=9).contains(&request.priority) {
        return Err(Error::invalid("priority", "must be 0 to 9"));
    }
    let max_attempts = match request.max_attempts {
        0 => ATTEMPTS_DEFAULT,
        it @ 1..=20 => it,
        _ => return Err(Error::invalid("max_attempts", "must be 0 to 20")),
    };
    Ok(super::Request { skill_id, parameters, priority: request.priority, max_attempts })
}

impl State {
    /// The state of a filter's field; none for any.
    fn of_filter(field: &str, number: i32) -> Result<Option<State>> {
        let known = parse::optional_enum(field, number)?;
        Ok(known.and_then(|it| match it {
            pb::ExecutionState::Unspecified => None,
            pb::ExecutionState::Queued => Some(State::Queued),
            pb::ExecutionState::Running => Some(State::Running),
            pb::ExecutionState::Succeeded => Some(State::Succeeded),
            pb::ExecutionState::Failed => Some(State::Failed),
            pb::ExecutionState::Cancelled => Some(State::Cancelled),
        }))
    }

    fn to_contract(self) -> i32 {
        (match self {
            State::Queued => pb::ExecutionState::Queued,
            State::Running => pb::ExecutionState::Running,
            State::Succeeded => pb::ExecutionState::Succeeded,
            State::Failed => pb::ExecutionState::Failed,
            State::Cancelled => pb::ExecutionState::Cancelled,
        }) as i32
    }
}

impl From<Execution> for pb::Execution {
    fn from(it: Execution) -> Self {
        let error = it
            .error_code
            .map(|code| pb::ExecutionError { code, message: it.error_message.unwrap_or_default() });
        pb::Execution {
            id: it.execution_id.to_string(),
            skill_id: it.skill_id.to_string(),
            skill_name: it.skill_name,
            skill_version: it.skill_version,
            skill_digest: it.skill_digest,
            state: it.state.to_contract(),
            parameters: it.parameters.map(parse::structure),
            result: it.result.map(parse::value),
            error,
            progress_percent: it.progress_percent,
            attempt: it.attempt,
            max_attempts: it.max_attempts,
            priority: it.priority,
            created_by: it.created_by.to_string(),
            create_time: Some(timestamp(it.created_at)),
            start_time: it.started_at.map(timestamp),
            end_time: it.ended_at.map(timestamp),
            revision: it.revision,
        }
    }
}

impl From<Update> for pb::WatchExecutionResponse {
    fn from(update: Update) -> Self {
        use watch_execution_response::Update as Sent;
        let update = match update {
            Update::Snapshot(execution) => Sent::Snapshot(execution.into()),
            Update::Change(change) => Sent::Change(change.into()),
        };
        pb::WatchExecutionResponse { update: Some(update) }
    }
}

impl From<Change> for pb::ExecutionChange {
    fn from(it: Change) -> Self {
        pb::ExecutionChange {
            revision: it.revision,
            time: Some(timestamp(it.created_at)),
            state: it.state.to_contract(),
            attempt: it.attempt,
            progress_percent: it.progress_percent,
            step: it.step,
            message: it.message,
        }
    }
}

impl From<Step> for pb::ExecutionStep {
    fn from(it: Step) -> Self {
        pb::ExecutionStep {
            attempt: it.attempt,
            position: it.position,
            name: it.name,
            state: it.state.to_contract(),
            message: it.message,
            start_time: Some(timestamp(it.started_at)),
            end_time: it.ended_at.map(timestamp),
        }
    }
}
