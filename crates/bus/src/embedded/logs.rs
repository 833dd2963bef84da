//! Log topics in one SQLite file.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bytes::Bytes;
use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

use super::OpenError;
use super::sqlite::{self, Pools};
use crate::logs::{Append, Appended, ErasedEvents, LogError, LogEvent, LogPage, LogStart};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY, newest BIGINT NOT NULL, oldest BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS entity (topic TEXT NOT NULL, entity TEXT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (topic, entity));
CREATE TABLE IF NOT EXISTS event (topic TEXT NOT NULL, id BIGINT NOT NULL, event_id TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (topic, id)) WITHOUT ROWID;
";

const AGE: &str = "ALTER TABLE event ADD COLUMN at_ms BIGINT NOT NULL DEFAULT 0";

/// Between two looks for events that are too old.
const AGED_EVERY: Duration = Duration::from_secs(60);

/// The file, and who waits for its topics.
pub struct LogFile {
    pools: Pools,
    generation: u64,
    events_max: u64,
    keep_ms: i64,
    /// When it was last looked for old events.
    aged: Mutex<Option<Instant>>,
    tails: Mutex<AHashMap<Box<str>, watch::Sender<u64>>>,
}

impl LogFile {
    pub(super) async fn open(path: &Path, events_max: u64, keep_ms: i64) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database { path: path.display().to_string(), source };
        let pools = sqlite::open(path, SCHEMA, false).await?;
        if sqlite::add_column(&pools, AGE, "event", "at_ms").await.map_err(failed)? {
            // Of events from before that nobody knows how old they are.
            let write = sqlx::query("UPDATE event SET at_ms = $1").bind(crate::now_ms());
            write.execute(&pools.write).await.map_err(failed)?;
        }
        let (aged, tails) = (Mutex::default(), Mutex::default());
        let file = Self { pools, generation: 0, events_max: events_max.max(1), keep_ms, aged, tails };
        // The generation is the file's birth: a new file starts its ids anew.
        let generation = file.meta("generation", crate::now_ms() as u64, false).await;
        let generation =
            generation.map_err(|source| OpenError::Database { path: path.display().to_string(), source })?;
        Ok(Self { generation, ..file })
    }

    /// `max(stored + 1, now)`, stored before it is returned.
    pub(super) async fn next_epoch(&self, now_ms: u64) -> Result<u64, OpenError> {
        let epoch = self.meta("epoch", now_ms, true).await;
        epoch.map_err(|source| OpenError::Database { path: "bus.sqlite".into(), source })
    }

    /// Reads a number, or sets it to `value` where there is none; with `grow`, sets it to the larger of one more and `value`.
    async fn meta(&self, name: &'static str, value: u64, grow: bool) -> Result<u64, sqlx::Error> {
        let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT value FROM meta WHERE name = $1").bind(name).fetch_optional(&mut *write).await?;
        let value = match stored {
            Some(stored) if grow => (stored as u64 + 1).max(value),
            Some(stored) => stored as u64,
            None => value,
        };
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value as i64)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(value)
    }

    pub(crate) async fn append(&self, topic: &str, event: Append<'_>) -> Result<Appended, LogError> {
        let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
        let appended = append_in(&mut write, topic, &event).await?;
        if let Appended::At(id) = appended {
            write.commit().await?;
            self.wake(topic, id);
        }
        Ok(appended)
    }

    pub(crate) async fn append_all(&self, topic: &str, events: &[Append<'_>]) -> Result<usize, LogError> {
        let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
        let (mut count, mut newest) = (0, 0);
        for event in events {
            if let Appended::At(id) = append_in(&mut write, topic, event).await? {
                (count, newest) = (count + 1, id);
            }
        }
        if count > 0 {
            write.commit().await?;
            self.wake(topic, newest);
        }
        Ok(count)
    }

    pub(crate) async fn read(&self, topic: &str, start: LogStart, limit: usize) -> Result<LogPage, LogError> {
        // One statement sees one moment: bounds and events in two statements could disagree.
        let mut read = self.pools.read.begin().await?;
        let bounds = sqlx::query("SELECT newest, oldest FROM topic WHERE name = $1")
            .bind(topic)
            .fetch_optional(&mut *read)
            .await?;
        let (newest, oldest) = bounds.map_or((0, 1), |row| (row.get::<i64, _>(0) as u64, row.get::<i64, _>(1) as u64));
        let mut page = LogPage { generation: self.generation, next: newest, ..LogPage::default() };
        let after = match start {
            LogStart::Now => return Ok(page),
            LogStart::Oldest => oldest - 1,
            LogStart::After { generation, id } => {
                if generation != self.generation || id > newest || id + 1 < oldest {
                    page.reset = true;
                    return Ok(page);
                }
                id
            }
        };
        let rows =
            sqlx::query("SELECT id, event_id, payload FROM event WHERE topic = $1 AND id > $2 ORDER BY id LIMIT $3")
                .bind(topic)
                .bind(after as i64)
                .bind(limit as i64)
                .fetch_all(&mut *read)
                .await?;
        page.events.extend(rows.into_iter().map(|row| LogEvent {
            id: row.get::<i64, _>(0) as u64,
            event_id: row.get(1),
            payload: Bytes::from(row.get::<Vec<u8>, _>(2)),
        }));
        page.next = page.events.last().map_or(after, |event| event.id);
        page.more = page.next < newest;
        Ok(page)
    }

    pub(crate) fn tail(&self, topic: &str) -> watch::Receiver<u64> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(topic) {
            return tail.subscribe();
        }
        // Tails that nobody follows any more are dropped when a new one comes.
        tails.retain(|_, tail| tail.receiver_count() > 0);
        let (tail, receiver) = watch::channel(0);
        tails.insert(topic.into(), tail);
        receiver
    }

    pub(crate) async fn trim(&self) {
        if let Err(error) = self.try_trim().await {
            tracing::warn!(%error, "old events could not be dropped; trying again later");
        }
    }

    /// Drops events that are too old, once a minute.
    async fn trim_aged(&self) -> Result<(), sqlx::Error> {
        {
            let mut aged = self.aged.lock().unwrap_or_else(PoisonError::into_inner);
            if aged.is_some_and(|aged| aged.elapsed() < AGED_EVERY) {
                return Ok(());
            }
            *aged = Some(Instant::now());
        }
        let until_ms = crate::now_ms().saturating_sub(self.keep_ms);
        let topics: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM topic WHERE (SELECT at_ms FROM event WHERE topic = name ORDER BY id LIMIT 1) < $1",
        )
        .bind(until_ms)
        .fetch_all(&self.pools.read)
        .await?;
        for topic in topics {
            let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
            let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(id) FROM event WHERE topic = $1 AND at_ms < $2")
                .bind(&topic)
                .bind(until_ms)
                .fetch_one(&mut *write)
                .await?;
            let Some(newest) = newest else { continue };
            drop_until(&mut write, &topic, newest + 1).await?;
            write.commit().await?;
        }
        Ok(())
    }

    async fn try_trim(&self) -> Result<(), sqlx::Error> {
        self.trim_aged().await?;
        let full: Vec<(String, i64)> = sqlx::query_as("SELECT name, newest FROM topic WHERE newest - oldest >= $1")
            .bind(self.events_max as i64)
            .fetch_all(&self.pools.read)
            .await?;
        for (topic, newest) in full {
            let oldest = newest - self.events_max as i64 + 1;
            let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
            drop_until(&mut write, &topic, oldest).await?;
            write.commit().await?;
        }
        Ok(())
    }

    /// Some events at a time, so that an append never waits long for the writer.
    pub(crate) async fn erase(&self, text: &str, kept: Option<&str>) -> Result<ErasedEvents, LogError> {
        let mut erased = ErasedEvents::default();
        loop {
            let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
            let rows: Vec<(String, i64, Vec<u8>)> = sqlx::query_as(
                "SELECT topic, id, payload FROM event
                 WHERE instr(payload, CAST($1 AS BLOB)) > 0 OR instr(event_id, $1) > 0 LIMIT 500",
            )
            .bind(text)
            .fetch_all(&mut *write)
            .await?;
            sqlx::query("DELETE FROM entity WHERE entity = $1").bind(text).execute(&mut *write).await?;
            for (topic, id, payload) in &rows {
                let redacted = kept.filter(|kept| topic.starts_with(kept)).and_then(|_| redact(payload, text));
                match redacted {
                    Some(payload) => {
                        sqlx::query("UPDATE event SET payload = $3 WHERE topic = $1 AND id = $2")
                            .bind(topic)
                            .bind(id)
                            .bind(payload)
                            .execute(&mut *write)
                            .await?;
                        erased.redacted += 1;
                    }
                    None => {
                        sqlx::query("DELETE FROM event WHERE topic = $1 AND id = $2")
                            .bind(topic)
                            .bind(id)
                            .execute(&mut *write)
                            .await?;
                        erased.deleted += 1;
                    }
                }
            }
            write.commit().await?;
            if rows.is_empty() {
                return Ok(erased);
            }
        }
    }

    pub(crate) async fn scrub(&self) -> Result<(), LogError> {
        Ok(self.pools.scrub().await?)
    }

    pub(crate) async fn close(&self) {
        self.pools.close().await;
    }

    fn wake(&self, topic: &str, id: u64) {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(topic) {
            // Two appends may arrive here out of order.
            tail.send_if_modified(|newest| {
                let newer = id > *newest;
                *newest = id.max(*newest);
                newer
            });
        }
    }
}

/// Drops the events of a topic before `oldest`.
async fn drop_until(write: &mut SqliteConnection, topic: &str, oldest: i64) -> Result<(), sqlx::Error> {
    for statement in
        ["DELETE FROM event WHERE topic = $1 AND id < $2", "UPDATE topic SET oldest = MAX(oldest, $2) WHERE name = $1"]
    {
        sqlx::query(statement).bind(topic).bind(oldest).execute(&mut *write).await?;
    }
    Ok(())
}

/// JSON with `null` in the place of a text; `None` if the text stands in it in another way.
fn redact(payload: &[u8], text: &str) -> Option<Vec<u8>> {
    let payload = std::str::from_utf8(payload).ok()?;
    let redacted = payload.replace(&format!("\"{text}\""), "null");
    (!redacted.contains(text)).then(|| redacted.into_bytes())
}

/// Appends within a write, unless the entity has had this number.
async fn append_in(write: &mut SqliteConnection, topic: &str, event: &Append<'_>) -> Result<Appended, LogError> {
    let highest: Option<i64> = sqlx::query_scalar("SELECT number FROM entity WHERE topic = $1 AND entity = $2")
        .bind(topic)
        .bind(event.entity)
        .fetch_optional(&mut *write)
        .await?;
    if highest.is_some_and(|highest| event.number <= highest as u64) {
        return Ok(Appended::Repeated);
    }
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO topic (name, newest, oldest) VALUES ($1, 1, 1)
         ON CONFLICT (name) DO UPDATE SET newest = topic.newest + 1 RETURNING newest",
    )
    .bind(topic)
    .fetch_one(&mut *write)
    .await?;
    sqlx::query("INSERT INTO event (topic, id, event_id, payload, at_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(topic)
        .bind(id)
        .bind(event.event_id)
        .bind(event.payload)
        .bind(crate::now_ms())
        .execute(&mut *write)
        .await?;
    sqlx::query(
        "INSERT INTO entity (topic, entity, number) VALUES ($1, $2, $3)
         ON CONFLICT (topic, entity) DO UPDATE SET number = excluded.number",
    )
    .bind(topic)
    .bind(event.entity)
    .bind(event.number as i64)
    .execute(&mut *write)
    .await?;
    Ok(Appended::At(id as u64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_past_their_age_go_and_their_readers_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = LogFile::open(&folder.path().join("bus.sqlite"), 1_000, 60_000).await.unwrap();
        let append = async |number: u64| {
            let event_id = number.to_string();
            file.append("t", Append { entity: "e", number, event_id: &event_id, payload: b"{}" }).await.unwrap();
        };
        for number in 1..=3 {
            append(number).await;
        }
        let old = "UPDATE event SET at_ms = at_ms - 61000";
        sqlx::raw_sql(old).execute(&file.pools.write).await.unwrap();
        append(4).await;
        file.trim().await;
        let page = file.read("t", LogStart::Oldest, 10).await.unwrap();
        assert_eq!(page.events.iter().map(|event| event.id).collect::<Vec<_>>(), [4]);
        let generation = page.generation;
        assert!(file.read("t", LogStart::After { generation, id: 1 }, 10).await.unwrap().reset);
        assert!(!file.read("t", LogStart::After { generation, id: 3 }, 10).await.unwrap().reset);
    }
}
