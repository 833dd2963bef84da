//! What a generator counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

/// Three digits, up to a minute: 32 KiB each.
const LONGEST_US: u64 = 60_000_000;

/// Counts of the measured window; a fix belongs to it by its `t_ms`.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) sent: u64,
    /// Sent later than due by more than 5 ms: the generator, or a driver's window of unacked messages, held them back.
    pub(super) sent_late: u64,
    pub(super) acked: u64,
    pub(super) accepted: u64,
    /// Deltas that carried a fix which the watcher had not seen.
    pub(super) delivered: u64,
    pub(super) duplicated: u64,
    /// Snapshots with a new fix: the server skipped what lay between.
    pub(super) snapshots: u64,
    /// Bytes of those deltas on the wire, headers included.
    pub(super) delta_bytes: u64,
    /// Closed loop: fixes that were given up after a second.
    pub(super) stalled: u64,
    /// Errors from the server, and connections it closed, in the whole run.
    pub(super) errors: u64,
    pub(super) closed: u64,
    /// First words of the server on errors.
    pub(super) complaint: Option<String>,
    /// From due to delivered, microseconds.
    pub(super) latency_us: Histogram<u64>,
    /// From due to acked, microseconds.
    pub(super) ack_us: Histogram<u64>,
    /// Fixes never sent, because a newer one was due when there was room: see `Pace::Newest`.
    pub(super) skipped: u64,
    /// How old the newest position was that each watcher had, looked at again and again, microseconds.
    pub(super) age_us: Histogram<u64>,
    /// Frames to maps, their bytes, and how old their first marker was.
    pub(super) map_frames: u64,
    pub(super) map_bytes: u64,
    pub(super) map_us: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        let histogram = || Histogram::new_with_max(LONGEST_US, 3).expect("these bounds are legal");
        Self {
            sent: 0,
            sent_late: 0,
            acked: 0,
            accepted: 0,
            delivered: 0,
            duplicated: 0,
            snapshots: 0,
            delta_bytes: 0,
            stalled: 0,
            errors: 0,
            closed: 0,
            complaint: None,
            latency_us: histogram(),
            ack_us: histogram(),
            skipped: 0,
            age_us: histogram(),
            map_frames: 0,
            map_bytes: 0,
            map_us: histogram(),
        }
    }
}

impl Counts {
    /// Adds the counts of another thread.
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_late += other.sent_late;
        self.acked += other.acked;
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.duplicated += other.duplicated;
        self.snapshots += other.snapshots;
        self.delta_bytes += other.delta_bytes;
        self.stalled += other.stalled;
        self.errors += other.errors;
        self.closed += other.closed;
        self.complaint = self.complaint.take().or(other.complaint);
        // Both have the same bounds.
        let _ = self.latency_us.add(other.latency_us);
        let _ = self.ack_us.add(other.ack_us);
        self.skipped += other.skipped;
        let _ = self.age_us.add(other.age_us);
        self.map_frames += other.map_frames;
        self.map_bytes += other.map_bytes;
        let _ = self.map_us.add(other.map_us);
    }
}

/// What a thread has counted since it last told.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) bytes: u64,
    /// Two digits are enough for a picture, and quickly added up.
    pub(super) latency_us: Histogram<u64>,
}

impl Default for Untold {
    fn default() -> Self {
        let latency_us = Histogram::new_with_max(LONGEST_US, 2).expect("these bounds are legal");
        Self { sent: 0, delivered: 0, bytes: 0, latency_us }
    }
}

impl Untold {
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.bytes += other.bytes;
        // Both have the same bounds.
        let _ = self.latency_us.add(&other.latency_us);
    }

    pub(super) fn clear(&mut self) {
        (self.sent, self.delivered, self.bytes) = (0, 0, 0);
        self.latency_us.reset();
    }
}

/// Seen from outside while it runs.
#[derive(Debug, Default)]
pub(super) struct Live {
    sent: AtomicU64,
    delivered: AtomicU64,
    /// Since it was last taken.
    recent: Mutex<Untold>,
}

impl Live {
    /// Takes what a thread has counted.
    pub(super) fn note(&self, untold: &mut Untold) {
        self.sent.fetch_add(untold.sent, Ordering::Relaxed);
        self.delivered.fetch_add(untold.delivered, Ordering::Relaxed);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(untold);
        untold.clear();
    }

    /// Sent and delivered so far, warm-up included.
    pub(super) fn read(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.delivered))
    }

    /// What was counted since this was last asked.
    pub(super) fn take_recent(&self) -> Untold {
        std::mem::take(&mut *self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
