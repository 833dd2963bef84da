//! Device keys as this node has them: followed on the bus, found without asking anybody.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use ahash::AHashMap;
use wayfare_bus::{Bus, Event, EventKind, Subscriber};
use wayfare_engine::DriverId;
use wayfare_net::bucket::{Buckets, Rate};
use wayfare_net::device_key;
use wayfare_net::network::network_name;
use wayfare_wire::device_key::{DEVICE_KEY_SETS, DeviceKeyDoc, device_key_set, device_key_set_of};
use wayfare_wire::dialects::Dialect;

/// Changes that wait between the bus and the follower; beyond it sets are told whole.
const QUEUE: usize = 16_384;

/// Wrong keys from one network: a phone with a revoked key tries again and again, a stranger does not get far.
const MISSES: Rate = Rate { per_second: 1.0, burst: 60.0 };

/// Networks remembered for that.
const NETWORKS_MAX: usize = 100_000;

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceKey {
    /// Which phone.
    pub device: u128,
    /// Whose.
    pub driver: DriverId,
    /// What was said to send with it.
    pub app: Option<Dialect>,
}

/// Every key there is, by hash.
pub struct DeviceKeys {
    known: RwLock<AHashMap<String, DeviceKey>>,
    misses: Mutex<Buckets>,
}

impl DeviceKeys {
    /// Knows none yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { known: RwLock::default(), misses: Mutex::new(Buckets::new(MISSES, NETWORKS_MAX)) })
    }

    /// Whose key this is; `None` if it opens nothing.
    pub fn find(&self, key: &str) -> Option<DeviceKey> {
        let hash = device_key::hash(key)?;
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&hash).copied()
    }

    /// A wrong key came from there. False if too many did.
    pub fn may_miss(&self, from: Option<IpAddr>) -> bool {
        let network = from.map(network_name).unwrap_or_default();
        self.misses.lock().unwrap_or_else(PoisonError::into_inner).take(&network, Instant::now())
    }

    fn apply(&self, event: Event) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match event.kind {
            EventKind::Snapshot(snapshot) => {
                let set = device_key_set(event.tag as u16);
                known.retain(|hash, _| device_key_set_of(hash) != set || snapshot.members.get(hash).is_some());
                for (hash, doc) in snapshot.members.iter() {
                    put(&mut known, hash, doc);
                }
            }
            EventKind::Delta { patch, .. } => {
                for (hash, doc) in patch.fields() {
                    put(&mut known, hash, &doc);
                }
            }
            EventKind::Absent | EventKind::Stale | EventKind::End(_) => {}
        }
    }
}

fn put(known: &mut AHashMap<String, DeviceKey>, hash: &str, doc: &[u8]) {
    if doc == b"null" {
        known.remove(hash);
        return;
    }
    match serde_json::from_slice::<DeviceKeyDoc>(doc) {
        Ok(doc) => {
            let app = doc.app.as_deref().and_then(Dialect::from_code);
            let key = DeviceKey { device: doc.device.0, driver: doc.driver.into(), app };
            known.insert(hash.to_owned(), key);
        }
        Err(error) => tracing::error!(%error, "a device key cannot be read; it is left as it was"),
    }
}

/// Hears of keys.
pub struct Follower {
    subscriber: Subscriber,
    keys: Arc<DeviceKeys>,
}

impl Follower {
    /// Subscribes, and hears all that the bus has.
    pub async fn start(bus: &Bus, keys: Arc<DeviceKeys>) -> Self {
        let mut subscriber = bus.topics.subscriber(QUEUE);
        for set in 0..DEVICE_KEY_SETS {
            subscriber.subscribe(&device_key_set(set), u64::from(set)).await;
        }
        // The first word about each set is the whole of it, or that there is none.
        let (mut heard, mut events) = (vec![false; usize::from(DEVICE_KEY_SETS)], Vec::new());
        while heard.contains(&false) {
            subscriber.recv(&mut events).await;
            for event in events.drain(..) {
                heard[event.tag as usize] = true;
                keys.apply(event);
            }
        }
        Self { subscriber, keys }
    }

    /// Follows for as long as the runtime lives.
    pub async fn run(mut self) {
        let mut events = Vec::new();
        loop {
            self.subscriber.recv(&mut events).await;
            for event in events.drain(..) {
                self.keys.apply(event);
            }
        }
    }
}
