//! Asking a running service whether it is ready, for a container's health check.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::server::ServerConfig;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// No answer of `/readyz` is longer, in bytes.
const ANSWER_MAX: u64 = 4096;

/// Asks `/readyz` of the service that is configured like this: at its
/// administrative port if it has one, which never speaks TLS, else where it listens.
///
/// # Errors
/// When the service is not there or not ready.
pub async fn probe(listen: SocketAddr, server: &ServerConfig) -> anyhow::Result<()> {
    let address = match server.admin_listen {
        Some(address) => address,
        None if server.tls_cert.is_some() => bail!("with TLS, probing needs ADMIN_LISTEN"),
        None => listen,
    };
    let answer = timeout(TIMEOUT, ask(loopback(address))).await.context("no answer in time")??;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => bail!("not ready: {}", answer.lines().next().unwrap_or_default()),
    }
}

async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let connected = TcpStream::connect(address).await;
    let mut stream = connected.with_context(|| format!("nothing listens at {address}"))?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where this machine reaches a service that listens at every address.
fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let ip = if address.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        };
        address.set_ip(ip);
    }
    address
}
