//! What a shard keeps of a driver's QUIC connection: what waits to be written, the clocks, and the end once it is near. The shard's task
//! of QUIC ([`super::quic_task`]) takes it from here.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use quinn_proto::ConnectionHandle;
use tokio::sync::Notify;
use wayfare_net::bucket::Bucket;
use wayfare_net::serve::Seat;
use wayfare_net::ws::link::{Health, LinkLimits};
use wayfare_wire::{CloseCode, frame};

use crate::quic::STALL;

/// Bytes that may wait for a client that takes none. Beyond it the client is not reading at all.
const UNSENT_MAX: usize = 128 * 1024;

/// A message begun on the control stream may stay unfinished for this long, seconds: as long as one on a stream of its own.
const STALL_S: u32 = STALL.as_secs() as u32;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Write what waits, see it acknowledged, then close.
    Farewell(CloseCode),
    /// Close at once.
    Cut(CloseCode),
}

/// Connections of a shard that have something to do, and the word that there are some.
#[derive(Default)]
pub struct Due {
    handles: RefCell<Vec<ConnectionHandle>>,
    pub some: Notify,
}

impl Due {
    fn put(&self, handle: ConnectionHandle) {
        self.handles.borrow_mut().push(handle);
        self.some.notify_one();
    }

    /// Moves all of them to `into`.
    pub fn take(&self, into: &mut Vec<ConnectionHandle>) {
        into.append(&mut self.handles.borrow_mut());
    }
}

/// See the module. Seconds are the shard's own count.
pub struct QuicLine {
    handle: ConnectionHandle,
    due: Rc<Due>,
    /// The driver is in memory and `hello` was heard.
    is_open: bool,
    unsent: Vec<u8>,
    /// The task has taken bytes that the client has no room for yet.
    writing: bool,
    /// When the client last took something while bytes waited.
    moved_s: u32,
    sent_s: u32,
    /// Since when a message on the control stream is unfinished.
    begun_s: Option<u32>,
    messages: Bucket,
    end: Option<End>,
    _permit: Seat,
}

impl QuicLine {
    pub fn new(handle: ConnectionHandle, due: Rc<Due>, permit: Seat, limits: &LinkLimits, now_s: u32) -> Self {
        Self {
            handle,
            due,
            is_open: false,
            unsent: Vec::new(),
            writing: false,
            moved_s: now_s,
            sent_s: now_s,
            begun_s: None,
            messages: Bucket::full(limits.messages, Instant::now()),
            end: None,
            _permit: permit,
        }
    }

    /// From now on it is read.
    pub fn open(&mut self) {
        self.is_open = true;
        self.nudge();
    }

    /// Whether it is read.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Gives the connection a turn.
    pub fn nudge(&self) {
        self.due.put(self.handle);
    }

    pub fn is_closing(&self) -> bool {
        self.end.is_some()
    }

    /// The end, once it has come.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    pub fn send(&mut self, frames: &[u8], now_s: u32) {
        self.sent_s = now_s;
        if self.unsent.len() + frames.len() > UNSENT_MAX {
            return self.cut(CloseCode::Slow);
        }
        if self.unsent.is_empty() {
            self.nudge();
        }
        self.unsent.extend_from_slice(frames);
    }

    /// Gives out what waits.
    pub fn take(&mut self, now_s: u32) -> Vec<u8> {
        if !self.unsent.is_empty() {
            (self.writing, self.moved_s) = (true, now_s);
        }
        std::mem::take(&mut self.unsent)
    }

    /// The client took something of what was given out; perhaps all.
    pub fn moved(&mut self, all: bool, now_s: u32) {
        (self.writing, self.moved_s) = (!all, now_s);
    }

    /// Whether a message on the control stream is unfinished now.
    pub fn waits(&mut self, unfinished: bool, now_s: u32) {
        self.begun_s = unfinished.then(|| self.begun_s.unwrap_or(now_s));
    }

    /// Counts a message; false if there were too many.
    pub fn count(&mut self, limits: &LinkLimits) -> bool {
        self.messages.take(limits.messages, Instant::now())
    }

    pub fn close(&mut self, code: CloseCode, bye: &[u8], now_s: u32) {
        if self.is_closing() {
            return;
        }
        let mut frames = Vec::new();
        frame::write(&mut frames, bye);
        self.send(&frames, now_s);
        self.end.get_or_insert(End::Farewell(code));
    }

    pub fn cut(&mut self, code: CloseCode) {
        self.end = Some(End::Cut(code));
        self.nudge();
    }

    pub fn health(&mut self, limits: &LinkLimits, now_s: u32) -> Health {
        if self.is_closing() {
            return Health::Well;
        }
        if self.writing && now_s >= self.moved_s + limits.slow_s {
            return Health::Cut(CloseCode::Slow);
        }
        if self.begun_s.is_some_and(|since_s| now_s >= since_s + STALL_S) {
            return Health::End(CloseCode::Silent);
        }
        // Nothing heard at all is for QUIC's own idle timeout to find out.
        if now_s >= self.sent_s + limits.heartbeat_s { Health::Quiet } else { Health::Well }
    }
}
