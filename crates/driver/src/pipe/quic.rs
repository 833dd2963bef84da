//! A QUIC connection: a control stream, and a stream of its own for each message of fixes, so that a lost packet holds back no other.
//!
//! The UDP socket outlives connections, and a connection outlives a change of network: the system sends from wherever it can, and the
//! server follows.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use tokio::time::timeout;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::frame::{self, Frames};
use wayfare_wire::messages::drive::FromDriver;
use wayfare_wire::{CloseCode, DRIVE_QUIC_V1};

use super::{Heard, written};
use crate::core::Ended;
use crate::trust::{BadTrust, Trust};

/// Some networks swallow UDP: then the next way should not wait long.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Nothing at all is heard for this long: the connection is dead. The server may say less.
const SILENCE: Duration = Duration::from_secs(50);
/// No leave to send for this long. Longer than a silence, of which QUIC takes care itself.
const WRITE_WITHIN: Duration = Duration::from_secs(60);
/// How long the last bytes may take.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// Most bytes taken from the control stream in one piece.
const PIECE: usize = 16 * 1024;

/// Opens connections to one server.
pub(crate) struct Dialer {
    /// `host:port`.
    address: String,
    host: String,
    codec: DriveCodec,
    config: ClientConfig,
    endpoint: Mutex<Option<Endpoint>>,
}

impl Dialer {
    pub(crate) fn new(address: &str, trust: &Trust, codec: DriveCodec) -> Result<Self, BadTrust> {
        let wrong = || BadTrust(format!("{address:?} is not a host and a port"));
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        port.parse::<u16>().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = trust.client_config(&[DRIVE_QUIC_V1])?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| BadTrust(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        Ok(Self { address: address.to_owned(), host, codec, config, endpoint: Mutex::default() })
    }

    /// Shakes hands and opens the control stream.
    pub(crate) async fn open(&self) -> Result<Line, Ended> {
        let opening = async {
            let mut found = tokio::net::lookup_host(&self.address).await.map_err(failed)?;
            let address = found.next().ok_or_else(|| failed("the host has no address"))?;
            let endpoint = self.endpoint(address).map_err(failed)?;
            let connecting = endpoint.connect_with(self.config.clone(), address, &self.host).map_err(failed)?;
            let connection = connecting.await.map_err(|error| over(&error))?;
            let (send, recv) = connection.open_bi().await.map_err(|error| over(&error))?;
            let (codec, frames, heard) = (self.codec, Frames::default(), VecDeque::new());
            let mut line = Line { endpoint, connection, send, recv, codec, frames, heard };
            line.frame(codec.subprotocol().as_bytes()).await?;
            Ok(line)
        };
        timeout(CONNECT_WITHIN, Box::pin(opening)).await.unwrap_or_else(|_| Err(failed("no answer on UDP in time")))
    }

    /// The socket, made when it is first needed.
    fn endpoint(&self, to: SocketAddr) -> io::Result<Endpoint> {
        let mut slot = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = slot.as_ref().filter(|endpoint| fits(endpoint, to)) {
            return Ok(endpoint.clone());
        }
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let endpoint = Endpoint::client(SocketAddr::new(any, 0))?;
        *slot = Some(endpoint.clone());
        Ok(endpoint)
    }
}

fn fits(endpoint: &Endpoint, to: SocketAddr) -> bool {
    endpoint.local_addr().is_ok_and(|own| own.is_ipv4() == to.is_ipv4())
}

/// The server opens no streams, and what it says is small.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(0_u8.into())
        .max_concurrent_uni_streams(0_u8.into())
        .stream_receive_window((64 * 1024_u32).into())
        .receive_window((128 * 1024_u32).into())
        .send_window(512 * 1024)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(SILENCE.try_into().ok())
        .mtu_discovery_config(None);
    transport
}

/// An open connection.
pub(crate) struct Line {
    /// Kept, so that the last packets are sent.
    endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    codec: DriveCodec,
    frames: Frames,
    heard: VecDeque<Heard>,
}

impl Line {
    pub(crate) async fn control(&mut self, message: &FromDriver) -> Result<(), Ended> {
        self.frame(&written(self.codec, message)).await
    }

    async fn frame(&mut self, message: &[u8]) -> Result<(), Ended> {
        let mut bytes = Vec::with_capacity(message.len() + 4);
        frame::write(&mut bytes, message);
        match timeout(WRITE_WITHIN, self.send.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.ended().await),
            Err(_) => Err(failed("the line took nothing for too long")),
        }
    }

    pub(crate) async fn fixes(&mut self, message: &FromDriver) -> Result<(), Ended> {
        let (connection, message) = (&self.connection, written(self.codec, message));
        let writing = async {
            let mut stream = connection.open_uni().await.ok()?;
            stream.write_all(&message).await.ok()?;
            stream.finish().ok()
        };
        match timeout(WRITE_WITHIN, writing).await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(self.ended().await),
            Err(_) => Err(failed("the line took nothing for too long")),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Heard, Ended> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let Ok(Some(piece)) = self.recv.read_chunk(PIECE, true).await else { return Err(self.ended().await) };
            let (codec, heard) = (self.codec, &mut self.heard);
            let mut keep = |message: &[u8]| heard.push_back(Heard::read(codec, message));
            self.frames.feed(&piece.bytes, &mut keep).map_err(failed)?;
        }
    }

    /// Says that we leave, and sees the packet off.
    pub(crate) async fn goodbye(&mut self) {
        self.connection.close(VarInt::from_u32(CloseCode::Normal.number().into()), b"");
        let _ = timeout(CLOSE_WITHIN, self.endpoint.wait_idle()).await;
    }

    /// Why the connection is over; a server that has finished its stream is about to say so.
    async fn ended(&self) -> Ended {
        match timeout(SILENCE, self.connection.closed()).await {
            Ok(error) => over(&error),
            Err(_) => failed("the server said nothing more"),
        }
    }
}

fn failed(reason: impl ToString) -> Ended {
    Ended { reason: reason.to_string(), ..Ended::default() }
}

fn over(error: &ConnectionError) -> Ended {
    let code = match error {
        ConnectionError::ApplicationClosed(close) => u16::try_from(close.error_code.into_inner()).ok(),
        _ => None,
    };
    // Zero is no code of the protocol: something in between has hung up.
    Ended { code: code.filter(|code| *code != 0), ..failed(error) }
}
