//! The task of a driver's connection: it reads, and it wakes when a blocked socket takes bytes again.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{Interest, Ready};
use wayfare_engine::{DriverId, Rate, Reach};
use wayfare_net::ws::handshake::Socket;
use wayfare_net::ws::link::{Common, Link, ReadHalf, code_of, poll_read};
use wayfare_net::ws::read::{Flow, Incoming, ReadLimits};
use wayfare_wire::codec::{Decoded, DriveCodec};
use wayfare_wire::messages::drive::{FromDriver, ToDriver};
use wayfare_wire::{Claims, CloseCode, ErrorBody, ErrorCode, TokenKind, ids};

use super::Shard;
use super::acks::AckTo;
use super::drivers::Refused;
use super::line::Line;
use super::state::{ConnId, State};

/// Malformed messages in a row before a client is told to stay away.
const MALFORMED_MAX: u8 = 16;

/// Most messages sent and not acked, as told in `welcome`.
const UNACKED_MAX: u32 = 64;

/// Takes a socket into the shard.
pub fn open(shard: &Rc<Shard>, socket: Socket, codec: DriveCodec, claims: Claims, driver: DriverId) {
    let mut state = shard.state.borrow_mut();
    let (limits, now_s) = (state.link_limits, state.now_s());
    let Ok((link, half, early)) = Link::new(socket, &limits, now_s) else { return };
    let id = state.add(Line::WebSocket(link), codec, claims, driver);
    if state.draining {
        state.close(id, CloseCode::Draining, Some(1000));
    }
    drop(state);
    tokio::task::spawn_local(run(Rc::clone(shard), id, driver, half, early));
}

/// Brings the driver into memory, then reads until the connection ends.
async fn run(shard: Rc<Shard>, id: ConnId, driver: DriverId, mut half: ReadHalf, early: Bytes) {
    let Some(wake) = shard.state.borrow_mut().link(id).map(|link| Rc::clone(&link.wake)) else { return };
    // Boxed, so that its state (with a database's futures in it) is not part of this task for as long as the connection lives.
    match Box::pin(shard.ensure(driver)).await {
        Ok(()) => {}
        Err(Refused::Unknown) => shard.state.borrow_mut().close(id, CloseCode::Unauthorized, None),
        Err(Refused::NotReady) => shard.state.borrow_mut().close(id, CloseCode::Overloaded, Some(1000)),
    }
    if !early.is_empty() {
        shard.state.borrow_mut().take_bytes(id, &mut early.to_vec());
    }
    drop(early);
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
        let now_s = self.now_s();
        if ready.is_writable() && !self.link(id).is_some_and(|link| link.drain(now_s)) {
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
                self.close(id, code_of(violation), None);
                true
            }
        }
    }

    fn incoming(&mut self, id: ConnId, incoming: Incoming<'_>) -> Flow {
        let (limits, now_s) = (self.link_limits, self.now_s());
        let Some(link) = self.link(id) else { return Flow::Stop };
        match link.common(incoming, &limits, now_s) {
            Ok(Common::Text(text)) => self.framed(id, false, text.as_bytes()),
            Ok(Common::Binary(bytes)) => self.framed(id, true, bytes),
            Ok(Common::Handled(flow)) => flow,
            Err(code) => {
                self.close(id, code, (code == CloseCode::Flood).then_some(10_000));
                Flow::On
            }
        }
    }

    /// A message of a WebSocket: text or bytes, as the codec has it.
    fn framed(&mut self, id: ConnId, binary: bool, message: &[u8]) -> Flow {
        match self.conn(id).map(|conn| conn.codec.is_binary() == binary) {
            Some(true) => self.message(id, message),
            Some(false) => self.close(id, CloseCode::Unsupported, None),
            None => return Flow::Stop,
        }
        Flow::On
    }

    /// A whole message, on whichever transport.
    pub fn message(&mut self, id: ConnId, message: &[u8]) {
        let codec = self.conns[id.place as usize].codec;
        let (message, unreadable) = match codec.read(message) {
            Ok(read) => read,
            Err(malformed) => return self.malformed(id, &malformed.to_string()),
        };
        let conn = &mut self.conns[id.place as usize];
        conn.malformed_in_row = 0;
        let driver = conn.driver;
        match (message, conn.session) {
            (FromDriver::Fixes(message), Some(session)) => {
                let decoded = Decoded { message, unreadable };
                if let Err((_, error)) = self.take_fixes(driver, session, &decoded, AckTo::Conn(id)) {
                    self.say(id, &ToDriver::Error(error));
                }
            }
            (FromDriver::Hello { session, token }, _) => self.hello(id, &session, token.as_deref()),
            (FromDriver::Auth { token }, Some(_)) => self.renew(id, &token),
            (FromDriver::Accept { trip, offer }, Some(_)) => {
                let report = self.answer(driver, &trip, offer, None);
                self.report(id, report);
            }
            (FromDriver::Decline { trip, offer, reason }, Some(_)) => {
                let report = self.answer(driver, &trip, offer, Some(reason));
                self.report(id, report);
            }
            (FromDriver::Status { trip, phase, at_ms }, Some(_)) => {
                let report = self.status(driver, &trip, &phase, at_ms);
                self.report(id, report);
            }
            (FromDriver::Phone(phone), Some(session)) => self.hear_phone(driver, session, &phone.report()),
            (FromDriver::Ping, Some(_)) => self.say(id, &ToDriver::Pong),
            (_, None) => {
                let error = ErrorBody::new(ErrorCode::Unauthorized, "send `hello` first");
                self.say(id, &ToDriver::Error(error));
            }
        }
    }

    fn malformed(&mut self, id: ConnId, what: &str) {
        let conn = &mut self.conns[id.place as usize];
        conn.malformed_in_row += 1;
        if conn.malformed_in_row >= MALFORMED_MAX {
            return self.close(id, CloseCode::Nonsense, None);
        }
        self.say(id, &ToDriver::Error(ErrorBody::new(ErrorCode::Malformed, what)));
    }

    /// The newest connection of a driver wins; the old one is told so. On a bad network the first words of a connection that the app has
    /// given up may come after those of the one it has now: so an app is never told to stay away because of itself.
    pub fn hello(&mut self, id: ConnId, session: &str, token: Option<&str>) {
        let Some(session) = parse_session(session) else {
            let error = ErrorBody::new(ErrorCode::Invalid, "a session is 1 to 16 hexadecimal digits, not zero");
            return self.say(id, &ToDriver::Error(error.field("session")));
        };
        if let Some(token) = token {
            self.renew(id, token);
        }
        let Some(conn) = self.conn(id).filter(|conn| !conn.line.is_closing()) else { return };
        let driver = conn.driver;
        conn.session = Some(session);
        let old = self.drivers.get_mut(&driver).and_then(|tracked| tracked.conn.replace(id));
        if let Some(old) = old.filter(|old| *old != id) {
            let same = self.conn(old).is_some_and(|old| old.session == Some(session));
            let code = if same { CloseCode::Superseded } else { CloseCode::Replaced };
            self.close(old, code, None);
        }
        self.welcome(id);
        if let Some(conn) = self.conn(id) {
            conn.told.clear();
        }
        self.tell_deliveries(driver);
    }

    fn welcome(&mut self, id: ConnId) {
        let fixes_max = self.house.config.fixes_max as u32;
        let Some(driver) = self.conn(id).map(|conn| conn.driver) else { return };
        self.new_heartbeat_s(driver, id);
        let interval_ms = self.wanted_interval_ms(driver, Reach::Pushed);
        let Some(conn) = self.conn(id) else { return };
        conn.rate = Rate::told(interval_ms);
        let message = ToDriver::Welcome {
            version: 1,
            driver: ids::Driver::from(driver).to_string(),
            interval_ms,
            max_fixes: fixes_max,
            max_unacked: UNACKED_MAX,
            heartbeat_ms: conn.heartbeat_s * 1000,
            expires_at_ms: conn.claims.connection_ends_ms(),
        };
        self.say(id, &message);
    }

    /// A new token of the same driver.
    fn renew(&mut self, id: ConnId, token: &str) {
        let verified = self.house.verifier.verify(token, TokenKind::Access, wayfare_bus::now_ms() / 1000);
        let conn = &mut self.conns[id.place as usize];
        let error = match verified {
            Ok(claims) if (&claims.sub, claims.role) == (&conn.claims.sub, conn.claims.role) => {
                conn.claims = claims;
                if conn.session.is_some() {
                    self.welcome(id);
                }
                return;
            }
            Ok(_) => ErrorBody::new(ErrorCode::Forbidden, "a renewal must name the same driver"),
            Err(error) => ErrorBody::new(ErrorCode::Unauthorized, error.to_string()),
        };
        self.say(id, &ToDriver::Error(error));
    }
}

/// 1 to 16 hexadecimal digits, not zero.
pub fn parse_session(text: &str) -> Option<u64> {
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().filter(|session| *session != 0)
}

#[cfg(test)]
mod tests {
    use super::parse_session;

    #[test]
    fn sessions_are_plain_hexadecimal() {
        assert_eq!(parse_session("9f3a61c0"), Some(0x9f3a_61c0));
        assert_eq!(parse_session("ffffffffffffffff"), Some(u64::MAX));
        for text in ["", "0", "0000", "+1", "-1", "g", "1ffffffffffffffff", " 1", "0x1"] {
            assert_eq!(parse_session(text), None, "{text}");
        }
    }
}
