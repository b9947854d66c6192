//! What the server says about itself: `grpc.health.v1` and reflection.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use ihuman_proto::error::v1::ErrorReason;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use tonic_reflection::server::Builder;

use super::{shutdown::Shutdown, status};

/// Whether the service can do its work, as whoever owns the sender sees it.
pub type Readiness = watch::Receiver<bool>;

/// Whether requests should be sent here.
#[derive(Clone)]
pub(super) struct Serving {
    readiness: Readiness,
    shutdown: Shutdown,
}

impl Serving {
    pub(super) fn new(readiness: Readiness, shutdown: &Shutdown) -> Self {
        Self { readiness, shutdown: shutdown.clone() }
    }

    /// Ready, and not stopping.
    pub(super) fn now(&self) -> bool {
        *self.readiness.borrow() && !self.shutdown.has_begun()
    }

    /// Returns at the next change that there may be.
    async fn changed(&mut self) {
        let Self { readiness, shutdown } = self;
        let readiness = async {
            // Without a sender it stays as it is.
            if readiness.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = readiness => {}
            () = shutdown.begun() => {}
        }
    }
}

/// The services that every server has, whatever it is for: health, and reflection
/// in both its versions, because grpcurl and older tools know only v1alpha.
pub(super) fn routes(names: Vec<String>, serving: Serving) -> anyhow::Result<Routes> {
    let v1 = reflection(&names).build_v1()?;
    let v1alpha = reflection(&names).build_v1alpha()?;
    let health = HealthServer::new(Reporter { names: names.into(), serving });
    Ok(Routes::new(health).add_service(v1).add_service(v1alpha))
}

/// Lists what is served here and no more, although the descriptors hold the whole
/// contract.
fn reflection(names: &[String]) -> Builder<'static> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(ihuman_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The details of errors, so that grpcurl can print them.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    names.iter().fold(builder, Builder::with_service_name)
}

struct Reporter {
    names: Arc<[String]>,
    serving: Serving,
}

impl Reporter {
    /// The empty name is the server as a whole (gRPC Health Checking Protocol).
    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.names.iter().any(|it| it == name)
    }
}

#[tonic::async_trait]
impl Health for Reporter {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(status::new(Code::NotFound, ErrorReason::NotFound, "no such service"));
        }
        Ok(Response::new(report(self.serving.now())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Sends the status now and whenever it changes, and ends with the server. A
    /// service that is not here could come only with another server, so its watch
    /// says so and waits, as the protocol has it.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let shutdown = self.serving.shutdown.clone();
        let stopping = async move { shutdown.begun().await };
        if !self.knows(&request.get_ref().service) {
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            let waiting = stream::once(async move { Ok(unknown) }).chain(stream::pending());
            return Ok(Response::new(Box::pin(waiting.take_until(stopping))));
        }
        let changes = stream::unfold((self.serving.clone(), None), next_change);
        Ok(Response::new(Box::pin(changes.map(|now| Ok(report(now))))))
    }
}

/// The next status that differs from the last one sent; nothing after the one
/// that a shutdown brings.
async fn next_change(
    (mut serving, last): (Serving, Option<bool>),
) -> Option<(bool, (Serving, Option<bool>))> {
    loop {
        let now = serving.now();
        if last != Some(now) {
            return Some((now, (serving, Some(now))));
        }
        if serving.shutdown.has_begun() {
            return None;
        }
        serving.changed().await;
    }
}

fn report(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}
