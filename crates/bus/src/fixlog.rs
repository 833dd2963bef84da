//! The fix log: what was acked, and what each tracker needs to go on.
//!
//! A flush is one record with a checksum (in a log with partitions: one for each that it touches), durable when [`FixLog::append`] returns. Each entry carries the fencing number of its
//! driver's lease; an entry with a stale number is refused alone. A driver's state is its newest checkpoint plus its entries in the records after it.

use std::sync::Arc;

use bytes::Bytes;

use crate::{embedded, redis};

/// Beyond this share of its bytes the log drops folded records before their time,
const CROWDED: f64 = 0.75;
/// but none younger than this, which trackers may still want to judge again.
const CROWDED_KEEP_MS: i64 = 3_600_000;

/// Bounds of the log. Beyond the age, records are dropped; beyond the size, appends are refused.
#[derive(Debug, Clone, Copy)]
pub struct FixLogLimits {
    /// Records older than this are dropped, milliseconds.
    pub keep_ms: i64,
    /// Most bytes of records.
    pub bytes_max: u64,
    /// Records are dropped only once [`FixLog::folded`] says that they live on elsewhere.
    pub fold_first: bool,
}

impl FixLogLimits {
    /// How long records are kept where there are so many bytes of them, milliseconds.
    pub(crate) fn keep_for(&self, bytes: u64) -> i64 {
        let crowded = bytes as f64 > CROWDED * self.bytes_max as f64;
        if crowded { self.keep_ms.min(CROWDED_KEEP_MS) } else { self.keep_ms }
    }
}

/// What one driver adds to a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The driver.
    pub driver: u128,
    /// Number of the driver's lease.
    pub lease: u64,
    /// In the writer's own format.
    pub bytes: Bytes,
}

/// State of a tracker after the record it is appended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The driver.
    pub driver: u128,
    /// Number of the driver's lease.
    pub lease: u64,
    /// In the writer's own format.
    pub bytes: Bytes,
}

/// All of one flush interval.
#[derive(Debug, Clone, Default)]
pub struct Flush {
    /// When it was gathered, Unix milliseconds.
    pub at_ms: i64,
    /// In the order judged. A driver may occur more than once.
    pub entries: Vec<Entry>,
    /// Replace the older ones of the same drivers.
    pub checkpoints: Vec<Checkpoint>,
}

/// What became of a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushReceipt {
    /// Number of the newest record it made; grows inside a partition.
    pub number: u64,
    /// Places of the entries that were refused because their lease was lost: never ack these.
    pub refused: Vec<usize>,
}

/// How far a partition was folded into something that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Which log: another one counts anew.
    pub generation: u64,
    /// The newest record that may be dropped.
    pub number: u64,
}

/// Why a flush was not kept. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum FixLogError {
    /// The bound on the log's size is reached: records must age, or the bound be raised.
    #[error("the fix log holds {bytes} bytes, its limit is {limit}")]
    Full {
        /// Bytes of records now.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The disk, or the database on it, refused.
    #[error("the fix log cannot be written: {0}")]
    Storage(#[from] sqlx::Error),
    /// Redis refused, or did not answer. Perhaps it was kept: append the same flush again.
    #[error("the fix log cannot be written: {0}")]
    Redis(#[from] fred::error::Error),
}

/// What becomes of an entry of a driver whose data are erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Stays,
    /// It goes.
    Goes,
    /// A part of it stays, in the writer's own format.
    Becomes(Bytes),
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Entries that are gone, or a part of them.
    pub entries: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Damaged records: whose they were cannot be told, so they go.
    pub damaged: u64,
    /// Damaged files that were set aside, for the same reason.
    pub set_aside: u64,
}

/// One entry, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEntry {
    /// The driver.
    pub driver: u128,
    /// In the writer's own format.
    pub bytes: Bytes,
}

/// One record, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its number.
    pub number: u64,
    /// When it was gathered, Unix milliseconds.
    pub at_ms: i64,
    /// What it holds; an error if it is damaged.
    pub entries: Result<Vec<KeptEntry>, DamagedRecord>,
}

/// The bytes of a record are not those that were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {number} is damaged")]
pub struct DamagedRecord {
    /// Its number.
    pub number: u64,
}

/// A piece of the log.
#[derive(Debug, Clone, Default)]
pub struct RecordPage {
    /// In order.
    pub records: Vec<KeptRecord>,
    /// Read on after this number.
    pub next: u64,
}

/// The fix log of a bus. Cheap to clone.
#[derive(Clone)]
pub enum FixLog {
    /// In a file of this process.
    Embedded(Arc<embedded::FixFile>),
    /// On Redis.
    Redis(Arc<redis::FixStreams>),
}

/// The entries of a record without what is erased, and how many of them that touched.
pub(crate) fn without(entries: Vec<KeptEntry>, driver: u128, fate: &impl Fn(&Bytes) -> Fate) -> (Vec<Entry>, u64) {
    let (mut left, mut gone) = (Vec::with_capacity(entries.len()), 0);
    for entry in entries {
        let kept = |bytes| Entry { driver: entry.driver, lease: 0, bytes };
        match if entry.driver == driver { fate(&entry.bytes) } else { Fate::Stays } {
            Fate::Stays => left.push(kept(entry.bytes.clone())),
            Fate::Goes => gone += 1,
            Fate::Becomes(bytes) => {
                gone += 1;
                left.push(kept(bytes));
            }
        }
    }
    (left, gone)
}

impl FixLog {
    /// Appends a flush as one record. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`FixLogError`]: nothing was kept.
    pub async fn append(&self, flush: &Flush) -> Result<FlushReceipt, FixLogError> {
        match self {
            Self::Embedded(file) => file.append(flush).await,
            Self::Redis(streams) => streams.append(flush).await,
        }
    }

    /// The newest checkpoint of a driver, and the number of the record it was appended with, in the driver's partition.
    ///
    /// # Errors
    /// [`FixLogError`].
    pub async fn checkpoint(&self, driver: u128) -> Result<Option<(u64, Bytes)>, FixLogError> {
        match self {
            Self::Embedded(file) => file.checkpoint(driver).await,
            Self::Redis(streams) => streams.checkpoint(driver).await,
        }
    }

    /// All checkpoints, in no order: driver, number of the record, bytes.
    ///
    /// # Errors
    /// [`FixLogError`].
    pub async fn checkpoints(&self) -> Result<Vec<(u128, u64, Bytes)>, FixLogError> {
        match self {
            Self::Embedded(file) => file.checkpoints().await,
            Self::Redis(streams) => streams.checkpoints().await,
        }
    }

    /// How many partitions the log has; drivers are spread over them, and record numbers count inside one. The embedded log has one.
    pub fn partitions(&self) -> u32 {
        match self {
            Self::Embedded(_) => 1,
            Self::Redis(streams) => streams.partitions(),
        }
    }

    /// The partition of a driver's entries, from 0.
    pub fn partition_of(&self, driver: u128) -> u32 {
        // Ids are random: their low bits spread as well as any hash.
        (driver % u128::from(self.partitions())) as u32
    }

    /// Reads at most `limit` records of a partition after number `after`.
    ///
    /// # Errors
    /// [`FixLogError`].
    pub async fn read(&self, partition: u32, after: u64, limit: usize) -> Result<RecordPage, FixLogError> {
        match self {
            Self::Embedded(file) => {
                debug_assert_eq!(partition, 0, "the embedded log has one partition");
                file.read(after, limit).await
            }
            Self::Redis(streams) => streams.read(partition, after, limit).await,
        }
    }

    /// Erases entries of a driver, each by its fate, and with `whole` the driver's checkpoint too. What is damaged goes with it, whoever's it was. Bytes
    /// of it may be left in the files until [`Self::scrub`].
    ///
    /// # Errors
    /// [`FixLogError`]: some of it may be there still. Erase again.
    pub async fn erase(
        &self,
        driver: u128,
        whole: bool,
        fate: impl Fn(&Bytes) -> Fate + Send + Sync,
    ) -> Result<Erased, FixLogError> {
        match self {
            Self::Embedded(file) => file.erase(driver, whole, fate).await,
            Self::Redis(streams) => streams.erase(driver, whole, fate).await,
        }
    }

    /// Leaves no byte of what was erased. While it runs, appends wait, or are refused for the moment.
    ///
    /// # Errors
    /// [`FixLogError`]: scrub again.
    pub async fn scrub(&self) -> Result<(), FixLogError> {
        match self {
            Self::Embedded(file) => file.scrub().await,
            Self::Redis(streams) => streams.scrub().await,
        }
    }

    /// Which log this is: a file that was set aside, or lost, is followed by one of a higher generation, whose records count anew.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Embedded(file) => file.generation(),
            Self::Redis(streams) => streams.generation(),
        }
    }

    /// Allows records up to a number to be dropped when their time comes. What was said of another generation counts for nothing.
    pub fn folded(&self, partition: u32, folded: Folded) {
        match self {
            Self::Embedded(file) => {
                debug_assert_eq!(partition, 0, "the embedded log has one partition");
                file.folded(folded);
            }
            Self::Redis(streams) => streams.folded(partition, folded),
        }
    }

    /// Waits until something was appended since it last returned, or for a second; also after nothing.
    pub async fn appended(&self) {
        match self {
            Self::Embedded(file) => file.appended().await,
            Self::Redis(streams) => streams.appended().await,
        }
    }

    pub(crate) async fn trim(&self) {
        match self {
            Self::Embedded(file) => file.trim().await,
            Self::Redis(streams) => streams.trim().await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(file) => file.close().await,
            Self::Redis(_) => {}
        }
    }
}
