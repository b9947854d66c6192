//! The errors that the stack itself answers with, before or instead of a handler.

use std::{collections::HashMap, time::Duration};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::error::{self, Error, Reason};

/// How long an overloaded server asks its callers to wait.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A status with the google.rpc.ErrorInfo that every error carries (AIP-193).
pub(super) fn new(code: Code, reason: Reason, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, error::error_info(reason, HashMap::new()))
}

pub(super) fn deadline_exceeded() -> Status {
    Error::DeadlineExceeded.into()
}

pub(super) fn malformed(message: impl Into<String>) -> Status {
    Error::Malformed(message.into()).into()
}

pub(super) fn stopping() -> Status {
    Error::Unavailable.into()
}

pub(super) fn overloaded() -> Status {
    Error::Overloaded { retry_after: RETRY_DELAY }.into()
}

/// A fault that is logged where it happens, as a panic is.
pub(super) fn internal() -> Status {
    new(Code::Internal, Reason::Internal, "internal error")
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

/// How the messages begin in which tonic and its codec say, under several codes, that
/// a request can't be read. That is the caller's doing, whatever the code is.
const UNREADABLE: [&str; 7] = [
    "failed to decode Protobuf message",
    "protocol error: received message",
    "Error, decoded message length too large",
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "Missing request message",
    "tonic-web: ",
];

fn explain_in(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    if !status.details().is_empty() {
        return;
    }
    let explained = match status.code() {
        Code::Ok => return,
        _ if UNREADABLE.iter().any(|it| status.message().starts_with(it)) => {
            malformed(status.message().trim_start_matches("Error, "))
        }
        // A compression that the service does not know: tonic tells beside it which
        // ones it does, and the code is what gRPC demands ("Compression").
        Code::Unimplemented if headers.contains_key("grpc-accept-encoding") => {
            new(status.code(), Reason::MalformedRequest, status.message())
        }
        Code::Unimplemented => Error::UnknownMethod.into(),
        Code::DeadlineExceeded => deadline_exceeded(),
        Code::Cancelled | Code::Unavailable => new(status.code(), Reason::Unavailable, "try again"),
        // What is known of a fault is for the log alone.
        Code::Internal | Code::Unknown => internal(),
        code => new(code, Reason::Internal, status.message()),
    };
    // An error about the error leaves the first one as it was.
    let _ = explained.add_header(headers);
}
