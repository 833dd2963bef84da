//! Queues of jobs in one SQLite file.

use std::path::Path;
use std::sync::Mutex;

use ahash::AHashMap;
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};
use tokio::sync::watch;

use super::OpenError;
use super::sqlite::{self, Pools};
use crate::jobs::{Again, Claim, ClaimError, FAILURES_MAX, Job, JobCounts, JobError, JobState, LOSSES_MAX};
use crate::now_ms;
use crate::queue::lock;

/// `place` is the order; `due_ms` is when a waiting job may be tried, or when a running one counts as lost.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS job (
    queue TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, place BIGINT NOT NULL, payload BLOB NOT NULL, result BLOB, reason TEXT,
    failures BIGINT NOT NULL DEFAULT 0, losses BIGINT NOT NULL DEFAULT 0, claim BIGINT NOT NULL DEFAULT 0, worker TEXT,
    enqueued_ms BIGINT NOT NULL, changed_ms BIGINT NOT NULL, due_ms BIGINT NOT NULL, collected BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, id));
CREATE INDEX IF NOT EXISTS job_place ON job (queue, state, place);
CREATE INDEX IF NOT EXISTS job_due ON job (queue, state, due_ms);
CREATE INDEX IF NOT EXISTS job_end ON job (queue, collected, changed_ms);
";

const COLUMNS: &str = "id, state, payload, result, reason, failures, losses, enqueued_ms, changed_ms";

/// The file, and who waits for its queues.
pub struct JobFile {
    pools: Pools,
    tails: Mutex<AHashMap<Box<str>, watch::Sender<u64>>>,
}

impl JobFile {
    pub(super) async fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { pools: sqlite::open(path, SCHEMA, false).await?, tails: Mutex::default() })
    }

    async fn write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pools.write.begin_with("BEGIN IMMEDIATE").await
    }

    fn wake(&self, queue: &str) {
        if let Some(tail) = lock(&self.tails).get(queue) {
            tail.send_modify(|count| *count += 1);
        }
    }

    pub(crate) fn tail(&self, queue: &str) -> watch::Receiver<u64> {
        lock(&self.tails).entry(queue.into()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    pub(crate) async fn enqueue(&self, queue: &str, id: &str, payload: &[u8]) -> Result<JobState, JobError> {
        let mut write = self.write().await?;
        if let Some(state) = state_of(&mut write, queue, id).await? {
            return Ok(state);
        }
        let (place, now) = (next_place(&mut write, queue).await?, now_ms());
        sqlx::query(
            "INSERT INTO job (queue, id, state, place, payload, enqueued_ms, changed_ms, due_ms)
             VALUES ($1, $2, 'waiting', $3, $4, $5, $5, 0)",
        )
        .bind(queue)
        .bind(id)
        .bind(place)
        .bind(payload)
        .bind(now)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        self.wake(queue);
        Ok(JobState::Waiting)
    }

    pub(crate) async fn claim(&self, queue: &str, worker: &str, lease_ms: i64) -> Result<Option<Claim>, JobError> {
        let now = now_ms();
        // Most looks find nothing; they do not touch the writer.
        let is_there: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM job WHERE queue = $1 AND state IN ('waiting', 'running') AND due_ms <= $2 LIMIT 1",
        )
        .bind(queue)
        .bind(now)
        .fetch_optional(&self.pools.read)
        .await?;
        if is_there.is_none() {
            return Ok(None);
        }
        let mut write = self.write().await?;
        let mut died = false;
        let claim = loop {
            let lost: Option<(String, i64)> = sqlx::query_as(
                "SELECT id, losses FROM job WHERE queue = $1 AND state = 'running' AND due_ms <= $2 ORDER BY due_ms LIMIT 1",
            )
            .bind(queue)
            .bind(now)
            .fetch_optional(&mut *write)
            .await?;
            let Some((id, losses)) = lost else {
                let first: Option<String> = sqlx::query_scalar(
                    "SELECT id FROM job WHERE queue = $1 AND state = 'waiting' AND due_ms <= $2 ORDER BY place LIMIT 1",
                )
                .bind(queue)
                .bind(now)
                .fetch_optional(&mut *write)
                .await?;
                let Some(id) = first else { break None };
                break Some(take(&mut write, queue, &id, worker, now, lease_ms).await?);
            };
            sqlx::query("UPDATE job SET losses = losses + 1 WHERE queue = $1 AND id = $2")
                .bind(queue)
                .bind(&id)
                .execute(&mut *write)
                .await?;
            if losses + 1 < i64::from(LOSSES_MAX) {
                break Some(take(&mut write, queue, &id, worker, now, lease_ms).await?);
            }
            end(&mut write, queue, &id, JobState::Dead, &lost_too_often(losses + 1)).await?;
            died = true;
        };
        write.commit().await?;
        if died {
            self.wake(queue);
        }
        Ok(claim)
    }

    pub(crate) async fn renew(&self, queue: &str, claim: &Claim, lease_ms: i64) -> Result<(), ClaimError> {
        let mut write = self.write().await.map_err(JobError::from)?;
        let renewed =
            sqlx::query("UPDATE job SET due_ms = $4 WHERE queue = $1 AND id = $2 AND claim = $3 AND state = 'running'")
                .bind(queue)
                .bind(&claim.id)
                .bind(claim.number as i64)
                .bind(now_ms() + lease_ms)
                .execute(&mut *write)
                .await
                .map_err(JobError::from)?;
        write.commit().await.map_err(JobError::from)?;
        if renewed.rows_affected() == 1 { Ok(()) } else { Err(ClaimError::Lost) }
    }

    pub(crate) async fn finish(&self, queue: &str, claim: &Claim, result: &[u8]) -> Result<(), ClaimError> {
        let mut write = self.write().await.map_err(JobError::from)?;
        let done = sqlx::query(
            "UPDATE job SET state = 'done', result = $4, changed_ms = $5, reason = NULL
             WHERE queue = $1 AND id = $2 AND claim = $3 AND state = 'running'",
        )
        .bind(queue)
        .bind(&claim.id)
        .bind(claim.number as i64)
        .bind(result)
        .bind(now_ms())
        .execute(&mut *write)
        .await
        .map_err(JobError::from)?;
        if done.rows_affected() != 1 {
            return Err(ClaimError::Lost);
        }
        write.commit().await.map_err(JobError::from)?;
        self.wake(queue);
        Ok(())
    }

    pub(crate) async fn fail(
        &self,
        queue: &str,
        claim: &Claim,
        reason: &str,
        again: Again,
    ) -> Result<JobState, ClaimError> {
        let mut write = self.write().await.map_err(JobError::from)?;
        let failures: Option<i64> = sqlx::query_scalar(
            "SELECT failures FROM job WHERE queue = $1 AND id = $2 AND claim = $3 AND state = 'running'",
        )
        .bind(queue)
        .bind(&claim.id)
        .bind(claim.number as i64)
        .fetch_optional(&mut *write)
        .await
        .map_err(JobError::from)?;
        let Some(failures) = failures else { return Err(ClaimError::Lost) };
        let (failures, after_ms) = match again {
            Again::After(after_ms) => (failures + 1, after_ms),
            Again::NoFault(after_ms) => (failures, after_ms),
            Again::Never => (i64::from(FAILURES_MAX), 0),
        };
        let state = if failures >= i64::from(FAILURES_MAX) { JobState::Dead } else { JobState::Waiting };
        put_back(&mut write, queue, claim, failures, after_ms).await.map_err(JobError::from)?;
        match state {
            JobState::Dead => {
                end(&mut write, queue, &claim.id, JobState::Dead, reason).await.map_err(JobError::from)?
            }
            _ => set_reason(&mut write, queue, &claim.id, reason).await.map_err(JobError::from)?,
        }
        write.commit().await.map_err(JobError::from)?;
        self.wake(queue);
        Ok(state)
    }

    pub(crate) async fn cancel(&self, queue: &str, id: &str) -> Result<Option<JobState>, JobError> {
        let mut write = self.write().await?;
        let Some(state) = state_of(&mut write, queue, id).await? else { return Ok(None) };
        if !matches!(state, JobState::Waiting | JobState::Running) {
            return Ok(Some(state));
        }
        end(&mut write, queue, id, JobState::Cancelled, "cancelled").await?;
        write.commit().await?;
        self.wake(queue);
        Ok(Some(JobState::Cancelled))
    }

    pub(crate) async fn read(&self, queue: &str, id: &str) -> Result<Option<Job>, JobError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM job WHERE queue = $1 AND id = $2")))
            .bind(queue)
            .bind(id)
            .fetch_optional(&self.pools.read)
            .await?;
        let Some(mut job) = row.map(job) else { return Ok(None) };
        if job.state == JobState::Waiting {
            let ahead: Option<i64> = sqlx::query_scalar(
                "SELECT (SELECT COUNT(*) FROM job AS other WHERE other.queue = $1 AND other.state = 'waiting' AND other.due_ms <= $3 AND other.place < job.place)
                 FROM job WHERE queue = $1 AND id = $2 AND state = 'waiting' AND due_ms <= $3",
            )
            .bind(queue)
            .bind(id)
            .bind(now_ms())
            .fetch_optional(&self.pools.read)
            .await?;
            job.ahead = ahead.map(|ahead| ahead as u64);
        }
        Ok(Some(job))
    }

    pub(crate) async fn ended(&self, queue: &str, limit: usize) -> Result<Vec<Job>, JobError> {
        let statement = format!(
            "SELECT {COLUMNS} FROM job WHERE queue = $1 AND collected = 0 AND state IN ('done', 'dead', 'cancelled')
             ORDER BY changed_ms, place LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(queue).bind(limit as i64);
        Ok(rows.fetch_all(&self.pools.read).await?.into_iter().map(job).collect())
    }

    pub(crate) async fn collect(&self, queue: &str, id: &str) -> Result<(), JobError> {
        let mut write = self.write().await?;
        for statement in [
            "DELETE FROM job WHERE queue = $1 AND id = $2 AND state IN ('done', 'cancelled')",
            "UPDATE job SET collected = 1 WHERE queue = $1 AND id = $2 AND state = 'dead'",
        ] {
            sqlx::query(statement).bind(queue).bind(id).execute(&mut *write).await?;
        }
        Ok(write.commit().await?)
    }

    pub(crate) async fn dead(&self, queue: &str, skip: usize, limit: usize) -> Result<Vec<Job>, JobError> {
        let statement = format!(
            "SELECT {COLUMNS} FROM job WHERE queue = $1 AND state = 'dead' ORDER BY changed_ms DESC, place DESC LIMIT $2 OFFSET $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(queue).bind(limit as i64).bind(skip as i64);
        Ok(rows.fetch_all(&self.pools.read).await?.into_iter().map(job).collect())
    }

    pub(crate) async fn retry(&self, queue: &str, id: &str) -> Result<bool, JobError> {
        let mut write = self.write().await?;
        let place = next_place(&mut write, queue).await?;
        let retried = sqlx::query(
            "UPDATE job SET state = 'waiting', place = $3, failures = 0, losses = 0, due_ms = 0, collected = 0, changed_ms = $4
             WHERE queue = $1 AND id = $2 AND state = 'dead'",
        )
        .bind(queue)
        .bind(id)
        .bind(place)
        .bind(now_ms())
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        self.wake(queue);
        Ok(retried.rows_affected() == 1)
    }

    pub(crate) async fn forget(&self, queue: &str, id: &str) -> Result<bool, JobError> {
        let mut write = self.write().await?;
        let gone = sqlx::query("DELETE FROM job WHERE queue = $1 AND id = $2 AND state = 'dead'")
            .bind(queue)
            .bind(id)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(gone.rows_affected() == 1)
    }

    pub(crate) async fn counts(&self, queue: &str) -> Result<JobCounts, JobError> {
        let row = sqlx::query(
            "SELECT COUNT(CASE WHEN state = 'waiting' THEN 1 END), COUNT(CASE WHEN state = 'running' THEN 1 END),
                    COUNT(CASE WHEN collected = 0 AND state IN ('done', 'dead', 'cancelled') THEN 1 END),
                    COUNT(CASE WHEN state = 'dead' THEN 1 END),
                    MIN(CASE WHEN state = 'waiting' AND due_ms <= $2 THEN enqueued_ms END)
             FROM job WHERE queue = $1",
        )
        .bind(queue)
        .bind(now_ms())
        .fetch_one(&self.pools.read)
        .await?;
        let count = |at: usize| row.get::<i64, _>(at) as u64;
        Ok(JobCounts {
            waiting: count(0),
            running: count(1),
            ended: count(2),
            dead: count(3),
            oldest_ms: row.get::<Option<i64>, _>(4),
        })
    }

    pub(crate) async fn close(&self) {
        self.pools.close().await;
    }
}

pub(crate) fn lost_too_often(losses: i64) -> String {
    format!("{losses} workers were lost while they had this job")
}

async fn state_of(write: &mut SqliteConnection, queue: &str, id: &str) -> Result<Option<JobState>, sqlx::Error> {
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM job WHERE queue = $1 AND id = $2")
        .bind(queue)
        .bind(id)
        .fetch_optional(write)
        .await?;
    Ok(state.and_then(|state| JobState::parse(&state)))
}

async fn next_place(write: &mut SqliteConnection, queue: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT COALESCE(MAX(place), 0) + 1 FROM job WHERE queue = $1")
        .bind(queue)
        .fetch_one(write)
        .await
}

/// Gives a job to a worker, under a number that is higher than any before, also of a job of the same id that is forgotten.
async fn take(
    write: &mut SqliteConnection,
    queue: &str,
    id: &str,
    worker: &str,
    now: i64,
    lease_ms: i64,
) -> Result<Claim, sqlx::Error> {
    let row = sqlx::query(
        "UPDATE job SET state = 'running', worker = $3, due_ms = $4, changed_ms = $5, claim = MAX(claim + 1, $6)
         WHERE queue = $1 AND id = $2 RETURNING payload, claim, failures",
    )
    .bind(queue)
    .bind(id)
    .bind(worker)
    .bind(now + lease_ms)
    .bind(now)
    .bind(now * 1000)
    .fetch_one(write)
    .await?;
    Ok(Claim {
        id: id.to_owned(),
        payload: Bytes::from(row.get::<Vec<u8>, _>(0)),
        number: row.get::<i64, _>(1) as u64,
        failures: row.get::<i64, _>(2) as u32,
    })
}

/// To the end of the line.
async fn put_back(
    write: &mut SqliteConnection,
    queue: &str,
    claim: &Claim,
    failures: i64,
    after_ms: i64,
) -> Result<(), sqlx::Error> {
    let (place, now) = (next_place(write, queue).await?, now_ms());
    sqlx::query(
        "UPDATE job SET state = 'waiting', place = $3, failures = $4, due_ms = $5, changed_ms = $6 WHERE queue = $1 AND id = $2",
    )
    .bind(queue)
    .bind(&claim.id)
    .bind(place)
    .bind(failures)
    .bind(now + after_ms)
    .bind(now)
    .execute(write)
    .await?;
    Ok(())
}

async fn set_reason(write: &mut SqliteConnection, queue: &str, id: &str, reason: &str) -> Result<(), sqlx::Error> {
    let set = sqlx::query("UPDATE job SET reason = $3 WHERE queue = $1 AND id = $2").bind(queue).bind(id).bind(reason);
    set.execute(write).await.map(|_| ())
}

/// The end; claims of before are worth nothing from now on, because the job is not running.
async fn end(
    write: &mut SqliteConnection,
    queue: &str,
    id: &str,
    state: JobState,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE job SET state = $3, reason = $4, changed_ms = $5, collected = 0 WHERE queue = $1 AND id = $2")
        .bind(queue)
        .bind(id)
        .bind(state.as_str())
        .bind(reason)
        .bind(now_ms())
        .execute(write)
        .await?;
    Ok(())
}

fn job(row: SqliteRow) -> Job {
    Job {
        id: row.get(0),
        state: JobState::parse(row.get(1)).unwrap_or(JobState::Dead),
        payload: Bytes::from(row.get::<Vec<u8>, _>(2)),
        result: row.get::<Option<Vec<u8>>, _>(3).map(Bytes::from),
        reason: row.get(4),
        failures: row.get::<i64, _>(5) as u32,
        losses: row.get::<i64, _>(6) as u32,
        enqueued_ms: row.get(7),
        changed_ms: row.get(8),
        ahead: None,
    }
}
