//! State topics in memory.
//!
//! Each topic has a lock of its own; under it a publish changes the fields, takes the number and puts the event into the queue of
//! every subscriber (`queue.rs`).

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::{AHashMap, RandomState};
use smallvec::SmallVec;
use tokio::sync::watch;

use super::owners::Owners;
use crate::fields::{Fields, Members};
use crate::queue::{Queue, lock};
use crate::topics::{Event, EventKind, Fence, PublishError, Snapshot};

/// Number of parts of the name table; finding a topic locks one of them for reading.
const PARTS: usize = 64;

/// All topics of this process.
pub struct Topics {
    epoch: u64,
    hasher: RandomState,
    parts: Vec<RwLock<AHashMap<Arc<str>, Arc<Topic>>>>,
    ready: Mutex<Vec<&'static str>>,
    /// Never changes: memory loses nothing without its process.
    losses: watch::Sender<u64>,
}

struct Topic {
    name: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// 0 while nobody with the right to create the topic has published.
    seq: u64,
    members: Members,
    tracker: (u64, u64),
    record: u64,
    /// Owners of single fields, where there are such.
    owners: Option<Box<Owners>>,
    /// Set when ended: when the tombstone may go.
    tombstone: Option<Instant>,
    listeners: SmallVec<[Listener; 2]>,
    /// Taken out of the name table; whoever still holds it must look again.
    gone: bool,
}

struct Listener {
    queue: Arc<Queue<Topic>>,
    tag: u64,
    /// Deltas were skipped: say nothing until the subscriber has fetched a snapshot.
    behind: bool,
}

impl Topics {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            ready: Mutex::default(),
            losses: watch::Sender::new(0),
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    pub(crate) fn set_ready(&self, owner: &'static str) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&owner) {
            ready.push(owner);
        }
    }

    pub(crate) fn is_ready(&self, owners: &[&str]) -> bool {
        let ready = lock(&self.ready);
        owners.iter().all(|owner| ready.contains(owner))
    }

    pub(crate) fn publisher(self: &Arc<Self>, name: &str) -> TopicPublisher {
        TopicPublisher { topics: Arc::clone(self), topic: self.find_or_make(name) }
    }

    pub(crate) fn subscriber(self: &Arc<Self>, capacity: usize) -> TopicSubscriber {
        TopicSubscriber { topics: Arc::clone(self), queue: Arc::new(Queue::new(capacity)), subscribed: AHashMap::new() }
    }

    pub(crate) fn end(
        self: &Arc<Self>,
        name: &str,
        fields: &Fields,
        version: u64,
        keep_ms: i64,
    ) -> Result<(), PublishError> {
        self.locked(name, |_, state| {
            if state.tombstone.is_some() {
                return Ok(());
            }
            if version < state.record {
                return Err(PublishError::Fenced);
            }
            state.record = version;
            state.members = Members::default();
            state.members.apply(&fields.patch());
            state.seq += 1;
            state.tombstone = Some(Instant::now() + Duration::from_millis(keep_ms.max(0) as u64));
            let last = self.snapshot(state);
            for listener in state.listeners.drain(..) {
                // An end may exceed the capacity by one event per subscription: it must not wait for a slow reader.
                listener.queue.push_end(Event { tag: listener.tag, kind: EventKind::End(last.clone()) });
            }
            Ok(())
        })
    }

    pub(crate) fn erase(&self, name: &str) {
        let removed = self.part(name).write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(topic) = removed else { return };
        let mut state = lock(&topic.state);
        state.gone = true;
        state.members = Members::default();
        state.seq += 1;
        let listeners = std::mem::take(&mut state.listeners);
        let last = Snapshot { ended: true, ..self.snapshot(&state) };
        for listener in listeners {
            listener.queue.push_end(Event { tag: listener.tag, kind: EventKind::End(last.clone()) });
        }
    }

    pub(crate) fn read(&self, name: &str) -> Option<Snapshot> {
        let topic = self.find(name)?;
        let state = lock(&topic.state);
        (state.seq > 0).then(|| self.snapshot(&state))
    }

    pub(crate) fn interest(&self, name: &str) -> bool {
        self.find(name).is_some_and(|topic| !lock(&topic.state).listeners.is_empty())
    }

    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for part in &self.parts {
            let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
            part.retain(|_, topic| {
                let mut state = lock(&topic.state);
                if let Some(owners) = &mut state.owners {
                    owners.sweep(now);
                }
                let over = state.tombstone.is_some_and(|until| until <= now);
                let unused = state.seq == 0 && state.listeners.is_empty();
                state.gone = over || unused;
                !state.gone
            });
        }
    }

    fn part(&self, name: &str) -> &RwLock<AHashMap<Arc<str>, Arc<Topic>>> {
        &self.parts[self.hasher.hash_one(name) as usize % PARTS]
    }

    fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.part(name).read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn find_or_make(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.find(name) {
            return topic;
        }
        let mut part = self.part(name).write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        let make = || Arc::new(Topic { name: Arc::clone(&name), state: Mutex::default() });
        Arc::clone(part.entry(Arc::clone(&name)).or_insert_with(make))
    }

    /// Runs `work` on the topic that stands in the table: one that was swept meanwhile is looked up anew.
    fn locked<R>(&self, name: &str, work: impl FnOnce(&Arc<Topic>, &mut State) -> R) -> R {
        loop {
            let topic = self.find_or_make(name);
            let mut state = lock(&topic.state);
            if !state.gone {
                return work(&topic, &mut state);
            }
        }
    }

    fn snapshot(&self, state: &State) -> Snapshot {
        Snapshot { epoch: self.epoch, seq: state.seq, members: state.members.clone(), ended: state.tombstone.is_some() }
    }

    /// What a listener hears when deltas were not, or not yet, told.
    fn whole(&self, state: &State) -> EventKind {
        match (state.seq, state.tombstone) {
            (0, _) => EventKind::Absent,
            (_, None) => EventKind::Snapshot(self.snapshot(state)),
            (_, Some(_)) => EventKind::End(self.snapshot(state)),
        }
    }
}

/// See [`crate::Publisher`].
#[derive(Clone)]
pub struct TopicPublisher {
    topics: Arc<Topics>,
    topic: Arc<Topic>,
}

impl TopicPublisher {
    pub(crate) fn publish(&self, fields: &Fields, fence: Fence) -> Result<u64, PublishError> {
        let mut state = lock(&self.topic.state);
        if state.gone {
            drop(state);
            return self.topics.publisher(&self.topic.name).publish(fields, fence);
        }
        if state.tombstone.is_some() {
            return Err(PublishError::Ended);
        }
        match fence {
            Fence::Tracker { assignment, lease } => {
                if state.seq == 0 {
                    return Err(PublishError::Absent);
                }
                if (assignment, lease) < state.tracker {
                    return Err(PublishError::Fenced);
                }
                state.tracker = (assignment, lease);
            }
            Fence::Record { version, assignment } => {
                if version < state.record {
                    return Err(PublishError::Fenced);
                }
                state.record = version;
                state.tracker = state.tracker.max((assignment, 0));
            }
            Fence::Member { lease } => {
                if !state.owners.get_or_insert_default().admit(fields, lease) {
                    return Err(PublishError::Fenced);
                }
            }
        }
        let created = state.seq == 0;
        let patch = fields.patch();
        state.members.apply(&patch);
        state.seq += 1;
        let seq = state.seq;
        if state.listeners.is_empty() {
            return Ok(seq);
        }
        let kind = if created {
            EventKind::Snapshot(self.topics.snapshot(&state))
        } else {
            EventKind::Delta { seq, patch: Arc::new(patch) }
        };
        for listener in state.listeners.iter_mut().filter(|listener| !listener.behind) {
            let event = Event { tag: listener.tag, kind: kind.clone() };
            listener.behind = !listener.queue.push(event, &self.topic);
        }
        Ok(seq)
    }

    pub(crate) fn interest(&self) -> bool {
        !lock(&self.topic.state).listeners.is_empty()
    }
}

/// See [`crate::Subscriber`].
pub struct TopicSubscriber {
    topics: Arc<Topics>,
    queue: Arc<Queue<Topic>>,
    subscribed: AHashMap<Box<str>, ()>,
}

impl TopicSubscriber {
    pub(crate) fn subscribe(&mut self, name: &str, tag: u64) {
        if self.subscribed.insert(name.into(), ()).is_some() {
            return;
        }
        let topics = Arc::clone(&self.topics);
        topics.locked(name, |topic, state| {
            let event = Event { tag, kind: topics.whole(state) };
            if matches!(event.kind, EventKind::End(_)) {
                self.queue.push_end(event);
                return;
            }
            let behind = !self.queue.push(event, topic);
            state.listeners.push(Listener { queue: Arc::clone(&self.queue), tag, behind });
        });
    }

    pub(crate) fn unsubscribe(&mut self, name: &str) {
        if self.subscribed.remove(name).is_some() {
            self.leave(name);
        }
    }

    fn leave(&self, name: &str) {
        if let Some(topic) = self.topics.find(name) {
            lock(&topic.state).listeners.retain(|listener| !Arc::ptr_eq(&listener.queue, &self.queue));
        }
    }

    pub(crate) async fn recv(&mut self, events: &mut Vec<Event>) {
        loop {
            self.try_recv(events);
            if !events.is_empty() {
                return;
            }
            self.queue.woken().await;
        }
    }

    pub(crate) fn try_recv(&mut self, events: &mut Vec<Event>) {
        for topic in self.queue.take(events) {
            let mut state = lock(&topic.state);
            let whole = self.topics.whole(&state);
            let Some(listener) = state.listeners.iter_mut().find(|listener| Arc::ptr_eq(&listener.queue, &self.queue))
            else {
                continue; // unsubscribed or ended meanwhile
            };
            if !listener.behind {
                continue; // unsubscribed and subscribed anew: that snapshot is on its way already
            }
            // Under the topic's lock: deltas from here on are queued behind what was taken above.
            listener.behind = false;
            events.push(Event { tag: listener.tag, kind: whole });
            metrics::counter!("wayfare_bus_conflated_total").increment(1);
        }
    }
}

impl Drop for TopicSubscriber {
    fn drop(&mut self) {
        for name in self.subscribed.keys() {
            self.leave(name);
        }
    }
}
