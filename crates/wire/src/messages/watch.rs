//! Messages between a watcher and fan-out (`wayfare.watch.v1`).

use serde::{Deserialize, Serialize};

use super::error::ErrorBody;

/// From the watcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWatcher {
    /// First message where neither header nor ticket was given, and later to renew the token in place.
    Auth {
        /// An access token.
        token: String,
    },
    /// Watch these topics; those already watched are answered again.
    Subscribe {
        /// At most `max_topics` on one connection.
        topics: Vec<Subscription>,
    },
    /// Stop watching these topics.
    Unsubscribe {
        /// Names, as subscribed.
        topics: Vec<String>,
    },
    /// Answered by `pong`.
    Ping,
}

/// One topic to watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// Name of the topic.
    pub topic: String,
    /// Where the watcher stands, as it was told; none means a snapshot (state) or from now on (log).
    /// `start` means the oldest kept event of a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// News of this topic at most this often, milliseconds; none: as they happen. In between, several are told as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
}

/// To the watcher. Frames on the hot path (`snapshot`, `delta`, `event`, `end`) are written by [`crate::codec`];
/// here they are for readers: clients, tests and the load generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWatcher {
    /// The token was taken (also after a renewal).
    Welcome {
        /// Version of the protocol: 1.
        version: u32,
        /// The server sends something at least this often; twice that long without anything means the line is dead.
        heartbeat_ms: u32,
        /// Most topics on one connection.
        max_topics: u32,
        /// Most `area:` topics among them: what a screen of a map may cost. 0: not told, by an older server.
        #[serde(default)]
        max_areas: u32,
        /// The connection ends then unless the token is renewed, Unix milliseconds.
        expires_at_ms: i64,
    },
    /// The topic is watched from here on.
    Subscribed {
        /// Name, as asked for.
        topic: String,
        /// Short name used by the frames that follow.
        alias: u32,
        /// Where the watcher stands now. A state topic whose cursor was current gets no snapshot.
        cursor: String,
    },
    /// The whole state.
    Snapshot {
        /// Which topic.
        alias: u32,
        /// Position after this frame.
        cursor: String,
        /// Replaces what was held.
        state: serde_json::Value,
    },
    /// What changed since `seq - 1`.
    Delta {
        /// Which topic.
        alias: u32,
        /// Number of this frame inside the epoch.
        seq: u64,
        /// JSON merge patch (RFC 7396).
        patch: serde_json::Value,
    },
    /// One event of a log topic.
    Event {
        /// Which topic.
        alias: u32,
        /// Position after this event.
        cursor: String,
        /// The event.
        event: serde_json::Value,
    },
    /// The cursor cannot be continued (too old, beyond the tip, another generation): reading goes on at `cursor`.
    Reset {
        /// Which topic.
        alias: u32,
        /// Position from which events follow.
        cursor: String,
    },
    /// The house cannot hear the topic just now: what was told last may be old. A snapshot follows as soon as it can.
    Stale {
        /// Which topic.
        alias: u32,
    },
    /// The topic is over. Nothing follows; the final state has no position.
    End {
        /// Which topic.
        alias: u32,
        /// The final state.
        state: serde_json::Value,
    },
    /// The topic is no longer watched.
    Unsubscribed {
        /// Name, as subscribed.
        topic: String,
    },
    /// Something was refused; the connection lives on.
    Error(ErrorBody),
    /// Sent when nothing else was for `heartbeat_ms`.
    Heartbeat,
    /// Answer to `ping`.
    Pong,
    /// The server is about to close.
    Bye(super::Bye),
}
