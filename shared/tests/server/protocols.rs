//! One port, and every way to call it.

use http::Method;
use http_body_util::BodyExt as _;
use ihuman_proto::auth::v1::{GetSettingResponse, SetSettingRequest};
use prost::Message as _;
use prost_types::{Value, value::Kind};
use tonic::{Code, Status};
use tower::ServiceExt as _;

use super::{
    http1,
    probe::{GET_SETTING, SET_SETTING, Server, WATCH_EXECUTION, get, name, watch},
    reason,
};

#[tokio::test]
async fn a_native_client_calls_and_watches() {
    let server = Server::start(Default::default()).await;

    let answer = server.settings().await.get_setting(get("theme")).await.unwrap();
    let mut changes =
        server.executions().await.watch_execution(watch("e")).await.unwrap().into_inner();

    assert_eq!(name(answer), "theme");
    for _ in 0..3 {
        assert!(changes.message().await.unwrap().is_some());
    }
    assert!(changes.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_handler_knows_the_address_of_its_caller() {
    let server = Server::start(Default::default()).await;

    let answer = server.settings().await.get_setting(get("peer")).await.unwrap();

    assert_eq!(name(answer), "127.0.0.1");
}

#[tokio::test]
async fn grpc_web_works_over_http1_whatever_the_parameters_of_its_content_type() {
    let server = Server::start(Default::default()).await;
    let body = http1::frame(&get("theme"));

    for kind in ["application/grpc-web+proto", "application/grpc-web+proto; charset=utf-8"] {
        let answer =
            http1::post(server.address, GET_SETTING, &[("content-type", kind)], &body).await;

        assert_eq!(answer.status, 200);
        let (messages, trailers) = http1::web_frames(&answer.body);
        let message = GetSettingResponse::decode(messages[0].as_slice()).unwrap();
        assert_eq!(message.setting.unwrap().name, "theme");
        assert!(trailers.contains("grpc-status:0"), "{trailers:?}");
    }
}

#[tokio::test]
async fn grpc_web_streams_over_http1() {
    let server = Server::start(Default::default()).await;
    let body = http1::frame(&watch("e"));
    let headers = [("content-type", "application/grpc-web")];

    let answer = http1::post(server.address, WATCH_EXECUTION, &headers, &body).await;

    let (messages, trailers) = http1::web_frames(&answer.body);
    assert_eq!(messages.len(), 3);
    assert!(trailers.contains("grpc-status:0"), "{trailers:?}");
}

#[tokio::test]
async fn grpc_web_text_is_base64_both_ways() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let server = Server::start(Default::default()).await;
    let body = STANDARD.encode(http1::frame(&get("theme")));
    let kind = "application/grpc-web-text";

    let headers = [("content-type", kind), ("accept", kind)];
    let answer = http1::post(server.address, GET_SETTING, &headers, body.as_bytes()).await;

    let (messages, _) = http1::web_frames(&http1::from_base64(&answer.body));
    let message = GetSettingResponse::decode(messages[0].as_slice()).unwrap();
    assert_eq!(message.setting.unwrap().name, "theme");
}

#[tokio::test]
async fn json_over_plain_http1_calls_the_same_handler() {
    let server = Server::start(Default::default()).await;
    let body = r#"{"name": "theme", "value": {"dark": [true, null, 1.5]}}"#;

    let answer = http1::post_json(server.address, SET_SETTING, body).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.json(),
        serde_json::json!({
            "setting": { "name": "theme", "value": { "dark": [true, null, 1.5] } }
        })
    );
}

#[tokio::test]
async fn json_may_ask_for_compression_and_is_answered_without() {
    let server = Server::start(Default::default()).await;
    let headers = [
        ("content-type", "application/json"),
        ("accept-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
    ];

    let answer = http1::post(server.address, GET_SETTING, &headers, br#"{"name":"theme"}"#).await;

    assert_eq!(answer.json()["setting"]["name"], "theme");
}

#[tokio::test]
async fn an_error_in_json_has_its_code_message_and_details() {
    let server = Server::start(Default::default()).await;

    let answer = http1::post_json(server.address, GET_SETTING, r#"{"name": "missing"}"#).await;

    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["code"], "not_found");
    assert_eq!(answer.json()["message"], "no such setting");
    assert_eq!(answer.json_reason(), "NOT_FOUND");
    let value = answer.json()["details"][0]["value"].as_str().unwrap().to_owned();
    assert!(!value.is_empty() && !value.contains('='), "base64 without padding");
}

#[tokio::test]
async fn json_that_cannot_be_read_is_refused_with_the_place() {
    let server = Server::start(Default::default()).await;
    let deep = format!(r#"{{"value": {}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));

    for body in ["{", "[]", r#"{"nam": "theme"}"#, r#"{"name": 1}"#, "{} {}", &deep] {
        let answer = http1::post_json(server.address, SET_SETTING, body).await;

        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json_reason(), "MALFORMED_REQUEST");
        assert!(answer.json()["message"].as_str().unwrap().contains("line 1"));
    }
}

#[tokio::test]
async fn json_is_only_for_unary_methods() {
    let server = Server::start(Default::default()).await;

    let answer = http1::post_json(server.address, WATCH_EXECUTION, "{}").await;

    assert_eq!(answer.status, 501);
    assert_eq!(answer.json_reason(), "UNKNOWN_METHOD");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_on_every_protocol() {
    let server = Server::start(Default::default()).await;
    let channel = server.channel().await;

    for path in ["/ihuman.auth.v1.SettingService/Nope", "/no.such.Service/Get", "/x", "/"] {
        let request = http::Request::post(format!("http://{}{path}", server.address))
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::empty())
            .unwrap();
        let native = channel.clone().oneshot(request).await.unwrap();
        let status = Status::from_header_map(native.headers()).unwrap();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert_eq!(reason(&status), "UNKNOWN_METHOD");

        let headers = [("content-type", "application/grpc-web")];
        let web = http1::post(server.address, path, &headers, b"").await;
        assert_eq!(web.header("grpc-status"), Some("12"), "{path}");

        let json = http1::post_json(server.address, path, "{}").await;
        assert_eq!(json.status, 501, "{path}");
        assert_eq!(json.json_reason(), "UNKNOWN_METHOD");
    }
}

#[tokio::test]
async fn health_is_plain_http_in_both_versions() {
    let server = Server::start(Default::default()).await;

    let one = http1::get(server.address, "/healthz").await;
    let request = http::Request::get(format!("http://{}/healthz", server.address))
        .body(tonic::body::Body::empty())
        .unwrap();
    let two = server.channel().await.oneshot(request).await.unwrap();

    assert_eq!((one.status, one.text().as_str()), (200, "ok"));
    assert_eq!(two.status(), 200);
    assert_eq!(two.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn whoever_calls_an_rpc_in_the_wrong_way_is_told_the_right_one() {
    let server = Server::start(Default::default()).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];

    let posted = http1::post(server.address, GET_SETTING, &form, b"{}").await;
    let got = http1::get(server.address, GET_SETTING).await;
    let nowhere = http1::get(server.address, "/nowhere").await;

    assert_eq!(posted.status, 415);
    assert!(posted.text().contains("application/json"));
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    assert_eq!((nowhere.status, nowhere.json_reason().as_str()), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_that_says_nothing_and_the_server_lives() {
    let server = Server::start(Default::default()).await;
    let mut settings = server.settings().await;

    let native = settings.get_setting(get("panic")).await.unwrap_err();
    let json = http1::post_json(server.address, GET_SETTING, r#"{"name": "panic"}"#).await;

    assert_eq!((native.code(), native.message()), (Code::Internal, "internal error"));
    assert_eq!(reason(&native), "INTERNAL");
    assert_eq!(json.status, 500);
    assert!(!json.text().contains("secret"));
    assert_eq!(name(settings.get_setting(get("alive")).await.unwrap()), "alive");
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_that_stream_and_not_the_connection() {
    let server = Server::start(Default::default()).await;
    let mut executions = server.executions().await;

    let mut changes = executions.watch_execution(watch("panic")).await.unwrap().into_inner();
    let mut other = executions.watch_execution(watch("forever")).await.unwrap().into_inner();
    let status = loop {
        match changes.message().await {
            Ok(change) => assert!(change.is_some()),
            Err(status) => break status,
        }
    };

    assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    assert_eq!(reason(&status), "INTERNAL");
    assert!(other.message().await.unwrap().is_some());
}

#[tokio::test]
async fn a_request_id_is_echoed_when_it_is_fit_and_made_when_it_is_not() {
    let server = Server::start(Default::default()).await;
    let kind = ("content-type", "application/json");
    let body = br#"{"name": "request id"}"#;
    let long = "x".repeat(129);

    let given =
        http1::post(server.address, GET_SETTING, &[kind, ("x-request-id", "abc-1")], body).await;
    assert_eq!(given.header("x-request-id"), Some("abc-1"));
    assert_eq!(given.json()["setting"]["name"], "abc-1", "the handler sees the same");

    for unfit in [&[][..], &[("x-request-id", "two words")], &[("x-request-id", &long)]] {
        let headers = [&[kind], unfit].concat();
        let made = http1::post(server.address, GET_SETTING, &headers, body).await;

        let id = made.header("x-request-id").unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
        assert_eq!(made.json()["setting"]["name"], id);
    }
    assert!(http1::get(server.address, "/healthz").await.header("x-request-id").is_some());
}

#[tokio::test]
async fn gzip_is_understood_and_answered_with() {
    use tonic::codec::CompressionEncoding::Gzip;
    let server = Server::start(Default::default()).await;
    let mut settings = server.settings().await.send_compressed(Gzip).accept_compressed(Gzip);

    let kind = Some(Kind::StringValue("x".repeat(100_000)));
    let request = SetSettingRequest { name: "big".into(), value: Some(Value { kind }) };
    let answer = settings.set_setting(request.clone()).await.unwrap();

    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.into_inner().setting.unwrap().value, request.value);
}

#[tokio::test]
async fn native_grpc_with_a_get_is_no_way_to_call() {
    let server = Server::start(Default::default()).await;
    let request = http::Request::builder()
        .method(Method::GET)
        .uri(format!("http://{}{GET_SETTING}", server.address))
        .body(tonic::body::Body::empty())
        .unwrap();

    let answer = server.channel().await.oneshot(request).await.unwrap();

    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn grpc_over_http1_is_told_what_it_needs() {
    let server = Server::start(Default::default()).await;
    let headers = [("content-type", "application/grpc")];

    let answer = http1::post(server.address, GET_SETTING, &headers, b"").await;

    assert_eq!(answer.status, 505);
    assert!(answer.text().contains("gRPC needs HTTP/2"));
}
