//! The corridor of Wayfare. Services meet here and nowhere else.
//!
//! Five small interfaces: [`StateTopics`] (the latest value of a few named fields, numbered by the bus), [`Logs`] (ordered
//! events), [`Leases`] (who owns what, with a fencing number), [`FixLog`] (what was acked) and [`Jobs`] (work that must be done). Each is a closed enum over its
//! implementations; `tests/contract.rs` is the one suite that every implementation passes.

pub mod embedded;
mod fields;
mod fixlog;
mod jobs;
mod leases;
mod logs;
mod queue;
pub mod redis;
mod topics;

use std::path::PathBuf;

pub use embedded::OpenError;
pub use fields::{Fields, Members, Name, Patch};
pub use fixlog::{
    Checkpoint, DamagedRecord, Entry, Erased, Fate, FixLog, FixLogError, FixLogLimits, Flush, FlushReceipt, Folded,
    KeptEntry, KeptRecord, RecordPage,
};
pub use jobs::{Again, Claim, ClaimError, FAILURES_MAX, Job, JobCounts, JobError, JobState, Jobs, LOSSES_MAX};
pub use leases::{Lease, LeaseError, Leases};
pub use logs::{Append, Appended, ErasedEvents, LogError, LogEvent, LogPage, LogStart, Logs};
pub use topics::{Away, Event, EventKind, Fence, PublishError, Publisher, Snapshot, StateTopics, Subscriber};

/// Where and how large the embedded bus may be.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Folder of the SQLite files; created if absent.
    pub dir: PathBuf,
    /// Bounds of the fix log.
    pub fix_log: FixLogLimits,
    /// Most events kept of one log topic; older ones are dropped, and their readers told by a reset.
    pub log_events_max: u64,
    /// Events older than this are dropped in the same way, milliseconds.
    pub log_keep_ms: i64,
}

/// Which Redis, and how large its logs may be.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// See [`redis::url::read`].
    pub url: String,
    /// Goes before every key, so that several houses may share one Redis.
    pub namespace: String,
    /// Most events kept of one log topic; older ones are dropped, and their readers told by a reset.
    pub log_events_max: u64,
    /// Events older than this are dropped in the same way, milliseconds.
    pub log_keep_ms: i64,
    /// Bounds of the fix log, of all nodes together.
    pub fix_log: FixLogLimits,
}

/// All five interfaces of one corridor. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    /// The latest values.
    pub topics: StateTopics,
    /// The ordered events.
    pub logs: Logs,
    /// Who owns what.
    pub leases: Leases,
    /// What was acked.
    pub fixes: FixLog,
    /// Work that must be done.
    pub jobs: Jobs,
}

impl Bus {
    /// Opens the bus that lives inside this process.
    ///
    /// # Errors
    /// The folder cannot be made, or a file in it is no database of ours.
    pub async fn embedded(config: EmbeddedConfig) -> Result<Self, OpenError> {
        embedded::open(config).await
    }

    /// Connects to a bus on Redis.
    ///
    /// # Errors
    /// Redis does not answer, or the URL is wrong.
    pub async fn redis(config: &RedisConfig) -> Result<Self, OpenError> {
        redis::open(config).await
    }

    /// The fix log of a bus that may be running in another process, for reading.
    ///
    /// # Errors
    /// There is no such log.
    pub async fn read_fix_log(config: &EmbeddedConfig) -> Result<FixLog, OpenError> {
        embedded::read_fix_log(config).await
    }

    /// Forgets what is past its time: tombstones, leases, old events and records. Call it every few seconds.
    pub async fn sweep(&self) {
        self.topics.sweep();
        self.leases.sweep().await;
        self.logs.trim().await;
        self.fixes.trim().await;
    }

    /// Last words to the files: everything durable, the write-ahead logs folded in.
    pub async fn close(&self) {
        self.topics.close().await;
        self.logs.close().await;
        self.fixes.close().await;
        self.jobs.close().await;
    }
}

/// Milliseconds since 1970 by this machine's clock. The engine never calls it; services pass the time in.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
