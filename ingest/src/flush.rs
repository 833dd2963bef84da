//! Group commit: what all shards judged in the last interval becomes one record of the fix log, and then the acks go out.
//!
//! A shard puts what it judged into its [`Gather`]. The flusher takes all gathers together, appends, and hands the acks back. An
//! idle log is flushed at once; under load the next batch gathers by itself while one is being written. A flush that fails is
//! kept and tried again, before anything newer: what was judged is never dropped, and not acked until it is durable.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use wayfare_bus::{Append, Checkpoint, Entry, FixLogError, Flush};
use wayfare_wire::Topic;
use wayfare_wire::topic::PHASES_LOG;

use crate::House;
use crate::shard::{Acks, Command};

/// After a failed flush the next try comes after this time.
const RETRY: Duration = Duration::from_millis(500);

/// Fence events appended in one step.
const EVENTS_AT_ONCE: usize = 500;

/// Drivers whose entries were refused: under which lease, and when.
type Lost = ahash::AHashMap<u128, (u64, Instant)>;

/// By then the shard has let go of a driver that was lost.
const LOST_KEPT: Duration = Duration::from_secs(60);

/// A phase that a tracker found, to be told once what caused it is durable.
#[derive(Debug, Clone)]
pub struct PhaseEvent {
    /// The trip's id, as text.
    pub trip: String,
    /// Assignment and ordinal in one: grows within the trip.
    pub number: u64,
    /// JSON.
    pub payload: Vec<u8>,
}

/// A driver at an operator's fence, to be told once what caused it is durable.
#[derive(Debug, Clone)]
pub struct FenceEvent {
    /// The driver's id, as text.
    pub driver: String,
    /// The event's own id.
    pub id: String,
    /// Grows within the driver.
    pub number: u64,
    /// JSON.
    pub payload: Vec<u8>,
}

impl FenceEvent {
    fn append(&self) -> Append<'_> {
        Append { entity: &self.driver, number: self.number, event_id: &self.id, payload: &self.payload }
    }
}

/// What one shard has judged since it was last taken.
#[derive(Default)]
pub struct Gather {
    /// Which gather of its shard this is.
    pub turn: u64,
    /// All entries' bytes, one after another.
    pub body: Vec<u8>,
    /// Driver, lease, and where its entry ends in the body.
    pub spans: Vec<(u128, u64, usize)>,
    pub checkpoints: Vec<Checkpoint>,
    pub phases: Vec<PhaseEvent>,
    pub fences: Vec<FenceEvent>,
    pub acks: Acks,
}

/// The gathers of all shards, and the word that there is something in them.
pub struct Gathers {
    shards: Vec<Mutex<Gather>>,
    filled: Notify,
    /// Bytes judged and not durable yet.
    unflushed: AtomicUsize,
    unflushed_max: usize,
    stopped: AtomicBool,
}

impl Gathers {
    pub fn new(shards: usize, unflushed_max: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            filled: Notify::new(),
            unflushed: AtomicUsize::new(0),
            unflushed_max,
            stopped: AtomicBool::new(false),
        }
    }

    /// Whether there is room for more. Asked before a fix is judged: what is judged must be kept.
    pub fn has_room(&self) -> bool {
        self.unflushed.load(Ordering::Relaxed) < self.unflushed_max
    }

    /// Adds to a shard's gather and wakes the flusher if it was empty.
    pub fn add(&self, shard: usize, add: impl FnOnce(&mut Gather)) {
        let mut gather = lock(&self.shards[shard]);
        let (empty, before) = (gather.is_empty(), gather.body.len());
        add(&mut gather);
        self.unflushed.fetch_add(gather.body.len() - before, Ordering::Relaxed);
        drop(gather);
        if empty {
            self.filled.notify_one();
        }
    }

    /// Ends the flusher once everything is flushed.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.filled.notify_one();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn take(&self) -> Vec<Gather> {
        let next = |gather: &mut Gather| {
            // The next one will be about as large: growing step by step would copy it, and touch fresh memory, again and again.
            let fresh = Gather {
                turn: gather.turn + 1,
                body: Vec::with_capacity(gather.body.len()),
                spans: Vec::with_capacity(gather.spans.len()),
                acks: Acks::sized_like(&gather.acks),
                ..Gather::default()
            };
            std::mem::replace(gather, fresh)
        };
        self.shards.iter().map(|shard| next(&mut lock(shard))).collect()
    }
}

impl Gather {
    /// Adds a checkpoint, in the place of an older one that would be written just before it.
    pub fn keep(&mut self, checkpoint: Checkpoint) {
        match self.checkpoints.last_mut() {
            Some(last) if last.driver == checkpoint.driver => *last = checkpoint,
            _ => self.checkpoints.push(checkpoint),
        }
    }

    fn is_empty(&self) -> bool {
        let told = self.phases.is_empty() && self.fences.is_empty();
        self.spans.is_empty() && self.checkpoints.is_empty() && told && self.acks.is_empty()
    }
}

/// Flushes until stopped.
pub async fn run(house: Arc<House>, shards: Vec<mpsc::Sender<Command>>) {
    let mut last = Instant::now() - house.config.flush_interval;
    let mut lost = Lost::default();
    loop {
        house.gathers.filled.notified().await;
        let wait = house.config.flush_interval.saturating_sub(last.elapsed());
        tokio::time::sleep(wait).await;
        last = Instant::now();
        flush(&house, &shards, &mut lost).await;
        if house.gathers.is_stopped() {
            // What came while that was being written.
            flush(&house, &shards, &mut lost).await;
            return;
        }
    }
}

/// Takes all gathers and does not return before they are durable.
async fn flush(house: &House, shards: &[mpsc::Sender<Command>], lost: &mut Lost) {
    let mut gathers = house.gathers.take();
    let mut record = Flush { at_ms: wayfare_bus::now_ms(), ..Flush::default() };
    let (mut phases, mut fences) = (Vec::new(), Vec::new());
    // Which shard an entry came from, its driver and lease: refused ones must not be acked.
    let mut owners = Vec::new();
    let mut size = 0;
    for (shard, gather) in gathers.iter_mut().enumerate() {
        size += gather.body.len();
        let body = Bytes::from(std::mem::take(&mut gather.body));
        let mut start = 0;
        for (driver, lease, end) in gather.spans.drain(..) {
            owners.push((shard, driver, lease));
            record.entries.push(Entry { driver, lease, bytes: body.slice(start..end) });
            start = end;
        }
        record.checkpoints.append(&mut gather.checkpoints);
        phases.append(&mut gather.phases);
        fences.append(&mut gather.fences);
    }
    let started = Instant::now();
    if !(record.entries.is_empty() && record.checkpoints.is_empty()) {
        let refused = append(house, shards, &mut gathers, record).await;
        metrics::counter!("wayfare_flushes_total").increment(1);
        metrics::histogram!("wayfare_flush_seconds").record(started.elapsed().as_secs_f64());
        for place in refused {
            let (shard, driver, lease) = owners[place];
            lost.insert(driver, (lease, Instant::now()));
            let _ = shards[shard].send(Command::Lost { driver, lease }).await;
        }
    }
    house.gathers.unflushed.fetch_sub(size, Ordering::Relaxed);
    lost.retain(|_, (_, since)| since.elapsed() < LOST_KEPT);
    for (shard, mut gather) in shards.iter().zip(gathers) {
        if !lost.is_empty() {
            gather.acks.withhold(|driver| lost.get(&driver).map(|(lease, _)| *lease));
        }
        if !gather.acks.is_empty() {
            // A shard that is gone has no connection left to ack on.
            let _ = shard.send(Command::Durable(gather.acks)).await;
        }
    }
    tell_phases(house, phases).await;
    tell_fences(house, fences).await;
}

/// Appends until it succeeds. While it does not, those who wait are told once, and send again later.
async fn append(house: &House, shards: &[mpsc::Sender<Command>], gathers: &mut [Gather], record: Flush) -> Vec<usize> {
    loop {
        let error = match house.bus.fixes.append(&record).await {
            Ok(receipt) => return receipt.refused,
            Err(error) => error,
        };
        metrics::counter!("wayfare_flush_failures_total").increment(1);
        match &error {
            FixLogError::Full { .. } => tracing::error!(%error, "durable acks are refused"),
            FixLogError::Storage(_) | FixLogError::Redis(_) => tracing::error!(%error, "durable acks wait"),
        }
        for (shard, gather) in shards.iter().zip(gathers.iter_mut()) {
            let acks = std::mem::take(&mut gather.acks);
            if !acks.is_empty() {
                let _ = shard.send(Command::NotDurable(acks)).await;
            }
        }
        // Those who waited meanwhile behind this flush are told too: they must not hang.
        for (shard, waiting) in shards.iter().zip(&house.gathers.shards) {
            let acks = std::mem::take(&mut lock(waiting).acks);
            if !acks.is_empty() {
                let _ = shard.send(Command::NotDurable(acks)).await;
            }
        }
        if house.gathers.is_stopped() {
            return Vec::new(); // the house closes; nothing of it was acked, so the apps send it again
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Appends phases to their log, in order, until it takes them.
async fn tell_phases(house: &House, phases: Vec<PhaseEvent>) {
    for phase in phases {
        let event_id = format!("{}/{}", phase.trip, phase.number);
        let event = Append { entity: &phase.trip, number: phase.number, event_id: &event_id, payload: &phase.payload };
        while let Err(error) = house.bus.logs.append(PHASES_LOG, event).await {
            tracing::error!(%error, "a phase could not be told; trying again");
            if house.gathers.is_stopped() {
                return; // it stands in the checkpoint, and is told after the next start
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Appends fence events to their log, some hundreds at once, until it takes them.
async fn tell_fences(house: &House, events: Vec<FenceEvent>) {
    let topic = Topic::Fences.to_string();
    for events in events.chunks(EVENTS_AT_ONCE) {
        let appends: Vec<Append<'_>> = events.iter().map(FenceEvent::append).collect();
        while let Err(error) = house.bus.logs.append_all(&topic, &appends).await {
            tracing::error!(%error, "fence events could not be told; trying again");
            if house.gathers.is_stopped() {
                return; // they stand in the checkpoints, and are told after the next start
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
