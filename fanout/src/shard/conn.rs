//! One watcher's connection, and how bytes leave through it.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use wayfare_net::bucket::Bucket;
use wayfare_net::serve::Permit;
use wayfare_net::ws::read::Reader;
use wayfare_wire::{Claims, CloseCode, Cursor};

use crate::subjects::Open;

/// Bytes of answers that may wait for a blocked socket: subscriptions, errors, pongs. Beyond it the client is not reading at all.
const ANSWERS_MAX: usize = 128 * 1024;

/// A connection by place and generation: places are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnId {
    pub place: u32,
    pub generation: u32,
}

/// A subscription, as its topic sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubRef {
    pub conn: u32,
    pub slot: u32,
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Waits for what the bus says of the topic.
    Waiting,
    /// Has everything up to the last turn.
    InStep,
    /// Left something out: gets the whole state when the socket drains.
    Behind,
    /// Reads a log from its cursor until it meets the tip.
    CatchingUp,
}

/// A subscription, as its connection sees it.
pub struct Sub {
    /// Place in the topic table.
    pub topic: usize,
    /// Place among the topic's subscribers.
    pub place: u32,
    /// Name in frames: the topic's own for WebSockets, the place in the URL for streams.
    pub alias: u32,
    pub mode: Mode,
    /// Where the whole state that was last sent stood: deltas up to there are in it already.
    pub whole: Cursor,
    /// What the watcher asked to go on from; of a log, what it has.
    pub start: Option<super::Start>,
}

/// How bytes leave.
pub enum Sink {
    /// The socket is ours, framing too.
    WebSocket { stream: Rc<TcpStream>, reader: Reader },
    /// hyper owns the socket and takes pieces from a bounded channel; `cursors` stand in the URL's order.
    Stream { pieces: mpsc::Sender<Bytes>, cursors: Vec<Option<Cursor>> },
}

/// One connection.
pub struct Conn {
    pub generation: u32,
    pub sink: Sink,
    /// Who it is; nobody yet while the first message is awaited.
    pub bearer: Option<(Rc<Claims>, Open)>,
    /// By place; `None` where one has ended.
    pub subs: Vec<Option<Sub>>,
    /// Topics that this turn sends here, with the subscription's place.
    pub touched: SmallVec<[(usize, u32); 2]>,
    /// Subscriptions to be told the whole state when the socket drains.
    pub behind: Vec<u32>,
    /// What the socket did not take: the rest of a begun frame, then answers.
    pub unsent: Vec<u8>,
    /// Second of the shard in which the socket last took something while bytes waited.
    pub moved_s: u32,
    /// Second in which something was last sent.
    pub sent_s: u32,
    /// Second in which something was last heard.
    pub heard_s: u32,
    /// Second in which a frame was begun and not finished.
    pub stalled_s: Option<u32>,
    /// Second of opening.
    pub opened_s: u32,
    pub messages: Bucket,
    pub malformed_in_row: u8,
    /// Set once: the goodbye is written, the rest is waiting for the client to leave until this second.
    pub closing_until_s: Option<u32>,
    /// Wakes the connection's task: the socket blocked, or the connection is to end.
    pub wake: Rc<Notify>,
    /// Wakes readers of logs that wait for the socket.
    pub drained: Rc<Notify>,
    pub _permit: Option<Permit>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    /// Everything was taken.
    All,
    /// This many bytes were taken, perhaps none.
    Part(usize),
    /// The connection is gone.
    Gone,
}

impl Conn {
    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes as much as the socket takes now, from one buffer.
    pub fn try_write(&self, bytes: &[u8]) -> Wrote {
        match &self.sink {
            Sink::WebSocket { stream, .. } => wrote(stream.try_write(bytes), bytes.len()),
            Sink::Stream { pieces, .. } => piece(pieces, || Bytes::copy_from_slice(bytes)),
        }
    }

    /// Writes from several buffers in one system call.
    pub fn try_write_vectored(&self, buffers: &[io::IoSlice<'_>]) -> Wrote {
        let total = buffers.iter().map(|buffer| buffer.len()).sum();
        match &self.sink {
            Sink::WebSocket { stream, .. } => wrote(stream.try_write_vectored(buffers), total),
            Sink::Stream { pieces, .. } => piece(pieces, || {
                let mut whole = Vec::with_capacity(total);
                buffers.iter().for_each(|buffer| whole.extend_from_slice(buffer));
                whole.into()
            }),
        }
    }

    /// Sends an answer: now, or behind what already waits. False if the client has stopped reading altogether.
    pub fn answer(&mut self, bytes: &[u8], now_s: u32) -> bool {
        self.sent_s = now_s;
        let taken = if self.is_blocked() {
            0
        } else {
            match self.try_write(bytes) {
                Wrote::All => return true,
                Wrote::Part(taken) => taken,
                Wrote::Gone => return false,
            }
        };
        if self.unsent.len() + bytes.len() - taken > ANSWERS_MAX {
            return false;
        }
        self.block(&bytes[taken..], now_s);
        true
    }

    /// Keeps what the socket did not take.
    pub fn block(&mut self, rest: &[u8], now_s: u32) {
        if self.unsent.is_empty() {
            self.moved_s = now_s;
        }
        self.unsent.extend_from_slice(rest);
        self.wake.notify_one();
    }

    /// The subscription in a place.
    pub fn sub(&mut self, slot: u32) -> Option<&mut Sub> {
        self.subs.get_mut(slot as usize)?.as_mut()
    }

    /// How many subscriptions are alive.
    pub fn sub_count(&self) -> usize {
        self.subs.iter().flatten().count()
    }

    pub fn is_stream(&self) -> bool {
        matches!(self.sink, Sink::Stream { .. })
    }

    /// Whether the code is worth saying: a connection says goodbye once.
    pub fn is_closing(&self) -> bool {
        self.closing_until_s.is_some()
    }

    /// Whether a goodbye with this code tells when to come back.
    pub fn comes_back(code: CloseCode) -> bool {
        (4000..4100).contains(&code.number())
    }
}

fn wrote(result: io::Result<usize>, total: usize) -> Wrote {
    match result {
        Ok(taken) if taken == total => Wrote::All,
        Ok(taken) => Wrote::Part(taken),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Wrote::Part(0),
        Err(_) => Wrote::Gone,
    }
}

fn piece(pieces: &mpsc::Sender<Bytes>, make: impl FnOnce() -> Bytes) -> Wrote {
    match pieces.try_reserve() {
        Ok(room) => {
            room.send(make());
            Wrote::All
        }
        Err(mpsc::error::TrySendError::Full(())) => Wrote::Part(0),
        Err(mpsc::error::TrySendError::Closed(())) => Wrote::Gone,
    }
}
