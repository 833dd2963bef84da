//! The operator's fences as this node has them: followed on the bus, indexed beside the hot path, and handed to each shard whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use tokio::sync::mpsc;
use wayfare_bus::{Bus, Event, EventKind, Members, Subscriber};
use wayfare_engine::{Geofence, GeofenceId, Geofences};
use wayfare_wire::fence::FenceDoc;
use wayfare_wire::ids;
use wayfare_wire::topic::{FENCE_SETS, fence_set, fence_set_of};

use crate::metrics;
use crate::shard::Command;

/// Changes that wait between the bus and the follower; beyond it sets are told whole.
const QUEUE: usize = 16_384;

/// Between two indexes there is at least this time, and four times what the last one took: changes that come together share one.
const PAUSE: Duration = Duration::from_millis(100);

/// Fences, indexed, with their names.
#[derive(Default)]
pub struct FenceSet {
    pub index: Geofences,
    names: AHashMap<GeofenceId, Arc<str>>,
}

impl FenceSet {
    /// A fence's name; empty when there is no such fence.
    pub fn name(&self, fence: GeofenceId) -> &str {
        self.names.get(&fence).map_or("", |name| name)
    }
}

/// Hears of fences and makes sets of them.
pub struct Follower {
    subscriber: Subscriber,
    known: Known,
    /// Sets that shards may still hold: the last one to let go of a large set should not be a shard.
    former: Option<Arc<FenceSet>>,
}

/// Every fence there is, prepared.
#[derive(Default)]
struct Known {
    fences: AHashMap<ids::Fence, (Arc<Geofence>, Arc<str>)>,
    generation: u64,
}

impl Follower {
    /// Subscribes, and hears all that the bus has.
    pub async fn start(bus: &Bus) -> (Self, Arc<FenceSet>) {
        let mut subscriber = bus.topics.subscriber(QUEUE);
        for set in 0..FENCE_SETS {
            subscriber.subscribe(&fence_set(set), u64::from(set)).await;
        }
        // The first word about each set is the whole of it, or that there is none.
        let (mut heard, mut events, mut new) = (vec![false; usize::from(FENCE_SETS)], Vec::new(), Vec::new());
        while heard.contains(&false) {
            subscriber.recv(&mut new).await;
            for event in &new {
                heard[event.tag as usize] = true;
            }
            events.append(&mut new);
        }
        let (known, set) = index(Known::default(), events).await.unwrap_or_default();
        (Self { subscriber, known, former: Some(Arc::clone(&set)) }, set)
    }

    /// Indexes anew whenever fences change, until the shards are gone.
    pub async fn run(mut self, shards: Vec<mpsc::Sender<Command>>) {
        let mut events = Vec::new();
        loop {
            self.subscriber.recv(&mut events).await;
            let began = Instant::now();
            let indexed = index(std::mem::take(&mut self.known), std::mem::take(&mut events)).await;
            let Some((known, set)) = indexed else { return };
            self.known = known;
            for shard in &shards {
                if shard.send(Command::Fences(Arc::clone(&set))).await.is_err() {
                    return;
                }
            }
            metrics::fences(set.index.len());
            let took = began.elapsed();
            tracing::debug!(fences = set.index.len(), ms = took.as_millis() as u64, "fences indexed");
            tokio::time::sleep(PAUSE.max(took * 4)).await;
            // Long enough for every shard to have let go of the one before.
            let former = self.former.replace(set);
            let _ = tokio::task::spawn_blocking(move || drop(former)).await;
        }
    }
}

/// Applies changes and makes a set, on a thread of its own. `None` after a panic there, or at the end of the runtime.
async fn index(mut known: Known, events: Vec<Event>) -> Option<(Known, Arc<FenceSet>)> {
    let work = move || {
        for event in events {
            known.apply(event);
        }
        let set = known.set();
        (known, Arc::new(set))
    };
    let failed = |error| tracing::error!(%error, "fences could not be indexed; they stay as they were");
    tokio::task::spawn_blocking(work).await.map_err(failed).ok()
}

impl Known {
    fn apply(&mut self, event: Event) {
        match event.kind {
            EventKind::Snapshot(snapshot) => {
                let set = fence_set(event.tag as u16);
                let gone = |fence: &ids::Fence| {
                    fence_set_of(*fence) == set && snapshot.members.get(&fence.to_string()).is_none()
                };
                self.fences.retain(|fence, _| !gone(fence));
                self.put(&snapshot.members);
            }
            EventKind::Delta { patch, .. } => {
                for (name, value) in patch.fields() {
                    self.put_one(name, &value);
                }
            }
            EventKind::Absent | EventKind::Stale | EventKind::End(_) => {}
        }
    }

    fn put(&mut self, members: &Members) {
        for (name, value) in members.iter() {
            self.put_one(name, value);
        }
    }

    fn put_one(&mut self, name: &str, value: &[u8]) {
        let Ok(id) = name.parse::<ids::Fence>() else {
            tracing::error!(name, "a set of fences holds something else");
            return;
        };
        if value == b"null" {
            self.fences.remove(&id);
            return;
        }
        let read = serde_json::from_slice::<FenceDoc>(value).map_err(|error| error.to_string());
        match read.and_then(|doc| Ok((doc.fence(id.into()).map_err(|error| error.to_string())?, doc.name))) {
            Ok((fence, name)) => drop(self.fences.insert(id, (Arc::new(fence), name.into()))),
            Err(error) => tracing::error!(fence = %id, error, "a fence cannot be read; it is left as it was"),
        }
    }

    fn set(&mut self) -> FenceSet {
        self.generation += 1;
        let fences = self.fences.values().map(|(fence, _)| Arc::clone(fence));
        let names = self.fences.iter().map(|(id, (_, name))| (GeofenceId::from(*id), Arc::clone(name)));
        FenceSet { index: Geofences::new(self.generation, fences), names: names.collect() }
    }
}
