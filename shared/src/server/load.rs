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

/// The prefix of the services that anybody may call, as often as he likes: health and
/// reflection.
const UNGATED: &str = "/grpc.";

/// How many of their streams may be open at once: a few for each orchestrator.
const UNGATED_STREAMS_MAX: u32 = 64;

/// What may run at once, over all connections. Streams are counted apart: they
/// stay long and cost little, and must not keep requests out. Those of strangers are
/// counted apart again, and must not keep out those of known callers.
#[derive(Clone)]
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    ungated_streams: Arc<Semaphore>,
}

impl Limits {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let permits = |most: u32| Arc::new(Semaphore::new(most as usize));
        Self {
            requests: permits(config.max_concurrent_requests),
            streams: permits(config.max_concurrent_streams),
            ungated_streams: permits(UNGATED_STREAMS_MAX),
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
    let kind = match is_stream {
        true if path.starts_with(UNGATED) => limits.ungated_streams,
        true => limits.streams,
        false => limits.requests,
    };
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
