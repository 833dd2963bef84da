//! The one queue of a subscriber: bounded, for events of many topics.
//!
//! A topic whose event does not fit is marked instead, and its next event is a snapshot. So a subscriber's memory is bounded by its capacity
//! and its subscriptions, never by messages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::topics::Event;

/// A queue for events of topics of type `T`.
pub struct Queue<T> {
    capacity: usize,
    inner: Mutex<Inner<T>>,
    wake: Notify,
}

struct Inner<T> {
    events: VecDeque<Event>,
    /// Topics whose next event must be a snapshot.
    behind: Vec<Arc<T>>,
}

impl<T> Queue<T> {
    pub fn new(capacity: usize) -> Self {
        let inner = Inner { events: VecDeque::new(), behind: Vec::new() };
        Self { capacity: capacity.max(1), inner: Mutex::new(inner), wake: Notify::new() }
    }

    /// False if the event did not fit; the topic is then among those that are behind.
    pub fn push(&self, event: Event, topic: &Arc<T>) -> bool {
        let mut inner = lock(&self.inner);
        let fits = inner.events.len() < self.capacity;
        let first = inner.events.is_empty() && inner.behind.is_empty();
        if fits {
            inner.events.push_back(event);
        } else {
            inner.behind.push(Arc::clone(topic));
        }
        drop(inner);
        if first {
            self.wake.notify_one();
        }
        fits
    }

    /// For events that may exceed the capacity: at most one per subscription.
    pub fn push_end(&self, event: Event) {
        lock(&self.inner).events.push_back(event);
        self.wake.notify_one();
    }

    /// Takes all events, and the topics that are behind.
    pub fn take(&self, events: &mut Vec<Event>) -> Vec<Arc<T>> {
        let mut inner = lock(&self.inner);
        events.extend(inner.events.drain(..));
        std::mem::take(&mut inner.behind)
    }

    /// Returns after a push. A permit is kept if the push came between a look and this wait.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// A panic while holding one of these locks leaves plain data behind, still whole: go on.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
