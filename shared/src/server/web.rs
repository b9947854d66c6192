//! Plain HTTP: probes, what a service adds, and help for whoever is lost.

use axum::{
    Router,
    extract::{Request, State},
    middleware::from_fn,
    response::Response,
    routing::get,
};
use http::{HeaderValue, Method, StatusCode, header::ALLOW};
use ihuman_proto::error::v1::ErrorReason;
use tonic::Code;

use super::{health::Serving, json, methods, panic, status};

/// The routes of the service, and those that every service has.
pub(super) fn router(routes: Router, serving: Serving) -> Router {
    routes.merge(probes(serving)).fallback(lost).layer(from_fn(panic::catch_plain))
}

/// /healthz says that the process lives, so that it is not restarted for a
/// database that is away; /readyz says whether to send it requests.
pub(super) fn probes(serving: Serving) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready).with_state(serving))
}

async fn ready(State(serving): State<Serving>) -> (StatusCode, &'static str) {
    if serving.now() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    }
}

/// The path of an RPC gets here with the wrong method or content type, which is
/// the likeliest mistake of whoever tries curl first.
async fn lost(request: Request) -> Response {
    if methods::find(request.uri().path()).is_none() {
        let nothing = status::new(Code::NotFound, ErrorReason::NotFound, "no such page");
        return json::refuse(&nothing);
    }
    let mut response = json::refuse(&status::malformed(
        "this is an RPC: POST it with the content type application/json, or call it with gRPC",
    ));
    if request.method() == Method::POST {
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    } else {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The answer to gRPC over HTTP/1, which is most often the doing of a proxy.
pub(super) fn needs_http2() -> Response {
    let mut response = json::refuse(&status::malformed(
        "gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web, or JSON with application/json",
    ));
    *response.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    response
}
