//! Frames for watchers, written straight into a shared buffer.

use super::decode::{Malformed, from_watcher};
use super::watch_proto as proto;
use crate::cursor::Cursor;
use crate::messages::watch::{FromWatcher, ToWatcher};
use crate::state::{write_string, write_u64};
use crate::{WATCH_JSON_V1, WATCH_PROTO_V1};

/// How messages become bytes on one connection; chosen by the WebSocket subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Text messages of JSON.
    Json,
    /// Binary messages of Protocol Buffers.
    Proto,
}

impl Codec {
    /// All of them, the one to be preferred first.
    pub const ALL: [Self; 2] = [Self::Proto, Self::Json];

    /// Its name as a WebSocket subprotocol.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => WATCH_JSON_V1,
            Self::Proto => WATCH_PROTO_V1,
        }
    }

    /// The codec of a subprotocol.
    pub fn of(subprotocol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == subprotocol)
    }

    /// Reads one message of a watcher.
    ///
    /// # Errors
    /// The bytes are no message of the protocol.
    pub fn read(self, bytes: &[u8]) -> Result<FromWatcher, Malformed> {
        match self {
            Self::Json => from_watcher(bytes),
            Self::Proto => proto::from_watcher(bytes),
        }
    }

    /// Appends a message of a watcher: for clients.
    pub fn write_from_watcher(self, out: &mut Vec<u8>, message: &FromWatcher) {
        match self {
            // String keys and whole numbers only: nothing in it can fail.
            Self::Json => serde_json::to_writer(out, message).unwrap_or_default(),
            Self::Proto => proto::write_from_watcher(out, message),
        }
    }

    /// Appends a `snapshot`. `members` is the inside of the state object: `"a":1,"b":2`.
    pub fn snapshot(self, out: &mut Vec<u8>, alias: u32, cursor: Cursor, members: &[u8]) {
        match self {
            Self::Json => {
                head(out, b"snapshot", alias);
                write_cursor(out, cursor);
                out.extend_from_slice(b",\"state\":{");
                out.extend_from_slice(members);
                out.extend_from_slice(b"}}");
            }
            Self::Proto => proto::snapshot(out, alias, cursor, members),
        }
    }

    /// Appends a `delta`. `members` is the inside of the merge patch. Called once per changed topic and shard.
    pub fn delta(self, out: &mut Vec<u8>, alias: u32, seq: u64, members: &[u8]) {
        match self {
            Self::Json => {
                head(out, b"delta", alias);
                out.extend_from_slice(b",\"seq\":");
                write_u64(out, seq);
                out.extend_from_slice(b",\"patch\":{");
                out.extend_from_slice(members);
                out.extend_from_slice(b"}}");
            }
            Self::Proto => proto::delta(out, alias, seq, members),
        }
    }

    /// Appends an `event`, whose payload is already JSON.
    pub fn event(self, out: &mut Vec<u8>, alias: u32, cursor: Cursor, event: &[u8]) {
        match self {
            Self::Json => {
                head(out, b"event", alias);
                write_cursor(out, cursor);
                out.extend_from_slice(b",\"event\":");
                out.extend_from_slice(event);
                out.push(b'}');
            }
            Self::Proto => proto::event(out, alias, cursor, event),
        }
    }

    /// Appends a `reset`.
    pub fn reset(self, out: &mut Vec<u8>, alias: u32, cursor: Cursor) {
        match self {
            Self::Json => {
                head(out, b"reset", alias);
                write_cursor(out, cursor);
                out.push(b'}');
            }
            Self::Proto => proto::reset(out, alias, cursor),
        }
    }

    /// Appends an `end` with the final state.
    pub fn end(self, out: &mut Vec<u8>, alias: u32, members: &[u8]) {
        match self {
            Self::Json => {
                head(out, b"end", alias);
                out.extend_from_slice(b",\"state\":{");
                out.extend_from_slice(members);
                out.extend_from_slice(b"}}");
            }
            Self::Proto => proto::end(out, alias, members),
        }
    }

    /// Appends a `subscribed`.
    pub fn subscribed(self, out: &mut Vec<u8>, topic: &str, alias: u32, cursor: Cursor) {
        match self {
            Self::Json => {
                out.extend_from_slice(b"{\"type\":\"subscribed\",\"topic\":");
                write_string(out, topic);
                out.extend_from_slice(b",\"alias\":");
                write_u64(out, u64::from(alias));
                write_cursor(out, cursor);
                out.push(b'}');
            }
            Self::Proto => proto::subscribed(out, topic, alias, cursor),
        }
    }

    /// Appends any other message.
    pub fn message(self, out: &mut Vec<u8>, message: &ToWatcher) {
        match self {
            // Our messages have string keys and finite numbers only, and a Vec takes every write.
            Self::Json => serde_json::to_writer(out, message).expect("our own messages serialise"),
            Self::Proto => proto::message(out, message),
        }
    }
}

fn head(out: &mut Vec<u8>, kind: &[u8], alias: u32) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind);
    out.extend_from_slice(b"\",\"alias\":");
    write_u64(out, u64::from(alias));
}

fn write_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(b",\"cursor\":\"");
    write_u64(out, cursor.epoch);
    out.push(b'.');
    write_u64(out, cursor.seq);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::watch::ToWatcher;
    use serde_json::json;

    fn read(write: impl FnOnce(&mut Vec<u8>)) -> ToWatcher {
        let mut bytes = Vec::new();
        write(&mut bytes);
        serde_json::from_slice(&bytes).expect("what we write is a message of the protocol")
    }

    #[test]
    fn hand_written_frames_are_messages_of_the_protocol() {
        let (json, cursor) = (Codec::Json, Cursor { epoch: 7, seq: 9 });
        assert_eq!(
            read(|out| json.snapshot(out, 3, cursor, br#""phase":"arrived""#)),
            ToWatcher::Snapshot { alias: 3, cursor: "7.9".into(), state: json!({"phase": "arrived"}) }
        );
        assert_eq!(
            read(|out| json.delta(out, 3, 10, br#""position":null"#)),
            ToWatcher::Delta { alias: 3, seq: 10, patch: json!({"position": null}) }
        );
        assert_eq!(
            read(|out| json.event(out, 3, cursor, br#"{"kind":"x"}"#)),
            ToWatcher::Event { alias: 3, cursor: "7.9".into(), event: json!({"kind": "x"}) }
        );
        assert_eq!(read(|out| json.reset(out, 3, cursor)), ToWatcher::Reset { alias: 3, cursor: "7.9".into() });
        assert_eq!(read(|out| json.end(out, 3, b"")), ToWatcher::End { alias: 3, state: json!({}) });
        assert_eq!(
            read(|out| json.subscribed(out, "trip:\"x", 3, cursor)),
            ToWatcher::Subscribed { topic: "trip:\"x".into(), alias: 3, cursor: "7.9".into() }
        );
        assert_eq!(read(|out| json.message(out, &ToWatcher::Heartbeat)), ToWatcher::Heartbeat);
    }
}
