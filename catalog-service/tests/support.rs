//! catalog-service on a real socket, with a database of the test's own.

use catalog_service::SERVICE;
use ihuman_shared::testing::{Credentials, TestDatabase, TestService};

/// A running catalog-service and what belongs to it.
pub(crate) struct Catalog {
    pub(crate) service: TestService,
    pub(crate) credentials: Credentials,
    pub(crate) database: TestDatabase,
}

impl Catalog {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further `arguments` for the platform.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let database = TestDatabase::create().await;
        let credentials = Credentials::new(&database).await;
        let service =
            TestService::start(SERVICE, &database, arguments, catalog_service::stack).await;
        Self { service, credentials, database }
    }
}
