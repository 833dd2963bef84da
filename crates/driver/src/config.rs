//! What a driver needs to know before it connects.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use wayfare_wire::codec::DriveCodec;

use crate::core::ladder::Way;
use crate::trust::Trust;

/// Whatever went wrong while a token was fetched.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A token on its way.
pub type TokenFuture = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

/// Where access tokens come from.
#[derive(Clone)]
pub enum TokenSource {
    /// One token. When it expires or is refused, the driver stops.
    Fixed(String),
    /// Asked before each connection that needs a new token, and before the present one expires.
    Provider(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenSource {
    /// Asks `fetch` for each new token.
    pub fn provider<F, Fut>(fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self::Provider(Arc::new(move || Box::pin(fetch())))
    }

    /// Whether asking again may give another token.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        matches!(self, Self::Provider(_))
    }

    pub(crate) async fn fetch(&self) -> Result<String, BoxError> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::Provider(fetch) => fetch().await,
        }
    }
}

impl From<String> for TokenSource {
    fn from(token: String) -> Self {
        Self::Fixed(token)
    }
}

impl From<&str> for TokenSource {
    fn from(token: &str) -> Self {
        Self::Fixed(token.to_owned())
    }
}

impl fmt::Debug for TokenSource {
    /// Never shows a token.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Fixed(_) => "Fixed(…)",
            Self::Provider(_) => "Provider(…)",
        })
    }
}

/// How to reach the server, and how much to keep for it. Start from [`DriverConfig::new`] and change fields.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// Base URL: `http`, `https`, `ws` or `wss`, for example `http://127.0.0.1:8080`.
    pub url: String,
    /// Where tokens come from.
    pub token: TokenSource,
    /// Name of the numbering, not zero; `None` draws one. Give one back only together with its counter and messages.
    pub session: Option<u64>,
    /// `host:port` (UDP) of the server's QUIC door; `None`: that way is not known.
    pub quic: Option<String>,
    /// Ways to try, best first; one that is not known is passed over. Default: QUIC, WebSocket, HTTP.
    pub ways: Vec<Way>,
    /// How messages are written on QUIC and WebSocket; requests are JSON. Default: Protocol Buffers, a third of the bytes of JSON. What is
    /// queued is in neither, so that a message sent again may take another way than the first time.
    pub codec: DriveCodec,
    /// By what the server is recognised where TLS is spoken. Default: the system's roots.
    pub trust: Trust,
    /// Folder of the queue on the disk; `None`: the queue is in memory. One folder per driver.
    pub queue_dir: Option<PathBuf>,
    /// Bytes of that queue. Default 8 MiB, some 60,000 fixes; twice that for a moment, now and then.
    pub queue_bytes_max: u64,
    /// Fixes kept at most, waiting and sent together. Default 10,000: eight hours at one every three seconds.
    pub queue_max: usize,
    /// Events the app may leave unread before the driver waits for it. Default 1024.
    pub events_max: usize,
}

impl DriverConfig {
    /// The defaults, for this server and these tokens.
    pub fn new(url: impl Into<String>, token: impl Into<TokenSource>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            session: None,
            quic: None,
            ways: vec![Way::Quic, Way::WebSocket, Way::Http],
            codec: DriveCodec::Proto,
            trust: Trust::System,
            queue_dir: None,
            queue_bytes_max: 8 << 20,
            queue_max: 10_000,
            events_max: 1024,
        }
    }

    /// The ways that can be tried.
    #[must_use]
    pub fn known_ways(&self) -> Vec<Way> {
        self.ways.iter().copied().filter(|way| *way != Way::Quic || self.quic.is_some()).collect()
    }

    /// The WebSocket URL of the driver's door.
    ///
    /// # Errors
    /// The URL has another scheme, or none.
    pub fn drive_url(&self) -> Result<String, BadUrl> {
        let base = self.url.trim_end_matches('/');
        let (scheme, rest) = base.split_once("://").ok_or_else(|| BadUrl(self.url.clone()))?;
        let scheme = match scheme {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            _ => return Err(BadUrl(self.url.clone())),
        };
        Ok(format!("{scheme}://{rest}/v1/drive"))
    }
}

/// A base URL that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a URL that begins with http://, https://, ws:// or wss://")]
pub struct BadUrl(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_is_derived_from_any_base() {
        let door = |url: &str| DriverConfig::new(url, "t").drive_url();
        assert_eq!(door("http://a:1").unwrap(), "ws://a:1/v1/drive");
        assert_eq!(door("https://a/x/").unwrap(), "wss://a/x/v1/drive");
        assert_eq!(door("ws://a").unwrap(), "ws://a/v1/drive");
        for bad in ["", "a:1", "ftp://a"] {
            assert_eq!(door(bad), Err(BadUrl(bad.into())));
        }
    }

    #[test]
    fn debug_output_keeps_the_token_to_itself() {
        let config = DriverConfig::new("http://a", "secret");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
