//! One span, one line of log and one measurement for each RPC.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use opentelemetry::propagation::Extractor;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{methods, request_id::RequestId};

/// Counts, measures and traces the RPC until its last byte. Names come from the
/// contract alone, so that no caller can make a new time series.
pub(super) async fn record(request: Request, next: Next) -> Response {
    let (service, method) = match methods::find(request.uri().path()) {
        Some(found) => (found.service.as_str(), found.name.as_str()),
        None => ("other", "other"),
    };
    let span = span(&request, service, method);
    let mut call = Call::begin(service, method, span.clone());

    let response = next.run(request).instrument(span).await;

    call.observe(response.headers());
    response.map(|body| Body::new(Recorded { body, call }))
}

fn span(request: &Request, service: &'static str, method: &'static str) -> Span {
    let id = request.extensions().get::<RequestId>().map_or("", |id| id.0.as_str());
    let span = tracing::info_span!(
        "rpc",
        otel.name = format!("{service}/{method}"),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        request_id = id,
    );
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(request.headers()))
    });
    // Fails when traces are off, and then there is nothing to set.
    let _ = span.set_parent(parent);
    span
}

/// `traceparent` and `tracestate` (W3C Trace Context) as OpenTelemetry reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// One RPC from its first byte to its last, reported when it is dropped.
struct Call {
    service: &'static str,
    method: &'static str,
    span: Span,
    begun: Instant,
    /// CANCELLED until a status is seen: then the caller went away before it.
    code: Code,
}

impl Call {
    fn begin(service: &'static str, method: &'static str, span: Span) -> Self {
        metrics::gauge!("ihuman_rpc_in_flight").increment(1.0);
        Self { service, method, span, begun: Instant::now(), code: Code::Cancelled }
    }

    /// The status is in the headers of a response without messages, and else in
    /// the trailers.
    fn observe(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Self { service, method, begun, code, .. } = *self;
        let elapsed = begun.elapsed();
        let name = code_name(code);

        metrics::gauge!("ihuman_rpc_in_flight").decrement(1.0);
        metrics::counter!("ihuman_rpc_requests_total", "service" => service, "method" => method, "code" => name)
            .increment(1);
        metrics::histogram!("ihuman_rpc_duration_seconds", "service" => service, "method" => method)
            .record(elapsed.as_secs_f64());

        self.span.record("rpc.grpc.status_code", code as i32);
        if is_fault(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        let milliseconds = elapsed.as_micros() as f64 / 1000.0;
        self.span.in_scope(|| {
            // Probes come every few seconds and say nothing.
            if service.starts_with("grpc.") {
                tracing::debug!(code = name, milliseconds, "answered");
            } else {
                tracing::info!(code = name, milliseconds, "answered");
            }
        });
    }
}

/// Which codes are the server's fault (OpenTelemetry semantic conventions, gRPC).
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The name of the code as gRPC writes it, in capitals.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A body that is polled within the RPC's span, and whose trailers are read.
struct Recorded {
    body: Body,
    call: Call,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, call } = self.get_mut();
        let polled = call.span.in_scope(|| Pin::new(body).poll_frame(cx));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    call.observe(trailers);
                }
            }
            Poll::Ready(Some(Err(_))) => call.code = Code::Unknown,
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
