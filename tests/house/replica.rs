//! What a watcher holds, built only from what it was told. Every promise of the protocol about state topics is checked at each step.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

/// `epoch.seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    pub epoch: u64,
    pub seq: u64,
}

/// States that watchers of one house have held, by topic and cursor: whoever stands there, by whatever transport, holds the same.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<HashMap<(String, Cursor), Value>>>);

/// One watched state topic.
#[derive(Clone)]
pub struct Replica {
    pub topic: String,
    pub cursor: Option<Cursor>,
    pub state: Value,
    pub ended: bool,
    pub snapshots: usize,
    pub deltas: usize,
    ledger: Ledger,
}

impl Replica {
    pub fn new(topic: &str, ledger: Ledger) -> Self {
        let state = Value::Object(Map::new());
        Self { topic: topic.to_owned(), cursor: None, state, ended: false, snapshots: 0, deltas: 0, ledger }
    }

    /// Forget what was held, take this.
    pub fn snapshot(&mut self, cursor: Cursor, state: &Value) {
        assert!(!self.ended, "{}: a snapshot after the end", self.topic);
        if let Some(held) = self.cursor {
            assert!(cursor >= held, "{}: a snapshot at {cursor} goes back behind {held}", self.topic);
        }
        self.state = Value::Object(Map::new());
        merge(&mut self.state, state);
        self.snapshots += 1;
        self.stand_at(cursor);
    }

    /// Exactly the next step, or a fault.
    pub fn delta(&mut self, seq: u64, patch: &Value) {
        assert!(!self.ended, "{}: a delta after the end", self.topic);
        let held = self.cursor.unwrap_or_else(|| panic!("{}: a delta before any snapshot", self.topic));
        assert_eq!(seq, held.seq + 1, "{}: a delta to {seq} does not fit {held}", self.topic);
        merge(&mut self.state, patch);
        self.deltas += 1;
        self.stand_at(Cursor { seq, ..held });
    }

    /// The final state.
    pub fn end(&mut self, state: &Value) {
        assert!(!self.ended, "{}: ended twice", self.topic);
        self.state = Value::Object(Map::new());
        merge(&mut self.state, state);
        self.ended = true;
        assert!(self.state.get("position").is_none(), "{}: the end tells a position", self.topic);
    }

    /// The server says that this watcher's cursor is where things stand, or where they will go on from.
    pub fn subscribed_at(&self, cursor: Cursor) {
        if let Some(held) = self.cursor {
            assert!(cursor >= held, "{}: the server stands at {cursor}, behind {held}", self.topic);
        }
    }

    fn stand_at(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
        let mut seen = self.ledger.0.lock().unwrap();
        let known = seen.entry((self.topic.clone(), cursor)).or_insert_with(|| self.state.clone());
        assert_eq!(*known, self.state, "{} at {cursor}: two watchers hold different states", self.topic);
    }
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().unwrap();
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.remove(name)),
            value => merge(members.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, seq) = text.split_once('.').ok_or(())?;
        Ok(Self { epoch: epoch.parse().map_err(drop)?, seq: seq.parse().map_err(drop)? })
    }
}

#[test]
fn merge_patches_follow_the_rfc() {
    let check = |target: &str, patch: &str, expected: &str| {
        let mut target: Value = serde_json::from_str(target).unwrap();
        merge(&mut target, &serde_json::from_str(patch).unwrap());
        assert_eq!(target, serde_json::from_str::<Value>(expected).unwrap(), "{patch}");
    };
    check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
    check(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
    check(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
    check(r#"{"a":[1]}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
    check(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
}
