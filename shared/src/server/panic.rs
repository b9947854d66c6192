//! A panic ends one request and nothing else.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures_util::FutureExt as _;
use http_body::{Frame, SizeHint};

use super::{json, status};

/// Answers INTERNAL in place of a handler or a stream that panics. The panic was
/// written to the log by the panic hook, which knows the place; nothing of it
/// goes to the caller.
pub(super) async fn catch(request: Request, next: Next) -> Response {
    match caught(request, next).await {
        Ok(response) => response.map(|body| Body::new(Guarded { inner: Some(body) })),
        Err(_) => status::internal().into_http(),
    }
}

/// The same for a plain HTTP route.
pub(super) async fn catch_plain(request: Request, next: Next) -> Response {
    caught(request, next).await.unwrap_or_else(|_| json::refuse(&status::internal()))
}

async fn caught(request: Request, next: Next) -> Result<Response, Box<dyn Any + Send>> {
    // Unwind safe, because what a panic leaves half-changed is dropped with it.
    AssertUnwindSafe(next.run(request)).catch_unwind().await
}

/// A body whose panic would otherwise take the connection and every other request
/// on it along, because hyper polls it outside of the handler.
struct Guarded {
    inner: Option<Body>,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.inner.as_mut() else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(_) => {
                self.inner = None;
                Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&status::internal())))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
