//! Queues of jobs on Streams, with a consumer group.
//!
//! A claim is an entry that is pending in the group, and a number in the job's record. Reading, checking and writing both is one script (`scripts/jobs.lua`), so
//! there is no moment at which a worker owns an entry that nobody knows of. It reads the stream without blocking: what wakes workers is the stream's channel,
//! as for logs, and no connection of its own is needed.

use std::sync::Arc;

use bytes::Bytes;
use fred::error::Error;
use fred::types::Value;
use tokio::sync::watch;

use super::Running;
use super::hub::Hub;
use super::logs::Tails;
use super::scripts::JOBS;
use crate::jobs::{Again, Claim, ClaimError, FAILURES_MAX, Job, JobCounts, JobError, JobState, LOSSES_MAX};

/// The keys of a queue, in the script's order; the stream's own name is first. The last is never written: while the slot moves, Redis refuses a script
/// with a key that is not there before it begins, and so never in the middle, when a set has become empty.
const PARTS: [&str; 11] = [
    "",
    ":records",
    ":payloads",
    ":results",
    ":waiting",
    ":delayed",
    ":running",
    ":ended",
    ":dead",
    ":about",
    ":nothing",
];

/// See [`crate::Jobs`].
pub struct JobStreams {
    pub(super) hub: Arc<Hub>,
    pub(super) _running: Arc<Running>,
    pub(super) tails: Arc<Tails>,
}

impl JobStreams {
    fn keys(&self, queue: &str) -> [String; 11] {
        PARTS.map(|part| self.hub.link.key(&format!("jobs:{queue}"), part))
    }

    async fn call(&self, queue: &str, what: &str, arguments: Vec<Value>) -> Result<Value, Error> {
        let keys = self.keys(queue);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut all = vec![Value::from(what)];
        all.extend(arguments);
        let reply = self.hub.link.run(&JOBS, &keys, all).await;
        if reply.is_err() {
            self.hub.link.trouble.notify_one();
        }
        reply
    }

    pub(crate) fn tail(&self, queue: &str) -> watch::Receiver<u64> {
        let [stream, .., about, _] = self.keys(queue);
        self.tails.follow(&stream, &about)
    }

    pub(crate) async fn enqueue(&self, queue: &str, id: &str, payload: &[u8]) -> Result<JobState, JobError> {
        let reply = self.call(queue, "enqueue", vec![id.into(), bytes(payload)]).await?;
        Ok(state(&reply).unwrap_or(JobState::Waiting))
    }

    pub(crate) async fn claim(&self, queue: &str, worker: &str, lease_ms: i64) -> Result<Option<Claim>, JobError> {
        let arguments = vec![worker.into(), lease_ms.into(), i64::from(LOSSES_MAX).into()];
        let mut reply = self.call(queue, "claim", arguments).await?.into_array();
        let claim = if reply.len() > 1 { reply.swap_remove(1) } else { Value::Null };
        let repaired = reply.first().and_then(Value::as_u64).unwrap_or(0);
        if repaired > 0 {
            tracing::error!(
                queue,
                repaired,
                "entries were deleted from a stream of jobs by somebody else; the jobs line up again"
            );
            metrics::counter!("wayfare_jobs_repaired_total").increment(repaired);
        }
        let [id, payload, number, failures] = &claim.into_array()[..] else { return Ok(None) };
        Ok(Some(Claim {
            id: id.as_string().unwrap_or_default(),
            payload: payload.clone().into_bytes().unwrap_or_default(),
            number: number.as_u64().unwrap_or(0),
            failures: failures.as_u64().unwrap_or(0) as u32,
        }))
    }

    pub(crate) async fn renew(&self, queue: &str, claim: &Claim, _lease_ms: i64) -> Result<(), ClaimError> {
        let reply = self.call(queue, "renew", named(claim)).await;
        held(&reply.map_err(JobError::from)?)
    }

    pub(crate) async fn finish(&self, queue: &str, claim: &Claim, result: &[u8]) -> Result<(), ClaimError> {
        let mut arguments = named(claim);
        arguments.push(bytes(result));
        let reply = self.call(queue, "finish", arguments).await;
        held(&reply.map_err(JobError::from)?)
    }

    pub(crate) async fn fail(
        &self,
        queue: &str,
        claim: &Claim,
        reason: &str,
        again: Again,
    ) -> Result<JobState, ClaimError> {
        let (again, after_ms) = match again {
            Again::After(after_ms) => ("after", after_ms),
            Again::NoFault(after_ms) => ("no fault", after_ms),
            Again::Never => ("never", 0),
        };
        let mut arguments = named(claim);
        arguments.extend([reason.into(), again.into(), after_ms.into(), i64::from(FAILURES_MAX).into()]);
        let reply = self.call(queue, "fail", arguments).await.map_err(JobError::from)?;
        state(&reply).ok_or(ClaimError::Lost)
    }

    pub(crate) async fn cancel(&self, queue: &str, id: &str) -> Result<Option<JobState>, JobError> {
        Ok(state(&self.call(queue, "cancel", vec![id.into()]).await?))
    }

    pub(crate) async fn read(&self, queue: &str, id: &str) -> Result<Option<Job>, JobError> {
        Ok(job(self.call(queue, "read", vec![id.into()]).await?))
    }

    pub(crate) async fn ended(&self, queue: &str, limit: usize) -> Result<Vec<Job>, JobError> {
        let reply = self.call(queue, "ended", vec![count(limit)]).await?;
        Ok(reply.into_array().into_iter().filter_map(job).collect())
    }

    pub(crate) async fn collect(&self, queue: &str, id: &str) -> Result<(), JobError> {
        self.call(queue, "collect", vec![id.into()]).await?;
        Ok(())
    }

    pub(crate) async fn dead(&self, queue: &str, skip: usize, limit: usize) -> Result<Vec<Job>, JobError> {
        let reply = self.call(queue, "dead", vec![count(skip), count(limit)]).await?;
        Ok(reply.into_array().into_iter().filter_map(job).collect())
    }

    pub(crate) async fn retry(&self, queue: &str, id: &str) -> Result<bool, JobError> {
        Ok(self.call(queue, "retry", vec![id.into()]).await?.as_u64() == Some(1))
    }

    pub(crate) async fn forget(&self, queue: &str, id: &str) -> Result<bool, JobError> {
        Ok(self.call(queue, "forget", vec![id.into()]).await?.as_u64() == Some(1))
    }

    pub(crate) async fn counts(&self, queue: &str) -> Result<JobCounts, JobError> {
        let reply = self.call(queue, "counts", Vec::new()).await?.into_array();
        let number = |at: usize| reply.get(at).and_then(Value::as_u64);
        Ok(JobCounts {
            waiting: number(0).unwrap_or(0),
            running: number(1).unwrap_or(0),
            ended: number(2).unwrap_or(0),
            dead: number(3).unwrap_or(0),
            oldest_ms: number(4).map(|ms| ms as i64),
        })
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(Bytes::copy_from_slice(bytes))
}

fn count(count: usize) -> Value {
    Value::from(count.min(1 << 30) as i64)
}

fn named(claim: &Claim) -> Vec<Value> {
    vec![claim.id.as_str().into(), claim.number.to_string().into()]
}

fn held(reply: &Value) -> Result<(), ClaimError> {
    if reply.as_u64() == Some(1) { Ok(()) } else { Err(ClaimError::Lost) }
}

fn state(reply: &Value) -> Option<JobState> {
    JobState::parse(&reply.as_string()?)
}

fn job(reply: Value) -> Option<Job> {
    let fields = reply.into_array();
    let field = |at: usize| fields.get(at).filter(|value| !value.is_null());
    let number = |at: usize| field(at).and_then(Value::as_u64);
    Some(Job {
        id: field(0)?.as_string()?,
        state: state(field(1)?)?,
        payload: field(2)?.clone().into_bytes()?,
        result: field(3).and_then(|value| value.clone().into_bytes()),
        reason: field(4).and_then(Value::as_string),
        failures: number(5)? as u32,
        losses: number(6)? as u32,
        enqueued_ms: number(7)? as i64,
        changed_ms: number(8)? as i64,
        ahead: number(9),
    })
}
