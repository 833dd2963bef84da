//! Connections whose token comes with their first message.
//!
//! The message tells the driver, and the driver tells the shard. So it is looked at without taking it from the socket, and the shard reads
//! it again as if nothing had happened. What was encrypted cannot be looked at without taking it: it travels beside the socket.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::TcpStream;
use wayfare_engine::DriverId;
use wayfare_net::gate::whole_ms;
use wayfare_net::tokens::TokenError;
use wayfare_net::ws::handshake::{Raw, Socket};
use wayfare_net::ws::read::{Flow, Incoming, ReadLimits, Reader};
use wayfare_net::ws::secure::Secure;
use wayfare_net::ws::write;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::Bye;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};
use wayfare_wire::{Claims, CloseCode, TokenKind};

use crate::shard::{Command, opcode_of};
use crate::{Ingest, metrics, routes};

/// A first message with a token fits into this with ease.
const HELLO_BYTES_MAX: usize = 8 * 1024;

/// Between two looks at a message that is not complete yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A socket that is waited on outside of any shard.
enum Waiting {
    Plain(TcpStream),
    Tls(Box<Secure>),
}

impl Waiting {
    fn new(raw: Raw) -> io::Result<Self> {
        Ok(match raw {
            Raw::Plain(stream) => Self::Plain(TcpStream::from_std(stream)?),
            Raw::Tls(stream, tls) => Self::Tls(Box::new(Secure::new(stream, *tls)?)),
        })
    }

    fn release(self) -> io::Result<Raw> {
        match self {
            Self::Plain(stream) => stream.into_std().map(Raw::Plain),
            Self::Tls(secure) => secure.release(),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(secure) => secure.try_write(&[io::IoSlice::new(bytes)]),
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Tls(secure) => secure.ready(Interest::READABLE).await.map(drop),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(buffer),
            Self::Tls(secure) => secure.try_read(buffer),
        }
    }
}

/// Waits for the first message and hands the socket to the shard of its driver, or says goodbye.
pub async fn await_token(ingest: Arc<Ingest>, socket: Socket, codec: DriveCodec) {
    let Socket { raw, early, permit } = socket;
    let Ok(waiting) = Waiting::new(raw) else { return };
    let mut early = early.to_vec();
    let looking = async {
        match &waiting {
            Waiting::Plain(stream) => look(&ingest, stream, &early, codec).await,
            Waiting::Tls(secure) => take(&ingest, secure, &mut early, codec).await,
        }
    };
    let looked = tokio::time::timeout(ingest.house.config.auth_timeout, looking).await;
    match looked.unwrap_or(Err(CloseCode::Silent)) {
        Ok((claims, driver)) => {
            if let Err(wait) = ingest.house.gate.arrive(&claims, Instant::now()) {
                return goodbye(&waiting, codec, CloseCode::Overloaded, Some(whole_ms(wait))).await;
            }
            let Ok(raw) = waiting.release() else { return };
            let socket = Socket { raw, early: Bytes::from(early), permit };
            if ingest.shard(driver).try_send(Command::WebSocket { socket, codec, claims, driver }).is_err() {
                tracing::debug!("a shard is full or gone: a new connection was dropped");
            }
        }
        Err(code) => goodbye(&waiting, codec, code, None).await,
    }
}

async fn look(
    ingest: &Ingest,
    stream: &TcpStream,
    early: &[u8],
    codec: DriveCodec,
) -> Result<(Claims, DriverId), CloseCode> {
    let mut buffer = vec![0; HELLO_BYTES_MAX];
    // What came right behind the handshake may be the whole message: then nothing more comes to be peeked at.
    let mut wait = early.is_empty();
    loop {
        let count = if wait { stream.peek(&mut buffer).await.map_err(|_| CloseCode::Normal)? } else { 0 };
        if wait && count == 0 {
            return Err(CloseCode::Normal);
        }
        if let Some(token) = first_token(&mut [early, &buffer[..count]].concat(), codec)? {
            return verify(ingest, &token);
        }
        if count == buffer.len() {
            return Err(CloseCode::TooBig);
        }
        if wait {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        wait = true;
    }
}

/// The same with TLS: what is read stays in `early`.
async fn take(
    ingest: &Ingest,
    secure: &Secure,
    early: &mut Vec<u8>,
    codec: DriveCodec,
) -> Result<(Claims, DriverId), CloseCode> {
    let mut buffer = vec![0; HELLO_BYTES_MAX];
    loop {
        if let Some(token) = first_token(&mut early.clone(), codec)? {
            return verify(ingest, &token);
        }
        if early.len() >= HELLO_BYTES_MAX {
            return Err(CloseCode::TooBig);
        }
        match poll_fn(|cx| secure.poll_read(cx, &mut buffer)).await {
            Ok(count @ 1..) => early.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) => return Err(CloseCode::Normal),
        }
    }
}

/// The token in the first message, once that is whole.
fn first_token(bytes: &mut [u8], codec: DriveCodec) -> Result<Option<String>, CloseCode> {
    let mut first = None;
    let fed = Reader::default().feed(bytes, ReadLimits::default(), &mut |incoming| match incoming {
        Incoming::Ping(_) | Incoming::Pong(_) => Flow::On,
        Incoming::Text(text) if !codec.is_binary() => {
            first = Some(token_of(text.as_bytes(), codec));
            Flow::Stop
        }
        Incoming::Binary(bytes) if codec.is_binary() => {
            first = Some(token_of(bytes, codec));
            Flow::Stop
        }
        Incoming::Text(_) | Incoming::Binary(_) => {
            first = Some(Err(CloseCode::Unsupported));
            Flow::Stop
        }
        Incoming::Close(_) => {
            first = Some(Err(CloseCode::Normal));
            Flow::Stop
        }
    });
    fed.map_err(wayfare_net::ws::link::code_of)?;
    first.transpose()
}

fn token_of(message: &[u8], codec: DriveCodec) -> Result<String, CloseCode> {
    match codec.read(message) {
        Ok((FromDriver::Hello { token: Some(token), .. }, _)) => Ok(token),
        _ => Err(CloseCode::Unauthorized),
    }
}

/// The driver that a token names, or how to close.
pub fn verify(ingest: &Ingest, token: &str) -> Result<(Claims, DriverId), CloseCode> {
    let claims = ingest.house.verifier.verify(token, TokenKind::Access, wayfare_bus::now_ms() / 1000);
    let claims = claims.map_err(|error| match error {
        TokenError::Expired => CloseCode::TokenExpired,
        TokenError::Revoked => CloseCode::Revoked,
        _ => CloseCode::Unauthorized,
    })?;
    let driver = routes::driver_of(&claims).map_err(|_| CloseCode::Unauthorized)?;
    Ok((claims, driver))
}

/// What the client sent is read away, so that the system does not answer the rest by a reset that swallows our goodbye.
async fn goodbye(stream: &Waiting, codec: DriveCodec, code: CloseCode, retry_after_ms: Option<u32>) {
    metrics::closed(code);
    let bye = ToDriver::Bye(Bye { code: code.number(), reason: code.word().into(), retry_after_ms });
    let mut frames = Vec::new();
    let mut message = Vec::new();
    codec.write(&mut message, &bye);
    write::frame(&mut frames, opcode_of(codec), &message);
    write::close(&mut frames, code.number(), code.word());
    if stream.try_write(&frames).is_err() {
        return;
    }
    let linger = async {
        let mut buffer = [0; 1024];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), linger).await;
}
