//! Subscriptions with a least interval: out of step by their own wish. They get the whole state, encoded once for all of them, when it changed and
//! their time has come; what must not wait (the end, a position that is taken back) comes at once.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use wayfare_wire::state::field;

use super::conn::{ConnId, Mode, SubRef};
use super::state::State;

/// Longest interval that may be asked for, milliseconds: whoever wants less than a message a minute asks when it wants one.
pub const INTERVAL_MS_MAX: u32 = 60_000;

/// Entries of subscriptions that are gone meanwhile are swept when there are this many.
const STALE_MAX: usize = 1024;

/// What a subscription with a least interval keeps of it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub interval_ms: u32,
    /// Nothing is told before this, milliseconds of the shard's life.
    due_ms: u64,
    /// Something changed since the state that was last told.
    pending: bool,
    /// That state had a position: if it is taken back, nobody may wait for the news.
    shows: bool,
}

impl Pace {
    /// The next news comes at once, whenever it comes.
    pub fn hurry(&mut self) {
        self.due_ms = 0;
    }

    pub fn new(interval_ms: u32) -> Self {
        Self { interval_ms, due_ms: 0, pending: false, shows: false }
    }
}

/// A subscription to be told when its time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    due_ms: u64,
    conn: u32,
    slot: u32,
    generation: u32,
}

impl State {
    /// A topic that lives changed, and these listen to it with a least interval.
    pub fn offer_paced(&mut self, place: usize, listeners: &[SubRef]) {
        let hidden = self.topics[place].members.get(field::POSITION).is_none();
        let now_ms = self.now_ms();
        for at in listeners {
            let conn = &mut self.conns[at.conn as usize];
            let generation = conn.generation;
            let Some(pace) = conn.sub(at.slot).and_then(|sub| sub.pace.as_mut()) else { continue };
            if (pace.shows && hidden) || pace.due_ms <= now_ms {
                pace.pending = false;
                self.whole_due.push(*at);
            } else if !pace.pending {
                pace.pending = true;
                self.paced.push(Reverse(Due { due_ms: pace.due_ms, conn: at.conn, slot: at.slot, generation }));
            }
        }
        self.sweep_paced();
    }

    /// The whole state was told: nothing more until the interval is over.
    pub fn pace_from_now(&mut self, at: SubRef) {
        let now_ms = self.now_ms();
        let Some(sub) = self.conns[at.conn as usize].sub(at.slot) else { return };
        let shows = self.topics[sub.topic].members.get(field::POSITION).is_some();
        if let Some(pace) = sub.pace.as_mut() {
            pace.shows = shows;
            pace.due_ms = now_ms + u64::from(pace.interval_ms);
            pace.pending = false;
        }
    }

    /// When the next of them is to be told.
    pub fn paced_at(&self) -> Option<Instant> {
        let Reverse(next) = self.paced.peek()?;
        Some(self.started + Duration::from_millis(next.due_ms))
    }

    /// Tells those whose time has come.
    pub fn tell_paced(&mut self) {
        let now_ms = self.now_ms();
        while let Some(Reverse(due)) = self.paced.peek().copied()
            && due.due_ms <= now_ms
        {
            self.paced.pop();
            if !self.is_pending(&due) {
                continue;
            }
            self.tell_whole_or_later(SubRef { conn: due.conn, slot: due.slot });
        }
    }

    /// Tells the whole state now, or when the socket takes it.
    pub fn tell_whole_or_later(&mut self, at: SubRef) {
        let conn = &mut self.conns[at.conn as usize];
        if conn.is_blocked() {
            Self::fall_behind(conn, at.slot);
        } else {
            self.tell_whole(at);
        }
    }

    /// Whether the subscription is still the same, and still waits.
    fn is_pending(&mut self, due: &Due) -> bool {
        let id = ConnId { place: due.conn, generation: due.generation };
        self.conn(id).and_then(|conn| conn.sub(due.slot)).is_some_and(|sub| {
            sub.mode == Mode::InStep && sub.pace.as_ref().is_some_and(|pace| pace.pending && pace.due_ms == due.due_ms)
        })
    }

    /// Keeps the heap in proportion to those who wait.
    fn sweep_paced(&mut self) {
        if self.paced.len() < self.paced_sweep {
            return;
        }
        let waiting = std::mem::take(&mut self.paced).into_vec();
        self.paced = waiting.into_iter().filter(|Reverse(due)| self.is_pending(due)).collect();
        self.paced_sweep = (self.paced.len() * 2).max(STALE_MAX);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// How large the heap may grow before it is swept.
    pub const fn first_sweep() -> usize {
        STALE_MAX
    }
}
