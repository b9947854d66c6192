//! No more work at once than the service can take.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;

use super::{config::ServerConfig, methods, status};

/// Refusing a health check would make an orchestrator kill a service that is
/// merely busy, which makes the others busier.
const NEVER_REFUSED: &str = "/grpc.health.v1.Health/Check";

/// What may run at once, over all connections. Streams are counted apart: they
/// stay long and cost little, and must not keep requests out.
#[derive(Clone)]
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Limits {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let permits = |most: u32| Arc::new(Semaphore::new(most as usize));
        Self {
            requests: permits(config.max_concurrent_requests),
            streams: permits(config.max_concurrent_streams),
        }
    }
}

/// Runs the request if there is a permit for it, and else refuses it at once: a
/// queue would only add waiting to what is already too slow. The permit is given
/// back when the response's body has ended.
pub(super) async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == NEVER_REFUSED {
        return next.run(request).await;
    }
    let is_stream = methods::find(path).is_some_and(methods::Method::is_streaming);
    let kind = if is_stream { limits.streams } else { limits.requests };
    let Ok(permit) = kind.try_acquire_owned() else {
        return status::overloaded().into_http();
    };
    next.run(request).await.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held_as_long_as_the_body = &permit;
            frame
        }))
    })
}
