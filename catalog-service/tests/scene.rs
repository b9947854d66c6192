//! What tests of executions and workers share: a published skill, clients, and shortcuts.

use ihuman_proto::catalog::v1::{
    self as pb, execution_service_client::ExecutionServiceClient, watch_execution_response::Update,
    worker_service_client::WorkerServiceClient,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, Credentials, TestDatabase, TestService},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tonic::{Status, Streaming, service::interceptor::InterceptedService, transport::Channel};
use uuid::Uuid;

use crate::support::Catalog;

pub(crate) type Executions = ExecutionServiceClient<InterceptedService<Channel, Caller>>;
pub(crate) type Workers = WorkerServiceClient<InterceptedService<Channel, Caller>>;

/// A catalog with one skill, somebody who runs it, and a worker.
pub(crate) struct Scene {
    pub(crate) catalog: Catalog,
    pub(crate) skill_id: Uuid,
    pub(crate) person: Caller,
    pub(crate) service_account: Caller,
    /// The person's.
    pub(crate) executions: Executions,
    /// The service account's.
    pub(crate) workers: Workers,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let catalog = Catalog::start().await;
        let person = catalog.credentials.person(Role::Developer).await;
        let service_account = catalog.credentials.service_account(Role::Service).await;
        let skill_id = publish(&catalog.database, person.user_id, "greet").await;
        let executions = executions(&catalog.service, &person);
        let workers = workers(&catalog.service, &service_account);
        Self { catalog, skill_id, person, service_account, executions, workers }
    }

    /// The database, to arrange facts and to look at them.
    pub(crate) fn db(&self) -> &PgPool {
        &self.catalog.database.superuser
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.catalog.credentials
    }

    /// The person queues an execution.
    pub(crate) async fn create(&self) -> pb::Execution {
        self.create_with(pb::CreateExecutionRequest::default()).await
    }

    /// The same, with what is set in `request`.
    pub(crate) async fn create_with(&self, request: pb::CreateExecutionRequest) -> pb::Execution {
        let parameters =
            request.parameters.clone().or_else(|| Some(object(json!({"name": "Ada"}))));
        let skill_id = match request.skill_id.is_empty() {
            true => self.skill_id.to_string(),
            false => request.skill_id.clone(),
        };
        let request = pb::CreateExecutionRequest { skill_id, parameters, ..request };
        let created = self.executions.clone().create_execution(request).await.unwrap();
        created.into_inner().execution.unwrap()
    }

    /// The service account takes up to `max_executions`, without waiting.
    pub(crate) async fn lease(&self, max_executions: i32) -> Vec<pb::LeasedExecution> {
        take(&mut self.workers.clone(), max_executions).await
    }

    /// The service account takes the only execution there is.
    pub(crate) async fn lease_one(&self) -> pb::Lease {
        let leased = self.lease(1).await;
        assert_eq!(leased.len(), 1);
        lease_of(&leased[0])
    }

    pub(crate) async fn get(&self, execution_id: &str) -> pb::Execution {
        let request = pb::GetExecutionRequest { execution_id: execution_id.to_owned() };
        let got = self.executions.clone().get_execution(request).await.unwrap();
        got.into_inner().execution.unwrap()
    }

    pub(crate) async fn cancel(&self, execution_id: &str) -> Result<pb::Execution, Status> {
        let request = pb::CancelExecutionRequest { execution_id: execution_id.to_owned() };
        let cancelled = self.executions.clone().cancel_execution(request).await?;
        Ok(cancelled.into_inner().execution.unwrap())
    }

    pub(crate) async fn watch(
        &self,
        execution_id: &str,
        after_revision: i64,
    ) -> Streaming<pb::WatchExecutionResponse> {
        watch(&mut self.executions.clone(), execution_id, after_revision).await.unwrap()
    }

    /// Makes the lease of an execution expire, and waits until it is queued again
    /// or has failed.
    pub(crate) async fn expire(&self, execution_id: &str) -> pb::ExecutionChange {
        let revision = self.get(execution_id).await.revision;
        let mut watch = self.watch(execution_id, revision).await;
        self.let_expire(execution_id).await;
        next_change(&mut watch).await.unwrap()
    }

    /// Makes the lease of an execution expire.
    pub(crate) async fn let_expire(&self, execution_id: &str) {
        sqlx::query(
            "update catalog.execution_leases set expires_at = now() - interval '1 second'
             where execution_id = $1::uuid",
        )
        .bind(execution_id)
        .execute(self.db())
        .await
        .unwrap();
    }

    /// Ends the wait of executions for their next attempt.
    pub(crate) async fn end_backoff(&self) {
        sqlx::query("update catalog.execution_queue set available_at = now()")
            .execute(self.db())
            .await
            .unwrap();
    }

    pub(crate) async fn complete(&self, lease: &pb::Lease, result: Value) -> pb::LeaseState {
        complete(&mut self.workers.clone(), lease, result).await
    }

    pub(crate) async fn fail(&self, lease: &pb::Lease, permanent: bool) -> pb::LeaseState {
        let error = pb::ExecutionError { code: "NO_LUCK".into(), message: "it rained".into() };
        let failure = pb::Failure { lease: Some(lease.clone()), error: Some(error), permanent };
        let request = pb::FailExecutionsRequest { failures: vec![failure] };
        let reports = self.workers.clone().fail_executions(request).await.unwrap();
        reports.into_inner().reports[0].state()
    }

    pub(crate) async fn progress(
        &self,
        lease: &pb::Lease,
        percent: i32,
        step: &str,
        message: &str,
    ) -> pb::LeaseState {
        let (step, message) = (step.to_owned(), message.to_owned());
        let progress = pb::Progress { lease: Some(lease.clone()), percent, step, message };
        let request = pb::ReportProgressRequest { progress: vec![progress] };
        let reports = self.workers.clone().report_progress(request).await.unwrap();
        reports.into_inner().reports[0].state()
    }

    pub(crate) async fn heartbeat(&self, lease: &pb::Lease) -> pb::LeaseReport {
        let request = pb::HeartbeatRequest { leases: vec![lease.clone()] };
        let reports = self.workers.clone().heartbeat(request).await.unwrap();
        reports.into_inner().reports.remove(0)
    }

    pub(crate) async fn steps(&self, execution_id: &str) -> Vec<pb::ExecutionStep> {
        let execution_id = execution_id.to_owned();
        let request = pb::ListExecutionStepsRequest { execution_id, ..Default::default() };
        let steps = self.executions.clone().list_execution_steps(request).await.unwrap();
        steps.into_inner().steps
    }

    /// The actions in the audit trail about an execution, in order.
    pub(crate) async fn audited(&self, execution_id: &str) -> Vec<String> {
        sqlx::query_scalar(
            "select action from audit.audit_logs
             where entity_type = 'execution' and entity_id = $1 and outcome = 'succeeded'
             order by audit_log_id",
        )
        .bind(execution_id)
        .fetch_all(self.db())
        .await
        .unwrap()
    }
}

/// A skill whose parameters are an object with a `name`.
pub(crate) async fn publish(database: &TestDatabase, author_id: Uuid, name: &str) -> Uuid {
    let skill_id = Uuid::now_v7();
    sqlx::query(
        "insert into catalog.skills (skill_id, name, description, license, compatibility, metadata,
             category, difficulty, tags, author_id, version)
         values ($1, $2, 'Greets somebody.', '', '', '{}', 'text', 'beginner', '{}', $3, 1)",
    )
    .bind(skill_id)
    .bind(name)
    .bind(author_id)
    .execute(&database.superuser)
    .await
    .unwrap();
    publish_version(database, author_id, skill_id, 1).await;
    skill_id
}

/// A further version of a skill, whose body says which it is.
pub(crate) async fn publish_version(
    database: &TestDatabase,
    author_id: Uuid,
    skill_id: Uuid,
    version: i32,
) {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 1_000_000}, "times": {"type": "integer"}},
        "required": ["name"],
    });
    sqlx::query(
        "insert into catalog.skill_versions
             (skill_id, version, digest, body, allowed_tools, parameters_schema, created_by)
         values ($1, $2, $3, $4, '{read}', $5, $6)",
    )
    .bind(skill_id)
    .bind(version)
    .bind(format!("{skill_id}@{version}"))
    .bind(format!("Greet, version {version}."))
    .bind(schema)
    .bind(author_id)
    .execute(&database.superuser)
    .await
    .unwrap();
    sqlx::query("update catalog.skills set version = $2 where skill_id = $1")
        .bind(skill_id)
        .bind(version)
        .execute(&database.superuser)
        .await
        .unwrap();
}

pub(crate) fn executions(service: &TestService, caller: &Caller) -> Executions {
    ExecutionServiceClient::with_interceptor(service.channel.clone(), caller.clone())
}

pub(crate) fn workers(service: &TestService, caller: &Caller) -> Workers {
    WorkerServiceClient::with_interceptor(service.channel.clone(), caller.clone())
}

pub(crate) fn object(json: Value) -> prost_types::Struct {
    ihuman_shared::parse::structure(json)
}

pub(crate) fn lease_of(leased: &pb::LeasedExecution) -> pb::Lease {
    let execution_id = leased.execution.as_ref().unwrap().id.clone();
    pb::Lease { execution_id, lease_id: leased.lease_id.clone() }
}

pub(crate) fn wanted(max_executions: i32) -> pb::LeaseExecutionsRequest {
    pb::LeaseExecutionsRequest { worker: "test".into(), max_executions, ..Default::default() }
}

pub(crate) async fn take(workers: &mut Workers, max_executions: i32) -> Vec<pb::LeasedExecution> {
    let leased = workers.lease_executions(wanted(max_executions)).await.unwrap();
    leased.into_inner().leased_executions
}

pub(crate) async fn complete(
    workers: &mut Workers,
    lease: &pb::Lease,
    result: Value,
) -> pb::LeaseState {
    let result = Some(ihuman_shared::parse::value(result));
    let completion = pb::Completion { lease: Some(lease.clone()), result };
    let request = pb::CompleteExecutionsRequest { completions: vec![completion] };
    let reports = workers.complete_executions(request).await.unwrap();
    reports.into_inner().reports[0].state()
}

pub(crate) async fn watch(
    executions: &mut Executions,
    execution_id: &str,
    after_revision: i64,
) -> Result<Streaming<pb::WatchExecutionResponse>, Status> {
    let execution_id = execution_id.to_owned();
    let request = pb::WatchExecutionRequest { execution_id, after_revision };
    Ok(executions.watch_execution(request).await?.into_inner())
}

/// The next change of a watch; none at its end.
pub(crate) async fn next_change(
    watch: &mut Streaming<pb::WatchExecutionResponse>,
) -> Option<pb::ExecutionChange> {
    match watch.message().await.unwrap()?.update.unwrap() {
        Update::Change(change) => Some(change),
        Update::Snapshot(_) => panic!("a snapshot came where a change was expected"),
    }
}

/// The first thing of a watch from the beginning.
pub(crate) async fn snapshot(watch: &mut Streaming<pb::WatchExecutionResponse>) -> pb::Execution {
    match watch.message().await.unwrap().unwrap().update.unwrap() {
        Update::Snapshot(execution) => execution,
        Update::Change(_) => panic!("a change came where a snapshot was expected"),
    }
}
