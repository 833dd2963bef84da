//! Accepting connections, and letting go of them.
//!
//! A permit is taken before accepting, so that what cannot be served waits in the kernel's bounded backlog. The request head has a
//! deadline and a size; bodies have theirs in the handlers. A graceful end stops accepting, lets requests under way finish within a
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

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

/// Counts a connection as open until dropped.
pub type Permit = Arc<OwnedSemaphorePermit>;

/// A stream together with its permit, so that both travel through an upgrade.
pub struct Accepted {
    stream: TcpStream,
    permit: Permit,
}

impl Accepted {
    /// Takes both apart.
    pub fn into_parts(self) -> (TcpStream, Permit) {
        (self.stream, self.permit)
    }
}

/// Serves `app` on `listener` until `stop` says true, then drains. The peer's address is given to handlers as
/// `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, app: Router, limits: ServeLimits, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let (under_way, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
    let mut backoff = Duration::from_millis(1);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((accepted, peer)) => {
                backoff = Duration::from_millis(1);
                tokio::spawn(one(accepted, peer, app.clone(), limits, stop.clone(), under_way.clone()));
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

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<(Accepted, SocketAddr)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((Accepted { stream, permit: Arc::new(permit) }, peer))
}

async fn one(
    accepted: Accepted,
    peer: SocketAddr,
    app: Router,
    limits: ServeLimits,
    mut stop: watch::Receiver<bool>,
    _under_way: tokio::sync::mpsc::Sender<()>,
) {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
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
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
