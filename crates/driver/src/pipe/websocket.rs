//! A WebSocket that ten thousand of fit into one process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use wayfare_wire::ErrorBody;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::FromDriver;

use super::{Heard, written};
use crate::core::Ended;

/// An open socket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    codec: DriveCodec,
}

/// A phone in a lift would otherwise wait for minutes.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// How long the closing handshake may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long the line may take nothing; nothing is read meanwhile, so the watchdog must not wait for it.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// Opens a socket; the reason of a failure is put the way the core wants it.
pub(crate) async fn open(
    url: &str,
    token: &str,
    codec: DriveCodec,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Socket, Ended> {
    let failed = |reason: String| Ended { reason, ..Ended::default() };
    let mut request = url.into_client_request().map_err(|error| failed(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(codec.subprotocol()));
    let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
    let bearer = bearer.map_err(|_| Ended {
        // As good as a token that the server does not take.
        status: Some(401),
        ..failed("the token has letters that no header can carry".into())
    })?;
    headers.insert(AUTHORIZATION, bearer);
    // Large futures go to the heap, not into every driver's task.
    let connector = Connector::Rustls(Arc::clone(tls));
    let connecting = Box::pin(connect_async_tls_with_config(request, Some(small()), true, Some(connector)));
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok((stream, _))) => Ok(Socket { stream, codec }),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(failed("no answer to the handshake in time".into())),
    }
}

/// What travels here is small: acks down, fixes up. The defaults would take 128 KiB at once.
fn small() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(256 * 1024)
        .max_message_size(Some(64 * 1024))
        .max_frame_size(Some(64 * 1024))
}

fn refused(error: &Error) -> Ended {
    let mut ended = Ended { reason: error.to_string(), ..Ended::default() };
    if let Error::Http(response) = error {
        ended.status = Some(response.status().as_u16());
        let seconds = response.headers().get(RETRY_AFTER);
        let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
        // The body says it to the millisecond: in a crowd, whole seconds would bring many back in the same moment.
        let told = response.body().as_deref().and_then(|body| serde_json::from_slice::<ErrorBody>(body).ok());
        let exact = told.and_then(|error| error.retry_after_ms).map(|ms| Duration::from_millis(ms.into()));
        ended.retry_after = exact.or(seconds.map(Duration::from_secs));
    }
    ended
}

impl Socket {
    /// Writes a message.
    pub(crate) async fn write(&mut self, message: &FromDriver) -> Result<(), Ended> {
        let bytes = written(self.codec, message);
        let frame = match self.codec {
            // Our own JSON is UTF-8.
            DriveCodec::Json => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
            DriveCodec::Proto => Message::binary(bytes),
        };
        match tokio::time::timeout(WRITE_WITHIN, self.stream.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(Ended { reason: "the line took nothing for too long".into(), ..Ended::default() }),
        }
    }

    /// Reads a frame.
    pub(crate) async fn next(&mut self) -> Result<Heard, Ended> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(Heard::read(self.codec, text.as_bytes())),
            Some(Ok(Message::Binary(bytes))) => Ok(Heard::read(self.codec, &bytes)),
            Some(Ok(Message::Close(frame))) => {
                let code = frame.as_ref().map(|frame| u16::from(frame.code));
                let reason = frame.as_ref().map(|frame| frame.reason.to_string());
                Err(Ended { code, reason: reason.unwrap_or_default(), ..Ended::default() })
            }
            Some(Ok(_)) => Ok(Heard::Sign),
            Some(Err(error)) => Err(broken(&error)),
            None => Err(Ended { reason: "the server closed".into(), ..Ended::default() }),
        }
    }

    /// The closing handshake.
    pub(crate) async fn goodbye(&mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.stream.close(Some(frame))).await;
    }
}

/// How a broken connection is reported.
fn broken(error: &Error) -> Ended {
    let reason = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "the line broke".into(),
        other => other.to_string(),
    };
    Ended { reason, ..Ended::default() }
}
