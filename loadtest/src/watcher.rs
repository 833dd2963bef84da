//! A watcher's WebSocket, message by message. For thousands of them see [`crate::load`].

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use wayfare_wire::WATCH_JSON_V1;
use wayfare_wire::messages::watch::{FromWatcher, Subscription, ToWatcher};

/// An open connection, welcomed by the server.
pub struct Watcher {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Watcher {
    /// Opens a connection to the server at `base_url` (`http…`).
    ///
    /// # Errors
    /// No connection, or the token is refused.
    pub async fn connect(base_url: &str, token: &str) -> anyhow::Result<Self> {
        let base = base_url.trim_end_matches('/');
        let Some(rest) = base.strip_prefix("http") else {
            bail!("{base_url:?} is not a URL that begins with http:// or https://");
        };
        let mut request = format!("ws{rest}/v1/watch").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", WATCH_JSON_V1.parse()?);
        headers.insert("authorization", format!("Bearer {token}").parse()?);
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let connecting = Box::pin(connect_async_with_config(request, Some(config), true));
        let (socket, _) = connecting.await.context("opening /v1/watch")?;
        Ok(Self { socket })
    }

    /// Asks for a topic from its present state on.
    ///
    /// # Errors
    /// The line is broken.
    pub async fn subscribe(&mut self, topic: &str) -> anyhow::Result<()> {
        let topic = topic.to_owned();
        let cursor = None;
        let topics = vec![Subscription { topic, cursor, interval_ms: None }];
        let text = serde_json::to_string(&FromWatcher::Subscribe { topics })?;
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// The next message; `None` when the server closed. Types this version does not know are skipped.
    ///
    /// # Errors
    /// The line is broken.
    pub async fn next(&mut self) -> anyhow::Result<Option<ToWatcher>> {
        while let Some(frame) = self.socket.next().await {
            if let Message::Text(text) = frame?
                && let Ok(message) = serde_json::from_str(&text)
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // The server may have gone before: then there is nobody to greet.
        let _ = self.socket.close(None).await;
    }
}
