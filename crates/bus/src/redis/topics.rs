//! State topics on Redis, as the rest of the house sees them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use fred::interfaces::{HashesInterface as _, PubsubInterface as _};
use fred::types::Value;
use tokio::sync::{oneshot, watch};

use super::Running;
use super::era::house_key;
use super::hub::{Hub, Topic};
use super::message::Kept;
use super::out::{self, number, push_fields, read_reply};
use super::scripts::{END, ERASE, TOPIC};
use crate::fields::Fields;
use crate::queue::{Queue, lock};
use crate::topics::{Away, Event, EventKind, Fence, PublishError, Snapshot};

/// An owner's news are out within this, or so much is told all the time that nobody can say when.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// See [`crate::StateTopics`].
pub struct Topics {
    pub(super) hub: Arc<Hub>,
    pub(super) running: Arc<Running>,
}

impl Topics {
    pub(crate) fn epoch(&self) -> u64 {
        self.hub.epoch()
    }

    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.hub.losses.subscribe()
    }

    pub(crate) async fn set_ready(&self, owner: &'static str) {
        // What the owner has told stands before this word.
        let started = Instant::now();
        while self.hub.out_bytes.load(Ordering::Relaxed) > 0 && started.elapsed() < TOLD_WITHIN {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let key = house_key(&self.hub.link);
        loop {
            let field = (format!("ready:{owner}"), self.hub.epoch().to_string());
            let link = &self.hub.link;
            match link.ask(|| link.commands.hset::<Value, _, _>(&key, field.clone())).await {
                Ok(_) => break,
                Err(error) => link.wait_after(&error).await,
            }
        }
        let mut ready = lock(&self.hub.ready);
        if !ready.iter().any(|known| known == owner) {
            ready.push(owner.to_owned());
        }
    }

    pub(crate) fn is_ready(&self, owners: &[&str]) -> bool {
        let ready = lock(&self.hub.ready);
        *self.hub.link.up.borrow() && owners.iter().all(|owner| ready.iter().any(|known| known == owner))
    }

    pub(crate) fn publisher(self: &Arc<Self>, name: &str) -> TopicPublisher {
        let topic = self.hub.find_or_make(name);
        TopicPublisher { hub: Arc::clone(&self.hub), topic, _running: Arc::clone(&self.running) }
    }

    pub(crate) fn subscriber(self: &Arc<Self>, capacity: usize) -> TopicSubscriber {
        TopicSubscriber {
            hub: Arc::clone(&self.hub),
            queue: Arc::new(Queue::new(capacity)),
            subscribed: AHashMap::new(),
            _running: Arc::clone(&self.running),
        }
    }

    pub(crate) async fn end(
        &self,
        name: &str,
        fields: &Fields,
        version: u64,
        keep_ms: i64,
    ) -> Result<(), PublishError> {
        let topic = self.hub.find_or_make(name);
        let seen = topic.seen();
        let mut arguments = vec![
            format!("{version:020}").into(),
            Value::from(keep_ms.max(0)),
            number(self.hub.epoch()),
            number(seen.0),
            number(seen.1),
        ];
        push_fields(&mut arguments, fields);
        match read_reply(self.hub.link.insist(&END, &[&topic.key], arguments).await) {
            Ok((at, _)) => {
                let mut out = lock(&topic.out);
                out.seen = at.max(out.seen);
                Ok(())
            }
            Err(PublishError::Ended) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn erase(&self, name: &str) {
        let key = self.hub.link.key(name, "");
        self.hub.link.insist(&ERASE, &[&key], Vec::new()).await;
    }

    pub(crate) async fn read(&self, name: &str) -> Result<Option<Snapshot>, Away> {
        let key = self.hub.link.key(name, "");
        let link = &self.hub.link;
        let hash = link.run(&TOPIC, &[&key], Vec::new()).await;
        let hash = hash.map_err(|error| {
            tracing::debug!(%error, topic = name, "a topic cannot be read");
            link.trouble.notify_one();
            Away
        })?;
        Ok(Kept::read(hash).map(|kept| Snapshot {
            epoch: kept.at.0,
            seq: kept.at.1,
            members: kept.members,
            ended: kept.ended,
        }))
    }

    /// Asks the servers how many nodes listen. Unknown is nobody.
    pub(crate) async fn interest(&self, name: &str) -> bool {
        let topic = self.hub.find_or_make(name);
        if !lock(&topic.mirror).listeners.is_empty() {
            return true;
        }
        let asked: Result<Value, _> = self.hub.link.commands.pubsub_shardnumsub(topic.key.to_string()).await;
        let ours = u64::from(Hub::is_heard_here(&topic));
        match asked.map(Value::into_array) {
            Ok(reply) => reply.last().and_then(Value::as_u64).unwrap_or(0) > ours,
            Err(_) => false,
        }
    }

    pub(crate) fn sweep(&self) {
        self.hub.sweep();
    }
}

/// See [`crate::Publisher`].
#[derive(Clone)]
pub struct TopicPublisher {
    hub: Arc<Hub>,
    topic: Arc<Topic>,
    _running: Arc<Running>,
}

impl TopicPublisher {
    pub(crate) async fn publish(&self, fields: &Fields, fence: Fence) -> Result<u64, PublishError> {
        let (answer, answered) = oneshot::channel();
        out::put(&self.hub, &self.topic, fields, fence, Some(answer));
        match answered.await {
            Ok(answer) => answer,
            // The bus is being closed; nobody hears of it any more.
            Err(_) => std::future::pending().await,
        }
    }

    pub(crate) fn publish_now(&self, fields: &Fields, fence: Fence) -> Result<(), PublishError> {
        out::put(&self.hub, &self.topic, fields, fence, None);
        Ok(())
    }

    pub(crate) fn interest(&self) -> bool {
        !lock(&self.topic.mirror).listeners.is_empty() || self.topic.is_watched_elsewhere.load(Ordering::Relaxed)
    }
}

/// See [`crate::Subscriber`].
pub struct TopicSubscriber {
    hub: Arc<Hub>,
    queue: Arc<Queue<Topic>>,
    subscribed: AHashMap<Box<str>, Arc<Topic>>,
    _running: Arc<Running>,
}

impl TopicSubscriber {
    pub(crate) fn subscribe(&mut self, name: &str, tag: u64) {
        if self.subscribed.contains_key(name) {
            return;
        }
        let topic = self.hub.find_or_make(name);
        let attend = lock(&topic.mirror).join(&self.queue, tag, &topic);
        if attend {
            self.hub.attend(&topic);
        }
        self.subscribed.insert(name.into(), topic);
    }

    pub(crate) fn unsubscribe(&mut self, name: &str) {
        if let Some(topic) = self.subscribed.remove(name) {
            self.leave(&topic);
        }
    }

    fn leave(&self, topic: &Arc<Topic>) {
        let alone = {
            let mut mirror = lock(&topic.mirror);
            mirror.listeners.retain(|listener| !Arc::ptr_eq(&listener.queue, &self.queue));
            mirror.listeners.is_empty()
        };
        if alone {
            self.hub.attend(topic);
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
            let mut mirror = lock(&topic.mirror);
            let whole = mirror.whole();
            let Some(listener) = mirror.listeners.iter_mut().find(|listener| Arc::ptr_eq(&listener.queue, &self.queue))
            else {
                continue; // unsubscribed or ended meanwhile
            };
            if !std::mem::take(&mut listener.behind) {
                continue; // unsubscribed and subscribed anew: that snapshot is on its way already
            }
            // Under the topic's lock: deltas from here on are queued behind what was taken above.
            if let Some(kind) = whole {
                let is_snapshot = matches!(kind, EventKind::Snapshot(_));
                events.push(Event { tag: listener.tag, kind });
                if is_snapshot {
                    metrics::counter!("wayfare_bus_conflated_total").increment(1);
                }
            }
        }
    }
}

impl Drop for TopicSubscriber {
    fn drop(&mut self) {
        for topic in self.subscribed.values() {
            self.leave(topic);
        }
    }
}
