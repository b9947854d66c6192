//! Where a story plays: the services, the administrator, and the people in it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ihuman_proto::{
    access::v1::Role,
    auth::v1::{RegisterRequest, User},
    catalog::v1::{ListAuditRecordsRequest, ListSkillsRequest},
};
use tokio::time::sleep;
use tonic::Code;

use super::telling::{call, expect, refuse, role, see};
use crate::{client::Clients, secrets};

/// The longest until a revocation must have reached the other service.
const REVOCATION_MAX: Duration = Duration::from_secs(5);

/// The services, and how far the story is.
pub(super) struct Stage {
    /// Without credentials.
    pub(super) clients: Clients,
    /// As an administrator who is logged in.
    pub(super) admin: Clients,
    pub(super) catalog_url: String,
    steps: u32,
}

/// A person of the story.
pub(super) struct Person {
    pub(super) user: User,
    pub(super) email: String,
    pub(super) password: String,
}

impl Stage {
    pub(super) fn new(clients: Clients, admin: Clients, catalog_url: String) -> Self {
        Self { clients, admin, catalog_url, steps: 0 }
    }

    /// Begins the next step.
    pub(super) fn say(&mut self, step: &str) {
        self.steps += 1;
        println!("\n{}. {step}", self.steps);
    }

    /// Opens an account, which can't do much yet.
    pub(super) async fn register(&mut self, name: &str, suffix: &str) -> Result<Person> {
        self.say(&format!("{name} registers"));
        let email = format!("{}-{suffix}@example.com", name.to_lowercase());
        let password = secrets::password()?;
        let request = RegisterRequest {
            email: email.clone(),
            password: password.clone(),
            display_name: name.to_owned(),
            request_id: secrets::request_id()?,
        };
        let response = call("Register", self.clients.auth().register(request).await)?;
        let user = response.user.context("Register returned no user")?;
        see(&format!("{email} is {} with the role {}", user.id, role(&user)));
        ensure!(user.role() == Role::Viewer, "expected the role VIEWER, got {}", role(&user));
        Ok(Person { user, email, password })
    }

    /// Opens a session of an account without a second factor.
    pub(super) async fn login(&self, person: &Person) -> Result<Clients> {
        let (response, clients) =
            expect("Login", self.clients.login(&person.email, &person.password).await)?;
        let tokens = response.tokens.context("Login returned no tokens")?;
        see(&format!("logged in, session {}", tokens.session_id));
        Ok(clients)
    }

    /// Reads what is recorded of one thing, which must have what is `expected`.
    pub(super) async fn audit(&mut self, kind: &str, id: &str, expected: &[&str]) -> Result<()> {
        self.say(&format!("The administrator reads the audit trail of the {kind}"));
        let request = ListAuditRecordsRequest {
            entity_type: kind.to_owned(),
            entity_id: id.to_owned(),
            ..Default::default()
        };
        let response = self.admin.audit().list_audit_records(request).await;
        let records = call("ListAuditRecords", response)?.audit_records;
        for record in records.iter().rev() {
            let by = if record.actor_id.is_empty() { "the service" } else { &record.actor_id };
            see(&format!("{} by {by}, request {}", record.action, record.request_id));
        }
        for action in expected {
            ensure!(
                records.iter().any(|it| it.action == *action),
                "expected a record of {action} for {kind} {id}"
            );
        }
        Ok(())
    }
}

/// Waits until catalog-service knows that the credentials are dead.
pub(super) async fn until_revoked(caller: &Clients) -> Result<()> {
    let since = Instant::now();
    loop {
        let answer = caller.skills().list_skills(ListSkillsRequest::default()).await;
        if answer.is_err() || since.elapsed() > REVOCATION_MAX {
            refuse("ListSkills", answer, Code::Unauthenticated, "CREDENTIALS_REVOKED")?;
            see(&format!("within {} ms", since.elapsed().as_millis()));
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
}
