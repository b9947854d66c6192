//! A service on a real socket, in the test's own process.

use ihuman_proto::error::v1::ErrorReason;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::TestDatabase;
use crate::{
    clock::Clock,
    platform::Platform,
    server::{Shutdown, Stack},
    service::Service,
};

/// A running service; it stops when dropped.
pub struct TestService {
    /// Where it is, as in `http://127.0.0.1:40123`.
    pub url: String,
    /// A connection to it.
    pub channel: Channel,
    /// Its clock, which a test may move.
    pub clock: Clock,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl TestService {
    /// Starts `service` on `database` with further `arguments`.
    pub async fn start(
        service: Service,
        database: &TestDatabase,
        arguments: &[&str],
        stack: impl AsyncFnOnce(&Platform) -> anyhow::Result<Stack>,
    ) -> Self {
        let (clock, shutdown) = (Clock::default(), Shutdown::new());
        let config = database.platform_config(&format!("ihuman_{}", service.schema), arguments);
        let platform = service.connect(config, clock.clone(), shutdown.clone()).await;
        let platform = platform.expect("the service connects");
        let stack = stack(&platform).await.expect("the service starts");

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let serving = tokio::spawn(async move {
            platform.serve(service.package, listener, stack).await.expect("the service serves");
        });
        let channel = Channel::from_shared(url.clone()).expect("a URL").connect_lazy();
        Self { url, channel, clock, shutdown, serving }
    }

    /// Stops the service as a signal would, and waits until it has.
    pub async fn stop(mut self) {
        self.shutdown.begin();
        (&mut self.serving).await.expect("the service stops in order");
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        self.shutdown.begin();
        self.serving.abort();
    }
}

/// The reason of an error, as clients match on it.
pub fn reason(status: &Status) -> ErrorReason {
    let details = status.get_details_error_info().expect("every error has an ErrorInfo");
    let name = format!("ERROR_REASON_{}", details.reason);
    ErrorReason::from_str_name(&name).expect("every reason is in the contract")
}

/// The fields that an error is about.
pub fn violations(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request();
    let violations = details.into_iter().flat_map(|it| it.field_violations);
    violations.map(|it| it.field).collect()
}
