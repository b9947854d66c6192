//! The one HTTP question that xtask asks: is a service ready?

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Whether the service at this `http://` URL answers its readiness probe well.
pub(crate) async fn ready(url: &str) -> bool {
    timeout(Duration::from_secs(2), probe(url)).await.is_ok_and(|answer| answer.unwrap_or(false))
}

async fn probe(url: &str) -> std::io::Result<bool> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(&status == b"HTTP/1.1 200")
}
