//! Told to stop, the server stops: politely while that is possible, and in time.

use std::time::{Duration, Instant};

use ihuman_proto::auth::v1::setting_service_server::SettingServiceServer;
use ihuman_shared::server::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;

use super::{
    http1,
    probe::{Probe, Server, get, name, take, watch},
    reason,
};

const DRAIN: Duration = Duration::from_secs(1);

/// What a machine under load may add.
const SLACK: Duration = Duration::from_secs(10);

async fn server() -> Server {
    Server::start(ServerConfig { shutdown_timeout: DRAIN, ..ServerConfig::default() }).await
}

/// Tells the server to stop, and returns how long it took.
async fn stop(server: &mut Server) -> Duration {
    let begun = Instant::now();
    server.shutdown.begin();
    let served = timeout(DRAIN + SLACK, &mut server.serving).await.expect("it stops in time");
    served.unwrap().unwrap();
    begun.elapsed()
}

/// A connection on which half a request was sent and, to know that the server is
/// reading it, a whole one before.
async fn half_a_request(address: std::net::SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nhost")
        .await
        .unwrap();
    tcp.read_exact(&mut [0; 15]).await.unwrap();
    tcp
}

#[tokio::test]
async fn a_server_with_nothing_to_do_stops_at_once() {
    let mut server = server().await;
    http1::get(server.address, "/healthz").await;

    assert!(stop(&mut server).await < DRAIN + SLACK);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_server() {
    let mut server = server().await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    // Accepted in order, so after this one the idle one was accepted too.
    http1::get(server.address, "/healthz").await;

    stop(&mut server).await;
    drop(idle);
}

#[tokio::test]
async fn half_a_request_does_not_hold_the_server_and_would_without_a_bound() {
    let mut server = server().await;
    let unbounded = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unbounded.local_addr().unwrap();
    let mut never_ending = tokio::spawn(
        tonic::transport::Server::builder()
            .accept_http1(true)
            .add_service(SettingServiceServer::new(Probe(server.signals.clone())))
            .serve_with_incoming_shutdown(TcpListenerStream::new(unbounded), async {
                // Stops as soon as it has accepted the connection below.
                tokio::time::sleep(DRAIN / 2).await;
            }),
    );
    let mut elsewhere = TcpStream::connect(address).await.unwrap();
    elsewhere.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    let half = half_a_request(server.address).await;

    stop(&mut server).await;
    let without = timeout(2 * DRAIN, &mut never_ending).await;
    assert!(without.is_err(), "without a bound it still waits");
    never_ending.abort();
    drop((half, elsewhere));
}

#[tokio::test]
async fn an_open_stream_is_ended_with_a_status_that_says_why() {
    let mut server = server().await;
    let mut changes =
        server.executions().await.watch_execution(watch("forever")).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().is_some());

    let ending = tokio::spawn(async move {
        loop {
            if let Err(status) = changes.message().await {
                return status;
            }
        }
    });
    stop(&mut server).await;

    let status = ending.await.unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "UNAVAILABLE");
}

#[tokio::test]
async fn a_request_that_runs_is_answered_and_a_new_one_finds_nobody() {
    let mut server = server().await;
    let mut settings = server.settings().await;
    let held = tokio::spawn(async move { settings.get_setting(get("hold")).await });
    take(&server.signals.entered).await;

    server.shutdown.begin();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.signals.release.add_permits(1);
    stop(&mut server).await;

    assert_eq!(name(held.await.unwrap().unwrap()), "held");
}
