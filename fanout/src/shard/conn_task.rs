//! The task of a connection: it reads, and it wakes when a blocked socket takes bytes again.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{Interest, Ready};
use tokio::sync::mpsc;
use wayfare_net::gate::whole_ms;
use wayfare_net::tokens::TokenError;
use wayfare_net::ws::handshake::Socket;
use wayfare_net::ws::link::{Common, Link, ReadHalf, code_of, poll_read};
use wayfare_net::ws::read::{Flow, Incoming, ReadLimits};
use wayfare_wire::codec::Codec;
use wayfare_wire::messages::watch::{FromWatcher, ToWatcher};
use wayfare_wire::{Claims, CloseCode, ErrorBody, ErrorCode, TokenKind};

use super::Shard;
use super::conn::{ConnId, Sink};
use super::state::State;
use crate::subjects::Open;

/// The kernel may hold this much that was not sent yet; more would only grow stale there.
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Malformed messages in a row before a client is told to stay away.
const MALFORMED_MAX: u8 = 16;

/// Takes a socket into the shard.
pub fn open(shard: &Rc<Shard>, socket: Socket, codec: Codec, bearer: Option<(Claims, Open)>) {
    if let Err(error) = socket2::SockRef::from(socket.tcp()).set_tcp_notsent_lowat(NOTSENT_LOWAT) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT is not available");
    }
    let mut state = shard.state.borrow_mut();
    let (limits, now_s) = (state.link_limits, state.now_s());
    let Ok((link, half, early)) = Link::new(socket, &limits, now_s) else { return };
    let known = bearer.is_some();
    let id = state.add(Sink::WebSocket(link), codec, bearer);
    if state.draining {
        state.close(id.place, CloseCode::Draining, Some(1000));
    } else if known {
        state.welcome(id);
    }
    drop(state);
    tokio::task::spawn_local(run(Rc::clone(shard), id, half, early));
}

/// Reads until the connection ends, then removes it.
async fn run(shard: Rc<Shard>, id: ConnId, mut half: ReadHalf, early: Bytes) {
    if !early.is_empty() {
        let mut state = shard.state.borrow_mut();
        state.take_bytes(id, &mut early.to_vec());
        shard.wake_if_wanted(&state);
    }
    drop(early);
    let Some(wake) = shard.state.borrow_mut().link(id).map(|link| Rc::clone(&link.wake)) else { return };
    loop {
        let blocked = {
            let mut state = shard.state.borrow_mut();
            let now_s = state.now_s();
            match state.link(id) {
                Some(link) if link.is_over(now_s) => break,
                Some(link) => link.is_blocked(),
                None => break,
            }
        };
        let on = if blocked {
            tokio::select! {
                ready = half.ready(Interest::READABLE | Interest::WRITABLE) => match ready {
                    Ok(ready) => shard.state.borrow_mut().unblock(id, &half, ready),
                    Err(_) => false,
                },
                () = wake.notified() => true,
            }
        } else {
            tokio::select! {
                on = poll_fn(|cx| shard.state.borrow_mut().poll_read(id, &mut half, cx)) => on,
                () = wake.notified() => true,
            }
        };
        if !on {
            break;
        }
        shard.wake_if_wanted(&shard.state.borrow());
    }
    let mut state = shard.state.borrow_mut();
    state.remove(id);
    shard.wants.notify_one();
}

/// Watches over an SSE stream: goes on when hyper takes pieces again, removes it when the client is gone.
pub async fn mind(shard: Rc<Shard>, id: ConnId, pieces: mpsc::Sender<Bytes>) {
    loop {
        let (blocked, wake) = {
            let mut state = shard.state.borrow_mut();
            let now_s = state.now_s();
            match state.conn(id).map(|conn| &conn.sink) {
                // What is in the channel still goes out: the body ends when the last sender is dropped.
                Some(Sink::Stream(stream)) if !stream.is_over(now_s) => (stream.is_blocked(), Rc::clone(&stream.wake)),
                _ => break,
            }
        };
        tokio::select! {
            room = pieces.reserve(), if blocked => {
                if room.is_err() {
                    break;
                }
                drop(room);
                if !shard.state.borrow_mut().drain_socket(id) {
                    break;
                }
            }
            () = pieces.closed() => break,
            () = wake.notified() => {}
        }
    }
    shard.state.borrow_mut().remove(id);
    shard.wants.notify_one();
}

impl State {
    /// Waits for bytes and reads them through the shard's one buffer. False when the connection is over.
    fn poll_read(&mut self, id: ConnId, half: &mut ReadHalf, cx: &mut Context<'_>) -> Poll<bool> {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let on = poll_read(half, cx, &mut buffer).map(|read| match read {
            Ok(0) | Err(_) => false,
            Ok(count) => self.take_bytes(id, &mut buffer[..count]),
        });
        self.read_buffer = buffer;
        on
    }

    /// The same while the socket is blocked, when two things may be ready.
    fn unblock(&mut self, id: ConnId, half: &ReadHalf, ready: Ready) -> bool {
        if ready.is_writable() && !self.drain_socket(id) {
            return false;
        }
        if !(ready.is_readable() || ready.is_read_closed()) {
            return true;
        }
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let on = match half.try_read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => self.take_bytes(id, &mut buffer[..count]),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        self.read_buffer = buffer;
        on
    }

    /// Reads frames out of bytes. False when the connection is over.
    fn take_bytes(&mut self, id: ConnId, bytes: &mut [u8]) -> bool {
        let now_s = self.now_s();
        let Some(link) = self.link(id) else { return false };
        let mut reader = link.take_reader(now_s);
        let fed = reader.feed(bytes, ReadLimits::default(), &mut |incoming| self.incoming(id, incoming));
        let Some(link) = self.link(id) else { return false };
        link.settle(reader, now_s);
        match fed {
            Ok(Flow::On) => true,
            Ok(Flow::Stop) => link.is_blocked(),
            Err(violation) => {
                self.close(id.place, code_of(violation), None);
                true
            }
        }
    }

    fn incoming(&mut self, id: ConnId, incoming: Incoming<'_>) -> Flow {
        let (limits, now_s) = (self.link_limits, self.now_s());
        let Some(codec) = self.conn(id).map(|conn| conn.codec) else { return Flow::Stop };
        let Some(link) = self.link(id) else { return Flow::Stop };
        match link.common(incoming, &limits, now_s) {
            Ok(Common::Text(text)) if codec == Codec::Json => {
                self.message(id, codec, text.as_bytes());
                Flow::On
            }
            Ok(Common::Binary(bytes)) if codec == Codec::Proto => {
                self.message(id, codec, bytes);
                Flow::On
            }
            Ok(Common::Text(_) | Common::Binary(_)) => {
                self.close(id.place, CloseCode::Unsupported, None);
                Flow::On
            }
            Ok(Common::Handled(flow)) => flow,
            Err(code) => {
                self.close(id.place, code, (code == CloseCode::Flood).then_some(10_000));
                Flow::On
            }
        }
    }

    /// The socket of a connection that has one.
    fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        match &mut self.conn(id)?.sink {
            Sink::WebSocket(link) => Some(link),
            Sink::Stream(_) => None,
        }
    }

    fn message(&mut self, id: ConnId, codec: Codec, bytes: &[u8]) {
        let message = match codec.read(bytes) {
            Ok(message) => message,
            Err(malformed) => return self.malformed(id, &malformed.to_string()),
        };
        let conn = &mut self.conns[id.place as usize];
        conn.malformed_in_row = 0;
        let known = conn.bearer.is_some();
        match message {
            FromWatcher::Auth { token } => self.authenticate(id, &token),
            _ if !known => {
                let error = ErrorBody::new(ErrorCode::Unauthorized, "send `auth` with a token first");
                self.say(id.place, &ToWatcher::Error(error));
            }
            FromWatcher::Subscribe { topics } => self.subscribe(id, topics),
            FromWatcher::Unsubscribe { topics } => self.unsubscribe(id, topics),
            FromWatcher::Ping => self.say(id.place, &ToWatcher::Pong),
        }
    }

    fn malformed(&mut self, id: ConnId, what: &str) {
        let conn = &mut self.conns[id.place as usize];
        conn.malformed_in_row += 1;
        if conn.malformed_in_row >= MALFORMED_MAX {
            return self.close(id.place, CloseCode::Nonsense, None);
        }
        self.say(id.place, &ToWatcher::Error(ErrorBody::new(ErrorCode::Malformed, what)));
    }

    /// The first token, or a renewal: same subject, same role.
    fn authenticate(&mut self, id: ConnId, token: &str) {
        let claims = match self.house.verifier.verify(token, TokenKind::Access, wayfare_bus::now_ms() / 1000) {
            Ok(claims) => claims,
            Err(error) => {
                let code = match error {
                    TokenError::Revoked => CloseCode::Revoked,
                    TokenError::Expired => CloseCode::TokenExpired,
                    _ => CloseCode::Unauthorized,
                };
                // A renewal that fails leaves the old token to its time.
                return if self.conns[id.place as usize].bearer.is_some() {
                    let error = ErrorBody::new(ErrorCode::Unauthorized, error.to_string());
                    self.say(id.place, &ToWatcher::Error(error));
                } else {
                    self.close(id.place, code, None);
                };
            }
        };
        match &mut self.conns[id.place as usize].bearer {
            Some((old, _)) if (&old.sub, old.role) == (&claims.sub, claims.role) => *old = Rc::new(claims),
            Some(_) => {
                let error = ErrorBody::new(ErrorCode::Forbidden, "a renewal must name the same subject and role");
                return self.say(id.place, &ToWatcher::Error(error));
            }
            vacant => {
                if let Err(wait) = self.house.gate.arrive(&claims, Instant::now()) {
                    return self.close(id.place, CloseCode::Overloaded, Some(whole_ms(wait)));
                }
                let Some(open) = self.house.subjects.open(&claims) else {
                    return self.close(id.place, CloseCode::Overloaded, Some(30_000));
                };
                *vacant = Some((Rc::new(claims), open));
            }
        }
        self.welcome(id);
    }

    /// Tells the rules of this connection.
    pub fn welcome(&mut self, id: ConnId) {
        let Some(claims) = self.claims(id.place) else { return };
        let message = ToWatcher::Welcome {
            version: 1,
            heartbeat_ms: self.house.config.heartbeat.as_millis() as u32,
            max_topics: self.house.config.topics_per_connection as u32,
            max_areas: self.house.config.areas_per_connection as u32,
            expires_at_ms: claims.connection_ends_ms(),
        };
        self.say(id.place, &message);
    }
}
