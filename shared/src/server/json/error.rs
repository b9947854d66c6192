//! An error as JSON: the Connect protocol's "Error end-of-stream" for unary RPCs.

use std::sync::LazyLock;

use axum::{body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::access::RATE_LIMIT_HEADERS;

/// The google.rpc details, for showing them to people.
static DETAILS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .expect("the descriptors were compiled into this binary")
});

/// The response that is this error: `{"code", "message", "details"}`.
pub(in crate::server) fn refuse(status: &Status) -> Response {
    let (name, http) = code(status.code());
    let body = json!({ "code": name, "message": status.message(), "details": details(status) });

    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = http;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let wait = status.get_details_retry_info().and_then(|it| it.retry_delay);
    if let Some(wait) = wait {
        // Whole seconds (RFC 9110 §10.2.3), and never too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    // What the gate told of the caller's standing came with the status.
    for name in RATE_LIMIT_HEADERS {
        if let Some(value) = status.metadata().as_ref().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// `value` is for programs, `debug` says the same to people.
fn details(status: &Status) -> Vec<Value> {
    let Ok(decoded) = tonic_types::Status::decode(status.details()) else { return Vec::new() };
    let one = |detail: &prost_types::Any| {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        let debug = DETAILS
            .get_message_by_name(name)
            .and_then(|of| DynamicMessage::decode(of, detail.value.as_slice()).ok())
            .and_then(|message| serde_json::to_value(message).ok());
        json!({ "type": name, "value": STANDARD_NO_PAD.encode(&detail.value), "debug": debug })
    };
    decoded.details.iter().map(one).collect()
}

/// The name and the HTTP status of a code (Connect protocol, "Error codes").
fn code(code: Code) -> (&'static str, StatusCode) {
    match code {
        // Never an error; here so that no code is forgotten.
        Code::Ok => ("ok", StatusCode::OK),
        Code::Cancelled => ("canceled", client_closed_request()),
        Code::Unknown => ("unknown", StatusCode::INTERNAL_SERVER_ERROR),
        Code::InvalidArgument => ("invalid_argument", StatusCode::BAD_REQUEST),
        Code::DeadlineExceeded => ("deadline_exceeded", StatusCode::GATEWAY_TIMEOUT),
        Code::NotFound => ("not_found", StatusCode::NOT_FOUND),
        Code::AlreadyExists => ("already_exists", StatusCode::CONFLICT),
        Code::PermissionDenied => ("permission_denied", StatusCode::FORBIDDEN),
        Code::ResourceExhausted => ("resource_exhausted", StatusCode::TOO_MANY_REQUESTS),
        Code::FailedPrecondition => ("failed_precondition", StatusCode::BAD_REQUEST),
        Code::Aborted => ("aborted", StatusCode::CONFLICT),
        Code::OutOfRange => ("out_of_range", StatusCode::BAD_REQUEST),
        Code::Unimplemented => ("unimplemented", StatusCode::NOT_IMPLEMENTED),
        Code::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        Code::DataLoss => ("data_loss", StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED),
    }
}

/// 499 has no name in RFC 9110.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits are a status")
}
