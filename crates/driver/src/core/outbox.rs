//! Fixes that wait and messages that are not acked.

use std::collections::VecDeque;
use std::time::Instant;

use wayfare_wire::messages::drive::Fix;

use crate::pace::Pace;
use crate::store::Kept;

/// A message that was numbered: from then on it never changes.
#[derive(Debug)]
struct Message {
    seq: u64,
    fixes: Vec<Fix>,
}

/// Everything that the server has not acked.
///
/// `unacked` is in order of `seq`, and its first `sent` messages are on the way on the present connection.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: VecDeque<Fix>,
    unacked: VecDeque<Message>,
    sent: usize,
    /// Fixes in `waiting` and `unacked` together.
    held: usize,
    held_max: usize,
    next_seq: u64,
    fixes_max: usize,
    unacked_max: usize,
    /// Messages up to this number go one by one, so that an error can be attributed.
    careful_to: u64,
    pace: Pace,
    paced_until: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(held_max: usize, now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            unacked: VecDeque::new(),
            sent: 0,
            held: 0,
            held_max,
            next_seq: 1,
            fixes_max: 1,
            unacked_max: 1,
            careful_to: 0,
            pace: Pace::full(now),
            paced_until: None,
        }
    }

    /// The server's limits, as told in `welcome`.
    pub(super) fn limit(&mut self, fixes_max: usize, unacked_max: usize) {
        (self.fixes_max, self.unacked_max) = (fixes_max.max(1), unacked_max.max(1));
    }

    /// Takes up what was kept; more than usually allowed, if so much was kept.
    pub(super) fn resume(&mut self, kept: Kept) {
        self.held = kept.waiting.len() + kept.messages.iter().map(|(_, fixes)| fixes.len()).sum::<usize>();
        self.next_seq = kept.next_seq;
        self.unacked = kept.messages.into_iter().map(|(seq, fixes)| Message { seq, fixes }).collect();
        self.waiting = kept.waiting.into();
    }

    pub(super) fn kept(&self, session: u64) -> Kept {
        let messages = self.unacked.iter().map(|message| (message.seq, message.fixes.clone())).collect();
        let waiting = self.waiting.iter().copied().collect();
        Kept { session, next_seq: self.next_seq, messages, waiting, damaged: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.held >= self.held_max
    }

    pub(super) fn push(&mut self, fix: Fix) -> Result<(), Fix> {
        if self.is_full() {
            return Err(fix);
        }
        self.held += 1;
        self.waiting.push_back(fix);
        Ok(())
    }

    /// The next message for the wire, and notes it as sent: first what was sent before, then what has gathered.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, &[Fix])> {
        self.paced_until = None;
        let has_more = self.sent < self.unacked.len() || !self.waiting.is_empty();
        if !has_more || self.sent >= self.window() {
            return None;
        }
        if let Err(at) = self.pace.take(now) {
            self.paced_until = Some(at);
            return None;
        }
        if self.sent == self.unacked.len() {
            let count = self.waiting.len().min(self.fixes_max);
            self.unacked.push_back(Message { seq: self.next_seq, fixes: self.waiting.drain(..count).collect() });
            self.next_seq += 1;
        }
        let message = &self.unacked[self.sent];
        self.sent += 1;
        Some((message.seq, &message.fixes))
    }

    /// Forgets a message and gives what was in it; `None` when it is not held (any more).
    pub(super) fn acked(&mut self, seq: u64) -> Option<Vec<Fix>> {
        let place = self.unacked.binary_search_by_key(&seq, |message| message.seq).ok()?;
        self.remove(place).map(|(_, fixes)| fixes)
    }

    /// The only message on the way is at fault.
    pub(super) fn set_first_aside(&mut self) -> Option<(u64, Vec<Fix>)> {
        self.remove(0)
    }

    /// Nothing counts as sent any more.
    pub(super) fn send_again(&mut self) {
        self.sent = 0;
    }

    /// From the next connection on, what is unacked now goes one message at a time.
    pub(super) fn be_careful(&mut self) {
        self.careful_to = self.next_seq - 1;
    }

    pub(super) fn on_the_way(&self) -> usize {
        self.sent
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn paced_until(&self) -> Option<Instant> {
        self.paced_until
    }

    pub(super) fn take_back(&mut self) -> Vec<Fix> {
        (self.sent, self.held) = (0, 0);
        let unacked = self.unacked.drain(..).flat_map(|message| message.fixes);
        unacked.chain(self.waiting.drain(..)).collect()
    }

    fn window(&self) -> usize {
        match self.unacked.front() {
            Some(first) if first.seq <= self.careful_to => 1,
            _ => self.unacked_max,
        }
    }

    fn remove(&mut self, place: usize) -> Option<(u64, Vec<Fix>)> {
        let message = self.unacked.remove(place)?;
        if place < self.sent {
            self.sent -= 1;
        }
        self.held -= message.fixes.len();
        Some((message.seq, message.fixes))
    }
}
