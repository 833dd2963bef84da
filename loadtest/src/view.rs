//! What a watcher holds of one state topic, and whether the server kept its promises about it.

use serde_json::Value;
use wayfare_wire::Cursor;
use wayfare_wire::messages::watch::ToWatcher;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A delta that does not follow what was applied last.
    #[error("delta {got} does not follow {had}")]
    Gap {
        /// Number of the frame applied last.
        had: u64,
        /// Number of the delta.
        got: u64,
    },
    /// A delta before any snapshot.
    #[error("delta {0} without a state to apply it to")]
    Unfounded(u64),
    /// A snapshot older than what was applied before.
    #[error("a snapshot at {got} after {had}")]
    Back {
        /// Cursor of the state held.
        had: Cursor,
        /// Cursor of the snapshot.
        got: Cursor,
    },
    /// A cursor that is none.
    #[error("{0:?} is no cursor")]
    Cursor(String),
    /// The live position became older.
    #[error("the position went back from {had_ms} to {got_ms}")]
    Time {
        /// Time of the newest position seen.
        had_ms: i64,
        /// Time of this one.
        got_ms: i64,
    },
}

/// One watched state topic.
#[derive(Debug, Default)]
pub struct View {
    state: Value,
    cursor: Option<Cursor>,
    newest_ms: Option<i64>,
    ended: bool,
}

impl View {
    /// Takes in a frame of this topic; frames of other kinds change nothing.
    ///
    /// # Errors
    /// The promise that this frame breaks.
    pub fn apply(&mut self, frame: &ToWatcher) -> Result<(), Fault> {
        match frame {
            ToWatcher::Snapshot { cursor, state, .. } => {
                let got: Cursor = cursor.parse().map_err(|_| Fault::Cursor(cursor.clone()))?;
                if let Some(had) = self.cursor.filter(|had| got < *had) {
                    return Err(Fault::Back { had, got });
                }
                (self.state, self.cursor) = (Value::Null, Some(got));
                merge(&mut self.state, state);
                self.check_time()
            }
            ToWatcher::Delta { seq, patch, .. } => {
                let Some(cursor) = &mut self.cursor else {
                    return Err(Fault::Unfounded(*seq));
                };
                let had = std::mem::replace(&mut cursor.seq, *seq);
                if *seq != had + 1 {
                    return Err(Fault::Gap { had, got: *seq });
                }
                merge(&mut self.state, patch);
                self.check_time()
            }
            ToWatcher::End { state, .. } => {
                (self.state, self.ended) = (Value::Null, true);
                merge(&mut self.state, state);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The topic is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The trip's phase, if the topic is a trip.
    #[must_use]
    pub fn phase(&self) -> Option<&str> {
        self.state.get("phase")?.as_str()
    }

    /// When the position shown was taken, Unix ms, if one is shown.
    #[must_use]
    pub fn position_ms(&self) -> Option<i64> {
        self.state.pointer("/position/t_ms")?.as_i64()
    }

    fn check_time(&mut self) -> Result<(), Fault> {
        let Some(got_ms) = self.position_ms() else {
            return Ok(());
        };
        match self.newest_ms.replace(got_ms) {
            Some(had_ms) if got_ms < had_ms => Err(Fault::Time { had_ms, got_ms }),
            _ => Ok(()),
        }
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(cursor: &str, state: Value) -> ToWatcher {
        ToWatcher::Snapshot { alias: 1, cursor: cursor.into(), state }
    }

    fn delta(seq: u64, patch: Value) -> ToWatcher {
        ToWatcher::Delta { alias: 1, seq, patch }
    }

    #[test]
    fn patches_are_merged_as_the_rfc_says() {
        let mut view = View::default();
        view.apply(&snapshot("7.3", json!({"phase": "assigned", "eta": null}))).unwrap();
        assert_eq!(view.state, json!({"phase": "assigned"}));
        view.apply(&delta(4, json!({"position": {"t_ms": 5, "lat": 1}}))).unwrap();
        view.apply(&delta(5, json!({"position": {"t_ms": 6}, "phase": "arrived"}))).unwrap();
        assert_eq!(view.state, json!({"phase": "arrived", "position": {"t_ms": 6, "lat": 1}}));
        let end = ToWatcher::End { alias: 1, state: json!({"phase": "delivered"}) };
        view.apply(&end).unwrap();
        assert!(view.is_ended());
        assert_eq!(view.phase(), Some("delivered"));
    }

    #[test]
    fn broken_promises_are_named() {
        let mut view = View::default();
        assert_eq!(view.apply(&delta(1, json!({}))), Err(Fault::Unfounded(1)));
        view.apply(&snapshot("7.3", json!({"position": {"t_ms": 50}}))).unwrap();
        assert_eq!(view.apply(&delta(5, json!({}))), Err(Fault::Gap { had: 3, got: 5 }));
        let older = view.apply(&snapshot("7.2", json!({})));
        assert!(matches!(older, Err(Fault::Back { .. })));
        let past = json!({"position": {"t_ms": 49}});
        let time = Fault::Time { had_ms: 50, got_ms: 49 };
        assert_eq!(view.apply(&snapshot("8.0", past)), Err(time));
    }
}
