//! Queues of jobs: work that must be done, by whoever has time.
//!
//! A job is delivered at least once and ends once. A worker claims it for a while and renews the claim as long as it works; a claim that is not
//! renewed is lost, and the job goes to another worker. What the first one says later is refused by its number. A job ends as done, as cancelled, or as dead after too many tries;
//! whoever waits for the end ([`Jobs::ended`]) takes note of it and says so ([`Jobs::collect`]), and until then it is told again.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::{embedded, redis};

/// A job is dead after so many failures of its own,
pub const FAILURES_MAX: u32 = 3;

/// or after so many workers were lost with it: perhaps it is what kills them. Many, since a picture that is merely in the way when workers are killed again and again must not
/// be given up: at one kill every two seconds among three workers, a job of two seconds is lost five times in a row once in 250 pictures, ten times once in 60,000.
pub const LOSSES_MAX: u32 = 10;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// For a worker, or for the time of its next try.
    Waiting,
    /// A worker has it.
    Running,
    /// It has a result.
    Done,
    /// It failed too often; kept until somebody retries or forgets it.
    Dead,
    /// Nobody wants it any more.
    Cancelled,
}

impl JobState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [Self::Waiting, Self::Running, Self::Done, Self::Dead, Self::Cancelled];
        all.into_iter().find(|state| state.as_str() == text)
    }
}

/// A job as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Given by who enqueued it.
    pub id: String,
    /// What is to be done.
    pub payload: Bytes,
    /// Where it stands.
    pub state: JobState,
    /// What was made, of a job that is done.
    pub result: Option<Bytes>,
    /// Why it failed last.
    pub reason: Option<String>,
    /// Tries that failed.
    pub failures: u32,
    /// Workers that were lost with it.
    pub losses: u32,
    /// When it was enqueued, Unix milliseconds.
    pub enqueued_ms: i64,
    /// When its state changed last, Unix milliseconds.
    pub changed_ms: i64,
    /// Jobs that come before it; of one that waits for a worker.
    pub ahead: Option<u64>,
}

/// The right to work on a job, until it is not renewed in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of the job.
    pub id: String,
    /// What is to be done.
    pub payload: Bytes,
    /// Grows with each claim of the job: the newest is right.
    pub number: u64,
    /// Tries that failed before this one.
    pub failures: u32,
}

/// What becomes of a job that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It failed: it is tried again after these milliseconds, up to [`FAILURES_MAX`] times in all.
    After(i64),
    /// It could not be tried, and that is not its fault (a store is away, this process ends): again after these milliseconds, and no failure is counted.
    NoFault(i64),
    /// Another try makes no sense: it is dead.
    Never,
}

/// Numbers of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// For a worker, or for the time of their next try.
    pub waiting: u64,
    /// With a worker.
    pub running: u64,
    /// Whose end nobody has taken note of yet.
    pub ended: u64,
    /// Kept for somebody to look at.
    pub dead: u64,
    /// Since when the first of those that wait for a worker has been there, Unix milliseconds.
    pub oldest_ms: Option<i64>,
}

/// The queue could not be asked just now; nothing is known. Try again: every call here may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The disk, or the database on it, refused.
    #[error("the queue is not available: {0}")]
    Storage(#[from] sqlx::Error),
    /// Redis refused, or did not answer.
    #[error("the queue is not available: {0}")]
    Redis(#[from] fred::error::Error),
}

/// Why a claim is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The job has another owner, has ended, or was cancelled: stop working on it.
    #[error("the job is not ours any more")]
    Lost,
    /// Nothing is known: try again.
    #[error(transparent)]
    Unavailable(#[from] JobError),
}

/// The queues of a bus. Cheap to clone.
#[derive(Clone)]
pub enum Jobs {
    /// In a file of this process.
    Embedded(Arc<embedded::JobFile>),
    /// On Redis.
    Redis(Arc<redis::JobStreams>),
}

/// The same call on whichever it is.
macro_rules! on {
    ($jobs:expr, $jobs_name:ident => $call:expr) => {
        match $jobs {
            Jobs::Embedded($jobs_name) => $call,
            Jobs::Redis($jobs_name) => $call,
        }
    };
}

impl Jobs {
    /// Enqueues a job, durably. A job of this id that is there already is left as it is. Returns where it stands.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn enqueue(&self, queue: &str, id: &str, payload: &[u8]) -> Result<JobState, JobError> {
        on!(self, jobs => jobs.enqueue(queue, id, payload).await)
    }

    /// Takes the next job for `lease_ms`: one whose worker was lost, or the first that waits. `worker` names who works, for people. Does not wait;
    /// see [`Self::tail`].
    ///
    /// # Errors
    /// [`JobError`]; perhaps a job was claimed, which will then be lost and claimed again.
    pub async fn claim(&self, queue: &str, worker: &str, lease_ms: i64) -> Result<Option<Claim>, JobError> {
        on!(self, jobs => jobs.claim(queue, worker, lease_ms).await)
    }

    /// Keeps a claim for `lease_ms` from now.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub async fn renew(&self, queue: &str, claim: &Claim, lease_ms: i64) -> Result<(), ClaimError> {
        on!(self, jobs => jobs.renew(queue, claim, lease_ms).await)
    }

    /// The job is done. Its result and its end are one step, and only the newest claim can take it.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub async fn finish(&self, queue: &str, claim: &Claim, result: &[u8]) -> Result<(), ClaimError> {
        on!(self, jobs => jobs.finish(queue, claim, result).await)
    }

    /// The job was not done. Returns where it stands now: waiting, or dead.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub async fn fail(&self, queue: &str, claim: &Claim, reason: &str, again: Again) -> Result<JobState, ClaimError> {
        on!(self, jobs => jobs.fail(queue, claim, reason, again).await)
    }

    /// Nobody wants the job any more; its worker learns it when it renews. Returns where it stands now; nothing if there is no such job.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn cancel(&self, queue: &str, id: &str) -> Result<Option<JobState>, JobError> {
        on!(self, jobs => jobs.cancel(queue, id).await)
    }

    /// The job as it stands.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn read(&self, queue: &str, id: &str) -> Result<Option<Job>, JobError> {
        on!(self, jobs => jobs.read(queue, id).await)
    }

    /// Jobs whose end nobody has taken note of yet, the first to end first.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn ended(&self, queue: &str, limit: usize) -> Result<Vec<Job>, JobError> {
        on!(self, jobs => jobs.ended(queue, limit).await)
    }

    /// The end of this job is known and kept elsewhere. Nothing is left of it, unless it is dead.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn collect(&self, queue: &str, id: &str) -> Result<(), JobError> {
        on!(self, jobs => jobs.collect(queue, id).await)
    }

    /// Dead jobs, the newest first, from the one at `skip` on.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn dead(&self, queue: &str, skip: usize, limit: usize) -> Result<Vec<Job>, JobError> {
        on!(self, jobs => jobs.dead(queue, skip, limit).await)
    }

    /// A dead job gets all its tries again. False if there is no such dead job.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn retry(&self, queue: &str, id: &str) -> Result<bool, JobError> {
        on!(self, jobs => jobs.retry(queue, id).await)
    }

    /// Leaves nothing of a dead job. False if there is no such dead job.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn forget(&self, queue: &str, id: &str) -> Result<bool, JobError> {
        on!(self, jobs => jobs.forget(queue, id).await)
    }

    /// Numbers of a queue.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn counts(&self, queue: &str) -> Result<JobCounts, JobError> {
        on!(self, jobs => jobs.counts(queue).await)
    }

    /// Changes whenever a job comes in, is to be tried again, or ends. What comes by time alone (a next try, a lost worker) does not show here: look now and then.
    pub async fn tail(&self, queue: &str) -> watch::Receiver<u64> {
        on!(self, jobs => jobs.tail(queue))
    }

    pub(crate) async fn close(&self) {
        if let Self::Embedded(file) = self {
            file.close().await;
        }
    }
}
