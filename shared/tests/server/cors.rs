//! What a page in a browser may do.

use ihuman_shared::server::ServerConfig;

use super::{
    http1,
    probe::{GET_SETTING, Server, get},
};

const ALLOWED: &str = "https://console.example.com";

async fn server(origins: &[&str]) -> Server {
    let cors_origin = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    Server::start(ServerConfig { cors_origin, ..ServerConfig::default() }).await
}

async fn preflight(server: &Server, origin: &str) -> http1::Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,x-grpc-web"),
    ];
    http1::request(server.address, "OPTIONS", GET_SETTING, &headers, b"").await
}

#[tokio::test]
async fn an_allowed_origin_passes_the_preflight() {
    let server = server(&[ALLOWED]).await;

    let answer = preflight(&server, ALLOWED).await;

    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(ALLOWED));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    for name in ["authorization", "content-type", "grpc-timeout", "x-api-key", "x-grpc-web"] {
        assert!(headers.contains(name), "{name} is not in {headers}");
    }
}

#[tokio::test]
async fn another_origin_does_not() {
    let some = server(&[ALLOWED]).await;
    let none = server(&[]).await;

    for (server, origin) in [(&some, "https://evil.example.com"), (&none, ALLOWED)] {
        let answer = preflight(server, origin).await;

        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn a_star_allows_every_origin() {
    let server = server(&["*"]).await;

    let answer = preflight(&server, "https://anywhere.example.com").await;

    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn a_page_can_read_the_whole_of_an_error() {
    let server = server(&[ALLOWED]).await;
    let headers = [("origin", ALLOWED), ("content-type", "application/grpc-web+proto")];

    let answer =
        http1::post(server.address, GET_SETTING, &headers, &http1::frame(&get("missing"))).await;

    assert_eq!(answer.header("content-type"), Some("application/grpc-web+proto"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(ALLOWED));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
        assert!(answer.header(name).is_some(), "{name} was not sent");
    }
    for name in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
    assert_eq!(answer.header("grpc-status"), Some("5"));
}
