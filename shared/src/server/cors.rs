//! Which pages in a browser may call, and what they may send and read.

use std::time::Duration;

use http::{
    HeaderName, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::{
    config::{Origin, ServerConfig},
    request_id,
};
use crate::access::RATE_LIMIT_HEADERS;

/// How long a browser may remember a preflight answer; Chromium's maximum.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7200);

/// The request headers that gRPC-Web and Connect clients and our own need.
const REQUEST_HEADERS: [HeaderName; 11] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    request_id::HEADER,
    HeaderName::from_static("connect-protocol-version"),
    HeaderName::from_static("connect-timeout-ms"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];

/// The response headers that a page may read: an error without a message has its
/// whole status there and not in the body.
const RESPONSE_HEADERS: [HeaderName; 5] = [
    RETRY_AFTER,
    request_id::HEADER,
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// Answers preflight requests, and adds the headers to every response. Credentials
/// are never cookies here, so they need no permission of their own. None when no
/// page may call: then there is nothing to say about pages.
pub(super) fn layer(config: &ServerConfig) -> Option<CorsLayer> {
    if config.cors_origin.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers([&RESPONSE_HEADERS[..], &RATE_LIMIT_HEADERS].concat())
        .max_age(PREFLIGHT_MAX_AGE);
    let exactly: Option<Vec<_>> = config
        .cors_origin
        .iter()
        .map(|origin| match origin {
            Origin::Any => None,
            Origin::Exactly(value) => Some(value.clone()),
        })
        .collect();
    Some(match exactly {
        None => layer.allow_origin(Any),
        Some(origins) => layer.allow_origin(AllowOrigin::list(origins)),
    })
}
