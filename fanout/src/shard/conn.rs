//! One watcher's connection, and how bytes leave through it.

use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use wayfare_net::ws::link::Link;
use wayfare_wire::codec::Codec;
use wayfare_wire::{Claims, Cursor};

use super::paced::Pace;
use crate::subjects::Open;

/// Bytes of answers that may wait for a full channel. Beyond it the client is not reading at all.
const UNSENT_MAX: usize = 128 * 1024;

/// A stream whose last piece is on its way is dropped after this long, seconds.
const LINGER_S: u32 = 2;

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
    /// For those who want news of a state less often than they happen.
    pub pace: Option<Box<Pace>>,
}

/// How bytes leave.
pub enum Sink {
    /// The socket is ours, framing too.
    WebSocket(Link),
    /// hyper owns the socket.
    Stream(Stream),
}

/// An SSE stream: pieces go through a bounded channel, from which hyper takes them.
pub struct Stream {
    pub pieces: mpsc::Sender<Bytes>,
    /// Where the watcher stands in each topic, in the URL's order.
    pub cursors: Vec<Option<Cursor>>,
    /// What the channel did not take.
    unsent: Vec<u8>,
    moved_s: u32,
    pub sent_s: u32,
    closing_until_s: Option<u32>,
    /// Wakes the stream's task.
    pub wake: Rc<Notify>,
}

/// One connection.
pub struct Conn {
    pub generation: u32,
    pub sink: Sink,
    /// How it is spoken to; streams are text.
    pub codec: Codec,
    /// Who it is; nobody yet while the first message is awaited.
    pub bearer: Option<(Rc<Claims>, Open)>,
    /// By place; `None` where one has ended.
    pub subs: Vec<Option<Sub>>,
    /// Topics that this turn sends here, with the subscription's place.
    pub touched: SmallVec<[(usize, u32); 2]>,
    /// Subscriptions to be told the whole state when the socket drains.
    pub behind: Vec<u32>,
    /// Second of opening.
    pub opened_s: u32,
    pub malformed_in_row: u8,
    /// Wakes readers of logs that wait for the socket; made when the first of them waits.
    pub drained: Option<Rc<Notify>>,
}

impl Stream {
    pub fn new(pieces: mpsc::Sender<Bytes>, cursors: Vec<Option<Cursor>>, now_s: u32) -> Self {
        Self {
            pieces,
            cursors,
            unsent: Vec::new(),
            moved_s: now_s,
            sent_s: now_s,
            closing_until_s: None,
            wake: Rc::new(Notify::new()),
        }
    }

    /// Whether a piece waits for room in the channel.
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether the channel has taken nothing for `slow_s` seconds while something waited.
    pub fn is_stuck(&self, slow_s: u32, now_s: u32) -> bool {
        self.is_blocked() && now_s >= self.moved_s + slow_s
    }

    /// Sends a piece; false if the channel is full, and then nothing was sent.
    pub fn try_send(&mut self, piece: Bytes, now_s: u32) -> bool {
        self.sent_s = now_s;
        match self.pieces.try_send(piece) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Closed(_)) => {
                self.cut();
                true
            }
        }
    }

    /// Notes that the channel is full; a comment waits, and when it is gone there is room again.
    pub fn keep(&mut self, rest: &[u8], now_s: u32) {
        if self.unsent.is_empty() {
            self.moved_s = now_s;
        }
        self.unsent.extend_from_slice(if rest.is_empty() && self.unsent.is_empty() { b":\n\n" } else { rest });
        self.wake.notify_one();
    }

    /// Sends an answer: now, or behind what already waits.
    fn send(&mut self, bytes: &[u8], now_s: u32) {
        if !self.is_blocked() && self.try_send(Bytes::copy_from_slice(bytes), now_s) {
            return;
        }
        if self.unsent.len() + bytes.len() > UNSENT_MAX {
            return self.cut();
        }
        self.keep(bytes, now_s);
    }

    /// There is room again. False when the client is gone.
    fn drain(&mut self, now_s: u32) -> bool {
        if self.is_blocked() && self.try_send(Bytes::copy_from_slice(&self.unsent), now_s) {
            self.unsent = Vec::new();
            self.moved_s = now_s;
        }
        self.closing_until_s != Some(0)
    }

    /// Lets hyper send what is in the channel, then ends.
    pub fn finish(&mut self, now_s: u32) {
        self.closing_until_s.get_or_insert(now_s + LINGER_S);
        self.wake.notify_one();
    }

    fn cut(&mut self) {
        self.closing_until_s = Some(0);
        self.wake.notify_one();
    }

    /// Whether the stream's task should end now.
    pub fn is_over(&self, now_s: u32) -> bool {
        self.closing_until_s.is_some_and(|until_s| until_s <= now_s || !self.is_blocked())
    }
}

impl Conn {
    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self) -> bool {
        match &self.sink {
            Sink::WebSocket(link) => link.is_blocked(),
            Sink::Stream(stream) => stream.is_blocked(),
        }
    }

    /// Whether the goodbye was said.
    pub fn is_closing(&self) -> bool {
        match &self.sink {
            Sink::WebSocket(link) => link.is_closing(),
            Sink::Stream(stream) => stream.closing_until_s.is_some(),
        }
    }

    pub fn is_stream(&self) -> bool {
        matches!(self.sink, Sink::Stream(_))
    }

    /// Sends an answer: now, or behind what already waits. A client that takes nothing any more is cut.
    pub fn answer(&mut self, bytes: &[u8], now_s: u32) {
        match &mut self.sink {
            Sink::WebSocket(link) => link.send(bytes, now_s),
            Sink::Stream(stream) => stream.send(bytes, now_s),
        }
    }

    /// The socket takes bytes again. False when the connection is gone.
    pub fn drain(&mut self, now_s: u32) -> bool {
        match &mut self.sink {
            Sink::WebSocket(link) => link.drain(now_s),
            Sink::Stream(stream) => stream.drain(now_s),
        }
    }

    /// Ends without another word.
    pub fn cut(&mut self) {
        match &mut self.sink {
            Sink::WebSocket(link) => link.cut(),
            Sink::Stream(stream) => stream.cut(),
        }
    }

    /// The subscription in a place.
    pub fn sub(&mut self, slot: u32) -> Option<&mut Sub> {
        self.subs.get_mut(slot as usize)?.as_mut()
    }

    /// How many subscriptions are alive.
    pub fn sub_count(&self) -> usize {
        self.subs.iter().flatten().count()
    }
}
