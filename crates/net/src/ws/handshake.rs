//! From an HTTP request to a socket that a shard can own.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ServerConnection;
use tokio::net::TcpStream;
use wayfare_wire::ErrorCode;

use crate::reply::Refusal;
use crate::serve::{Accepted, Permit, Stream};

/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A connection after its handshake: no runtime owns it yet.
pub struct Socket {
    /// Not registered with any reactor.
    pub raw: Raw,
    /// Bytes that came right behind the handshake.
    pub early: Bytes,
    /// Counts the connection as open until dropped.
    pub permit: Permit,
}

/// A socket, and what encrypts it if something does.
pub enum Raw {
    /// Bytes as they are.
    Plain(std::net::TcpStream),
    /// TLS.
    Tls(std::net::TcpStream, Box<ServerConnection>),
}

impl Socket {
    /// The socket itself, for its options.
    pub fn tcp(&self) -> &std::net::TcpStream {
        match &self.raw {
            Raw::Plain(stream) | Raw::Tls(stream, _) => stream,
        }
    }
}

/// Checks the request and answers it. `opened` gets the socket once the answer is on its way.
///
/// # Errors
/// A refusal that says which header is wrong.
pub fn upgrade(
    mut request: Request,
    subprotocol: &'static str,
    opened: impl FnOnce(Socket) + Send + 'static,
) -> Result<Response, Refusal> {
    let accept = check(request.method(), request.headers(), subprotocol)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // An error here is a client that left during the handshake: nothing was promised to it.
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Accepted>>() else { return };
        let (stream, permit) = parts.io.into_inner().into_parts();
        if let Ok(raw) = release(stream) {
            opened(Socket { raw, early: parts.read_buf, permit });
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    Ok(response)
}

/// Takes the socket out of its reactor.
fn release(stream: Stream) -> std::io::Result<Raw> {
    let free = |stream: TcpStream| {
        stream.set_nodelay(true)?;
        stream.into_std()
    };
    match stream {
        Stream::Plain(stream) => Ok(Raw::Plain(free(stream)?)),
        Stream::Tls(stream) => {
            let (stream, tls) = stream.into_inner();
            Ok(Raw::Tls(free(stream)?, Box::new(tls)))
        }
    }
}

fn check(method: &Method, headers: &HeaderMap, subprotocol: &str) -> Result<HeaderValue, Refusal> {
    let refuse = |field: &str, message: &str| {
        Err(Refusal::from(wayfare_wire::ErrorBody::new(ErrorCode::Malformed, message).field(field)))
    };
    if method != Method::GET || !has_token(headers, header::UPGRADE, "websocket") {
        return refuse("upgrade", "this path speaks WebSocket: GET with Upgrade: websocket");
    }
    if !has_token(headers, header::CONNECTION, "upgrade") {
        return refuse("connection", "Connection: upgrade is missing");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return refuse("sec-websocket-version", "the WebSocket version must be 13");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        if !has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, subprotocol) {
            return refuse("sec-websocket-protocol", &format!("offer the subprotocol {subprotocol}"));
        }
        return Ok(accept_key(key));
    }
    refuse("sec-websocket-key", "the WebSocket key must be 16 bytes in base64")
}

fn accept_key(key: &[u8]) -> HeaderValue {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    HeaderValue::from_str(&STANDARD.encode(hash.finish())).expect("base64 is a header value")
}

/// Whether a comma-separated header has `token`, ignoring case.
fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_gives_the_answer_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
