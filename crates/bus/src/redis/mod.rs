//! The bus on Redis: one server, or a Cluster. Several processes meet on it.
//!
//! A state topic is a hash and a sharded channel of the same name (`topics.rs`, `out.rs`, `ears.rs`, `mirror.rs`), a log is a stream (`logs.rs`), a
//! lease a field of a hash (`leases.rs`), a queue a stream with a consumer group and the records of its jobs (`jobs.rs`). Whatever must be one step is one script (`scripts/`), in the slot of the keys it touches: every key
//! holds the name of its topic in braces.

mod ears;
mod era;
mod fixlog;
mod hub;
mod jobs;
mod leases;
mod link;
mod logs;
mod message;
mod mirror;
mod out;
mod scripts;
mod topics;
pub mod url;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use fred::error::ErrorKind;
use fred::interfaces::EventInterface as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use fixlog::FixStreams;
pub use jobs::JobStreams;
pub use leases::Leases;
pub use logs::Logs;
pub use out::OUT_BYTES_MAX;
pub use topics::{TopicPublisher, TopicSubscriber, Topics};

use crate::embedded::OpenError;
use crate::{Bus, FixLog, RedisConfig, StateTopics};

/// Drivers are spread over this many slots, each with its leases, fix log and checkpoints.
const PARTITIONS: u32 = 64;

/// What was published last goes out before the connections end, if it takes no longer.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The tasks behind a bus. They end with its last handle.
pub struct Running {
    hub: Arc<hub::Hub>,
    _tasks: JoinSet<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The library's own tasks do not end by themselves.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let hub = Arc::clone(&self.hub);
            runtime.spawn(async move { hub.link.close().await });
        }
    }
}

/// At start a server that does not answer, or a Cluster that has no master for some slots, is waited for so long: longer than a failover takes.
const UP_WITHIN: Duration = Duration::from_secs(12);

/// Connects, and agrees with the others on the epoch; again while it may be that Redis is only just coming up.
async fn reach(config: &RedisConfig, servers: &fred::types::config::Config) -> Result<Reached, fred::error::Error> {
    let began = tokio::time::Instant::now();
    loop {
        let error = match try_to_reach(config, servers.clone()).await {
            Ok(reached) => return Ok(reached),
            Err(error) => error,
        };
        let hopeless = matches!(error.kind(), ErrorKind::Auth | ErrorKind::Config | ErrorKind::Url);
        if hopeless || began.elapsed() > UP_WITHIN {
            return Err(error);
        }
        tracing::info!(%error, "Redis does not answer; waiting for it");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A hub, and the lines of topics that have something to tell, and that have to be looked at.
type Reached = (Arc<hub::Hub>, mpsc::UnboundedReceiver<Arc<hub::Topic>>, mpsc::UnboundedReceiver<Arc<hub::Topic>>);

async fn try_to_reach(
    config: &RedisConfig,
    servers: fred::types::config::Config,
) -> Result<Reached, fred::error::Error> {
    let link = link::Link::open(servers, &config.namespace).await?;
    let (outgoing, outgoing_topics) = mpsc::unbounded_channel();
    let (attention, attended) = mpsc::unbounded_channel();
    let hub = Arc::new(hub::Hub::new(link, outgoing, attention));
    if let Err(error) = era::look(&hub).await {
        hub.link.close().await;
        return Err(error);
    }
    Ok((hub, outgoing_topics, attended))
}

/// Connects, and agrees with the others on the epoch.
pub async fn open(config: &RedisConfig) -> Result<Bus, OpenError> {
    let failed = |why: String| OpenError::Redis { url: url::shown(&config.url), why };
    let servers = url::read(&config.url).map_err(failed)?;
    let (hub, outgoing_topics, attended) = reach(config, &servers).await.map_err(|error| failed(error.to_string()))?;
    let tails = Arc::new(logs::Tails::default());
    let mut tasks = JoinSet::new();
    let frames = hub.link.ears.message_rx();
    tasks.spawn(ears::hear(Arc::clone(&hub), Arc::clone(&tails), frames));
    tasks.spawn(ears::attend(Arc::clone(&hub), attended));
    tasks.spawn(ears::follow_connections(Arc::clone(&hub), Arc::clone(&tails)));
    tasks.spawn(ears::audit(Arc::clone(&hub)));
    tasks.spawn(out::run(Arc::clone(&hub), outgoing_topics));
    tasks.spawn(era::run(Arc::clone(&hub)));
    tasks.spawn(Arc::clone(&tails).run(Arc::clone(&hub)));
    let running = Arc::new(Running { hub: Arc::clone(&hub), _tasks: tasks });

    let fixes = FixStreams {
        hub: Arc::clone(&hub),
        _running: Arc::clone(&running),
        limits: config.fix_log,
        bytes: Default::default(),
        droppable: Default::default(),
        // Two that come up within one nanosecond on one Redis are nobody's worry.
        writer: format!("{:x}.{:x}", std::process::id(), since_1970_ns()),
        appended: Default::default(),
        outlived: Default::default(),
    };
    let jobs = JobStreams { hub: Arc::clone(&hub), _running: Arc::clone(&running), tails: Arc::clone(&tails) };
    let logs = Logs {
        hub: Arc::clone(&hub),
        _running: Arc::clone(&running),
        tails,
        events_max: config.log_events_max.max(1),
        keep_ms: config.log_keep_ms,
        known: Default::default(),
    };
    let leases = Leases { hub: Arc::clone(&hub), _running: Arc::clone(&running), swept: AtomicU32::new(0) };
    Ok(Bus {
        topics: StateTopics::Redis(Arc::new(Topics { hub, running })),
        logs: crate::Logs::Redis(Arc::new(logs)),
        leases: crate::Leases::Redis(Arc::new(leases)),
        fixes: FixLog::Redis(Arc::new(fixes)),
        jobs: crate::Jobs::Redis(Arc::new(jobs)),
    })
}

fn since_1970_ns() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

impl Topics {
    /// Sends what waits, within a time, then ends the connections.
    pub(crate) async fn close(&self) {
        let sent = async {
            while self.hub.out_bytes.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(LAST_WORDS, sent).await.is_err() {
            tracing::warn!("Redis did not take the last news in time");
        }
        self.hub.link.close().await;
    }
}
