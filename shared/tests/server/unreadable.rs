//! What cannot be read is the caller's doing, and is said so in every protocol.

use http_body_util::Full;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use super::{
    http1,
    probe::{SET_SETTING, Server},
    reason,
};

/// The answer to a body as it is, over native gRPC.
async fn native(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Status {
    let mut request = http::Request::post(format!("http://{}{SET_SETTING}", server.address))
        .header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(Full::new(bytes::Bytes::copy_from_slice(body)));
    let answer = server.channel().await.oneshot(request.body(body).unwrap()).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap()
}

/// The same over gRPC-Web.
async fn web(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> Status {
    let headers = [&[("content-type", "application/grpc-web")], headers].concat();
    let answer = http1::post(server.address, SET_SETTING, &headers, body).await;
    let mut map = http::HeaderMap::new();
    for (name, value) in &answer.headers {
        map.insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    Status::from_header_map(&map).unwrap()
}

fn assert_malformed(status: &Status, says: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(status), "MALFORMED_REQUEST");
    assert!(status.message().contains(says), "{}", status.message());
}

#[tokio::test]
async fn a_body_that_is_no_message_is_malformed() {
    let server = Server::start(Default::default()).await;
    let gzip = [("grpc-encoding", "gzip")];

    for (what, headers, body, says) in [
        ("protobuf that ends early", &[][..], &[0, 0, 0, 0, 2, 10, 9][..], "decode"),
        ("a string that is not UTF-8", &[], &[0, 0, 0, 0, 3, 10, 1, 0xff], "UTF-8"),
        ("a frame that ends early", &[], &[0, 0, 0, 0, 9, 10], "EOF"),
        ("no frame", &[], &[], "Missing request message"),
        ("an unknown flag", &[], &[7, 0, 0, 0, 0], "compression flag"),
        ("a flag without an encoding", &[], &[1, 0, 0, 0, 1, 0], "no grpc-encoding"),
        ("what is not gzip", &gzip, &[1, 0, 0, 0, 2, 1, 2], "decompressing"),
    ] {
        for status in [native(&server, headers, body).await, web(&server, headers, body).await] {
            eprintln!("{what}");
            assert_malformed(&status, says);
        }
    }
}

#[tokio::test]
async fn grpc_web_text_that_is_no_base64_is_malformed() {
    let server = Server::start(Default::default()).await;

    let headers = [("content-type", "application/grpc-web-text")];
    let answer = http1::post(server.address, SET_SETTING, &headers, b"????????").await;

    assert_eq!(answer.header("grpc-status"), Some("3"), "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_compression_that_is_not_known_is_named_and_not_taken_for_a_method() {
    let server = Server::start(Default::default()).await;
    let headers = [("grpc-encoding", "zstd")];
    let body = [0, 0, 0, 0, 0];

    for status in [native(&server, &headers, &body).await, web(&server, &headers, &body).await] {
        assert_eq!(status.code(), Code::Unimplemented, "as gRPC demands");
        assert_eq!(reason(&status), "MALFORMED_REQUEST");
        assert!(status.message().contains("zstd"), "{}", status.message());
        let known = status.metadata().get("grpc-accept-encoding").unwrap();
        assert!(known.to_str().unwrap().contains("gzip"), "{known:?}");
        assert!(status.get_details_bad_request().is_none());
    }
}
