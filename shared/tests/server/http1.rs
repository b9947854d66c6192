//! A client that speaks HTTP/1.1 byte by byte, so that no library helps the server.

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case, in the order that they came in.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `reason` of a JSON error, in the form for people.
    pub(super) fn json_reason(&self) -> String {
        let json = self.json();
        let mut details = json["details"].as_array().unwrap().iter();
        let info = details.find(|detail| detail["type"] == "google.rpc.ErrorInfo").unwrap();
        info["debug"]["reason"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], b"").await
}

pub(super) async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    request(address, "POST", path, headers, body).await
}

pub(super) async fn post_json(address: SocketAddr, path: &str, body: &str) -> Answer {
    post(address, path, &[("content-type", "application/json")], body.as_bytes()).await
}

pub(super) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let tcp = TcpStream::connect(address).await.unwrap();
    request_over(tcp, method, path, headers, body).await
}

pub(super) async fn request_over(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    io.write_all(head.as_bytes()).await.unwrap();
    io.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("a whole head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let mut answer = Answer { status, headers: lines.map(header).collect(), body: Vec::new() };
    let rest = &bytes[end + 4..];
    answer.body = match answer.header("transfer-encoding") {
        Some("chunked") => without_chunks(rest),
        _ => rest.to_vec(),
    };
    answer
}

fn without_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// The message as one gRPC frame.
pub(super) fn frame(message: &impl Message) -> Vec<u8> {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &encoded].concat()
}

/// The messages of a gRPC-Web body, and the trailers in its last frame.
pub(super) fn web_frames(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while let [flags, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (content, after) = rest.split_at(length);
        if flags & 0x80 != 0 {
            assert!(after.is_empty(), "trailers are last");
            return (messages, String::from_utf8(content.to_vec()).unwrap());
        }
        messages.push(content.to_vec());
        body = after;
    }
    panic!("no trailers");
}

/// gRPC-Web text: base64, with padding wherever a frame happened to end.
pub(super) fn from_base64(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|quantum| STANDARD.decode(quantum).unwrap()).collect()
}
