//! The task of a driver's QUIC connection: it reads the control stream and one stream per message side by side, and writes what the
//! shard has for the driver.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use tokio::sync::Notify;
use wayfare_engine::DriverId;
use wayfare_wire::frame::{Frames, MESSAGE_BYTES_MAX};
use wayfare_wire::{Claims, CloseCode};

use super::Shard;
use super::drivers::Refused;
use super::line::Line;
use super::quic_line::{End, QuicLine, STALL_S};
use super::state::{ConnId, State};
use crate::metrics;
use crate::quic::Greeted;

/// After the goodbye the client has this long to take it.
const LINGER: Duration = Duration::from_secs(2);

/// Most bytes taken from the control stream in one piece.
const PIECE: usize = 16 * 1024;

/// What is left when a connection is over.
enum Over {
    /// Close it with this code.
    With(CloseCode),
    /// It is gone already.
    Gone(ConnectionError),
}

/// What to do next.
enum Turn {
    /// Read and write; messages' streams only if it `listens`.
    Talk { listens: bool },
    /// Write this and what was begun, then end.
    Farewell(Vec<u8>, CloseCode),
    /// End.
    Over(CloseCode),
}

/// Why a message's own stream gave no message.
enum Fault {
    TooBig,
    Stalled,
    /// The client took it back, or the connection is gone, which shows itself elsewhere.
    Withdrawn,
}

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, Fault>>>>;

/// Takes a connection into the shard.
pub fn open(shard: &Rc<Shard>, greeted: Greeted, claims: Claims, driver: DriverId) {
    let Greeted { connection, send, recv, frames, behind, session, permit } = greeted;
    let mut state = shard.state.borrow_mut();
    let line = Line::Quic(QuicLine::new(permit, &state.link_limits, state.now_s()));
    let id = state.add(line, claims, driver);
    if state.draining {
        state.close(id, CloseCode::Draining, Some(1000));
    }
    drop(state);
    let talk = Talk { connection, send, recv, frames, readings: FuturesUnordered::new(), out: Vec::new(), sent: 0 };
    tokio::task::spawn_local(run(Rc::clone(shard), id, talk, session, behind));
}

/// Brings the driver into memory, then reads and writes until the connection ends.
async fn run(shard: Rc<Shard>, id: ConnId, mut talk: Talk, session: String, behind: Vec<Vec<u8>>) {
    let Some((driver, wake)) = shard.state.borrow_mut().conn(id).map(|conn| (conn.driver, Rc::clone(conn.line.wake())))
    else {
        return;
    };
    // Boxed, so that its state (with a database's futures in it) is not part of this task for as long as the connection lives.
    match Box::pin(shard.ensure(driver)).await {
        Ok(()) => shard.state.borrow_mut().hello(id, &session, None),
        Err(Refused::Unknown) => shard.state.borrow_mut().close(id, CloseCode::Unauthorized, None),
        Err(Refused::NotReady) => shard.state.borrow_mut().close(id, CloseCode::Overloaded, Some(1000)),
    }
    for message in &behind {
        shard.state.borrow_mut().heard_on_quic(id, message);
    }
    drop((behind, session));
    match talk.converse(&shard, id, &wake).await {
        Over::With(code) => talk.close(code),
        Over::Gone(ConnectionError::TimedOut) => metrics::closed(CloseCode::Silent),
        Over::Gone(_) => {}
    }
    shard.state.borrow_mut().remove(id);
    shard.wants.notify_one();
}

/// The connection as its task holds it.
struct Talk {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    frames: Frames,
    /// Messages that have come in part.
    readings: FuturesUnordered<Reading>,
    /// Being written, up to `sent`.
    out: Vec<u8>,
    sent: usize,
}

impl Talk {
    async fn converse(&mut self, shard: &Rc<Shard>, id: ConnId, wake: &Notify) -> Over {
        loop {
            let listens = match self.turn(shard, id) {
                Turn::Talk { listens } => listens,
                Turn::Farewell(rest, code) => {
                    self.farewell(&rest).await;
                    return Over::With(code);
                }
                Turn::Over(code) => return Over::With(code),
            };
            tokio::select! {
                written = self.send.write(&self.out[self.sent..]), if !self.out.is_empty() => {
                    let Ok(count) = written else { return self.lost() };
                    self.written(shard, id, count);
                }
                stream = self.connection.accept_uni(), if listens => match stream {
                    Ok(stream) => self.begin(shard, id, stream),
                    Err(error) => return Over::Gone(error),
                },
                Some(read) = self.readings.next(), if !self.readings.is_empty() => take(shard, id, read),
                piece = self.recv.read_chunk(PIECE, true) => match piece {
                    Ok(Some(piece)) => self.control(shard, id, &piece.bytes),
                    // The client has nothing more to say: it leaves.
                    Ok(None) if self.frames.is_waiting() => return Over::With(CloseCode::Protocol),
                    Ok(None) | Err(ReadError::Reset(_)) => return Over::With(CloseCode::Normal),
                    Err(ReadError::ConnectionLost(error)) => return Over::Gone(error),
                    Err(_) => return Over::With(CloseCode::Protocol),
                },
                () = wake.notified() => {}
            }
        }
    }

    /// What the shard has for this connection now.
    fn turn(&mut self, shard: &Rc<Shard>, id: ConnId) -> Turn {
        let mut state = shard.state.borrow_mut();
        let now_s = state.now_s();
        let Some(conn) = state.conn(id) else { return Turn::Over(CloseCode::Normal) };
        // Streams are opened for reading only when it is known whose they are: until then they wait, within QUIC's own bounds.
        let listens = conn.session.is_some();
        let Line::Quic(line) = &mut conn.line else { return Turn::Over(CloseCode::Normal) };
        match line.end() {
            Some(End::Cut(code)) => return Turn::Over(code),
            Some(End::Farewell(code)) => return Turn::Farewell(line.take(now_s), code),
            None if self.out.is_empty() => self.out = line.take(now_s),
            None => {}
        }
        Turn::Talk { listens }
    }

    fn written(&mut self, shard: &Rc<Shard>, id: ConnId, count: usize) {
        self.sent += count;
        let all = self.sent == self.out.len();
        if all {
            // An idle connection owns no buffer.
            (self.out, self.sent) = (Vec::new(), 0);
        }
        let mut state = shard.state.borrow_mut();
        let now_s = state.now_s();
        if let Some(Line::Quic(line)) = state.conn(id).map(|conn| &mut conn.line) {
            line.moved(all, now_s);
        }
    }

    /// A message's stream: mostly all of it is here.
    fn begin(&self, shard: &Rc<Shard>, id: ConnId, stream: RecvStream) {
        let mut reading: Reading = Box::pin(read_message(stream));
        match reading.as_mut().now_or_never() {
            Some(read) => take(shard, id, read),
            None => self.readings.push(reading),
        }
    }

    fn control(&mut self, shard: &Rc<Shard>, id: ConnId, bytes: &[u8]) {
        let mut state = shard.state.borrow_mut();
        let fed = self.frames.feed(bytes, &mut |message| state.heard_on_quic(id, message));
        let now_s = state.now_s();
        if let Some(Line::Quic(line)) = state.conn(id).map(|conn| &mut conn.line) {
            line.waits(self.frames.is_waiting(), now_s);
        }
        if fed.is_err() {
            state.close(id, CloseCode::TooBig, None);
        }
    }

    /// Writes what is left and waits until the client has it, within a bound.
    async fn farewell(&mut self, rest: &[u8]) {
        let sending = async {
            self.send.write_all(&self.out[self.sent..]).await?;
            self.send.write_all(rest).await?;
            // Finished twice is finished.
            let _ = self.send.finish();
            let _ = self.send.stopped().await;
            Ok::<(), quinn::WriteError>(())
        };
        let _ = tokio::time::timeout(LINGER, sending).await;
    }

    /// The control stream takes nothing: the connection is gone, or the client has stopped the stream, which is a way to leave.
    fn lost(&self) -> Over {
        self.connection.close_reason().map_or(Over::With(CloseCode::Normal), Over::Gone)
    }

    fn close(&self, code: CloseCode) {
        self.connection.close(VarInt::from_u32(code.number().into()), code.word().as_bytes());
    }
}

/// Reads a stream to its end. Mostly it is one piece, which is then not copied.
async fn read_message(mut stream: RecvStream) -> Result<Bytes, Fault> {
    let reading = async {
        let (mut first, mut all) = (Bytes::new(), Vec::new());
        while let Some(piece) = stream.read_chunk(MESSAGE_BYTES_MAX, true).await.map_err(|_| Fault::Withdrawn)? {
            if first.len().max(all.len()) + piece.bytes.len() > MESSAGE_BYTES_MAX {
                return Err(Fault::TooBig);
            }
            if first.is_empty() && all.is_empty() {
                first = piece.bytes;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&piece.bytes);
        }
        Ok(if all.is_empty() { first } else { all.into() })
    };
    tokio::time::timeout(Duration::from_secs(STALL_S.into()), reading).await.unwrap_or(Err(Fault::Stalled))
}

fn take(shard: &Rc<Shard>, id: ConnId, read: Result<Bytes, Fault>) {
    let mut state = shard.state.borrow_mut();
    match read {
        Ok(message) => state.heard_on_quic(id, &message),
        Err(Fault::TooBig) => state.close(id, CloseCode::TooBig, None),
        Err(Fault::Stalled) => state.close(id, CloseCode::Silent, None),
        Err(Fault::Withdrawn) => {}
    }
}

impl State {
    /// A whole message, on whichever stream.
    fn heard_on_quic(&mut self, id: ConnId, message: &[u8]) {
        let limits = self.link_limits;
        let Some(conn) = self.conn(id) else { return };
        let Line::Quic(line) = &mut conn.line else { return };
        // What comes after our goodbye is not read any more.
        if line.is_closing() {
            return;
        }
        if !line.count(&limits) {
            return self.close(id, CloseCode::Flood, Some(10_000));
        }
        self.message(id, message);
    }
}
