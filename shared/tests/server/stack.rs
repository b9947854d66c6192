//! What a service puts into the stack, seen without a socket.

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use ihuman_proto::auth::v1::setting_service_server::SettingServiceServer;
use ihuman_shared::server::{Deadline, Limited, RequestId, ServerConfig, Shutdown, Stack};
use tonic::Status;
use tower::ServiceExt as _;

use super::probe::{GET_SETTING, Probe, SET_SETTING, Signals};

/// Lets nobody in, having checked that the layers outside have done their work.
async fn refuse(request: Request, _: Next) -> Response {
    assert!(request.extensions().get::<RequestId>().is_some());
    assert!(request.extensions().get::<Deadline>().is_some());
    Status::unauthenticated("who are you?").into_http()
}

fn settings() -> Limited<SettingServiceServer<Probe>> {
    Limited::new(1000, |longest| {
        SettingServiceServer::new(Probe(Signals::new())).max_decoding_message_size(longest)
    })
}

fn stack() -> Router {
    let web = Router::new()
        .route("/.well-known/extra", get(async || "extra"))
        .route("/panic", get(async || -> &'static str { panic!("secret of the page") }));
    Stack::new()
        .service(settings())
        .gate(from_fn(refuse))
        .web(web)
        .into_router(&ServerConfig::default(), &Shutdown::new())
        .unwrap()
}

async fn post(path: &str, body: &'static str) -> (StatusCode, String) {
    post_to(stack(), path, body.to_owned()).await
}

async fn post_to(stack: Router, path: &str, body: String) -> (StatusCode, String) {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    answer_of(stack, request.body(Body::from(body)).unwrap()).await
}

async fn answer(request: Request) -> (StatusCode, String) {
    answer_of(stack(), request).await
}

async fn answer_of(stack: Router, request: Request) -> (StatusCode, String) {
    let response = stack.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_gate_decides_before_the_request_is_read() {
    let (status, body) = post(GET_SETTING, "this is no JSON").await;

    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("who are you?"), "{body}");
}

#[tokio::test]
async fn the_gate_sees_methods_that_do_not_exist() {
    let (status, _) = post("/ihuman.auth.v1.SettingService/Nope", "{}").await;

    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn health_is_outside_of_the_gate() {
    let (status, body) = post("/grpc.health.v1.Health/Check", "{}").await;

    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"status":"SERVING"}"#));
}

#[tokio::test]
async fn a_service_adds_its_own_pages_and_one_that_panics_says_nothing() {
    let page = |path: &str| answer(Request::get(path).body(Body::empty()).unwrap());

    assert_eq!(page("/.well-known/extra").await, (StatusCode::OK, "extra".to_owned()));
    let (status, body) = page("/panic").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(body.contains("INTERNAL") && !body.contains("secret"), "{body}");
}

#[tokio::test]
async fn json_is_read_as_far_as_the_service_reads_messages() {
    let open = Stack::new().service(settings());
    let open = open.into_router(&ServerConfig::default(), &Shutdown::new()).unwrap();
    let value = |text: String| format!(r#"{{"value": {text}}}"#);

    for (body, says) in [
        (value(format!("{:?}", "x".repeat(900))), r#"{"setting":"#),
        // Read, and too long as a message.
        (value(format!("{:?}", "x".repeat(1200))), "the limit is: 1000 bytes"),
        (value(format!("{:?}", "x".repeat(2000))), "longer than 2000 bytes"),
        // Short, and too much when it is read.
        (value(format!("[{}0]", "0,".repeat(500))), "more than 500 values"),
        (value(format!("{:?}", ",".repeat(900))), r#"{"setting":"#),
    ] {
        let (status, answer) = post_to(open.clone(), SET_SETTING, body).await;

        let fits = answer.starts_with(r#"{"setting":"#);
        assert_eq!(status, if fits { StatusCode::OK } else { StatusCode::BAD_REQUEST });
        assert_eq!(fits, !answer.contains("MALFORMED_REQUEST"), "{answer}");
        assert!(answer.contains(says), "{answer}");
    }
}
