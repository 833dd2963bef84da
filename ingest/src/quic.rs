//! Drivers on QUIC: one socket for the node, a control stream per connection, and a stream of its own for every message of fixes, so
//! that a lost packet holds back only the message it belonged to.
//!
//! The socket is received from on the first core, which looks only for whom a packet is ([`switch`]). A client is handshaken on the
//! next core in turn ([`greet`]); once its driver is known, the connection moves to the shard of that driver and lives there, without a
//! lock and without a task of its own: the protocol's state machine is driven by the shard ([`talk`], `shard/quic_task.rs`). Whether one
//! is let in at all is decided before anything is spent on it ([`admit`]); what one may cost is in [`endpoint`].
//!
//! There is no 0-RTT: a replayed `hello` would push the driver's live connection out, and the one round trip it saves is only due when a
//! connection is made anew, which a change of address does not do.

mod admit;
mod endpoint;
mod greet;
mod ids;
mod switch;
mod talk;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::Incoming;
use tokio::sync::{mpsc, oneshot};
use wayfare_net::cores::Cores;

use crate::Ingest;
use crate::shard::Command;

pub(crate) use greet::{Greeting, Hello, Stranger};
pub(crate) use switch::{Parcel, Switch};
pub(crate) use talk::{Control, Fault, STALL, Talk};

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
    pub incoming: Incoming,
    pub admitted: admit::Admitted,
}

/// A connection whose driver is known, on its way to the driver's shard.
pub(crate) struct Greeted {
    pub talk: Talk,
    pub hello: Hello,
}

/// A shard's end of the switch.
pub(crate) struct Mail {
    pub ingest: Arc<Ingest>,
    pub switch: Arc<Switch>,
    pub parcels: mpsc::Receiver<Parcel>,
    pub handshake_timeout: Duration,
}

/// Opens the socket on the first core, gives every shard its end of the switch, and lets drivers in from then on.
pub(crate) async fn open(
    ingest: &Arc<Ingest>,
    socket: UdpSocket,
    tls: rustls::ServerConfig,
    config: QuicConfig,
    cores: &Cores,
) -> std::io::Result<Arc<Switch>> {
    let server = endpoint::server_config(tls, &ingest.house.config, &config)?;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        ingest.shards.iter().map(|_| mpsc::channel(switch::PARCELS_MAX)).unzip();
    let (told, heard) = oneshot::channel();
    let handshake_timeout = config.handshake_timeout;
    let door = admit::Door::new(Arc::clone(&ingest.house.gate), config.clone());
    cores.spawn(0, move || async move {
        // A socket belongs to the reactor of the thread it is first waited for on.
        let made = endpoint::prepare(&socket)
            .and_then(|()| Switch::open(socket, endpoint::config(&config.secret), server, senders))
            .map(Arc::new);
        let switch = made.as_ref().ok().cloned();
        let _ = told.send(made);
        if let Some(switch) = switch {
            switch.receive(door).await;
        }
    });
    let switch = heard.await.map_err(std::io::Error::other)??;
    for (shard, parcels) in ingest.shards.iter().zip(receivers) {
        let (ingest, switch) = (Arc::clone(ingest), Arc::clone(&switch));
        let mail = Box::new(Mail { ingest, switch, parcels, handshake_timeout });
        let _ = shard.send(Command::Mail(mail)).await;
    }
    Ok(switch)
}
