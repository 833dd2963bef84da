//! What fan-out counts. Per subscription, frames offered = delivered + covered by a snapshot.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use wayfare_wire::CloseCode;

/// Counters of one shard, added up locally and handed to the recorder once a second: nothing per frame.
#[derive(Debug, Default)]
pub struct Counters {
    /// Deltas of topics, times their subscribers at that moment.
    pub offered: u64,
    /// Of those, written to a socket in step.
    pub delivered: u64,
    /// Of those, left out because the socket was behind; a snapshot follows.
    pub covered: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Bytes written to watchers, framing included, TCP and below not.
    pub bytes: u64,
    /// System calls that wrote them.
    pub writes: u64,
}

impl Counters {
    /// Hands the sums over and starts anew.
    pub fn publish(&mut self) {
        counter!("wayfare_frames_offered_total").increment(self.offered);
        counter!("wayfare_frames_delivered_total").increment(self.delivered);
        counter!("wayfare_frames_covered_total").increment(self.covered);
        counter!("wayfare_snapshots_total").increment(self.snapshots);
        counter!("wayfare_watch_bytes_total").increment(self.bytes);
        counter!("wayfare_watch_writes_total").increment(self.writes);
        *self = Self::default();
    }
}

/// Help texts.
pub fn describe() {
    describe_counter!("wayfare_frames_offered_total", "Deltas, counted once per subscription of their topic");
    describe_counter!("wayfare_frames_delivered_total", "Deltas written to a watcher in step");
    describe_counter!(
        "wayfare_frames_covered_total",
        "Deltas left out because the watcher was behind; a snapshot covers them"
    );
    describe_counter!("wayfare_snapshots_total", "Snapshots written to watchers");
    describe_counter!("wayfare_watch_bytes_total", "Bytes written to watchers, WebSocket framing included");
    describe_counter!("wayfare_watch_writes_total", "System calls that wrote to watchers");
    describe_counter!("wayfare_watch_closed_total", "Watchers' connections closed by the server, by reason");
    describe_gauge!("wayfare_watchers", "Open watchers' connections, by shard and transport");
    describe_gauge!("wayfare_watched_topics", "Topics watched on this node, by shard");
}

/// One connection was closed from here.
pub fn closed(code: CloseCode) {
    if matches!(code, CloseCode::Unauthorized | CloseCode::Revoked) {
        wayfare_net::audit::refused("unknown".into(), "connection of a watcher", code.word());
    }
    counter!("wayfare_watch_closed_total", "reason" => code.word()).increment(1);
}

/// Sizes of a shard's tables.
pub fn sizes(shard: usize, websockets: usize, streams: usize, topics: usize) {
    let shard = shard.to_string();
    gauge!("wayfare_watchers", "shard" => shard.clone(), "transport" => "websocket").set(websockets as f64);
    gauge!("wayfare_watchers", "shard" => shard.clone(), "transport" => "sse").set(streams as f64);
    gauge!("wayfare_watched_topics", "shard" => shard).set(topics as f64);
}
