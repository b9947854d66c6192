//! What the server tells about itself: health, reflection and metrics.

use std::time::Duration;

use ihuman_proto::auth::v1::DeleteSettingRequest;
use ihuman_shared::server::{Shutdown, serve_admin};
use tokio::{net::TcpListener, sync, time::timeout};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    http1,
    probe::{Server, get, watch},
    reason,
};

const SERVICES: [&str; 3] =
    ["", "ihuman.auth.v1.SettingService", "ihuman.catalog.v1.ExecutionService"];

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn the_health_of_each_service_follows_readiness() {
    let server = Server::start(Default::default()).await;
    let mut health = HealthClient::new(server.channel().await);

    for (ready, expected, http) in
        [(true, ServingStatus::Serving, 200), (false, ServingStatus::NotServing, 503)]
    {
        server.readiness.send_replace(ready);
        for service in SERVICES {
            let answer = health.check(check(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), expected, "{service:?}");
        }
        assert_eq!(http1::get(server.address, "/readyz").await.status, http);
        assert_eq!(http1::get(server.address, "/healthz").await.status, 200, "it still lives");
    }
}

#[tokio::test]
async fn a_service_that_is_not_here_has_no_health() {
    let server = Server::start(Default::default()).await;
    let mut health = HealthClient::new(server.channel().await);

    // In the contract, but not in this server.
    let status = health.check(check("ihuman.auth.v1.AuthService")).await.unwrap_err();

    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason(&status), "NOT_FOUND");
    let mut watched = health.watch(check("ihuman.auth.v1.AuthService")).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn a_watch_of_health_sees_every_change_and_the_end() {
    let server = Server::start(Default::default()).await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watched = health.watch(check("")).await.unwrap().into_inner();
    let mut seen = Vec::new();

    for step in 0..4 {
        match step {
            0 => {}
            1 => drop(server.readiness.send_replace(false)),
            2 => drop(server.readiness.send_replace(true)),
            _ => server.shutdown.begin(),
        }
        seen.push(watched.message().await.unwrap().unwrap().status());
    }

    use ServingStatus::{NotServing, Serving};
    assert_eq!(seen, [Serving, NotServing, Serving, NotServing]);
    assert!(watched.message().await.unwrap().is_none());
}

#[tokio::test]
async fn health_can_be_asked_with_json() {
    let server = Server::start(Default::default()).await;

    let answer = http1::post_json(server.address, "/grpc.health.v1.Health/Check", "{}").await;

    assert_eq!(answer.json(), serde_json::json!({ "status": "SERVING" }));
}

#[tokio::test]
async fn reflection_lists_what_is_served_in_both_of_its_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let server = Server::start(Default::default()).await;
    let channel = server.channel().await;
    let expected =
        ["grpc.health.v1.Health", "ihuman.auth.v1.SettingService", SERVICES[2]].map(str::to_owned);

    let ask = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answer = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap();
    let message = answer.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = message
    else {
        panic!("{message:?}")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, expected);

    let ask = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answer = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap();
    let message = answer.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = message
    else {
        panic!("{message:?}")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn reflection_knows_the_details_that_errors_carry() {
    use tonic_reflection::pb::v1;
    let server = Server::start(Default::default()).await;
    let symbol = "google.rpc.ErrorInfo".to_owned();

    let ask = v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let answer = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap();

    let message = answer.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let found = v1::server_reflection_response::MessageResponse::FileDescriptorResponse;
    assert_eq!(
        std::mem::discriminant(&message),
        std::mem::discriminant(&found(Default::default()))
    );
}

#[tokio::test]
async fn metrics_count_and_time_each_method_under_names_of_the_contract_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ready, readiness) = sync::watch::channel(true);
    let admin =
        tokio::spawn(async move { serve_admin(listener, readiness, &Shutdown::new()).await });
    // The first answer comes when the recorder is installed.
    http1::get(address, "/metrics").await;
    assert_eq!(http1::get(address, "/readyz").await.status, 200);
    ready.send(false).unwrap();
    assert_eq!(http1::get(address, "/readyz").await.status, 503);
    let server = Server::start(Default::default()).await;
    let mut settings = server.settings().await;

    settings.delete_setting(DeleteSettingRequest::default()).await.unwrap();
    settings.get_setting(get("missing")).await.unwrap_err();
    http1::post_json(server.address, "/made.up.by.a.Caller/AndThis", "{}").await;
    let mut changes =
        server.executions().await.watch_execution(watch("e")).await.unwrap().into_inner();
    while changes.message().await.unwrap().is_some() {}
    let text = http1::get(address, "/metrics").await.text();

    let service = r#"service="ihuman.auth.v1.SettingService""#;
    for line in [
        format!(r#"ihuman_rpc_requests_total{{{service},method="DeleteSetting",code="OK"}} 1"#),
        format!(r#"ihuman_rpc_requests_total{{{service},method="GetSetting",code="NOT_FOUND"}}"#),
        r#"ihuman_rpc_requests_total{service="other",method="other",code="UNIMPLEMENTED"}"#.into(),
        format!(r#"ihuman_rpc_duration_seconds_count{{{service},method="DeleteSetting"}} 1"#),
        format!(
            r#"ihuman_rpc_duration_seconds_bucket{{{service},method="DeleteSetting",le="30"}}"#
        ),
        "# TYPE ihuman_rpc_in_flight gauge".into(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("made.up"), "{text}");
    admin.abort();
}

#[tokio::test]
async fn the_administrative_port_is_served_beside_the_other_one() {
    // The system chooses the port, and nothing tells which; that it is bound is seen
    // by the failure of a server that wants one which is taken.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ihuman_shared::server::ServerConfig {
        admin_listen: taken.local_addr().ok(),
        ..Default::default()
    };
    let mut server = Server::start(config).await;

    let ended = timeout(Duration::from_secs(10), &mut server.serving).await.unwrap().unwrap();

    assert!(ended.unwrap_err().to_string().contains("cannot listen at"));
}
