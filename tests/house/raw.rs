//! Bytes on a socket, for what no library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{House, SOON, within};

pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    pub async fn connect(house: &House) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", house.port)).await.unwrap() }
    }

    /// A WebSocket whose frames are made by hand.
    pub async fn websocket(house: &House, path: &str, subprotocol: &str, token: Option<&str>) -> Self {
        let mut raw = Self::connect(house).await;
        raw.send(handshake(house, path, subprotocol, token).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// What the other side has closed takes nothing more; that is no fault of the test's.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads up to and with the empty line.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        within(SOON, "a response head", async {
            while !head.ends_with(b"\r\n\r\n") {
                match self.stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
        })
        .await;
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Everything until the other side closes, or falls silent for this long (then `None` for the end).
    pub async fn rest(&mut self, silence: Duration) -> (Vec<u8>, bool) {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match tokio::time::timeout(silence, self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return (all, true),
                Ok(Ok(count)) => all.extend_from_slice(&buffer[..count]),
                Err(_) => return (all, false),
            }
        }
    }

    /// Reads frames until a close frame, and returns its code; `None` if the line was cut without one.
    pub async fn close_code(&mut self) -> Option<u16> {
        within(SOON, "a close frame", async {
            loop {
                let (opcode, payload) = self.frame().await?;
                if opcode == 8 {
                    return payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                }
            }
        })
        .await
    }

    /// One frame from the server; `None` at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (self.stream.read_u8().await.ok()?, self.stream.read_u8().await.ok()?);
        assert_eq!(second & 0x80, 0, "a server's frame has no mask");
        let length = match second {
            126 => u64::from(self.stream.read_u16().await.ok()?),
            127 => self.stream.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first & 0x0F, payload))
    }
}

pub fn handshake(house: &House, path: &str, subprotocol: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n{token}\r\n",
        house.port
    )
}

/// A client's frame. The mask is zero, which is as legal as any other.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        middle @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

pub fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}
