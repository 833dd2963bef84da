//! A line to the server, whichever way it goes: messages of the protocol in and out.

mod http;
mod quic;
mod websocket;

use std::sync::Arc;

use crate::config::{BadUrl, DriverConfig};
use crate::core::Ended;
use crate::core::ladder::Way;

/// What came in.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Text(String),
    /// A sign of life.
    Sign,
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
            Some(address) => Some(quic::Dialer::new(address, &config.trust).map_err(|error| bad(&error))?),
            None => None,
        };
        Ok(Self { websocket_url, tls, http, quic })
    }

    /// Opens a line; the reason of a failure is put the way the core wants it. `session` names the numbering.
    pub(crate) async fn open(&self, way: Way, token: &str, session: u64) -> Result<Pipe, Ended> {
        match (way, &self.quic) {
            (Way::Quic, Some(dialer)) => Ok(Pipe::Quic(Box::new(dialer.open().await?))),
            (Way::Quic, None) => Err(Ended { reason: "no QUIC address is known".into(), ..Ended::default() }),
            (Way::WebSocket, _) => {
                let socket = websocket::open(&self.websocket_url, token, &self.tls).await?;
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
    pub(crate) async fn control(&mut self, text: String) -> Result<(), Ended> {
        match self {
            Self::WebSocket(socket) => websocket::write(socket, text).await,
            Self::Quic(line) => line.control(&text).await,
            Self::Http(line) => line.control(text).await,
        }
    }

    /// Writes a message of fixes.
    pub(crate) async fn fixes(&mut self, text: String) -> Result<(), Ended> {
        match self {
            Self::WebSocket(socket) => websocket::write(socket, text).await,
            Self::Quic(line) => line.fixes(&text).await,
            Self::Http(line) => line.fixes(&text).await,
        }
    }

    /// The next message or sign of life. May be given up and asked again.
    pub(crate) async fn next(&mut self) -> Result<Heard, Ended> {
        match self {
            Self::WebSocket(socket) => websocket::next(socket).await,
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
            Self::WebSocket(socket) => websocket::goodbye(socket).await,
            Self::Quic(line) => line.goodbye().await,
            Self::Http(_) => {}
        }
    }
}
