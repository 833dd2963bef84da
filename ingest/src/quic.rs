//! Drivers on QUIC: one endpoint for the node, a control stream per connection, and a stream of its own for every message of fixes, so
//! that a lost packet holds back only the message it belonged to.
//!
//! The endpoint lives on the first core. A connection is handshaken on the next core in turn ([`greet`]), where its packets are then
//! decrypted for as long as it lives; its messages are read by the shard of its driver, like those of a WebSocket. Whether one is let in
//! at all is decided before anything is spent on it ([`admit`]); what one may cost is in [`endpoint`].
//!
//! There is no 0-RTT: a replayed `hello` would push the driver's live connection out, and the one round trip it saves is only due when a
//! connection is made anew, which a change of address does not do.

mod admit;
mod endpoint;
mod greet;
mod ids;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::sync::oneshot;
use wayfare_net::cores::Cores;
use wayfare_net::serve::Seat;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::frame::Frames;

use crate::Ingest;

pub(crate) use greet::greet;

/// Bounds of the QUIC listener.
#[derive(Debug, Clone)]
pub struct QuicConfig {
    /// Most open connections; further ones are refused.
    pub connections_max: usize,
    /// Most unfinished handshakes; further ones are refused.
    pub handshakes_max: usize,
    /// With more unfinished handshakes than this, a client must first show that it receives what is sent to its address. Zero is the
    /// only number that keeps what an address is sent unasked below three times what it sent: the library counts its own
    /// retransmissions too late, and sends up to four and a half times as much to one that never answers.
    pub retry_above: usize,
    /// A handshake must be complete after this long.
    pub handshake_timeout: Duration,
    /// Kept over restarts, so that clients of the house that was find out at once that it is gone.
    pub secret: [u8; 32],
}

/// A client that was let in and has not been heard yet.
pub(crate) struct Arrival {
    incoming: quinn::Incoming,
    ingest: Arc<Ingest>,
    handshake: Handshake,
    timeout: Duration,
    permit: Seat,
}

/// A connection whose driver is known, on its way to the driver's shard.
pub(crate) struct Greeted {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    /// The control stream as far as it was read.
    pub frames: Frames,
    /// How messages are written.
    pub codec: DriveCodec,
    /// Messages that came right behind `hello`.
    pub behind: Vec<Vec<u8>>,
    /// As `hello` said it.
    pub session: String,
    /// Counts the connection as open until dropped.
    pub permit: Seat,
}

/// Counts as an unfinished handshake until dropped.
struct Handshake(Arc<AtomicUsize>);

impl Handshake {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens the endpoint on the first core and lets drivers in from then on.
pub(crate) async fn open(
    ingest: &Arc<Ingest>,
    socket: UdpSocket,
    tls: rustls::ServerConfig,
    config: QuicConfig,
    cores: &Cores,
) -> std::io::Result<Endpoint> {
    let server = endpoint::server_config(tls, &ingest.house.config, &config)?;
    let (told, heard) = oneshot::channel();
    let ingest = Arc::clone(ingest);
    cores.spawn(0, move || async move {
        // An endpoint belongs to the thread it is made on.
        let made = endpoint::open(socket, server, &config.secret);
        let accepting = made.as_ref().ok().cloned();
        let _ = told.send(made);
        if let Some(endpoint) = accepting {
            admit::run(ingest, endpoint, config).await;
        }
    });
    heard.await.map_err(std::io::Error::other)?
}
