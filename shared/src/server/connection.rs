//! Accepting connections: no more than the server can hold, and none that says nothing.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::places::{Place, Places};
use crate::access::TrustedProxies;

/// What connections may take before they have said anything.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// How many may be open at once. Above it they wait in the backlog of the
    /// listening socket.
    pub(super) connections: usize,
    /// How many of one peer; more are closed at once.
    pub(super) connections_per_peer: usize,
    /// How long a TLS handshake may take, and how long the first bytes of HTTP.
    /// Hyper waits without end for the bytes that tell HTTP/1.1 from HTTP/2, so a
    /// peer could hold a connection for nothing.
    pub(super) opening: Duration,
}

impl Limits {
    /// Those of a service: a connection takes tens of kilobytes, so that all of
    /// them take less than a gigabyte.
    pub(super) const DEFAULT: Self =
        Self { connections: 10_000, connections_per_peer: 1_000, opening: Duration::from_secs(10) };
}

/// How long to wait when there is no file descriptor for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The address that the request came from: of the client or of the last proxy. None
/// when it came without a socket, as in tests of the stack.
pub fn peer_address(extensions: &http::Extensions) -> Option<IpAddr> {
    let address = extensions.get::<TcpConnectInfo>()?.remote_addr()?;
    // A socket for both kinds tells IPv4 addresses in the form of IPv6.
    Some(address.ip().to_canonical())
}

/// The connections to a listener, as they are ready to be served.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    proxies: TrustedProxies,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let places = Places::new(limits.connections_per_peer, proxies);
    stream::unfold((listener, permits, places), async |(listener, permits, places)| {
        let accepted = accept(&listener, &permits, &places).await?;
        Some((accepted, (listener, permits, places)))
    })
    // Handshakes run beside each other, so that a slow one delays nobody.
    .map(move |(tcp, held)| open(tcp, held, tls.clone(), limits.opening))
    .buffer_unordered(limits.connections)
    .filter_map(async |opened| match opened {
        Ok(connection) => Some(Ok(connection)),
        Err(error) => {
            tracing::debug!(%error, "connection not opened");
            None
        }
    })
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    places: &Places,
) -> Option<(TcpStream, Held)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => match places.take(peer.ip()) {
                Some(place) => return Some((tcp, (permit, place))),
                None => tracing::debug!(%peer, "too many connections of one peer"),
            },
            // Never the end of the listener: the peer has gone again, or the
            // process is out of file descriptors, which trying at once would
            // turn into a busy loop.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn open(
    tcp: TcpStream,
    held: Held,
    tls: Option<TlsAcceptor>,
    allowed: Duration,
) -> io::Result<Connection> {
    // Small frames in both directions: waiting to fill a packet only delays them.
    tcp.set_nodelay(true)?;
    let peer = tcp.connect_info();
    let io: Box<dyn Duplex> = match tls {
        None => Box::new(tcp),
        Some(tls) => Box::new(timeout(allowed, tls.accept(tcp)).await??),
    };
    let opening = Opening { seen: 0, clock: Box::pin(sleep(allowed)) };
    Ok(Connection { io, opening: Some(opening), peer, _held: held })
}

/// What a connection holds of all that may be open, and of its peer's.
type Held = (OwnedSemaphorePermit, Place);

/// One connection, which counts against the limit until it is dropped.
pub(super) struct Connection {
    io: Box<dyn Duplex>,
    opening: Option<Opening>,
    peer: TcpConnectInfo,
    _held: Held,
}

/// TCP, with TLS around it or without.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The time until it is clear which protocol the peer speaks.
struct Opening {
    /// How many bytes of the preface have come.
    seen: usize,
    clock: Pin<Box<Sleep>>,
}

impl Opening {
    /// Takes what was read. True when these bytes and those before are not the
    /// beginning of a preface, or are all of it: from here on hyper has timers.
    fn is_over(&mut self, read: &[u8]) -> bool {
        let rest = &PREFACE[self.seen..];
        self.seen += read.len().min(rest.len());
        read.is_empty() || !rest.starts_with(read) || self.seen == PREFACE.len()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, opening, .. } = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(io).poll_read(cx, buffer);
        if let Some(clock) = opening {
            if polled.is_pending() && clock.clock.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if polled.is_ready() && clock.is_over(&buffer.filled()[before..]) {
                *opening = None;
            }
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SHORT: Limits =
        Limits { connections: 1, connections_per_peer: 1, opening: Duration::from_millis(100) };

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_or_half_a_preface_loses_its_connection() {
        for said in [&b""[..], b"PRI * HT"] {
            let (listener, address) = listener().await;
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(said).await.unwrap();

            let mut incoming = Box::pin(incoming(listener, None, SHORT, TrustedProxies::default()));
            let mut connection = incoming.next().await.unwrap().unwrap();
            let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();

            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_began_to_speak_keeps_it() {
        for said in [&b"G"[..], b"PRI * HTTP/1", PREFACE] {
            let (listener, address) = listener().await;
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(said).await.unwrap();

            let mut incoming = Box::pin(incoming(listener, None, SHORT, TrustedProxies::default()));
            let mut connection = incoming.next().await.unwrap().unwrap();
            connection.read_exact(&mut vec![0; said.len()]).await.unwrap();
            let silence = timeout(3 * SHORT.opening, connection.read_u8()).await;

            assert!(silence.is_err(), "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_another_to_end() {
        let (listener, address) = listener().await;
        let _peers = (TcpStream::connect(address).await, TcpStream::connect(address).await);
        let mut incoming = Box::pin(incoming(listener, None, SHORT, TrustedProxies::default()));

        let first = incoming.next().await;
        assert!(timeout(SHORT.opening, incoming.next()).await.is_err());
        drop(first);

        assert!(incoming.next().await.is_some());
    }

    #[tokio::test]
    async fn a_connection_over_those_of_its_peer_is_closed_until_another_ends() {
        let (listener, address) = listener().await;
        let limits = Limits { connections: 10, ..SHORT };
        let mut incoming = Box::pin(incoming(listener, None, limits, TrustedProxies::default()));

        let _held = TcpStream::connect(address).await.unwrap();
        let first = incoming.next().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(timeout(SHORT.opening, incoming.next()).await.is_err());
        assert!(!matches!(second.read(&mut [0]).await, Ok(1..)), "it is closed");
        drop(first);
        let _third = TcpStream::connect(address).await.unwrap();

        assert!(incoming.next().await.is_some());
    }
}
