//! Accepting connections, and letting go of them.
//!
//! A permit is taken before accepting, so that what cannot be served waits in the kernel's bounded backlog. The request head has a
//! deadline and a size; bodies have theirs in the handlers. Addresses have their share ([`Gate`]). A graceful end stops accepting, lets requests under way finish within a
//! bound, and leaves upgraded sockets to whoever owns them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::gate::{Gate, Place};

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Most open connections, upgraded ones included.
    pub connections_max: usize,
    /// A request head must be complete after this long; also how long a connection may idle between requests.
    pub head_timeout: Duration,
    /// Most bytes of a request head.
    pub head_bytes_max: usize,
    /// Requests under way when the end comes may take this long.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    /// As told in `PROTOCOL.md`, "Limits".
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            head_timeout: Duration::from_secs(10),
            head_bytes_max: 16 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// At the end, a connection that has asked nothing yet may ask within this time.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Counts a connection as open until dropped.
pub type Permit = Arc<Seat>;

/// One of the open connections of a listener, and of an address.
pub type Seat = (OwnedSemaphorePermit, Place);

/// What carries a connection.
pub enum Stream {
    /// Bytes as they are.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream together with its permit, so that both travel through an upgrade.
pub struct Accepted {
    stream: Stream,
    permit: Permit,
}

impl Accepted {
    /// Takes both apart.
    pub fn into_parts(self) -> (Stream, Permit) {
        (self.stream, self.permit)
    }
}

/// Serves `app` on `listener` until `stop` says true, then drains. The peer's address is given to handlers as
/// `ConnectInfo<SocketAddr>`. With `tls`, nothing else is spoken on this listener.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: ServeLimits,
    gate: Arc<Gate>,
    tls: Option<Arc<rustls::ServerConfig>>,
    mut stop: watch::Receiver<bool>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let (under_way, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
    let mut backoff = Duration::from_millis(1);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits, &gate) => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            // The address or its network has its share of connections: closed, which is all it is told.
            Ok((_, None, _)) => {}
            Ok((stream, Some(permit), peer)) => {
                backoff = Duration::from_millis(1);
                let (app, stop, under_way) = (app.clone(), stop.clone(), under_way.clone());
                match &tls {
                    None => {
                        let accepted = Accepted { stream: Stream::Plain(stream), permit };
                        tokio::spawn(one(accepted, peer, app, limits, stop, under_way));
                    }
                    Some(tls) => {
                        let tls = tls.clone();
                        tokio::spawn(async move {
                            let Some(stream) = shake_hands(tls, stream, peer, limits.head_timeout).await else {
                                return;
                            };
                            let accepted = Accepted { stream: Stream::Tls(Box::new(stream)), permit };
                            one(accepted, peer, app, limits, stop, under_way).await;
                        });
                    }
                }
            }
            Err(error) => {
                // Most likely out of file descriptors: accepting again at once would only burn the core.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(Duration::from_secs(1));
            }
        }
    }
    drop(listener);
    drop(under_way);
    if tokio::time::timeout(limits.drain_timeout, all_done.recv()).await.is_err() {
        tracing::info!("requests still under way after the drain deadline were cut");
    }
}

/// Waits until it is time to stop; a switch that nobody can turn any more counts as turned.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    gate: &Arc<Gate>,
) -> io::Result<(TcpStream, Option<Permit>, SocketAddr)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let place = gate.open(peer.ip());
    Ok((stream, place.map(|place| Arc::new((permit, place))), peer))
}

/// The TLS handshake, within a bound. Whoever speaks something else is told so by an alert, and cut.
async fn shake_hands(
    tls: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    within: Duration,
) -> Option<TlsStream<TcpStream>> {
    let failed = match tokio::time::timeout(within, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no handshake within {within:?}"),
    };
    tracing::debug!(failed, %peer, "a TLS handshake failed");
    metrics::counter!("wayfare_tls_handshakes_failed_total").increment(1);
    None
}

async fn one(
    accepted: Accepted,
    peer: SocketAddr,
    app: Router,
    limits: ServeLimits,
    mut stop: watch::Receiver<bool>,
    _under_way: tokio::sync::mpsc::Sender<()>,
) {
    let asked = Arc::new(Notify::new());
    let first = Arc::clone(&asked);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        first.notify_one();
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request.map(axum::body::Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max.max(8192))
        .serve_connection(TokioIo::new(accepted), service)
        .with_upgrades();
    tokio::pin!(connection);
    let came = async {
        stopped(&mut stop).await;
        // Who has only just come has a request on the way, which would be cut unread.
        let _ = tokio::time::timeout(FIRST_REQUEST, asked.notified()).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = came => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients leave, send nonsense, or are too slow: their business, not ours.
        tracing::debug!(%error, %peer, "a connection ended early");
        metrics::counter!("wayfare_http_connections_failed_total").increment(1);
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // Both do.
        true
    }
}
