//! The errors that the stack itself answers with, before or instead of a handler.

use std::{collections::HashMap, time::Duration};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use ihuman_proto::error::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How long an overloaded server asks its callers to wait.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A status with the google.rpc.ErrorInfo that every error carries (AIP-193).
pub(super) fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, info(reason))
}

pub(super) fn deadline_exceeded() -> Status {
    new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, "the request took too long")
}

pub(super) fn internal() -> Status {
    new(Code::Internal, ErrorReason::Internal, "internal error")
}

pub(super) fn malformed(message: impl Into<String>) -> Status {
    new(Code::InvalidArgument, ErrorReason::MalformedRequest, message)
}

pub(super) fn stopping() -> Status {
    new(Code::Unavailable, ErrorReason::Unavailable, "the service is stopping")
}

pub(super) fn overloaded() -> Status {
    let mut details = info(ErrorReason::Overloaded);
    details.set_retry_info(Some(RETRY_DELAY));
    Status::with_error_details(Code::ResourceExhausted, "the service is overloaded", details)
}

fn info(reason: ErrorReason) -> ErrorDetails {
    let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    ErrorDetails::with_error_info(reason, "ihuman.dev", HashMap::new())
}

/// The status as the trailers that end a stream.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Fails only for a message that no header can hold; gRPC takes a stream
    // without a status as UNKNOWN.
    let _ = status.add_header(&mut trailers);
    trailers
}

/// Adds the ErrorInfo to the errors that tonic answers by itself, such as an
/// unknown method or a message over the limit, which come without details.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    explain_in(response.headers_mut());
    response.map(|body| {
        Body::new(body.map_frame(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                explain_in(trailers);
            }
            frame
        }))
    })
}

fn explain_in(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    if !status.details().is_empty() {
        return;
    }
    let (reason, message) = match status.code() {
        Code::Ok => return,
        Code::Unimplemented => (ErrorReason::UnknownMethod, "no such method"),
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            (ErrorReason::MalformedRequest, "the message cannot be read")
        }
        Code::DeadlineExceeded => (ErrorReason::DeadlineExceeded, "the request took too long"),
        Code::Cancelled | Code::Unavailable => (ErrorReason::Unavailable, "try again"),
        _ => (ErrorReason::Internal, "internal error"),
    };
    let message = if status.message().is_empty() { message } else { status.message() };
    let explained = new(status.code(), reason, message);
    // An error about the error leaves the first one as it was.
    let _ = explained.add_header(headers);
}
