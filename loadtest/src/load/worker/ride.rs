//! One driver: what it sends next, and what of it has arrived.

use std::collections::VecDeque;
use std::io::Write as _;

use wayfare_driver::Fix;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{Fixes, FromDriver};

use super::super::circle::Circle;
use super::super::frames;
use super::super::peer::{self, Speaks};

/// The server remembers 64 messages of a driver; sending stops a little earlier.
const UNACKED_MAX: usize = 60;

/// A driver on its circle.
pub(super) struct Ride {
    /// Index of its connection.
    pub(super) conn: usize,
    circle: Circle,
    watchers: u32,
    codec: DriveCodec,
    speaks: Speaks,
    /// When this ride is to be looked at.
    pub(super) wake_ms: Option<i64>,
    seq: u64,
    /// Open loop: when the first fix was due, and how many have been since.
    begin_ms: i64,
    due_count: u64,
    /// `t_ms` of the newest fix sent.
    sent_ms: i64,
    /// Sent and not acked: seq and `t_ms`.
    unacked: VecDeque<(u64, i64)>,
    /// Closed loop: `t_ms` of each fix on its way, and how many watchers have not got it.
    on_the_way: VecDeque<(i64, u32)>,
    /// The message last made; kept for its memory.
    message: Vec<u8>,
    text: Vec<u8>,
}

impl Ride {
    pub(super) fn new(number: usize, conn: usize, watchers: u32, codec: DriveCodec, speaks: Speaks) -> Self {
        Self {
            conn,
            circle: Circle::new(number),
            watchers,
            codec,
            speaks,
            wake_ms: None,
            seq: 0,
            begin_ms: 0,
            due_count: 0,
            sent_ms: 0,
            unacked: VecDeque::new(),
            on_the_way: VecDeque::new(),
            message: Vec::new(),
            text: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, at_ms: i64) {
        self.begin_ms = at_ms;
    }

    /// Open loop: when the next fix is due. Whole milliseconds, and never two in one.
    pub(super) fn due_ms(&self, rate_hz: f64) -> i64 {
        let due_ms = self.begin_ms + (self.due_count as f64 * 1000.0 / rate_hz) as i64;
        due_ms.max(self.sent_ms + 1)
    }

    pub(super) fn count_due(&mut self) {
        self.due_count += 1;
    }

    /// Leaves out what was due before the newest that is due, and says how many that were.
    pub(super) fn skip_to_newest(&mut self, rate_hz: f64, now_ms: i64) -> u64 {
        let newest = ((now_ms - self.begin_ms) as f64 * rate_hz / 1000.0) as u64;
        let skipped = newest.saturating_sub(self.due_count);
        self.due_count += skipped;
        skipped
    }

    /// Whether the server would still recognise a resend of all that is unacked.
    pub(super) fn may_send(&self) -> bool {
        self.unacked.len() < UNACKED_MAX
    }

    /// Closed loop: when the next fix may go at the earliest.
    pub(super) fn ready_ms(&self, rate_max_hz: f64) -> i64 {
        if rate_max_hz <= 0.0 {
            return self.sent_ms;
        }
        self.sent_ms + (1000.0 / rate_max_hz).ceil() as i64
    }

    /// Closed loop: the time of a fix sent now.
    pub(super) fn next_t_ms(&self, now_ms: i64) -> i64 {
        now_ms.max(self.sent_ms + 1)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.on_the_way.len()
    }

    /// Gives up on fixes of `before_ms` and earlier, and says how many there were.
    pub(super) fn give_up(&mut self, before_ms: i64) -> u64 {
        let old = self.on_the_way.iter().take_while(|(t_ms, _)| *t_ms <= before_ms);
        let count = old.count();
        self.on_the_way.drain(..count);
        count as u64
    }

    /// Closed loop: the fix of `t_ms` is awaited by all watchers.
    pub(super) fn expect(&mut self, t_ms: i64) {
        self.on_the_way.push_back((t_ms, self.watchers));
    }

    /// A whole frame with the fix of `t_ms`, which is now on its way.
    pub(super) fn message(&mut self, t_ms: i64, now_ms: i64) -> &[u8] {
        self.seq += 1;
        self.sent_ms = t_ms;
        let fix = self.circle.fix(t_ms);
        self.text.clear();
        if self.speaks != Speaks::Wayfare {
            // Nobody acks there.
            peer::write_fix(&mut self.text, self.speaks, &fix);
            self.message.clear();
            frames::masked(&mut self.message, frames::TEXT, &self.text);
            return &self.message;
        }
        self.unacked.push_back((self.seq, t_ms));
        match self.codec {
            // Writing to a Vec cannot fail.
            DriveCodec::Json => write_fixes(&mut self.text, self.seq, now_ms, &fix).unwrap_or_default(),
            DriveCodec::Proto => {
                let fixes = Fixes { seq: self.seq, sent_ms: Some(now_ms), fixes: vec![fix], ..Fixes::default() };
                self.codec.write_from_driver(&mut self.text, &FromDriver::Fixes(fixes));
            }
        }
        self.message.clear();
        frames::masked(&mut self.message, frames::opcode_of(self.codec), &self.text);
        &self.message
    }

    /// The server keeps a message: the `t_ms` of its fix, when it was unacked.
    pub(super) fn acked(&mut self, seq: u64) -> Option<i64> {
        let place = self.unacked.iter().position(|(unacked, _)| *unacked == seq)?;
        self.unacked.remove(place).map(|(_, t_ms)| t_ms)
    }

    /// Closed loop: a watcher got the fix of `t_ms`; true when all have.
    pub(super) fn delivered(&mut self, t_ms: i64) -> bool {
        let Some(place) = self.on_the_way.iter().position(|(way, _)| *way == t_ms) else {
            return false;
        };
        let (_, missing) = &mut self.on_the_way[place];
        *missing = missing.saturating_sub(1);
        if *missing > 0 {
            return false;
        }
        self.on_the_way.remove(place);
        true
    }
}

/// One fix as a message, without the detour through a general serialiser: this is the generator's hottest line.
fn write_fixes(out: &mut Vec<u8>, seq: u64, sent_ms: i64, fix: &Fix) -> std::io::Result<()> {
    write!(out, r#"{{"type":"fixes","seq":{seq},"sent_ms":{sent_ms},"fixes":["#)?;
    peer::write_object(out, fix)?;
    out.write_all(b"]}")
}
