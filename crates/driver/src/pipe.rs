//! A line to the server, whichever way it goes: messages of the protocol in and out.

mod http;
mod quic;
mod websocket;

use std::sync::Arc;

use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};

use crate::config::{BadUrl, DriverConfig};
use crate::core::Ended;
use crate::core::ladder::Way;

/// What came in.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// A message.
    Message(ToDriver),
    /// A sign of life: a frame without a message, or with one that this version does not know.
    Sign,
}

impl Heard {
    /// What is no message is ignored, as the protocol demands.
    fn read(codec: DriveCodec, bytes: &[u8]) -> Self {
        codec.read_to_driver(bytes).map_or(Self::Sign, Self::Message)
    }
}

/// A message as it is written.
fn written(codec: DriveCodec, message: &FromDriver) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.write_from_driver(&mut bytes, message);
    bytes
}

/// An open line.
pub(crate) enum Pipe {
    WebSocket(Box<websocket::Socket>),
    Quic(Box<quic::Line>),
    Http(Box<http::Line>),
}

/// Everything that is needed to open lines, again and again.
pub(crate) struct Dialer {
    websocket_url: String,
    codec: DriveCodec,
    tls: Arc<rustls::ClientConfig>,
    http: http::Target,
    quic: Option<quic::Dialer>,
}

impl Dialer {
    pub(crate) fn new(config: &DriverConfig) -> Result<Self, BadUrl> {
        let websocket_url = config.drive_url()?;
        let bad = |error: &dyn std::fmt::Display| BadUrl(error.to_string());
        // TLS is set up even if no way needs it: a file of roots that is not there is told at once.
        let tls = Arc::new(config.trust.client_config(&["http/1.1"]).map_err(|error| bad(&error))?);
        let http = http::Target::new(&config.url, Arc::clone(&tls))?;
        let quic = match &config.quic {
            Some(address) => {
                Some(quic::Dialer::new(address, &config.trust, config.codec).map_err(|error| bad(&error))?)
            }
            None => None,
        };
        Ok(Self { websocket_url, codec: config.codec, tls, http, quic })
    }

    /// Opens a line; the reason of a failure is put the way the core wants it. `session` names the numbering.
    pub(crate) async fn open(&self, way: Way, token: &str, session: u64) -> Result<Pipe, Ended> {
        match (way, &self.quic) {
            (Way::Quic, Some(dialer)) => Ok(Pipe::Quic(Box::new(dialer.open().await?))),
            (Way::Quic, None) => Err(Ended { reason: "no QUIC address is known".into(), ..Ended::default() }),
            (Way::WebSocket, _) => {
                let socket = websocket::open(&self.websocket_url, token, self.codec, &self.tls).await?;
                Ok(Pipe::WebSocket(Box::new(socket)))
            }
            (Way::Http, _) => Ok(Pipe::Http(Box::new(self.http.open(token, session)))),
        }
    }
}

impl Pipe {
    /// Whether `hello` must carry the token itself.
    pub(crate) fn wants_token(&self) -> bool {
        matches!(self, Self::Quic(_))
    }

    /// Writes a message that must stay in order: `hello`, `auth`, `phone`.
    pub(crate) async fn control(&mut self, message: &FromDriver) -> Result<(), Ended> {
        match self {
            Self::WebSocket(socket) => socket.write(message).await,
            Self::Quic(line) => line.control(message).await,
            Self::Http(line) => line.control(message).await,
        }
    }

    /// Writes a message of fixes.
    pub(crate) async fn fixes(&mut self, message: &FromDriver) -> Result<(), Ended> {
        match self {
            Self::WebSocket(socket) => socket.write(message).await,
            Self::Quic(line) => line.fixes(message).await,
            Self::Http(line) => line.fixes(message).await,
        }
    }

    /// The next message or sign of life. May be given up and asked again.
    pub(crate) async fn next(&mut self) -> Result<Heard, Ended> {
        match self {
            Self::WebSocket(socket) => socket.next().await,
            Self::Quic(line) => line.next().await,
            Self::Http(line) => line.next().await,
        }
    }

    /// Whether the server itself was heard; on HTTP the first answer is the first sign of it.
    pub(crate) fn is_proved(&self) -> bool {
        match self {
            Self::WebSocket(_) | Self::Quic(_) => true,
            Self::Http(line) => line.is_answered(),
        }
    }

    /// Leaves politely, within a bound.
    pub(crate) async fn goodbye(&mut self) {
        match self {
            Self::WebSocket(socket) => socket.goodbye().await,
            Self::Quic(line) => line.goodbye().await,
            Self::Http(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_the_future_are_signs_of_life() {
        for unknown in ["", "7", "{}", r#"{"type":"dance"}"#, r#"{"type":"ack"}"#, "\u{0}"] {
            assert_eq!(Heard::read(DriveCodec::Json, unknown.as_bytes()), Heard::Sign, "{unknown:?}");
        }
        let known = Heard::Message(ToDriver::Pong);
        assert_eq!(Heard::read(DriveCodec::Json, br#"{"type":"pong","mood":"good"}"#), known);
        // Member 200 with a text in it, alone; `pong`, and member 200 after it.
        let stranger = [0xc2, 0x0c, 2, b'h', b'i'];
        for unknown in [&b""[..], &stranger, b"\xff"] {
            assert_eq!(Heard::read(DriveCodec::Proto, unknown), Heard::Sign, "{unknown:?}");
        }
        let mut bytes = Vec::new();
        DriveCodec::Proto.write(&mut bytes, &ToDriver::Pong);
        bytes.extend(stranger);
        assert_eq!(Heard::read(DriveCodec::Proto, &bytes), known);
    }
}
