//! Every request ends in time, streams included.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until, timeout_at},
};
use tonic::Status;

use super::{config::ServerConfig, methods, shutdown::Shutdown, status};

/// When the request will be ended with DEADLINE_EXCEEDED. In the extensions of
/// every RPC, for handlers that wait and would rather answer before it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// When the transport handed the request over.
#[derive(Clone, Copy)]
struct Received(Instant);

/// Notes the time, as the outermost of all layers and before anything is awaited.
///
/// Tonic's server has a timer of its own for `grpc-timeout`, outside of everything,
/// which answers CANCELLED without the headers that a browser needs. It starts right
/// after this, and is asked only after what is inside of it: so the deadline here is
/// never later, and always wins.
pub(super) fn note<B>(mut request: http::Request<B>) -> http::Request<B> {
    request.extensions_mut().insert(Received(Instant::now()));
    request
}

/// How long requests and streams may take, and what else ends a stream.
#[derive(Clone)]
pub(super) struct Limits {
    request: Duration,
    stream: Duration,
    /// How long after the start of a shutdown streams are ended: half of what the
    /// drain waits, so that their clients still get a status.
    drain: Duration,
    shutdown: Shutdown,
}

impl Limits {
    pub(super) fn new(config: &ServerConfig, shutdown: &Shutdown) -> Self {
        Self {
            request: config.request_timeout,
            stream: config.stream_timeout,
            drain: config.shutdown_timeout / 2,
            shutdown: shutdown.clone(),
        }
    }
}

/// Ends the request at the caller's deadline or the server's, whichever is first.
pub(super) async fn enforce(
    State(limits): State<Limits>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_stream = methods::find(request.uri().path()).is_some_and(methods::Method::is_streaming);
    let longest = if is_stream { limits.stream } else { limits.request };
    let allowed = requested(request.headers()).map_or(longest, |it| it.min(longest));
    let received = request.extensions().get::<Received>().map_or_else(Instant::now, |it| it.0);
    let at = received + allowed;
    request.extensions_mut().insert(Deadline(at));

    match timeout_at(at, next.run(request)).await {
        Err(_) => status::deadline_exceeded().into_http(),
        Ok(response) if response.body().is_end_stream() => response,
        Ok(response) => response.map(|body| {
            let drain = is_stream.then_some((limits.shutdown, limits.drain));
            Body::new(Bounded::new(body, at, drain))
        }),
    }
}

/// What the caller allows: `grpc-timeout` (gRPC over HTTP/2, "Timeout") or
/// `connect-timeout-ms` (Connect protocol). What cannot be read is as not sent.
fn requested(headers: &HeaderMap) -> Option<Duration> {
    if let Some(value) = headers.get("grpc-timeout") {
        return grpc_timeout(value.to_str().ok()?);
    }
    let milliseconds = headers.get("connect-timeout-ms")?.to_str().ok()?;
    digits(milliseconds, 10).map(Duration::from_millis)
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value = digits(value, 8)?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// One to `most` ASCII digits; `most` is too small to overflow.
fn digits(text: &str, most: usize) -> Option<u64> {
    let all = (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// A body that ends with a status when its time is over.
///
/// The clock runs in a task beside it, because hyper does not poll the body of a
/// peer that grants no window: such a peer could otherwise keep the handler's
/// stream, and what it holds, for as long as it liked.
struct Bounded {
    shared: Arc<Mutex<Shared>>,
    clock: AbortHandle,
}

struct Shared {
    body: Option<Body>,
    /// How it ended, until that is sent.
    ended: Option<Status>,
    reader: Option<Waker>,
}

impl Bounded {
    fn new(body: Body, at: Instant, drain: Option<(Shutdown, Duration)>) -> Self {
        let shared = Shared { body: Some(body), ended: None, reader: None };
        let shared = Arc::new(Mutex::new(shared));
        let clock = tokio::spawn(end_in_time(shared.clone(), at, drain)).abort_handle();
        Self { shared, clock }
    }
}

async fn end_in_time(shared: Arc<Mutex<Shared>>, at: Instant, drain: Option<(Shutdown, Duration)>) {
    let drained = async {
        match drain {
            None => std::future::pending().await,
            Some((shutdown, grace)) => {
                shutdown.begun().await;
                tokio::time::sleep(grace).await;
            }
        }
    };
    let status = tokio::select! {
        () = sleep_until(at) => status::deadline_exceeded(),
        () = drained => status::stopping(),
    };
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.body.take().is_some() {
        shared.ended = Some(status);
    }
    if let Some(reader) = shared.reader.take() {
        reader.wake();
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Poisoned when the handler's stream panicked in here; it is not polled
        // again after that.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = shared.ended.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&status)))));
        }
        let Some(body) = shared.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_pending() {
            shared.reader = Some(cx.waker().clone());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.ended.is_none() && shared.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_grpc_timeout_is_read() {
        let read = ["1H", "2M", "3S", "4m", "5u", "6n"].map(|text| grpc_timeout(text).unwrap());

        assert_eq!(read[..3], [3600, 120, 3].map(Duration::from_secs));
        assert_eq!(read[3], Duration::from_millis(4));
        assert_eq!(read[4], Duration::from_micros(5));
        assert_eq!(read[5], Duration::from_nanos(6));
    }

    #[test]
    fn the_largest_grpc_timeout_overflows_nothing() {
        let hours = grpc_timeout("99999999H").unwrap();

        assert_eq!(hours, Duration::from_secs(99_999_999 * 3600));
    }

    #[test]
    fn what_is_no_timeout_is_as_not_sent() {
        for text in ["", "S", "1", "1s", "-1S", "+1S", " 1S", "1.5S", "100000000S", "1é", "é"] {
            assert_eq!(grpc_timeout(text), None, "{text:?}");
        }
    }
}
