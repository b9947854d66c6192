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

fn explain_in(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    if !status.details().is_empty() {
        return;
    }
    let (reason, message) = match status.code() {
        Code::Ok => return,
        Code::Unimplemented => (Reason::UnknownMethod, "no such method"),
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            (Reason::MalformedRequest, "the message cannot be read")
        }
        Code::DeadlineExceeded => (Reason::DeadlineExceeded, "the request took too long"),
        Code::Cancelled | Code::Unavailable => (Reason::Unavailable, "try again"),
        _ => (Reason::Internal, "internal error"),
    };
    let message = if status.message().is_empty() { message } else { status.message() };
    let explained = new(status.code(), reason, message);
    // An error about the error leaves the first one as it was.
    let _ = explained.add_header(headers);
}
