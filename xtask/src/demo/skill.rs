//! A skill is published, run on a worker, and watched to its end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use ihuman_proto::{
    access::v1::Role,
    auth::v1::{
        CreateApiKeyRequest, CreateServiceAccountRequest, DeactivateUserRequest, LogoutRequest,
        RevokeApiKeyRequest, SetUserRoleRequest, User,
    },
    catalog::v1::{
        ArchiveSkillRequest, CreateExecutionRequest, ExecutionState, GetExecutionRequest,
        ListExecutionStepsRequest, Skill, WatchExecutionRequest, watch_execution_response::Update,
    },
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::Code;

use super::{
    stage::{Person, Stage, until_revoked},
    telling::{brief, call, expect, refuse, role, see, show, state},
};
use crate::{
    client::{self, Clients, Credentials, explain},
    json, publish,
    samples::{self, Sample},
    secrets,
    worker::Worker,
};

/// The sample whose example is run.
const SAMPLE: &str = "word-statistics";
/// The longest that the execution may take.
const EXECUTION_MAX: Duration = Duration::from_secs(60);

/// The story of one skill, from its author's registration to the audit trail.
pub(super) struct Story {
    pub(super) stage: Stage,
}

impl Story {
    /// Tells it; an error says what was expected and is not so.
    pub(super) async fn tell(mut self) -> Result<()> {
        let suffix = secrets::suffix()?;
        let mut samples = samples::all()?;
        samples.retain(|it| it.name == SAMPLE);
        let sample = samples.pop().with_context(|| format!("there is no sample {SAMPLE}"))?;
        let skill_name = format!("{SAMPLE}-{suffix}");

        let ada = self.stage.register("Ada", &suffix).await?;
        self.refuse_viewer(&ada, &sample, &skill_name).await?;
        let developer = self.promote(&ada).await?;
        let skill = self.publish(&developer, &sample, &skill_name).await?;
        let worker = self.start_worker(&suffix, &skill_name).await?;
        let execution_id = self.execute(&developer, &skill, &sample).await?;
        self.watch(&developer, &execution_id).await?;
        self.show_result(&developer, &execution_id).await?;
        self.log_out(&developer).await?;
        self.stage.audit("execution", &execution_id, &["execution.create"]).await?;
        self.stage.audit("skill", &skill.id, &["skill.create"]).await?;
        self.tidy(&ada, &skill, worker).await
    }

    async fn refuse_viewer(&mut self, ada: &Person, sample: &Sample, name: &str) -> Result<()> {
        self.stage.say("As a viewer she may not publish a skill");
        let viewer = self.stage.login(ada).await?;
        let refused = publish::publish(&viewer, sample, name).await.map(|skill| skill.id);
        refuse("CreateSkill", refused, Code::PermissionDenied, "PERMISSION_MISSING")
    }

    async fn promote(&mut self, ada: &Person) -> Result<Clients> {
        self.stage.say("The administrator makes her a developer, and she logs in again");
        let request =
            SetUserRoleRequest { user_id: ada.user.id.clone(), role: Role::Developer.into() };
        let response = call("SetUserRole", self.stage.admin.users().set_user_role(request).await)?;
        let user = response.user.context("SetUserRole returned no user")?;
        ensure!(user.role() == Role::Developer, "expected DEVELOPER, got {}", role(&user));
        see(&format!("the role is {}", role(&user)));
        self.stage.login(ada).await
    }

    async fn publish(&mut self, developer: &Clients, sample: &Sample, name: &str) -> Result<Skill> {
        self.stage.say("She publishes a skill");
        let skill = expect("CreateSkill", publish::publish(developer, sample, name).await)?;
        see(&format!("{} version {}, {}", skill.name, skill.version, skill.id));
        see(&format!("digest {}", skill.digest));
        ensure!(skill.version == 1, "expected version 1, got {}", skill.version);
        Ok(skill)
    }

    async fn start_worker(&mut self, suffix: &str, skill_name: &str) -> Result<Helper> {
        self.stage.say("A service account gets an API key, and a worker starts with it");
        let request = CreateServiceAccountRequest {
            display_name: format!("worker {suffix}"),
            role: Role::Service.into(),
            request_id: secrets::request_id()?,
        };
        let response = self.stage.admin.users().create_service_account(request).await;
        let account = call("CreateServiceAccount", response)?.user.context("no user")?;
        let hour = SystemTime::now() + Duration::from_secs(3600);
        let request = CreateApiKeyRequest {
            name: format!("worker {suffix}"),
            scopes: vec!["executions:write".to_owned()],
            expire_time: Some(hour.into()),
            user_id: account.id.clone(),
            request_id: secrets::request_id()?,
            ..CreateApiKeyRequest::default()
        };
        let response =
            call("CreateApiKey", self.stage.admin.api_keys().create_api_key(request).await)?;
        let api_key = response.api_key.context("CreateApiKey returned no key")?;
        see(&format!("key {} for {}, for {:?}", api_key.id, account.id, api_key.scopes));

        let worker = Worker {
            client: client::worker(&self.stage.catalog_url, Credentials::api_key(&response.key)?)?,
            name: format!("worker-{suffix}"),
            skills: Arc::new(BTreeMap::from([(skill_name.to_owned(), SAMPLE.to_owned())])),
            at_once: 2,
        };
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(worker.run(stopped));
        Ok(Helper { account, api_key_id: api_key.id, stop, running })
    }

    async fn execute(
        &mut self,
        developer: &Clients,
        skill: &Skill,
        sample: &Sample,
    ) -> Result<String> {
        self.stage.say("She runs the skill");
        see(&format!("with {}", brief(&sample.example_parameters)));
        let request = CreateExecutionRequest {
            skill_id: skill.id.clone(),
            parameters: Some(json::to_struct(&sample.example_parameters)),
            request_id: secrets::request_id()?,
            ..Default::default()
        };
        let response = developer.executions().create_execution(request).await;
        let execution = call("CreateExecution", response)?.execution.context("no execution")?;
        ensure!(
            execution.skill_digest == skill.digest,
            "expected the digest {}, got {}",
            skill.digest,
            execution.skill_digest
        );
        see(&format!("execution {} is {}", execution.id, state(execution.state())));
        Ok(execution.id)
    }

    async fn watch(&mut self, developer: &Clients, execution_id: &str) -> Result<()> {
        self.stage.say("She watches it to the end");
        let watched = timeout(EXECUTION_MAX, watch_to_end(developer, execution_id));
        let last = watched.await.context("expected the execution to end within a minute")??;
        ensure!(last == ExecutionState::Succeeded, "expected SUCCEEDED, got {}", state(last));
        Ok(())
    }

    async fn show_result(&mut self, developer: &Clients, execution_id: &str) -> Result<()> {
        self.stage.say("She reads the result");
        let request = GetExecutionRequest { execution_id: execution_id.to_owned() };
        let response = call("GetExecution", developer.executions().get_execution(request).await)?;
        let result = response.execution.and_then(|it| it.result).context("expected a result")?;
        see(&brief(&json::from_value(result)));
        let request = ListExecutionStepsRequest {
            execution_id: execution_id.to_owned(),
            ..Default::default()
        };
        let response = developer.executions().list_execution_steps(request).await;
        let steps = call("ListExecutionSteps", response)?.steps;
        ensure!(!steps.is_empty(), "expected the steps that the worker has named, got none");
        for step in steps {
            see(&format!("step {}. {} {}", step.position, step.name, state(step.state())));
        }
        Ok(())
    }

    async fn log_out(&mut self, developer: &Clients) -> Result<()> {
        self.stage.say("She logs out, and her token is dead on the other service");
        call("Logout", developer.auth().logout(LogoutRequest {}).await)?;
        until_revoked(developer).await
    }

    /// Leaves nothing behind that works.
    async fn tidy(&mut self, ada: &Person, skill: &Skill, worker: Helper) -> Result<()> {
        self.stage.say("The worker stops; its key, the accounts and the skill are put away");
        worker.stop.send(true).context("expected the worker to run")?;
        worker.running.await.context("the worker has a fault")??;
        let request = RevokeApiKeyRequest { api_key_id: worker.api_key_id };
        call("RevokeApiKey", self.stage.admin.api_keys().revoke_api_key(request).await)?;
        for user in [&ada.user, &worker.account] {
            let request = DeactivateUserRequest { user_id: user.id.clone() };
            call("DeactivateUser", self.stage.admin.users().deactivate_user(request).await)?;
        }
        let request = ArchiveSkillRequest { skill_id: skill.id.clone() };
        call("ArchiveSkill", self.stage.admin.skills().archive_skill(request).await)?;
        see("done");
        Ok(())
    }
}

/// The worker of the story.
struct Helper {
    account: User,
    api_key_id: String,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<()>>,
}

/// Shows every change; returns the final state. A stream that is cut is asked for
/// again from where it was.
async fn watch_to_end(clients: &Clients, execution_id: &str) -> Result<ExecutionState> {
    let mut after_revision = 0;
    loop {
        let execution_id = execution_id.to_owned();
        let request = WatchExecutionRequest { execution_id, after_revision };
        let mut stream =
            call("WatchExecution", clients.executions().watch_execution(request).await)?;
        while let Some(response) = stream.message().await.transpose() {
            let (revision, now) = match response.map(|it| it.update) {
                Ok(Some(Update::Snapshot(it))) => {
                    show(it.revision, it.state(), it.progress_percent, "");
                    (it.revision, it.state())
                }
                Ok(Some(Update::Change(it))) => {
                    show(it.revision, it.state(), it.progress_percent, &it.step);
                    (it.revision, it.state())
                }
                Ok(None) => continue,
                Err(status) if client::passing(&status) => break,
                Err(status) => bail!("WatchExecution: {}", explain(&status)),
            };
            after_revision = revision;
            if matches!(
                now,
                ExecutionState::Succeeded | ExecutionState::Failed | ExecutionState::Cancelled
            ) {
                return Ok(now);
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}
