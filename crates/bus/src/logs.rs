//! Log topics: ordered events that nobody may miss.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::{embedded, redis};

/// An event to append.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// What the event is about; numbers are compared within it.
    pub entity: &'a str,
    /// Grows with each event of the entity. One that is not higher than the highest seen is a repetition and ignored.
    pub number: u64,
    /// The event's own id, unique for ever.
    pub event_id: &'a str,
    /// JSON.
    pub payload: &'a [u8],
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It stands at this id.
    At(u64),
    /// The log had it, or a later one of its entity.
    Repeated,
}

/// One event, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// Place in the topic, from 1, in commit order.
    pub id: u64,
    /// See [`Append::event_id`].
    pub event_id: String,
    /// JSON.
    pub payload: Bytes,
}

/// Where to start reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStart {
    /// After what is there now.
    Now,
    /// The oldest kept event.
    Oldest,
    /// After this event of this generation.
    After {
        /// Generation in which the id was told.
        generation: u64,
        /// Last event read.
        id: u64,
    },
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// Generation of the log: changes when ids start anew.
    pub generation: u64,
    /// Where to read on.
    pub next: u64,
    /// In order; at most as many as asked for.
    pub events: Vec<LogEvent>,
    /// The start could not be continued (too old, beyond the tip, another generation); `next` is where events follow, and `events` is empty.
    pub reset: bool,
    /// There is more already.
    pub more: bool,
}

/// Why a log could not be written or read just now.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk, or the database on it, refused.
    #[error("the log is not available: {0}")]
    Storage(#[from] sqlx::Error),
    /// Redis refused, or did not answer.
    #[error("the log is not available: {0}")]
    Redis(#[from] fred::error::Error),
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasedEvents {
    /// Events that are gone.
    pub deleted: u64,
    /// Events that go on without the text.
    pub redacted: u64,
}

/// The log topics of a bus. Cheap to clone.
#[derive(Clone)]
pub enum Logs {
    /// In a file of this process.
    Embedded(Arc<embedded::LogFile>),
    /// On Redis.
    Redis(Arc<redis::Logs>),
}

impl Logs {
    /// Appends durably, in one atomic step with the check for repetition, and wakes the tails.
    ///
    /// # Errors
    /// [`LogError`]: nothing was appended, or it is not known; append it again.
    pub async fn append(&self, topic: &str, event: Append<'_>) -> Result<Appended, LogError> {
        match self {
            Self::Embedded(file) => file.append(topic, event).await,
            Self::Redis(logs) => logs.append(topic, event).await,
        }
    }

    /// Appends several events of one topic in order, all in one atomic step: as [`Logs::append`] one by one, for the price of one. Returns how
    /// many were new.
    ///
    /// # Errors
    /// [`LogError`]: nothing was appended, or it is not known; append them again.
    pub async fn append_all(&self, topic: &str, events: &[Append<'_>]) -> Result<usize, LogError> {
        match self {
            Self::Embedded(file) => file.append_all(topic, events).await,
            Self::Redis(logs) => logs.append_all(topic, events).await,
        }
    }

    /// Reads at most `limit` events from `start`.
    ///
    /// # Errors
    /// [`LogError`]: read again later.
    pub async fn read(&self, topic: &str, start: LogStart, limit: usize) -> Result<LogPage, LogError> {
        match self {
            Self::Embedded(file) => file.read(topic, start, limit).await,
            Self::Redis(logs) => logs.read(topic, start, limit).await,
        }
    }

    /// Changes whenever something is appended to `topic`: wait for it, then read.
    pub async fn tail(&self, topic: &str) -> watch::Receiver<u64> {
        match self {
            Self::Embedded(file) => file.tail(topic),
            Self::Redis(logs) => logs.tail(topic),
        }
    }

    /// Erases what names `text` (an id, which no other text contains): events of topics that begin with `kept` go on without it, `null` in its
    /// place; others are deleted. Bytes may be left in the file until [`Self::scrub`].
    ///
    /// # Errors
    /// [`LogError`]: some of it may be there still. Erase again.
    pub async fn erase(&self, text: &str, kept: Option<&str>) -> Result<ErasedEvents, LogError> {
        match self {
            Self::Embedded(file) => file.erase(text, kept).await,
            Self::Redis(logs) => logs.erase(text, kept).await,
        }
    }

    /// Leaves no byte of what was erased. While it runs, appends wait.
    ///
    /// # Errors
    /// [`LogError`]: scrub again.
    pub async fn scrub(&self) -> Result<(), LogError> {
        match self {
            Self::Embedded(file) => file.scrub().await,
            Self::Redis(logs) => logs.scrub().await,
        }
    }

    pub(crate) async fn trim(&self) {
        match self {
            Self::Embedded(file) => file.trim().await,
            Self::Redis(logs) => logs.trim().await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(file) => file.close().await,
            Self::Redis(_) => {}
        }
    }
}
