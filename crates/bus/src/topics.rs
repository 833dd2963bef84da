//! State topics: the latest value of a few named fields.
//!
//! The bus numbers, not the writer: a publish sets the fields, takes the next `seq` and announces both in one atomic step, so
//! several writers never break the order. A subscriber first hears a snapshot, then every delta after it without a gap; when it falls
//! behind its bound it hears a newer snapshot instead.

use std::sync::Arc;

use tokio::sync::watch;

use crate::fields::{Fields, Members, Patch};
use crate::{embedded, redis};

/// Who may still write: a topic keeps the highest of each kind and refuses lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// A tracker: number of the trip's assignment, number of the driver's lease; compared in this order. Never creates a topic.
    Tracker {
        /// Grows with each assignment of the trip to a driver.
        assignment: u64,
        /// Fencing number of the driver's lease.
        lease: u64,
    },
    /// The owner of a record: its version. Creates the topic if there is none.
    Record {
        /// Grows with each change of the record.
        version: u64,
        /// Trackers of earlier assignments are refused from now on; 0 where there are none.
        assignment: u64,
    },
    /// The owner of single fields, in a topic that many write to: numbers are compared field by field, also for a while after a field was
    /// removed. Creates the topic if there is none.
    Member {
        /// Fencing number of the lease of what the field tells about.
        lease: u64,
    },
}

/// Why a publish did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Someone with a higher number wrote here: the writer has lost what it wrote for.
    #[error("a writer with a higher number has written here")]
    Fenced,
    /// The topic has ended.
    #[error("the topic has ended")]
    Ended,
    /// There is no such topic, and this writer may not create one.
    #[error("there is no such topic")]
    Absent,
}

/// The bus does not answer just now; nothing is known. Try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bus does not answer just now; try again")]
pub struct Away;

/// State of a topic at one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Only grows.
    pub epoch: u64,
    /// Number of the last publish inside the epoch.
    pub seq: u64,
    /// The fields.
    pub members: Members,
    /// The topic is over; this is its final state.
    pub ended: bool,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The subscriber's own number for the topic, as given to [`Subscriber::subscribe`].
    pub tag: u64,
    /// What happened.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The topic does not exist (yet). Snapshots follow if it comes into being.
    Absent,
    /// The whole state: first of all, and whenever deltas were skipped.
    Snapshot(Snapshot),
    /// What changed between `seq - 1` and `seq`.
    Delta {
        /// Number of this publish.
        seq: u64,
        /// The changed fields.
        patch: Arc<Patch>,
    },
    /// The bus cannot be heard just now: what was told last may be old. A snapshot follows as soon as it can. Never from the embedded bus.
    Stale,
    /// The topic is over. Nothing follows.
    End(Snapshot),
}

/// The state topics of a bus. Cheap to clone.
#[derive(Clone)]
pub enum StateTopics {
    /// Inside this process.
    Embedded(Arc<embedded::Topics>),
    /// On Redis.
    Redis(Arc<redis::Topics>),
}

impl StateTopics {
    /// A handle for publishing to `topic` again and again.
    pub fn publisher(&self, topic: &str) -> Publisher {
        match self {
            Self::Embedded(topics) => Publisher::Embedded(topics.publisher(topic)),
            Self::Redis(topics) => Publisher::Redis(Box::new(topics.publisher(topic))),
        }
    }

    /// Sets `fields`, takes the next number, announces both. Returns the number. While a bus beyond a network is away, this waits.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing was changed then.
    pub async fn publish(&self, topic: &str, fields: &Fields, fence: Fence) -> Result<u64, PublishError> {
        self.publisher(topic).publish(fields, fence).await
    }

    /// Ends a topic: `fields` are its whole final state. A tombstone stays for `keep_ms`, refuses publishes and answers
    /// late readers. Ending an ended topic changes nothing.
    ///
    /// # Errors
    /// [`PublishError::Fenced`] if a higher record version was there.
    pub async fn end(&self, topic: &str, fields: &Fields, version: u64, keep_ms: i64) -> Result<(), PublishError> {
        match self {
            Self::Embedded(topics) => topics.end(topic, fields, version, keep_ms),
            Self::Redis(topics) => topics.end(topic, fields, version, keep_ms).await,
        }
    }

    /// Ends a topic for everybody who listens and leaves nothing of it, no tombstone either: what it told about is erased.
    pub async fn erase(&self, topic: &str) {
        match self {
            Self::Embedded(topics) => topics.erase(topic),
            Self::Redis(topics) => topics.erase(topic).await,
        }
    }

    /// The state at this moment; `None` if there is no such topic.
    ///
    /// # Errors
    /// [`Away`]; never from the embedded bus.
    pub async fn read(&self, topic: &str) -> Result<Option<Snapshot>, Away> {
        match self {
            Self::Embedded(topics) => Ok(topics.read(topic)),
            Self::Redis(topics) => topics.read(topic).await,
        }
    }

    /// Someone who listens to many topics through one queue of at most `capacity` events. Beyond it, topics are conflated: the
    /// subscriber gets a snapshot of each when it has caught up.
    pub fn subscriber(&self, capacity: usize) -> Subscriber {
        match self {
            Self::Embedded(topics) => Subscriber::Embedded(topics.subscriber(capacity)),
            Self::Redis(topics) => Subscriber::Redis(topics.subscriber(capacity)),
        }
    }

    /// Whether anyone subscribes to `topic` now.
    pub async fn interest(&self, topic: &str) -> bool {
        match self {
            Self::Embedded(topics) => topics.interest(topic),
            Self::Redis(topics) => topics.interest(topic).await,
        }
    }

    /// An owner of topics has rebuilt them after a start.
    pub async fn set_ready(&self, owner: &'static str) {
        match self {
            Self::Embedded(topics) => topics.set_ready(owner),
            Self::Redis(topics) => topics.set_ready(owner).await,
        }
    }

    /// Whether all `owners` have rebuilt their topics. Until then an absent topic proves nothing.
    pub fn is_ready(&self, owners: &[&str]) -> bool {
        match self {
            Self::Embedded(topics) => topics.is_ready(owners),
            Self::Redis(topics) => topics.is_ready(owners),
        }
    }

    /// Changes when the bus may have lost what it was told (its server came back without its data, a replica took its place), or was told too much
    /// while it was away: whoever owns topics tells them whole again, then says [`Self::set_ready`].
    pub fn losses(&self) -> watch::Receiver<u64> {
        match self {
            Self::Embedded(topics) => topics.losses(),
            Self::Redis(topics) => topics.losses(),
        }
    }

    /// When this bus came up or last lost something, Unix milliseconds: the epoch of topics made since.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Embedded(topics) => topics.epoch(),
            Self::Redis(topics) => topics.epoch(),
        }
    }

    pub(crate) fn sweep(&self) {
        match self {
            Self::Embedded(topics) => topics.sweep(),
            Self::Redis(topics) => topics.sweep(),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(topics) => topics.close().await,
        }
    }
}

/// A handle for one topic: finding it costs once, publishing then costs one lock and one copy.
#[derive(Clone)]
pub enum Publisher {
    /// Inside this process.
    Embedded(embedded::TopicPublisher),
    /// On Redis. Boxed: every driver has some publishers, and they stay as small as those of the embedded bus.
    Redis(Box<redis::TopicPublisher>),
}

impl Publisher {
    /// As [`StateTopics::publish`].
    ///
    /// # Errors
    /// As [`StateTopics::publish`].
    pub async fn publish(&self, fields: &Fields, fence: Fence) -> Result<u64, PublishError> {
        match self {
            Self::Embedded(publisher) => publisher.publish(fields, fence),
            Self::Redis(publisher) => publisher.publish(fields, fence).await,
        }
    }

    /// As [`Self::publish`], for callers that cannot wait. The embedded bus is done when this returns. A bus beyond a network queues: what waits for
    /// the same topic is merged, the newest value of each field wins; beyond [`redis::OUT_BYTES_MAX`] it is dropped, counted, and asked for again
    /// (see [`StateTopics::losses`]). Refusals are told later by its counters.
    ///
    /// # Errors
    /// As [`StateTopics::publish`], as far as it is known at once.
    pub fn publish_now(&self, fields: &Fields, fence: Fence) -> Result<(), PublishError> {
        match self {
            Self::Embedded(publisher) => publisher.publish(fields, fence).map(|_| ()),
            Self::Redis(publisher) => publisher.publish_now(fields, fence),
        }
    }

    /// Whether anyone subscribes now.
    pub fn interest(&self) -> bool {
        match self {
            Self::Embedded(publisher) => publisher.interest(),
            Self::Redis(publisher) => publisher.interest(),
        }
    }
}

/// Listens to many topics through one bounded queue. Dropping it unsubscribes from all.
pub enum Subscriber {
    /// Inside this process.
    Embedded(embedded::TopicSubscriber),
    /// On Redis.
    Redis(redis::TopicSubscriber),
}

impl Subscriber {
    /// Subscribes. The first event with `tag` is a snapshot, `Absent` or `End`; nothing after it is missed. Subscribing twice to one topic changes nothing.
    pub async fn subscribe(&mut self, topic: &str, tag: u64) {
        match self {
            Self::Embedded(subscriber) => subscriber.subscribe(topic, tag),
            Self::Redis(subscriber) => subscriber.subscribe(topic, tag),
        }
    }

    /// Unsubscribes. Events that were under way may still come with the old tag, so do not use a tag again.
    pub async fn unsubscribe(&mut self, topic: &str) {
        match self {
            Self::Embedded(subscriber) => subscriber.unsubscribe(topic),
            Self::Redis(subscriber) => subscriber.unsubscribe(topic),
        }
    }

    /// Waits until there is something, then takes all of it, in order. Cancel-safe.
    pub async fn recv(&mut self, events: &mut Vec<Event>) {
        match self {
            Self::Embedded(subscriber) => subscriber.recv(events).await,
            Self::Redis(subscriber) => subscriber.recv(events).await,
        }
    }

    /// Takes what is there without waiting.
    pub fn try_recv(&mut self, events: &mut Vec<Event>) {
        match self {
            Self::Embedded(subscriber) => subscriber.try_recv(events),
            Self::Redis(subscriber) => subscriber.try_recv(events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_two_pointers() {
        assert_eq!(size_of::<Publisher>(), 2 * size_of::<usize>());
    }
}
