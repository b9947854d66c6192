//! Guards of the transport: against what only a broken or hostile client sends.

use std::net::SocketAddr;

use ihuman_proto::auth::v1::setting_service_server::SettingServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::{
    http2,
    probe::{GET_SETTING, Probe, Server},
};

/// More broken streams than a client sends by mistake.
const FLOOD: u32 = 3000;

/// A server with tonic's own settings, to show what they leave open.
async fn unguarded(probe: Probe) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(SettingServiceServer::new(probe));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// Sends streams whose length is a lie, and counts the RST_STREAM frames until the
/// server has answered all or sends GOAWAY, whose code it returns.
async fn flood(address: SocketAddr) -> (u32, Option<u32>) {
    let (mut reader, mut writer) = http2::connect(address, &[]).await;
    let block = http2::request_headers(GET_SETTING, &[("content-length", "9")]);
    let flags = http2::END_HEADERS | http2::END_STREAM;
    tokio::spawn(async move {
        for stream in 0..FLOOD {
            let frame = http2::frame(http2::HEADERS, flags, 2 * stream + 1, &block);
            if writer.send(&frame).await.is_err() {
                return;
            }
        }
        // The connection stays open until the server has said what it has to say.
        std::future::pending::<()>().await;
    });
    let mut resets = 0;
    while resets < FLOOD {
        let frame = reader.next().await.expect("an answer before the end");
        match frame.kind {
            http2::RST_STREAM => resets += 1,
            http2::GOAWAY => {
                let code = frame.payload[4..8].try_into().unwrap();
                return (resets, Some(u32::from_be_bytes(code)));
            }
            _ => {}
        }
    }
    (resets, None)
}

#[tokio::test]
async fn a_flood_of_broken_streams_is_cut_off_and_would_not_be_by_default() {
    let server = Server::start(Default::default()).await;
    let unguarded = unguarded(Probe(server.signals.clone())).await;

    assert_eq!(flood(unguarded).await, (FLOOD, None));
    let (resets, goaway) = flood(server.address).await;

    assert_eq!(goaway, Some(http2::ENHANCE_YOUR_CALM));
    assert!(resets <= 1024, "{resets}");
}

#[tokio::test]
async fn a_client_is_told_how_many_streams_it_may_open_and_would_not_be_by_default() {
    let server = Server::start(Default::default()).await;
    let unguarded = unguarded(Probe(server.signals.clone())).await;

    assert_eq!(max_concurrent_streams(unguarded).await, None);
    assert_eq!(max_concurrent_streams(server.address).await, Some(256));
}

async fn max_concurrent_streams(address: SocketAddr) -> Option<u32> {
    let (mut reader, _writer) = http2::connect(address, &[]).await;
    let settings = reader.next_of(http2::SETTINGS).await.unwrap().payload;
    let wanted = http2::SETTINGS_MAX_CONCURRENT_STREAMS.to_be_bytes();
    let found = settings.chunks(6).find(|setting| setting[..2] == wanted)?;
    Some(u32::from_be_bytes(found[2..].try_into().unwrap()))
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_and_the_connection_lives() {
    let server = Server::start(Default::default()).await;
    let mut settings = server.settings().await;

    let mut request = tonic::Request::new(super::probe::get("theme"));
    request.metadata_mut().insert("x-long", "x".repeat(64 << 10).parse().unwrap());
    let refused = settings.get_setting(request).await;

    assert!(refused.is_err());
    assert!(settings.get_setting(super::probe::get("theme")).await.is_ok());
}
