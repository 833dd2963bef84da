//! Opening connections: a blocking handshake, after which the socket belongs to a poll loop.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use socket2::{Domain, Socket, Type};
use wayfare_wire::WATCH_JSON_V1;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};
use wayfare_wire::messages::watch::{FromWatcher, Subscription};

use super::frames;
use super::peer::Speaks;
use super::setup::Record;

/// A server that takes longer for a handshake is not worth measuring.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Topics of one message: far below the least message that a server takes.
const TOPICS_AT_ONCE: usize = 100;

/// Before a handshake that was put off is tried again. One behind the other is no crowd: the time that the server gives need not be kept.
const PUT_OFF: Duration = Duration::from_millis(100);

/// Where the connections go.
#[derive(Clone, Debug)]
pub(super) struct Server {
    address: SocketAddr,
    host: String,
    service_token: String,
    speaks: Speaks,
}

/// A connection that has been greeted.
pub(super) struct Opened {
    /// Not blocking any more.
    pub(super) stream: TcpStream,
    /// Bytes that came behind the greeting.
    pub(super) early: Vec<u8>,
}

impl Server {
    pub(super) fn new(base_url: &str, service_token: &str, speaks: Speaks) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(base_url).context(base_url.to_owned())?;
        if url.scheme() != "http" {
            bail!("the load generator speaks plain http only, not {}", url.scheme());
        }
        let addresses = url.socket_addrs(|| None)?;
        let address = addresses.first().context("the URL has no address")?;
        Ok(Self {
            address: *address,
            host: url.authority().to_owned(),
            service_token: service_token.to_owned(),
            speaks,
        })
    }

    pub(super) fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// The connection of a record's driver, ready for fixes.
    pub(super) fn drive(&self, record: &Record, codec: DriveCodec) -> anyhow::Result<Opened> {
        match self.speaks {
            Speaks::Wayfare => self.drive_wayfare(&record.token, fastrand::u64(1..), codec),
            Speaks::Relay => self.enter_relay("drive", &record.trip),
            Speaks::SocketIo => self.enter_socket_io("drive", &record.trip),
        }
    }

    /// The connection of a record's watcher, subscribed.
    pub(super) fn watch(&self, record: &Record) -> anyhow::Result<Opened> {
        match self.speaks {
            Speaks::Wayfare => self.watch_wayfare(&format!("trip:{}:ops", record.trip)),
            Speaks::Relay => self.enter_relay("watch", &record.trip),
            Speaks::SocketIo => self.enter_socket_io("watch", &record.trip),
        }
    }

    /// A relay knows from the URL who comes, and for which room.
    fn enter_relay(&self, role: &str, room: &str) -> anyhow::Result<Opened> {
        let (stream, early) = self.upgrade(&format!("/{role}/{room}"), None, "", None)?;
        release(stream, early)
    }

    /// Socket.IO 4 on Engine.IO 4, WebSocket alone: its packet types are written `0` open, `40` connect, `42` event.
    fn enter_socket_io(&self, role: &str, room: &str) -> anyhow::Result<Opened> {
        let path = format!("/socket.io/?EIO=4&transport=websocket&role={role}&room={room}");
        let (mut stream, mut early) = self.upgrade(&path, None, "", None)?;
        say(&mut stream, b"40")?;
        await_message(&mut stream, &mut early, br#"40{"sid""#)?;
        release(stream, early)
    }

    /// A driver's connection, welcomed.
    pub(super) fn drive_wayfare(&self, token: &str, session: u64, codec: DriveCodec) -> anyhow::Result<Opened> {
        let (mut stream, mut early) = self.upgrade("/v1/drive", Some(codec.subprotocol()), token, None)?;
        let hello = FromDriver::Hello { token: None, session: format!("{session:x}") };
        let (mut message, mut frame) = (Vec::new(), Vec::new());
        codec.write_from_driver(&mut message, &hello);
        frames::masked(&mut frame, frames::opcode_of(codec), &message);
        stream.write_all(&frame)?;
        await_welcome(&mut stream, &mut early, codec)?;
        release(stream, early)
    }

    /// A watcher's connection, subscribed to one topic.
    pub(super) fn watch_wayfare(&self, topic: &str) -> anyhow::Result<Opened> {
        self.watch_topics(std::slice::from_ref(&topic.to_owned()), None)
    }

    /// The same to several, perhaps with a receive buffer of this many bytes.
    pub(super) fn watch_topics(&self, topics: &[String], buffer: Option<usize>) -> anyhow::Result<Opened> {
        let (mut stream, mut early) = self.upgrade("/v1/watch", Some(WATCH_JSON_V1), &self.service_token, buffer)?;
        let topic = |topic: &String| Subscription { topic: topic.clone(), cursor: None, interval_ms: None };
        for topics in topics.chunks(TOPICS_AT_ONCE) {
            let topics = topics.iter().map(topic).collect();
            say(&mut stream, &serde_json::to_vec(&FromWatcher::Subscribe { topics })?)?;
            await_message(&mut stream, &mut early, br#""type":"subscribed""#)?;
        }
        release(stream, early)
    }

    /// The handshake, again and again while the server says that others come first.
    fn upgrade(
        &self,
        path: &str,
        protocol: Option<&str>,
        token: &str,
        buffer: Option<usize>,
    ) -> anyhow::Result<(TcpStream, Vec<u8>)> {
        let began = Instant::now();
        loop {
            match self.try_upgrade(path, protocol, token, buffer)? {
                Ok(opened) => return Ok(opened),
                Err(head) if head.starts_with("HTTP/1.1 503") && began.elapsed() < ANSWER_WITHIN => {
                    std::thread::sleep(PUT_OFF);
                }
                Err(head) => bail!("{path}: {head}"),
            }
        }
    }

    /// The socket and what came behind the handshake, or what the server said instead.
    fn try_upgrade(
        &self,
        path: &str,
        protocol: Option<&str>,
        token: &str,
        buffer: Option<usize>,
    ) -> anyhow::Result<Result<(TcpStream, Vec<u8>), String>> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        if let Some(bytes) = buffer {
            // Before the connection is made, so that the window is as small as that.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(&self.address.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        // Any 16 bytes do as a key: it is there to tell a WebSocket server from another, which the 101 below does.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {protocol}Authorization: Bearer {token}\r\n\r\n",
            self.host
        );
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                if !bytes.starts_with(b"HTTP/1.1 101") {
                    return Ok(Err(String::from_utf8_lossy(&bytes).into_owned()));
                }
                let early = bytes.split_off(end + 4);
                return Ok(Ok((stream, early)));
            }
            more(&mut stream, &mut bytes)?;
        }
    }
}

/// Back to not blocking, for the poll loop.
fn release(stream: TcpStream, early: Vec<u8>) -> anyhow::Result<Opened> {
    stream.set_nonblocking(true)?;
    Ok(Opened { stream, early })
}

fn say(stream: &mut TcpStream, text: &[u8]) -> anyhow::Result<()> {
    let mut out = Vec::with_capacity(text.len() + 8);
    frames::masked(&mut out, frames::TEXT, text);
    Ok(stream.write_all(&out)?)
}

/// Reads messages until the welcome; what follows it stays in `bytes`.
fn await_welcome(stream: &mut TcpStream, bytes: &mut Vec<u8>, codec: DriveCodec) -> anyhow::Result<()> {
    loop {
        while let Some(frame) = frames::first(bytes) {
            let message = match frame.opcode {
                frames::PING | frames::PONG => None,
                frames::CLOSE => bail!("refused: {}", String::from_utf8_lossy(frame.payload)),
                _ => Some(codec.read_to_driver(frame.payload)?),
            };
            let size = frame.size;
            bytes.drain(..size);
            match message {
                Some(ToDriver::Welcome { .. }) => return Ok(()),
                Some(refused @ (ToDriver::Error(_) | ToDriver::Bye(_))) => bail!("refused: {refused:?}"),
                _ => {}
            }
        }
        more(stream, bytes)?;
    }
}

/// Reads messages until one has this member; what follows it stays in `bytes`.
fn await_message(stream: &mut TcpStream, bytes: &mut Vec<u8>, member: &[u8]) -> anyhow::Result<()> {
    loop {
        while let Some(frame) = frames::first(bytes) {
            let found = memchr::memmem::find(frame.payload, member).is_some();
            let refused =
                frame.opcode == frames::CLOSE || memchr::memmem::find(frame.payload, br#""type":"error""#).is_some();
            if refused {
                bail!("refused: {}", String::from_utf8_lossy(frame.payload));
            }
            let size = frame.size;
            bytes.drain(..size);
            if found {
                return Ok(());
            }
        }
        more(stream, bytes)?;
    }
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer)?;
    if count == 0 {
        bail!("the server closed: {}", String::from_utf8_lossy(bytes));
    }
    bytes.extend_from_slice(&buffer[..count]);
    Ok(())
}
