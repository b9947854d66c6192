//! Running the stack on a socket until it is told to stop.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server};
use tower::util::MapRequestLayer;

use super::{
    admin::serve_admin, config::ServerConfig, connection, deadline, shutdown::Shutdown,
    stack::Stack, tls,
};

/// How often a silent HTTP/2 connection is pinged, and how long the answer may
/// take: a peer that is gone is noticed within a minute.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// After how long a connection is told to go, so that clients spread over the replicas
/// that there are by now. What is open on it goes on to its own end.
pub(super) const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// How many requests one connection may have open at once, which it is told.
const STREAMS_PER_CONNECTION: u32 = 256;

/// After how many broken streams a connection is closed (RUSTSEC-2024-0003).
const BROKEN_STREAMS_MAX: usize = 1024;

/// The longest header list, in bytes as HTTP/2 counts them (RFC 9113 §6.5.2).
const HEADER_LIST_MAX: u32 = 16 << 10;

/// Serves until the shutdown begins, and then for as long as requests still run,
/// at most `shutdown_timeout`. Serves the administrative port beside it when that
/// is configured.
///
/// # Errors
/// When a TLS file or the administrative address cannot be used.
pub async fn serve(
    config: &ServerConfig,
    listener: TcpListener,
    stack: Stack,
    shutdown: Shutdown,
) -> Result<()> {
    let tls = tls::acceptor(config)?;
    let admin = match config.admin_listen {
        None => None,
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("cannot listen at {address}"))?)
        }
    };
    let (readiness, proxies) = (stack.ready(), stack.trusted());
    let app = stack.into_router(config, &shutdown)?;
    let address = listener.local_addr()?;
    tracing::info!(%address, tls = tls.is_some(), "listening");

    let serving = builder(CONNECTION_AGE_MAX)
        .layer(MapRequestLayer::new(deadline::note))
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(
            connection::incoming(listener, tls, connection::Limits::DEFAULT, proxies),
            shutdown.begun(),
        );
    // Metrics can be read until the end of the drain.
    let admin_serving = async {
        match admin {
            None => std::future::pending().await,
            Some(listener) => serve_admin(listener, readiness, &shutdown).await,
        }
    };
    tokio::select! {
        served = serving => served?,
        failed = admin_serving => failed?,
        () = drained(config, &shutdown) => tracing::warn!("stopped with connections still open"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Returns when a drain has taken as long as it may. Hyper waits for connections
/// that never said anything, and for peers that never read.
async fn drained(config: &ServerConfig, shutdown: &Shutdown) {
    shutdown.begun().await;
    tokio::time::sleep(config.shutdown_timeout).await;
}

/// The transport's settings. Each guard is named, because tonic passes "no limit"
/// to hyper for those that it is not told.
pub(super) fn builder(connection_age_max: Duration) -> Server {
    Server::builder()
        // gRPC-Web, JSON and probes come over HTTP/1.1.
        .accept_http1(true)
        .max_connection_age(connection_age_max)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_local_error_reset_streams(Some(BROKEN_STREAMS_MAX))
        .http2_max_header_list_size(HEADER_LIST_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use futures_util::{StreamExt as _, stream};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::{sleep, timeout},
    };

    use super::*;

    #[tokio::test]
    async fn an_old_connection_ends_after_what_is_open_on_it() {
        let age = Duration::from_millis(100);
        let (mut client, server) = tokio::io::duplex(1024);
        let late = get(async move || {
            sleep(3 * age).await;
            "late"
        });
        let app = Routes::from(Router::new().route("/late", late));
        let serving = builder(age).add_routes(app);
        let incoming = stream::iter([Ok::<_, std::io::Error>(server)]).chain(stream::pending());
        let serving = tokio::spawn(serving.serve_with_incoming(incoming));

        client.write_all(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let ended = timeout(Duration::from_secs(10), client.read_to_string(&mut answer)).await;

        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"), "{answer}");
        ended.expect("the client did not end it").unwrap();
        serving.abort();
    }
}
