//! auth-service on a real socket, with a database of the test's own.

use auth_service::{SERVICE, config::IdentityConfig};
use clap::Parser;
use ihuman_shared::testing::{Credentials, TestDatabase, TestService};

/// A running auth-service and what belongs to it.
pub(crate) struct Auth {
    pub(crate) service: TestService,
    pub(crate) credentials: Credentials,
    pub(crate) database: TestDatabase,
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    identity: IdentityConfig,
}

impl Auth {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create().await;
        let credentials = Credentials::new(&database).await;
        let identity = Command::parse_from(["test"]).identity;
        let stack = async |platform: &_| auth_service::stack(platform, &identity).await;
        let service = TestService::start(SERVICE, &database, &[], stack).await;
        Self { service, credentials, database }
    }
}
