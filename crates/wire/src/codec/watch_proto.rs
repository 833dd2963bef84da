//! The watcher protocol in Protocol Buffers, `proto/watch.proto`: frames written straight into a shared buffer, as those of JSON are.
//!
//! Values are JSON text on the bus. They are translated here, once per shard and only where a watcher of this codec is in step: reading a
//! position and writing it as differences costs a fraction of the system call that sends it, and everybody else pays nothing.

pub mod moves;
mod pen;
mod read;
mod value;

pub use read::WatchReader;

use super::decode::Malformed;
use crate::ErrorBody;
use crate::cursor::Cursor;
use crate::messages::watch::{FromWatcher, ToWatcher};
use pen::{nested, number, number_anyway, text};

/// Appends one `ToWatcher.frames` with this member in it.
fn frame(out: &mut Vec<u8>, member: u32, body: impl FnOnce(&mut Vec<u8>)) {
    nested(out, 1, |out| nested(out, member, body));
}

fn cursor(out: &mut Vec<u8>, field: u32, cursor: Cursor) {
    nested(out, field, |out| {
        number(out, 1, cursor.epoch);
        number(out, 2, cursor.seq);
    });
}

pub(super) fn snapshot(out: &mut Vec<u8>, alias: u32, at: Cursor, members: &[u8]) {
    frame(out, 3, |out| {
        number(out, 1, alias.into());
        cursor(out, 2, at);
        nested(out, 3, |out| value::object(out, members));
    });
}

pub(super) fn delta(out: &mut Vec<u8>, alias: u32, seq: u64, members: &[u8]) {
    frame(out, 4, |out| {
        number(out, 1, alias.into());
        number(out, 2, seq);
        nested(out, 3, |out| value::object(out, members));
    });
}

pub(super) fn event(out: &mut Vec<u8>, alias: u32, at: Cursor, event: &[u8]) {
    frame(out, 5, |out| {
        number(out, 1, alias.into());
        cursor(out, 2, at);
        nested(out, 3, |out| value::write(out, event));
    });
}

pub(super) fn reset(out: &mut Vec<u8>, alias: u32, at: Cursor) {
    frame(out, 6, |out| {
        number(out, 1, alias.into());
        cursor(out, 2, at);
    });
}

pub(super) fn end(out: &mut Vec<u8>, alias: u32, members: &[u8]) {
    frame(out, 8, |out| {
        number(out, 1, alias.into());
        nested(out, 2, |out| value::object(out, members));
    });
}

pub(super) fn subscribed(out: &mut Vec<u8>, topic: &str, alias: u32, at: Cursor) {
    frame(out, 2, |out| {
        text(out, 1, topic);
        number(out, 2, alias.into());
        cursor(out, 3, at);
    });
}

/// Messages that are not on the hot path.
pub(super) fn message(out: &mut Vec<u8>, message: &ToWatcher) {
    // Only what the house itself makes comes through here, and its cursors read.
    let at = |cursor: &str| cursor.parse().unwrap_or_default();
    match message {
        ToWatcher::Welcome { version, heartbeat_ms, max_topics, max_areas, expires_at_ms } => frame(out, 1, |out| {
            number(out, 1, (*version).into());
            number(out, 2, (*heartbeat_ms).into());
            number(out, 3, (*max_topics).into());
            number(out, 4, *expires_at_ms as u64);
            number(out, 5, (*max_areas).into());
        }),
        ToWatcher::Subscribed { topic, alias, cursor } => subscribed(out, topic, *alias, at(cursor)),
        ToWatcher::Snapshot { alias, cursor, state } => snapshot(out, *alias, at(cursor), inside(&state.to_string())),
        ToWatcher::Delta { alias, seq, patch } => delta(out, *alias, *seq, inside(&patch.to_string())),
        ToWatcher::Event { alias, cursor, event: told } => {
            event(out, *alias, at(cursor), told.to_string().as_bytes());
        }
        ToWatcher::Reset { alias, cursor } => reset(out, *alias, at(cursor)),
        ToWatcher::Stale { alias } => frame(out, 7, |out| number(out, 1, (*alias).into())),
        ToWatcher::End { alias, state } => end(out, *alias, inside(&state.to_string())),
        ToWatcher::Unsubscribed { topic } => frame(out, 9, |out| text(out, 1, topic)),
        ToWatcher::Error(error) => frame(out, 10, |out| write_error(out, error)),
        ToWatcher::Heartbeat => frame(out, 11, |_| {}),
        ToWatcher::Pong => frame(out, 12, |_| {}),
        ToWatcher::Bye(bye) => frame(out, 13, |out| {
            number(out, 1, bye.code.into());
            text(out, 2, &bye.reason);
            if let Some(after_ms) = bye.retry_after_ms {
                number_anyway(out, 3, after_ms.into());
            }
        }),
    }
}

/// The inside of an object's text.
fn inside(object: &str) -> &[u8] {
    object.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().as_bytes()
}

fn write_error(out: &mut Vec<u8>, error: &ErrorBody) {
    let word = serde_json::to_value(error.code).ok();
    text(out, 1, word.as_ref().and_then(|word| word.as_str()).unwrap_or_default());
    text(out, 2, &error.message);
    number(out, 3, error.retry.into());
    if let Some(after_ms) = error.retry_after_ms {
        number_anyway(out, 4, after_ms.into());
    }
    for (field, value) in [(5, &error.field), (6, &error.topic)] {
        if let Some(value) = value {
            pen::text_anyway(out, field, value);
        }
    }
}

/// Reads a message of a watcher.
pub(super) fn from_watcher(bytes: &[u8]) -> Result<FromWatcher, Malformed> {
    read::from_watcher(bytes)
}

/// Appends a message of a watcher: for clients.
pub(super) fn write_from_watcher(out: &mut Vec<u8>, message: &FromWatcher) {
    match message {
        FromWatcher::Auth { token } => nested(out, 1, |out| text(out, 1, token)),
        FromWatcher::Subscribe { topics } => nested(out, 2, |out| {
            for wanted in topics {
                nested(out, 1, |out| {
                    text(out, 1, &wanted.topic);
                    if let Some(cursor) = &wanted.cursor {
                        pen::text_anyway(out, 2, cursor);
                    }
                    if let Some(interval_ms) = wanted.interval_ms {
                        number_anyway(out, 3, interval_ms.into());
                    }
                });
            }
        }),
        FromWatcher::Unsubscribe { topics } => nested(out, 3, |out| {
            for topic in topics {
                pen::text_anyway(out, 1, topic);
            }
        }),
        FromWatcher::Ping => nested(out, 4, |_| {}),
    }
}

#[cfg(test)]
mod tests;
