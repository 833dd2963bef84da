//! Acks on their way: written when the fixes are judged, sent when they are durable.
//!
//! A driver that sends faster than the disk writes gets its acks gathered: while more of its messages are on the way to the disk, acks
//! wait for theirs, within bounds. One that waits for an ack gets it at once, and nobody needs a timer: what is on the way comes back.

use bytes::Bytes;
use tokio::sync::oneshot;
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::{ErrorBody, ErrorCode};

use super::state::{Conn, ConnId, State};

/// When to send again what could not be kept.
const NOT_DURABLE_MS: u32 = 1000;

/// So many acks of one connection go out in any case: half of what a driver may have unacked would make it wait.
const GATHERED_MAX: u8 = 16;
/// After this long since the last ones, acks go out in any case.
const GATHERED_MS: u32 = 50;

/// Who gets an ack.
pub enum AckTo {
    /// A connection, if it is still the same.
    Conn(ConnId),
    /// A waiting POST.
    Post(oneshot::Sender<Result<Bytes, ErrorBody>>),
}

struct Item {
    driver: u128,
    /// Of the tracker that judged.
    lease: u64,
    to: AckTo,
    end: usize,
}

/// Acks of one shard in one flush: their bodies in one buffer.
#[derive(Default)]
pub struct Acks {
    bodies: Vec<u8>,
    items: Vec<Item>,
}

impl Acks {
    /// None yet, with room for as many as these.
    pub fn sized_like(other: &Self) -> Self {
        Self { bodies: Vec::with_capacity(other.bodies.len()), items: Vec::with_capacity(other.items.len()) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds one. `body` appends the message.
    pub fn add(&mut self, driver: u128, lease: u64, to: AckTo, body: impl FnOnce(&mut Vec<u8>)) {
        body(&mut self.bodies);
        self.items.push(Item { driver, lease, to, end: self.bodies.len() });
    }

    /// Empties those of drivers whose entries were refused under this lease: they have another owner now, who will ack what it keeps. A resend that
    /// the old tracker knows again is among them: its first copy was not kept.
    pub fn withhold(&mut self, lost: impl Fn(u128) -> Option<u64>) {
        let (mut kept, mut start) = (Self::default(), 0);
        for item in std::mem::take(&mut self.items) {
            let end = item.end;
            let is_lost = lost(item.driver).is_some_and(|lost| item.lease <= lost);
            let body = if is_lost { &[][..] } else { &self.bodies[start..end] };
            kept.add(item.driver, item.lease, item.to, |out| out.extend_from_slice(body));
            start = end;
        }
        *self = kept;
    }
}

/// Acks of one connection that are durable and not sent, and what is still on its way.
#[derive(Default)]
pub struct Gathered {
    frames: Vec<u8>,
    count: u8,
    /// Messages on the way to the disk.
    on_the_way: u32,
    /// When the last ones were sent.
    sent_ms: u32,
}

impl Gathered {
    /// Another message goes to the disk.
    pub fn expect(&mut self) {
        self.on_the_way += 1;
    }

    /// It came back, durable or not.
    fn back(&mut self) {
        self.on_the_way = self.on_the_way.saturating_sub(1);
    }

    fn is_due(&self, now_ms: u32) -> bool {
        self.on_the_way == 0 || self.count >= GATHERED_MAX || now_ms.wrapping_sub(self.sent_ms) >= GATHERED_MS
    }

    /// What there is, to be sent now. An idle connection owns no buffer; the allocator hands the same piece to the next.
    pub fn take(&mut self) -> Vec<u8> {
        self.count = 0;
        std::mem::take(&mut self.frames)
    }
}

impl State {
    /// Sends what is durable now; several acks of one connection in one write.
    pub fn send_acks(&mut self, acks: Acks) {
        let (now_s, now_ms) = (self.now_s(), self.now_ms());
        let mut start = 0;
        let mut touched = Vec::with_capacity(acks.items.len());
        for item in acks.items {
            let body = &acks.bodies[start..item.end];
            start = item.end;
            match item.to {
                // A dropped reply says that nobody keeps it here.
                AckTo::Post(_) if body.is_empty() => {}
                AckTo::Post(reply) => drop(reply.send(Ok(Bytes::copy_from_slice(body)))),
                AckTo::Conn(id) => {
                    let Some(conn) = self.conn(id) else { continue };
                    conn.acks.back();
                    if !body.is_empty() {
                        let Conn { line, codec, acks, .. } = conn;
                        line.frame(&mut acks.frames, *codec, body);
                        acks.count = acks.count.saturating_add(1);
                    }
                    touched.push(id);
                }
            }
        }
        self.send_gathered(&touched, now_s, now_ms);
    }

    /// Only when all of a flush is counted is it known which connections have nothing more on the way.
    fn send_gathered(&mut self, touched: &[ConnId], now_s: u32, now_ms: u32) {
        for id in touched {
            let Some(conn) = self.conn(*id) else { continue };
            if conn.acks.count > 0 && conn.acks.is_due(now_ms) {
                conn.acks.sent_ms = now_ms;
                let frames = conn.acks.take();
                conn.line.send(&frames, now_s);
            }
        }
    }

    /// Tells those who wait that nothing can be kept just now: they send again, and are recognised.
    pub fn refuse_acks(&mut self, acks: Acks) {
        let (now_s, now_ms) = (self.now_s(), self.now_ms());
        let error = ErrorBody::new(ErrorCode::NotDurable, "nothing can be kept just now").after_ms(NOT_DURABLE_MS);
        let mut touched = Vec::with_capacity(acks.items.len());
        for item in acks.items {
            match item.to {
                AckTo::Post(reply) => drop(reply.send(Err(error.clone()))),
                AckTo::Conn(id) => {
                    self.say(id, &ToDriver::Error(error.clone()));
                    let Some(conn) = self.conn(id) else { continue };
                    conn.acks.back();
                    touched.push(id);
                }
            }
        }
        self.send_gathered(&touched, now_s, now_ms);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn withheld_acks_are_empty_and_the_others_whole() {
        let id = ConnId { place: 0, generation: 0 };
        let mut acks = Acks::default();
        for (driver, lease, body) in [(1, 7, "one"), (2, 7, "two"), (1, 6, "three"), (3, 7, "four"), (1, 8, "five")] {
            acks.add(driver, lease, AckTo::Conn(id), |out| out.extend_from_slice(body.as_bytes()));
        }
        acks.withhold(|driver| (driver == 1).then_some(7));
        assert_eq!(acks.bodies, b"twofourfive", "whoever came back has a higher lease");
        assert_eq!(
            acks.items.iter().map(|item| (item.driver, item.end)).collect::<Vec<_>>(),
            [(1, 0), (2, 3), (1, 3), (3, 7), (1, 11)]
        );
    }

    #[test]
    fn acks_wait_only_for_what_is_on_the_way_and_not_long() {
        // What is on the way, how many are gathered, ms since the last were sent.
        for (on_the_way, count, since_ms, due) in
            [(0, 1, 0, true), (1, 1, 0, false), (1, GATHERED_MAX, 0, true), (1, 1, GATHERED_MS, true)]
        {
            let acks = Gathered { on_the_way, count, sent_ms: 7, frames: Vec::new() };
            assert_eq!(acks.is_due(7 + since_ms), due, "{on_the_way} on the way, {count} gathered, {since_ms} ms");
        }
    }
}
