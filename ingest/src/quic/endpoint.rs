//! What one connection may cost, set for hundreds of thousands of small clients: the library's defaults are made for a few large ones.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig};
use ring::{hkdf, hmac};
use wayfare_wire::frame::MESSAGE_BYTES_MAX;

use super::QuicConfig;
use super::ids::Ids;
use crate::IngestConfig;

/// Messages of one driver on their way at once. A stream is free again when it was read. The library keeps a table with a place for each from
/// the beginning, whose size is a power of two: together with the control stream these are as many as fit into the smaller one.
pub const STREAMS_MAX: u32 = 12;

/// Bytes of one driver that may wait to be read: some whole messages.
const UNREAD_BYTES_MAX: u32 = 256 * 1024;

/// Bytes that may be on their way to one driver.
const UNACKED_BYTES_MAX: u64 = 64 * 1024;

/// Handshakes begun and not yet taken up, and what they may hold together.
const INCOMING_BYTES_MAX: u64 = 8 * 1024;
const INCOMING_BYTES_TOGETHER_MAX: u64 = 16 * 1024 * 1024;

/// What the kernel holds for all connections together while a core is busy.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// The server's side of every connection.
pub fn server_config(tls: rustls::ServerConfig, ingest: &IngestConfig, quic: &QuicConfig) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    // Tokens that prove an address outlive a restart, so that not everybody has to prove it again just then.
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"wayfare address tokens").extract(&quic.secret);
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    config.transport_config(Arc::new(transport(ingest.heartbeat)));
    config.migration(true);
    config.max_incoming(quic.handshakes_max);
    config.incoming_buffer_size(INCOMING_BYTES_MAX);
    config.incoming_buffer_size_total(INCOMING_BYTES_TOGETHER_MAX);
    Ok(config)
}

fn transport(heartbeat: Duration) -> TransportConfig {
    // Silence of two and a half heartbeats is the end, as everywhere. A heartbeat is a message of ours, so that clients see it too.
    let silence = IdleTimeout::try_from(heartbeat.mul_f64(2.5)).ok();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1_u8.into())
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .stream_receive_window((MESSAGE_BYTES_MAX as u32).into())
        .receive_window(UNREAD_BYTES_MAX.into())
        .send_window(UNACKED_BYTES_MAX)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .max_idle_timeout(silence)
        // Acks are small: finding out what a path could carry would cost more packets than it saves.
        .mtu_discovery_config(None);
    transport
}

/// What tells connections of this house, of any start, from others.
pub fn config(secret: &[u8; 32]) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    // Connections of an earlier start are recognised by their ids, and answered that they are gone.
    let id_key = hmac::sign(&reset_key, b"connection ids");
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(move || Box::new(Ids::new(id_key.as_ref())));
    config
}

/// Room in the kernel for what comes while a core is busy.
///
/// # Errors
/// The socket cannot be made one that never blocks.
pub fn prepare(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let buffers = socket2::SockRef::from(socket);
    // The kernel gives what its own limit allows.
    let _ = buffers.set_recv_buffer_size(SOCKET_BYTES);
    let _ = buffers.set_send_buffer_size(SOCKET_BYTES);
    Ok(())
}
