//! What every subscriber of the bus may rely on, checked where it is applied.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use wayfare_bus::{Event, EventKind, Members, Snapshot};

/// A reader that applies what it hears and checks every promise on the way.
#[derive(Default)]
pub struct Replica {
    pub epoch: u64,
    pub seq: u64,
    pub members: Members,
    pub snapshots: u64,
    pub deltas: u64,
    pub ended: bool,
    /// How often it was told that it cannot be heard.
    pub stales: u64,
    /// The last word was that.
    pub is_stale: bool,
}

impl Replica {
    pub fn apply(&mut self, event: Event) {
        assert!(!self.ended, "nothing follows an end");
        assert!(!self.is_stale || !matches!(event.kind, EventKind::Delta { .. }), "only a snapshot ends a silence");
        self.is_stale = matches!(event.kind, EventKind::Stale);
        match event.kind {
            EventKind::Absent => assert_eq!(self.seq, 0, "what was there is not absent"),
            EventKind::Stale => self.stales += 1,
            EventKind::Snapshot(snapshot) => self.jump(snapshot),
            EventKind::End(snapshot) => {
                self.jump(snapshot);
                self.ended = true;
            }
            EventKind::Delta { seq, patch } => {
                assert_eq!(seq, self.seq + 1, "a delta applies to the number before it");
                self.seq = seq;
                self.deltas += 1;
                self.members.apply(&patch);
            }
        }
    }

    fn jump(&mut self, snapshot: Snapshot) {
        assert!((snapshot.epoch, snapshot.seq) >= (self.epoch, self.seq), "never back");
        (self.epoch, self.seq, self.members) = (snapshot.epoch, snapshot.seq, snapshot.members);
        self.snapshots += 1;
    }
}
