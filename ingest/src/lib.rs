//! Drivers in: QUIC, WebSocket and HTTP to the engine, and its effects to the bus.
//!
//! A driver belongs to one shard, by its id; the shard owns its tracker and its connection ([`shard`]). What was judged is gathered and
//! made durable by one flusher for the whole node ([`flush`]); only then are acks sent. Telling watchers does not wait for it.
//! This room knows no watcher and no record: a driver's plan comes over the bus.

mod apps;
mod device_keys;
mod fences;
mod flush;
mod hello;
mod metrics;
mod quarantine;
pub mod quic;
mod restore;
mod routes;
mod shard;

use std::net::UdpSocket;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use tokio::sync::{Mutex, Semaphore, mpsc};
use wayfare_atlas::Atlas;
use wayfare_bus::Bus;
use wayfare_engine::{DriverId, Knowledge, LimitsTable, Pacing, Room, ServiceArea, Visibility, World};
use wayfare_net::bucket::Rate;
use wayfare_net::cores::Cores;
use wayfare_net::gate::Gate;
use wayfare_net::origin::AllowedOrigins;
use wayfare_net::tokens::Verifier;

use device_keys::DeviceKeys;
use fences::{FenceSet, Follower};
use flush::Gathers;
use quarantine::Quarantine;

/// At the end, so long for QUIC to see its last packets off.
const QUIC_QUIET: Duration = Duration::from_secs(2);

/// Bounds and rhythms of ingest. The defaults are those told in `PROTOCOL.md`.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Name of this node among the holders of leases.
    pub node: String,
    /// Shortest time between two flushes; an idle log flushes at once.
    pub flush_interval: Duration,
    /// Most bytes of judged fixes that wait for the disk; beyond it fixes are refused unjudged.
    pub unflushed_bytes_max: usize,
    /// Something is sent to every driver at least this often; without a live trip half as often (`shard/pulse.rs`).
    pub heartbeat: Duration,
    /// `hello` with a token must arrive within this time.
    pub auth_timeout: Duration,
    /// A socket that takes nothing for this long while something waits is cut.
    pub slow_timeout: Duration,
    /// Messages of one driver.
    pub messages: Rate,
    /// Most fixes in one message.
    pub fixes_max: usize,
    /// Clients are told to come back within this time when the node drains, spread evenly.
    pub drain_spread: Duration,
    /// A tracker nobody needs is dropped after this time without a fix.
    pub idle_unload: Duration,
    /// A tracker's state is kept again at least this often while it changes.
    pub checkpoint_interval: Duration,
    /// What is believed of a fix, by vehicle.
    pub limits: LimitsTable,
    /// How exact watchers' foresight must be, by phase.
    pub pacing: Pacing,
    /// What customers see, and when.
    pub visibility: Visibility,
    /// Where the operator delivers; everywhere if `None`.
    pub area: Option<ServiceArea>,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            node: "node-1".into(),
            flush_interval: Duration::from_millis(15),
            unflushed_bytes_max: 16 << 20,
            heartbeat: Duration::from_secs(20),
            auth_timeout: Duration::from_secs(5),
            slow_timeout: Duration::from_secs(30),
            messages: Rate { per_second: 50.0, burst: 200.0 },
            fixes_max: 100,
            drain_spread: Duration::from_secs(10),
            idle_unload: Duration::from_secs(600),
            checkpoint_interval: Duration::from_secs(10),
            limits: LimitsTable::default(),
            pacing: Pacing::default(),
            visibility: Visibility::default(),
            area: None,
        }
    }
}

/// What all shards and handlers of this node share.
pub(crate) struct House {
    pub config: IngestConfig,
    pub bus: Bus,
    pub verifier: Arc<Verifier>,
    pub origins: AllowedOrigins,
    pub atlas: Arc<Atlas>,
    pub gate: Arc<Gate>,
    pub gathers: Gathers,
    pub device_keys: Arc<DeviceKeys>,
    pub quarantine: Quarantine,
    /// Long bodies of phone apps that may be received at once.
    pub large_bodies: Semaphore,
}

/// Long bodies received at once, each of at most 8 MiB.
const LARGE_BODIES: usize = 8;

impl House {
    /// What the engine looks things up in, with what is known of driving just now.
    fn world<'a>(&'a self, fences: &'a FenceSet, knowledge: &'a Knowledge, room: &'a Room) -> World<'a> {
        let fences = Some(&fences.index).filter(|index| !index.is_empty());
        World { area: self.config.area.as_ref(), fences, ..World::new(&self.config.limits, knowledge, room) }
    }
}

/// Has the shards tell everything again whenever the bus may have lost it, as soon as the records have made the topics anew. Ends with the shards.
async fn tell_after_losses(bus: Bus, shards: Vec<mpsc::WeakSender<shard::Command>>) {
    let mut losses = bus.topics.losses();
    loop {
        let lost = tokio::time::timeout(Duration::from_secs(5), losses.changed()).await;
        let Some(shards) = shards.iter().map(mpsc::WeakSender::upgrade).collect::<Option<Vec<_>>>() else { return };
        if lost.is_err() {
            continue;
        }
        while !bus.topics.is_ready(&["api"]) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for shard in &shards {
            let _ = shard.send(shard::Command::TellAnew).await;
        }
        bus.topics.set_ready("ingest").await;
        tracing::info!("trackers told to the bus again");
    }
}

/// The role: shards on their cores, one flusher, and the routes that lead to them.
pub struct Ingest {
    house: Arc<House>,
    shards: Vec<mpsc::Sender<shard::Command>>,
    ended: Mutex<mpsc::Receiver<()>>,
    flusher: Mutex<Option<tokio::task::JoinHandle<()>>>,
    quic: OnceLock<Arc<quic::Switch>>,
}

impl Ingest {
    /// Starts one shard on each core. Drivers who come find their trackers; the others' come back by [`Self::bring_back`].
    pub async fn start(
        config: IngestConfig,
        bus: Bus,
        verifier: Arc<Verifier>,
        origins: AllowedOrigins,
        atlas: Arc<Atlas>,
        gate: Arc<Gate>,
        cores: &Cores,
    ) -> Arc<Self> {
        metrics::describe();
        let gathers = Gathers::new(cores.count(), config.unflushed_bytes_max);
        let device_keys = DeviceKeys::new();
        let keys = device_keys::Follower::start(&bus, Arc::clone(&device_keys)).await;
        tokio::spawn(keys.run());
        let (quarantine, large_bodies) = (Quarantine::start(bus.clone()), Semaphore::new(LARGE_BODIES));
        let house = Arc::new(House {
            config,
            bus,
            verifier,
            origins,
            atlas,
            gate,
            gathers,
            device_keys,
            quarantine,
            large_bodies,
        });
        let (end, ended) = mpsc::channel(1);
        let mut shards = Vec::new();
        for core in 0..cores.count() {
            let (sender, commands) = mpsc::channel(1024);
            let (house, end) = (Arc::clone(&house), end.clone());
            cores.spawn(core, move || async move {
                shard::run(house, core, commands).await;
                drop(end);
            });
            shards.push(sender);
        }
        // Before the trackers come back: what they judge again, they judge among the fences.
        let (follower, fences) = Follower::start(&house.bus).await;
        for shard in &shards {
            let _ = shard.send(shard::Command::Fences(Arc::clone(&fences))).await;
        }
        metrics::fences(fences.index.len());
        tokio::spawn(follower.run(shards.clone()));
        let flusher = Mutex::new(Some(tokio::spawn(flush::run(Arc::clone(&house), shards.clone()))));
        let weak = shards.iter().map(mpsc::Sender::downgrade).collect();
        tokio::spawn(tell_after_losses(house.bus.clone(), weak));
        Arc::new(Self { house, shards, ended: Mutex::new(ended), flusher, quic: OnceLock::new() })
    }

    /// Brings back the trackers that were kept. When this returns, everything kept before is told to the bus again.
    ///
    /// # Errors
    /// The fix log cannot be read.
    pub async fn bring_back(&self) -> Result<(), wayfare_bus::FixLogError> {
        restore::run(self).await?;
        self.house.bus.topics.set_ready("ingest").await;
        Ok(())
    }

    /// `/v1/drive`, `/v1/fixes`, and `/in/{key}` for existing phone apps.
    pub fn routes(self: &Arc<Self>) -> Router {
        routes::routes(Arc::clone(self)).merge(apps::routes(Arc::clone(self)))
    }

    /// Lets drivers in on this UDP socket too, from now on.
    ///
    /// # Errors
    /// The configuration offers no cipher for QUIC, or the reactor refuses the socket.
    pub async fn listen_on_quic(
        self: &Arc<Self>,
        socket: UdpSocket,
        tls: rustls::ServerConfig,
        config: quic::QuicConfig,
        cores: &Cores,
    ) -> std::io::Result<()> {
        let switch = quic::open(self, socket, tls, config, cores).await?;
        let _ = self.quic.set(switch);
        Ok(())
    }

    /// Stops reading, judges what was read, flushes, sends the last acks, keeps all trackers, tells every driver when to come back, and
    /// waits until all are gone, at most `timeout`.
    pub async fn drain(&self, timeout: Duration) {
        if let Some(switch) = self.quic.get() {
            // Who comes now is refused; who is here stays until told.
            switch.close_door();
        }
        // Nothing more is taken and every tracker is gathered; then the last flush, whose acks reach the shards before the
        // word to leave does.
        for shard in &self.shards {
            let (done, settled) = tokio::sync::oneshot::channel();
            let _ = shard.send(shard::Command::Settle(done)).await;
            let _ = settled.await;
        }
        self.house.gathers.stop();
        let flusher = self.flusher.lock().await.take();
        if let Some(flusher) = flusher
            && tokio::time::timeout(timeout, flusher).await.is_err()
        {
            tracing::info!("the last flush did not end in time: what is in it was not acked");
        }
        for shard in &self.shards {
            let _ = shard.send(shard::Command::Drain).await;
        }
        let mut ended = self.ended.lock().await;
        if tokio::time::timeout(timeout, ended.recv()).await.is_err() {
            tracing::info!("drivers that did not leave in time were cut");
        }
        if let Some(switch) = self.quic.get() {
            switch.close(QUIC_QUIET).await;
        }
    }

    /// The shard that owns a driver.
    fn shard(&self, driver: DriverId) -> &mpsc::Sender<shard::Command> {
        &self.shards[self.place(driver)]
    }

    /// Which of the shards that is.
    fn place(&self, driver: DriverId) -> usize {
        // Ids are random: their low bits spread as well as any hash.
        (driver.0 % self.shards.len() as u128) as usize
    }
}
