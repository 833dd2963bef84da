//! Watchers out: bus to WebSocket, SSE and polling.
//!
//! Connections are owned by shards, one per core ([`shard`]). Polling reads the bus directly ([`poll`]). Who may watch what is
//! decided in [`access`]. This room knows no driver's connection and no record, only topics.

mod access;
mod metrics;
mod poll;
mod routes;
mod shard;
mod sse;
mod subjects;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::{Mutex, mpsc};
use wayfare_bus::Bus;
use wayfare_net::cores::Cores;
use wayfare_net::gate::Gate;
use wayfare_net::origin::AllowedOrigins;
use wayfare_net::tokens::Verifier;

use crate::subjects::Subjects;

/// Owners who must have rebuilt their topics before an absent topic is answered by "not found".
pub const TOPIC_OWNERS: &[&str] = &["api", "ingest"];

/// Bounds and rhythms of fan-out. The defaults are those told in `PROTOCOL.md`.
#[derive(Debug, Clone)]
pub struct FanoutConfig {
    /// Something is sent to every watcher at least this often.
    pub heartbeat: Duration,
    /// A token must arrive within this time.
    pub auth_timeout: Duration,
    /// A socket that takes nothing for this long while something waits is cut.
    pub slow_timeout: Duration,
    /// Most topics on one WebSocket.
    pub topics_per_connection: usize,
    /// Most `area:` topics among them: the cells of a screen, and those it has just left.
    pub areas_per_connection: usize,
    /// Most topics of one SSE stream or poll.
    pub topics_per_url: usize,
    /// Most events waiting between the bus and one shard; beyond it topics are conflated.
    pub shard_queue: usize,
    /// Clients are told to come back within this time when the node drains, spread evenly.
    pub drain_spread: Duration,
    /// How often a poller should come back.
    pub poll_interval: Duration,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(20),
            auth_timeout: Duration::from_secs(5),
            slow_timeout: Duration::from_secs(30),
            topics_per_connection: 100,
            areas_per_connection: 96,
            topics_per_url: 8,
            shard_queue: 65_536,
            drain_spread: Duration::from_secs(10),
            poll_interval: Duration::from_secs(3),
        }
    }
}

/// What all shards and handlers of this node share.
pub(crate) struct House {
    pub config: FanoutConfig,
    pub bus: Bus,
    pub verifier: Arc<Verifier>,
    pub origins: AllowedOrigins,
    pub gate: Arc<Gate>,
    pub subjects: Subjects,
    /// The node is leaving: nobody may begin to wait.
    pub draining: AtomicBool,
}

/// The role: shards on their cores, and the routes that lead to them.
pub struct Fanout {
    house: Arc<House>,
    shards: Vec<mpsc::Sender<shard::Command>>,
    next: AtomicUsize,
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Fanout {
    /// Starts one shard on each core.
    pub fn start(
        config: FanoutConfig,
        bus: Bus,
        verifier: Arc<Verifier>,
        origins: AllowedOrigins,
        gate: Arc<Gate>,
        cores: &Cores,
    ) -> Arc<Self> {
        metrics::describe();
        let house = Arc::new(House {
            config,
            bus,
            verifier,
            origins,
            gate,
            subjects: Subjects::default(),
            draining: AtomicBool::new(false),
        });
        let (end, ended) = mpsc::channel(1);
        let start = |core| {
            let (sender, commands) = mpsc::channel(1024);
            let (house, end) = (Arc::clone(&house), end.clone());
            cores.spawn(core, move || async move {
                shard::run(house, core, commands).await;
                drop(end);
            });
            sender
        };
        let shards = (0..cores.count()).map(start).collect();
        Arc::new(Self { house, shards, next: AtomicUsize::new(0), ended: Mutex::new(ended) })
    }

    /// `/v1/watch`, `/v1/watch/sse`, `/v1/watch/poll`.
    pub fn routes(self: &Arc<Self>) -> Router {
        routes::routes(Arc::clone(self))
    }

    /// Tells every watcher when to come back, closes, and waits until all are gone, at most `timeout`.
    pub async fn drain(&self, timeout: Duration) {
        self.house.draining.store(true, Ordering::Relaxed);
        for shard in &self.shards {
            let _ = shard.send(shard::Command::Drain).await;
        }
        let mut ended = self.ended.lock().await;
        if tokio::time::timeout(timeout, ended.recv()).await.is_err() {
            tracing::info!("watchers that did not leave in time were cut");
        }
    }

    /// The next shard in turn.
    fn shard(&self) -> &mpsc::Sender<shard::Command> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.shards[turn % self.shards.len()]
    }
}
