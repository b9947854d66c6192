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
use ihuman_shared::server::{Deadline, RequestId, ServerConfig, Shutdown, Stack};
use tonic::Status;
use tower::ServiceExt as _;

use super::probe::{GET_SETTING, Probe, Signals};

/// Lets nobody in, having checked that the layers outside have done their work.
async fn refuse(request: Request, _: Next) -> Response {
    assert!(request.extensions().get::<RequestId>().is_some());
    assert!(request.extensions().get::<Deadline>().is_some());
    Status::unauthenticated("who are you?").into_http()
}

fn stack() -> Router {
    let web = Router::new()
        .route("/.well-known/extra", get(async || "extra"))
        .route("/panic", get(async || -> &'static str { panic!("secret of the page") }));
    Stack::new()
        .service(SettingServiceServer::new(Probe(Signals::new())))
        .gate(from_fn(refuse))
        .web(web)
        .into_router(&ServerConfig::default(), &Shutdown::new())
        .unwrap()
}

async fn post(path: &str, body: &'static str) -> (StatusCode, String) {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    answer(request.body(Body::from(body)).unwrap()).await
}

async fn answer(request: Request) -> (StatusCode, String) {
    let response = stack().oneshot(request).await.unwrap();
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
