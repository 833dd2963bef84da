//! All topics that this node writes to or hears.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use fred::types::config::Server;
use fred::util::redis_keyslot;
use tokio::sync::{mpsc, watch};

use super::link::Link;
use super::message::At;
use super::mirror::{Attention, Hearing, Mirror};
use super::out::Out;
use crate::queue::lock;

/// Owners are asked to tell everything again at most this often.
const LOST_EVERY: Duration = Duration::from_secs(5);

/// One topic.
pub struct Topic {
    pub name: Arc<str>,
    /// Of its hash; also its channel.
    pub key: Arc<str>,
    pub slot: u16,
    pub mirror: Mutex<Mirror<Topic>>,
    pub out: Mutex<Out>,
    /// At the last publish somebody listened on another node.
    pub is_watched_elsewhere: AtomicBool,
}

impl Topic {
    /// The newest number this node has seen of it.
    pub fn seen(&self) -> At {
        let written = lock(&self.out).seen;
        written.max(lock(&self.mirror).at)
    }
}

/// See the module.
pub struct Hub {
    pub link: Link,
    topics: RwLock<AHashMap<Arc<str>, Arc<Topic>>>,
    /// By channel: those that somebody here listens to.
    pub heard: RwLock<AHashMap<Arc<str>, Arc<Topic>>>,
    /// Topics with something to send.
    pub outgoing: mpsc::UnboundedSender<Arc<Topic>>,
    /// Bytes that wait to be sent, or for their answer.
    pub out_bytes: AtomicUsize,
    /// Too much waited, and some of it was dropped: owners must tell it again.
    pub is_owing: AtomicBool,
    /// Topics whose subscription needs work.
    pub attention: mpsc::UnboundedSender<Arc<Topic>>,
    pub ready: Mutex<Vec<String>>,
    /// Servers, by epoch and id, that know its scripts.
    pub loaded: Mutex<AHashSet<(u64, String)>>,
    pub losses: watch::Sender<u64>,
    lost_at: Mutex<Option<Instant>>,
    /// Primaries that did not answer when last asked.
    pub silent: RwLock<Vec<Server>>,
}

impl Hub {
    pub fn new(
        link: Link,
        outgoing: mpsc::UnboundedSender<Arc<Topic>>,
        attention: mpsc::UnboundedSender<Arc<Topic>>,
    ) -> Self {
        Self {
            link,
            topics: RwLock::default(),
            heard: RwLock::default(),
            outgoing,
            out_bytes: AtomicUsize::new(0),
            is_owing: AtomicBool::new(false),
            attention,
            ready: Mutex::default(),
            loaded: Mutex::default(),
            losses: watch::Sender::new(0),
            lost_at: Mutex::default(),
            silent: RwLock::default(),
        }
    }

    pub fn epoch(&self) -> u64 {
        self.link.epoch()
    }

    pub fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub fn find_or_make(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.find(name) {
            return topic;
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let key: Arc<str> = self.link.key(name, "").into();
            Arc::new(Topic {
                name: name.into(),
                slot: redis_keyslot(key.as_bytes()),
                key,
                mirror: Mutex::default(),
                out: Mutex::default(),
                is_watched_elsewhere: AtomicBool::new(false),
            })
        };
        Arc::clone(topics.entry(name.into()).or_insert_with(make))
    }

    /// Forgets topics that nobody here holds.
    pub fn sweep(&self) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, topic| Arc::strong_count(topic) > 1);
    }

    /// Work on a topic's subscription is due.
    pub fn attend(&self, topic: &Arc<Topic>) {
        let mut mirror = lock(&topic.mirror);
        match mirror.attention {
            Attention::None => {
                mirror.attention = Attention::Queued;
                let _ = self.attention.send(Arc::clone(topic));
            }
            Attention::Now => mirror.attention = Attention::Again,
            Attention::Queued | Attention::Again => {}
        }
    }

    /// All topics that are listened to here.
    pub fn all_heard(&self) -> Vec<Arc<Topic>> {
        self.heard.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Something may have been missed on all of them.
    pub fn attend_all(&self) {
        for topic in self.all_heard() {
            self.attend(&topic);
        }
    }

    /// The bus may have lost something.
    pub fn lost(&self) {
        let mut lost_at = lock(&self.lost_at);
        if lost_at.is_none_or(|at| at.elapsed() >= LOST_EVERY) {
            *lost_at = Some(Instant::now());
            self.losses.send_modify(|losses| *losses += 1);
            metrics::counter!("wayfare_bus_losses_total").increment(1);
        }
    }

    /// Whether the topic's server did not answer when last asked.
    pub fn is_silent(&self, topic: &Topic) -> bool {
        let silent = self.silent.read().unwrap_or_else(PoisonError::into_inner);
        !silent.is_empty() && self.link.server_of(topic.slot).is_none_or(|server| silent.contains(&server))
    }

    /// Whether our own subscription counts among those of the topic.
    pub fn is_heard_here(topic: &Topic) -> bool {
        lock(&topic.mirror).hearing != Hearing::No
    }
}
