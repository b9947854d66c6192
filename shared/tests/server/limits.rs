//! Nothing takes more time, memory or room than it may.

use std::time::{Duration, Instant};

use ihuman_proto::auth::v1::{SetSettingRequest, setting_service_client::SettingServiceClient};
use ihuman_shared::server::ServerConfig;
use prost_types::{Value, value::Kind};
use tonic::{Code, Status, codec::CompressionEncoding};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::{
    http1, http2,
    probe::{GET_SETTING, SET_SETTING, Server, WATCH_EXECUTION, get, name, take, watch},
    reason,
};

const SHORT: Duration = Duration::from_millis(300);

/// Longer than the message that tonic and the JSON bridge read.
const TOO_LONG: usize = 4 << 20;

fn within(elapsed: Duration) -> bool {
    (SHORT / 2..Duration::from_secs(10)).contains(&elapsed)
}

fn big(length: usize) -> SetSettingRequest {
    let kind = Some(Kind::StringValue("x".repeat(length)));
    SetSettingRequest { name: "big".to_owned(), value: Some(Value { kind }) }
}

#[tokio::test]
async fn a_request_ends_at_the_deadline_of_the_server() {
    let server =
        Server::start(ServerConfig { request_timeout: SHORT, ..ServerConfig::default() }).await;
    let begun = Instant::now();

    let native = server.settings().await.get_setting(get("forever")).await.unwrap_err();
    let json = http1::post_json(server.address, GET_SETTING, r#"{"name": "forever"}"#).await;

    assert!(within(begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(native.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&native), "DEADLINE_EXCEEDED");
    assert_eq!(json.status, 504);
    assert_eq!(json.json_reason(), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_request_ends_at_the_deadline_of_its_caller_in_every_protocol() {
    let server = Server::start(ServerConfig {
        cors_origin: vec!["https://a.example".parse().unwrap()],
        ..ServerConfig::default()
    })
    .await;
    let begun = Instant::now();

    let headers = [
        ("content-type", "application/grpc-web"),
        ("grpc-timeout", "300m"),
        ("origin", "https://a.example"),
    ];
    let body = http1::frame(&get("forever"));
    let web = http1::post(server.address, GET_SETTING, &headers, &body).await;
    let headers = [("content-type", "application/json"), ("connect-timeout-ms", "300")];
    let body = br#"{"name": "forever"}"#;
    let json = http1::post(server.address, GET_SETTING, &headers, body).await;

    assert!(within(begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(web.header("grpc-status"), Some("4"), "DEADLINE_EXCEEDED");
    assert_eq!(web.header("content-type"), Some("application/grpc-web+proto"));
    assert_eq!(web.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(json.status, 504);
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_as_none() {
    let server = Server::start(Default::default()).await;

    for timeout in ["99999999H", "100000000S", "-1S", "S", "1é", "18446744073709551616n"] {
        let headers = [("content-type", "application/grpc-web"), ("grpc-timeout", timeout)];
        let body = http1::frame(&get("theme"));
        let answer = http1::post(server.address, GET_SETTING, &headers, &body).await;

        let (_, trailers) = http1::web_frames(&answer.body);
        assert!(trailers.contains("grpc-status:0"), "{timeout}: {trailers:?}");
    }
}

#[tokio::test]
async fn a_stream_outlives_the_deadline_of_requests_and_ends_at_its_own() {
    let server = Server::start(ServerConfig {
        request_timeout: Duration::from_millis(1),
        stream_timeout: SHORT,
        ..ServerConfig::default()
    })
    .await;
    let begun = Instant::now();

    let mut changes =
        server.executions().await.watch_execution(watch("forever")).await.unwrap().into_inner();
    let mut seen = 0;
    let status = loop {
        match changes.message().await {
            Ok(_) => seen += 1,
            Err(status) => break status,
        }
    };

    assert!(within(begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(seen, 3);
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_stream_over_grpc_web_ends_with_the_deadline_in_its_trailers() {
    let server =
        Server::start(ServerConfig { stream_timeout: SHORT, ..ServerConfig::default() }).await;
    let headers = [("content-type", "application/grpc-web")];

    let body = http1::frame(&watch("forever"));
    let answer = http1::post(server.address, WATCH_EXECUTION, &headers, &body).await;

    let (messages, trailers) = http1::web_frames(&answer.body);
    assert_eq!(messages.len(), 3);
    assert!(trailers.contains("grpc-status:4"), "{trailers:?}");
}

#[tokio::test]
async fn a_peer_that_reads_nothing_cannot_keep_a_stream_past_its_deadline() {
    let server = Server::start(ServerConfig {
        stream_timeout: SHORT,
        max_concurrent_streams: 1,
        ..ServerConfig::default()
    })
    .await;
    let no_window = [(http2::SETTINGS_INITIAL_WINDOW_SIZE, 0)];
    let (_reader, mut writer) = http2::connect(server.address, &no_window).await;
    let headers = http2::request_headers(WATCH_EXECUTION, &[]);
    let body = http1::frame(&watch("forever"));

    writer.send(&http2::frame(http2::HEADERS, http2::END_HEADERS, 1, &headers)).await.unwrap();
    writer.send(&http2::frame(http2::DATA, http2::END_STREAM, 1, &body)).await.unwrap();
    take(&server.signals.dropped).await;

    assert!(server.executions().await.watch_execution(watch("e")).await.is_ok());
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let server = Server::start(Default::default()).await;

    let native = server.settings().await.set_setting(big(TOO_LONG)).await.unwrap_err();
    let json = format!(r#"{{"value": "{}"}}"#, "x".repeat(TOO_LONG));
    let json = http1::post_json(server.address, SET_SETTING, &json).await;

    assert_eq!(native.code(), Code::InvalidArgument);
    assert_eq!(reason(&native), "MALFORMED_REQUEST");
    assert!(native.message().contains("4194304 bytes"), "{}", native.message());
    assert_eq!(json.status, 400);
    assert_eq!(json.json_reason(), "MALFORMED_REQUEST");
    assert!(server.settings().await.set_setting(big(TOO_LONG - 1024)).await.is_ok());
}

#[tokio::test]
async fn a_small_message_that_unpacks_to_a_large_one_is_refused() {
    let server = Server::start(Default::default()).await;
    let mut settings = SettingServiceClient::new(server.channel().await)
        .send_compressed(CompressionEncoding::Gzip);

    let status = settings.set_setting(big(16 << 20)).await.unwrap_err();

    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "MALFORMED_REQUEST");
    assert!(status.message().contains("4194304 bytes"), "{}", status.message());
}

#[tokio::test]
async fn json_of_very_many_values_is_refused_before_it_is_made_into_a_message() {
    let server = Server::start(Default::default()).await;
    let list = |count: usize| format!(r#"{{"value": [{}0]}}"#, "0,".repeat(count));

    let most = http1::post_json(server.address, SET_SETTING, &list(49_990)).await;
    let more = http1::post_json(server.address, SET_SETTING, &list(50_000)).await;

    assert_eq!(most.status, 200);
    assert_eq!(more.status, 400);
    assert_eq!(more.json_reason(), "MALFORMED_REQUEST");
    assert!(more.text().contains("more than 50000 values"), "{}", more.text());
}

#[tokio::test]
async fn streams_that_anybody_may_open_keep_out_no_others() {
    let server =
        Server::start(ServerConfig { max_concurrent_streams: 1, ..ServerConfig::default() }).await;
    let mut health = HealthClient::new(server.channel().await);

    let mut open = Vec::new();
    let refused = loop {
        match health.watch(HealthCheckRequest::default()).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
    };

    assert_overloaded(&refused);
    assert_eq!(open.len(), 64);
    assert!(server.executions().await.watch_execution(watch("e")).await.is_ok());
}

#[tokio::test]
async fn more_requests_than_may_run_are_refused_with_when_to_retry() {
    let server =
        Server::start(ServerConfig { max_concurrent_requests: 1, ..ServerConfig::default() }).await;
    let mut settings = server.settings().await;
    let mut held = settings.clone();
    let held = tokio::spawn(async move { held.get_setting(get("hold")).await });
    take(&server.signals.entered).await;

    let native = settings.get_setting(get("theme")).await.unwrap_err();
    let json = http1::post_json(server.address, GET_SETTING, "{}").await;
    let health =
        HealthClient::new(server.channel().await).check(HealthCheckRequest::default()).await;
    let stream = server.executions().await.watch_execution(watch("e")).await;
    server.signals.release.add_permits(1);

    assert_overloaded(&native);
    assert_eq!(json.status, 429);
    assert_eq!(json.header("retry-after"), Some("1"));
    assert_eq!(json.json_reason(), "OVERLOADED");
    assert!(health.is_ok(), "a health check is never refused");
    assert!(stream.is_ok(), "streams are counted apart");
    assert_eq!(name(held.await.unwrap().unwrap()), "held");
    assert_eq!(name(settings.get_setting(get("theme")).await.unwrap()), "theme");
}

#[tokio::test]
async fn a_stream_counts_until_it_ends() {
    let server =
        Server::start(ServerConfig { max_concurrent_streams: 1, ..ServerConfig::default() }).await;
    let mut executions = server.executions().await;

    let first = executions.watch_execution(watch("forever")).await.unwrap();
    let second = executions.watch_execution(watch("e")).await.unwrap_err();
    drop(first);
    take(&server.signals.dropped).await;

    assert_overloaded(&second);
    assert!(executions.watch_execution(watch("e")).await.is_ok());
}

fn assert_overloaded(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason(status), "OVERLOADED");
    let retry = status.get_details_retry_info().unwrap();
    assert_eq!(retry.retry_delay, Some(Duration::from_secs(1)));
}
