//! `[fanout]`: watchers out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::{Key, number};

pub(super) const KEYS: &[Key] = &[
    number("heartbeat_s", 1.0..=300.0, "Something is sent to every watcher at least this often, seconds."),
    number("auth_timeout_s", 1.0..=60.0, "A watcher's token must arrive within this time, seconds."),
    number("slow_timeout_s", 1.0..=300.0, "A watcher's socket that takes nothing for this long is cut, seconds."),
    number("topics_per_connection_max", 1.0..=10_000.0, "Most topics on one WebSocket."),
    number(
        "areas_per_connection_max",
        1.0..=10_000.0,
        "Most area topics among them: the cells that a map shows, and those it has just left.",
    ),
    number("topics_per_url_max", 1.0..=64.0, "Most topics of one SSE stream or poll."),
    number(
        "shard_queue_max",
        16.0..=16_777_216.0,
        "Events between the bus and one thread; beyond it topics are conflated.",
    ),
    number("drain_spread_s", 0.0..=300.0, "At shutdown watchers are told to come back within this time, seconds."),
    number("poll_interval_ms", 100.0..=60_000.0, "How often pollers are asked to come back, milliseconds."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fanout {
    pub heartbeat_s: u32,
    pub auth_timeout_s: u32,
    pub slow_timeout_s: u32,
    pub topics_per_connection_max: u32,
    pub areas_per_connection_max: u32,
    pub topics_per_url_max: u32,
    pub shard_queue_max: u32,
    pub drain_spread_s: u32,
    pub poll_interval_ms: u32,
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            heartbeat_s: 20,
            auth_timeout_s: 5,
            slow_timeout_s: 30,
            topics_per_connection_max: 100,
            areas_per_connection_max: 96,
            topics_per_url_max: 8,
            shard_queue_max: 65_536,
            drain_spread_s: 10,
            poll_interval_ms: 3000,
        }
    }
}

impl Fanout {
    /// For the room of that name.
    pub(super) fn room(&self) -> wayfare_fanout::FanoutConfig {
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        wayfare_fanout::FanoutConfig {
            heartbeat: seconds(self.heartbeat_s),
            auth_timeout: seconds(self.auth_timeout_s),
            slow_timeout: seconds(self.slow_timeout_s),
            topics_per_connection: self.topics_per_connection_max as usize,
            areas_per_connection: self.areas_per_connection_max as usize,
            topics_per_url: self.topics_per_url_max as usize,
            shard_queue: self.shard_queue_max as usize,
            drain_spread: seconds(self.drain_spread_s),
            poll_interval: Duration::from_millis(u64::from(self.poll_interval_ms)),
        }
    }
}
