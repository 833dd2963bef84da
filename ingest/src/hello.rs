//! Connections whose token comes with their first message.
//!
//! The message tells the driver, and the driver tells the shard. So it is looked at without taking it from the socket, and the shard reads
//! it again as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use wayfare_engine::DriverId;
use wayfare_net::tokens::TokenError;
use wayfare_net::ws::handshake::Socket;
use wayfare_net::ws::read::{Flow, Incoming, ReadLimits, Reader};
use wayfare_net::ws::{Opcode, write};
use wayfare_wire::codec::from_driver;
use wayfare_wire::messages::Bye;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};
use wayfare_wire::{Claims, CloseCode, TokenKind};

use crate::shard::Command;
use crate::{Ingest, metrics, routes};

/// A first message with a token fits into this with ease.
const HELLO_BYTES_MAX: usize = 8 * 1024;

/// Between two looks at a message that is not complete yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Waits for the first message and hands the socket to the shard of its driver, or says goodbye.
pub async fn await_token(ingest: Arc<Ingest>, socket: Socket) {
    let Socket { stream, early, permit } = socket;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let looked = tokio::time::timeout(ingest.house.config.auth_timeout, look(&ingest, &stream, &early)).await;
    match looked.unwrap_or(Err(CloseCode::Unauthorized)) {
        Ok((claims, driver)) => {
            let Ok(stream) = stream.into_std() else { return };
            let socket = Socket { stream, early, permit };
            if ingest.shard(driver).try_send(Command::WebSocket { socket, claims, driver }).is_err() {
                tracing::debug!("a shard is full or gone: a new connection was dropped");
            }
        }
        Err(code) => goodbye(&stream, code).await,
    }
}

async fn look(ingest: &Ingest, stream: &TcpStream, early: &[u8]) -> Result<(Claims, DriverId), CloseCode> {
    let mut buffer = vec![0; HELLO_BYTES_MAX];
    // What came right behind the handshake may be the whole message: then nothing more comes to be peeked at.
    let mut wait = early.is_empty();
    loop {
        let count = if wait { stream.peek(&mut buffer).await.map_err(|_| CloseCode::Normal)? } else { 0 };
        if wait && count == 0 {
            return Err(CloseCode::Normal);
        }
        let mut bytes = [early, &buffer[..count]].concat();
        let mut first = None;
        let fed = Reader::default().feed(&mut bytes, ReadLimits::default(), &mut |incoming| match incoming {
            Incoming::Ping(_) | Incoming::Pong(_) => Flow::On,
            Incoming::Text(text) => {
                first = Some(token_of(text));
                Flow::Stop
            }
            Incoming::Binary(_) => {
                first = Some(Err(CloseCode::Unsupported));
                Flow::Stop
            }
            Incoming::Close(_) => {
                first = Some(Err(CloseCode::Normal));
                Flow::Stop
            }
        });
        fed.map_err(wayfare_net::ws::link::code_of)?;
        if let Some(token) = first {
            return verify(ingest, &token?);
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

fn token_of(text: &str) -> Result<String, CloseCode> {
    match from_driver(text.as_bytes()) {
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
async fn goodbye(stream: &TcpStream, code: CloseCode) {
    metrics::closed(code);
    let bye = ToDriver::Bye(Bye { code: code.number(), reason: code.word().into(), retry_after_ms: None });
    let mut frames = Vec::new();
    write::frame(&mut frames, Opcode::Text, &serde_json::to_vec(&bye).expect("our own messages serialise"));
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
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), linger).await;
}
