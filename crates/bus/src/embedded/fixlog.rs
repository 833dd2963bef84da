//! The fix log in one SQLite file: one row per flush, `synchronous=FULL`.
//!
//! The sync happens on the writer connection's own thread. The write-ahead log is folded in by hand, from another connection and
//! between flushes, because SQLite's automatic checkpoint is what makes a flush's tail long.
//!
//! A damaged record (its checksum says so) is read as one, and those beside it are served. A damaged file is set aside under another name
//! and a new one begun: a house that will not start keeps nothing at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use sqlx::Row;
use tokio::sync::Notify;

use super::OpenError;
use super::leases::LeaseTable;
use super::sqlite::{self, Pools};
use crate::fixlog::{
    Checkpoint, DamagedRecord, Entry, Erased, Fate, FixLogError, FixLogLimits, Flush, FlushReceipt, Folded, KeptEntry,
    KeptRecord, RecordPage, without,
};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, at_ms BIGINT NOT NULL, crc BIGINT NOT NULL, body BLOB NOT NULL);
DROP INDEX IF EXISTS record_age;
CREATE TABLE IF NOT EXISTS checkpoint (driver BLOB PRIMARY KEY, number BIGINT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS about (generation BIGINT NOT NULL, newest BIGINT NOT NULL DEFAULT 0);
";

const AGE: &str = "ALTER TABLE checkpoint ADD COLUMN at_ms BIGINT NOT NULL DEFAULT 0";
const NEWEST: &str = "ALTER TABLE about ADD COLUMN newest BIGINT NOT NULL DEFAULT 0";

/// A number is never given twice, also when the records of the newest ones are gone. No counter and no index beside the table: a flush is one page
/// of the write-ahead log, where it was three.
const INSERT: &str = "
INSERT INTO record (number, at_ms, crc, body)
VALUES (1 + MAX((SELECT COALESCE(MAX(number), 0) FROM record), (SELECT newest FROM about)), $1, $2, $3)";

/// Before any record is deleted.
const NOTE_NEWEST: &str =
    "UPDATE about SET newest = (SELECT MAX(number) FROM record) WHERE newest < (SELECT MAX(number) FROM record)";

/// From before the clock was set back, if it is further ahead than this: nobody can say how old it is, and it must not keep what lies behind it.
const FUTURE_MS: i64 = 60_000;

/// Checkpoints are kept for this long after the last: a fix that comes later than a week is refused anyway, so there is nothing to recognise.
const CHECKPOINTS_KEEP_MS: i64 = 8 * 86_400_000;

/// Between the name of a file that was set aside and when it was.
const SET_ASIDE: &str = ".damaged-";

/// Bytes of an entry beside the writer's own.
const HEAD_BYTES: usize = 20;

/// Records looked through in one transaction when something is erased.
const ERASED_AT_ONCE: usize = 64;

/// Bytes of write-ahead log after which it is folded in: the page cache holds this much with ease.
const WAL_BYTES: u64 = 8 << 20;

/// Checkpoints written by one statement.
const CHECKPOINTS_AT_ONCE: usize = 64;

/// The file and its bounds.
pub struct FixFile {
    path: PathBuf,
    pools: Arc<Pools>,
    limits: FixLogLimits,
    leases: Arc<LeaseTable>,
    /// Bytes of all records.
    bytes: AtomicU64,
    /// Bytes written since the write-ahead log was folded in.
    unfolded: AtomicU64,
    generation: u64,
    /// Newest record that may be dropped.
    droppable: AtomicU64,
    appended: Notify,
}

impl FixFile {
    /// As [`Self::open`]; a file that is damaged is renamed and a new one begun.
    pub(super) async fn open_or_set_aside(
        path: &Path,
        limits: FixLogLimits,
        leases: Arc<LeaseTable>,
    ) -> Result<Self, OpenError> {
        let damage = match Self::open(path, limits, Arc::clone(&leases)).await {
            Ok(file) => match file.damage().await {
                None => return Ok(file),
                Some(damage) => {
                    file.close().await;
                    damage
                }
            },
            Err(OpenError::Database { source, .. }) if is_damage(&source) => source.to_string(),
            Err(error) => return Err(error),
        };
        let aside = set_aside(path)?;
        tracing::error!(file = %path.display(), aside = %aside.display(), damage, "the fix log is damaged; it was set aside, a new one begins");
        metrics::counter!("wayfare_fixlog_set_aside_total").increment(1);
        Self::open(path, limits, leases).await
    }

    /// What the database finds wrong with itself; reads all of it, about a second for a gigabyte.
    async fn damage(&self) -> Option<String> {
        match sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(&self.pools.read).await {
            Ok(word) if word == "ok" => None,
            Ok(damage) => Some(damage),
            Err(error) => is_damage(&error).then(|| error.to_string()),
        }
    }

    pub(super) async fn open(path: &Path, limits: FixLogLimits, leases: Arc<LeaseTable>) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database { path: path.display().to_string(), source };
        let pools = sqlite::open(path, SCHEMA, true).await?;
        if sqlite::add_column(&pools, AGE, "checkpoint", "at_ms").await.map_err(failed)? {
            let write = sqlx::query("UPDATE checkpoint SET at_ms = $1").bind(crate::now_ms());
            write.execute(&pools.write).await.map_err(failed)?;
        }
        if sqlite::add_column(&pools, NEWEST, "about", "newest").await.map_err(failed)? {
            // The file counted by itself before.
            let counted =
                "UPDATE about SET newest = COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'record'), 0)";
            sqlx::query(counted).execute(&pools.write).await.map_err(failed)?;
        }
        sqlx::query("INSERT INTO about (generation) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM about)")
            .bind(crate::now_ms())
            .execute(&pools.write)
            .await
            .map_err(failed)?;
        let generation: i64 =
            sqlx::query_scalar("SELECT generation FROM about").fetch_one(&pools.write).await.map_err(failed)?;
        let bytes: i64 = sqlx::query_scalar("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM record")
            .fetch_one(&pools.read)
            .await
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            generation: generation as u64,
            droppable: AtomicU64::new(if limits.fold_first { 0 } else { u64::MAX }),
            appended: Notify::new(),
            pools: Arc::new(pools),
            limits,
            leases,
            bytes: AtomicU64::new(bytes as u64),
            unfolded: AtomicU64::new(0),
        })
    }

    pub(crate) async fn append(&self, flush: &Flush) -> Result<FlushReceipt, FixLogError> {
        let held = self.bytes.load(Ordering::Relaxed);
        if held >= self.limits.bytes_max {
            return Err(FixLogError::Full { bytes: held, limit: self.limits.bytes_max });
        }
        let stale = |driver: u128, lease: u64| self.leases.newest_of(driver).is_some_and(|newest| lease < newest);
        let refused: Vec<usize> = (0..flush.entries.len())
            .filter(|place| stale(flush.entries[*place].driver, flush.entries[*place].lease))
            .collect();
        let body = encode(&flush.entries, &refused);
        let size = body.len() as u64;
        let insert = sqlx::query(INSERT).bind(flush.at_ms).bind(i64::from(crc32fast::hash(&body))).bind(body);
        let kept: Vec<&Checkpoint> = flush.checkpoints.iter().filter(|kept| !stale(kept.driver, kept.lease)).collect();
        // Each statement is a hop to the database's thread and back; most flushes have no checkpoint and are one.
        let number = if kept.is_empty() {
            insert.execute(&self.pools.write).await?.last_insert_rowid()
        } else {
            let mut write = self.pools.write.begin().await?;
            let number = insert.execute(&mut *write).await?.last_insert_rowid();
            for kept in kept.chunks(CHECKPOINTS_AT_ONCE) {
                let rows = vec!["(?, ?, ?, ?)"; kept.len()].join(", ");
                let text = format!(
                    "INSERT INTO checkpoint (driver, number, body, at_ms) VALUES {rows}
                     ON CONFLICT (driver) DO UPDATE SET number = excluded.number, body = excluded.body, at_ms = excluded.at_ms"
                );
                let statement = kept.iter().fold(sqlx::query(sqlx::AssertSqlSafe(text)), |statement, kept| {
                    statement
                        .bind(kept.driver.to_be_bytes().to_vec())
                        .bind(number)
                        .bind(&kept.bytes[..])
                        .bind(flush.at_ms)
                });
                // Only the full ones are of one form, worth keeping.
                statement.persistent(kept.len() == CHECKPOINTS_AT_ONCE).execute(&mut *write).await?;
            }
            write.commit().await?;
            number
        };
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.appended.notify_one();
        self.fold_when_long(size);
        Ok(FlushReceipt { number: number as u64, refused })
    }

    pub(crate) async fn checkpoint(&self, driver: u128) -> Result<Option<(u64, Bytes)>, FixLogError> {
        let row = sqlx::query("SELECT number, body FROM checkpoint WHERE driver = $1")
            .bind(&driver.to_be_bytes()[..])
            .fetch_optional(&self.pools.read)
            .await?;
        Ok(row.map(|row| (row.get::<i64, _>(0) as u64, Bytes::from(row.get::<Vec<u8>, _>(1)))))
    }

    pub(crate) async fn checkpoints(&self) -> Result<Vec<(u128, u64, Bytes)>, FixLogError> {
        let rows = sqlx::query("SELECT driver, number, body FROM checkpoint").fetch_all(&self.pools.read).await?;
        let read = |row: sqlx::sqlite::SqliteRow| {
            let driver: [u8; 16] = row.get::<Vec<u8>, _>(0).try_into().ok()?;
            let body = Bytes::from(row.get::<Vec<u8>, _>(2));
            Some((u128::from_be_bytes(driver), row.get::<i64, _>(1) as u64, body))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    pub(crate) async fn read(&self, after: u64, limit: usize) -> Result<RecordPage, FixLogError> {
        let rows =
            sqlx::query("SELECT number, at_ms, crc, body FROM record WHERE number > $1 ORDER BY number LIMIT $2")
                .bind(after as i64)
                .bind(limit as i64)
                .fetch_all(&self.pools.read)
                .await?;
        let records: Vec<KeptRecord> = rows
            .into_iter()
            .map(|row| {
                let number = row.get::<i64, _>(0) as u64;
                let body = Bytes::from(row.get::<Vec<u8>, _>(3));
                let whole = i64::from(crc32fast::hash(&body)) == row.get::<i64, _>(2);
                let entries = whole.then(|| decode(body)).flatten().ok_or(DamagedRecord { number });
                KeptRecord { number, at_ms: row.get(1), entries }
            })
            .collect();
        let next = records.last().map_or(after, |record| record.number);
        Ok(RecordPage { records, next })
    }

    pub(crate) async fn trim(&self) {
        let now_ms = crate::now_ms();
        let keep_ms = self.limits.keep_for(self.bytes.load(Ordering::Relaxed));
        if let Err(error) = self.try_trim(now_ms - keep_ms).await {
            tracing::warn!(%error, "old records could not be dropped; trying again later");
        }
        self.forget_set_aside(Duration::from_millis(self.limits.keep_ms.max(0) as u64));
        metrics::gauge!("wayfare_fixlog_bytes").set(self.bytes.load(Ordering::Relaxed) as f64);
    }

    /// What was set aside is kept no longer than what is served.
    fn forget_set_aside(&self, keep: Duration) {
        for file in set_aside_files(&self.path) {
            let age = std::fs::metadata(&file).and_then(|about| about.modified()).map(|modified| modified.elapsed());
            if matches!(age, Ok(Ok(age)) if age > keep) && std::fs::remove_file(&file).is_ok() {
                tracing::info!(file = %file.display(), "a damaged fix log that was set aside is past its time");
            }
        }
    }

    /// In small steps, so that a flush never waits long for the writer.
    async fn try_trim(&self, oldest_ms: i64) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM checkpoint WHERE at_ms < $1")
            .bind(crate::now_ms() - CHECKPOINTS_KEEP_MS)
            .execute(&self.pools.write)
            .await?;
        let droppable = i64::try_from(self.droppable.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        loop {
            let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(NOTE_NEWEST).execute(&mut *write).await?;
            let dropped: Vec<i64> = sqlx::query_scalar(
                "DELETE FROM record WHERE number IN (
                   SELECT number FROM (SELECT number, at_ms FROM record ORDER BY number LIMIT 64)
                   WHERE (at_ms < $1 OR at_ms > $2) AND number <= $3)
                 RETURNING LENGTH(body)",
            )
            .bind(oldest_ms)
            .bind(crate::now_ms() + FUTURE_MS)
            .bind(droppable)
            .fetch_all(&mut *write)
            .await?;
            write.commit().await?;
            if dropped.is_empty() {
                return Ok(());
            }
            self.bytes.fetch_sub(dropped.iter().sum::<i64>() as u64, Ordering::Relaxed);
        }
    }

    /// Record by record, some at a time, so that a flush never waits long for the writer.
    pub(crate) async fn erase(
        &self,
        driver: u128,
        whole: bool,
        fate: impl Fn(&Bytes) -> Fate,
    ) -> Result<Erased, FixLogError> {
        let (mut erased, mut after) = (Erased { set_aside: self.delete_set_aside(), ..Erased::default() }, 0);
        loop {
            let page = self.read(after, ERASED_AT_ONCE).await?;
            let Some(last) = page.records.last() else { break };
            after = last.number;
            let mut write = self.pools.write.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(NOTE_NEWEST).execute(&mut *write).await?;
            let mut shrunk = 0;
            for record in page.records {
                let number = record.number as i64;
                let Ok(entries) = record.entries else {
                    let bytes: Option<i64> =
                        sqlx::query_scalar("DELETE FROM record WHERE number = $1 RETURNING LENGTH(body)")
                            .bind(number)
                            .fetch_optional(&mut *write)
                            .await?;
                    shrunk += bytes.unwrap_or(0);
                    erased.damaged += 1;
                    continue;
                };
                let before: usize = entries.iter().map(|entry| HEAD_BYTES + entry.bytes.len()).sum();
                let (left, gone) = without(entries, driver, &fate);
                if gone == 0 {
                    continue;
                }
                let body = encode(&left, &[]);
                shrunk += before as i64 - body.len() as i64;
                erased.entries += gone;
                sqlx::query("UPDATE record SET crc = $2, body = $3 WHERE number = $1")
                    .bind(number)
                    .bind(i64::from(crc32fast::hash(&body)))
                    .bind(body)
                    .execute(&mut *write)
                    .await?;
            }
            write.commit().await?;
            self.bytes.fetch_sub(shrunk.max(0) as u64, Ordering::Relaxed);
        }
        if whole {
            let done = sqlx::query("DELETE FROM checkpoint WHERE driver = $1")
                .bind(&driver.to_be_bytes()[..])
                .execute(&self.pools.write)
                .await?;
            erased.checkpoints = done.rows_affected();
        }
        Ok(erased)
    }

    pub(crate) async fn scrub(&self) -> Result<(), FixLogError> {
        Ok(self.pools.scrub().await?)
    }

    /// Files that were set aside because of damage: nobody can tell whose data are in them.
    fn delete_set_aside(&self) -> u64 {
        let deleted = set_aside_files(&self.path).into_iter().filter(|file| match std::fs::remove_file(file) {
            Ok(()) => {
                tracing::warn!(file = %file.display(), "a damaged fix log that was set aside is deleted with what is erased");
                true
            }
            Err(error) => {
                tracing::error!(%error, file = %file.display(), "a damaged fix log that was set aside cannot be deleted");
                false
            }
        });
        deleted.count() as u64
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn folded(&self, folded: Folded) {
        if folded.generation == self.generation {
            self.droppable.store(folded.number, Ordering::Relaxed);
        }
    }

    pub(crate) async fn appended(&self) {
        // An append that nobody waited for is remembered, so none is missed.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.appended.notified()).await;
    }

    pub(crate) async fn close(&self) {
        self.pools.close().await;
    }

    fn fold_when_long(&self, size: u64) {
        if self.unfolded.fetch_add(size, Ordering::Relaxed) + size < WAL_BYTES {
            return;
        }
        self.unfolded.store(0, Ordering::Relaxed);
        let pools = Arc::clone(&self.pools);
        tokio::spawn(async move {
            if let Err(error) = pools.checkpoint().await {
                tracing::warn!(%error, "the write-ahead log of the fix log could not be folded in");
            }
        });
    }
}

/// Whether an error means that the bytes of the file are not what was written. Codes of SQLite: `CORRUPT` and `NOTADB`; of
/// extended codes the low byte counts.
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

/// The files beside the log that were set aside, companions included.
fn set_aside_files(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let aside = format!("{name}{SET_ASIDE}");
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&aside)));
    ours.map(|entry| entry.path()).collect()
}

/// Renames a database with its companions; nothing of it is deleted.
fn set_aside(path: &Path) -> Result<PathBuf, OpenError> {
    let with = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = with(path, &format!("{SET_ASIDE}{}", crate::now_ms()));
    for companion in ["", "-wal", "-shm"] {
        match std::fs::rename(with(path, companion), with(&aside, companion)) {
            Err(error) if companion.is_empty() || error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::Folder { path: path.display().to_string(), source: error });
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// driver (16) · length (4) · bytes, for each entry; little endian.
fn encode(entries: &[Entry], refused: &[usize]) -> Vec<u8> {
    let size = entries.iter().map(|entry| HEAD_BYTES + entry.bytes.len()).sum();
    let mut body = Vec::with_capacity(size);
    let mut refused = refused.iter().peekable();
    for (place, entry) in entries.iter().enumerate() {
        if refused.next_if(|stale| **stale == place).is_some() {
            continue;
        }
        body.extend_from_slice(&entry.driver.to_le_bytes());
        body.extend_from_slice(&(entry.bytes.len() as u32).to_le_bytes());
        body.extend_from_slice(&entry.bytes);
    }
    body
}

fn decode(mut body: Bytes) -> Option<Vec<KeptEntry>> {
    let mut entries = Vec::new();
    while body.has_remaining() {
        if body.remaining() < 20 {
            return None;
        }
        let driver = body.get_u128_le();
        let length = body.get_u32_le() as usize;
        if body.remaining() < length {
            return None;
        }
        entries.push(KeptEntry { driver, bytes: body.split_to(length) });
    }
    Some(entries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_undoes_encode(entries: Vec<(u128, Vec<u8>)>) {
            let entries: Vec<Entry> = entries.into_iter()
                .map(|(driver, bytes)| Entry { driver, lease: 0, bytes: bytes.into() }).collect();
            let read = decode(encode(&entries, &[]).into()).unwrap();
            prop_assert_eq!(read.len(), entries.len());
            for (read, entry) in read.iter().zip(&entries) {
                prop_assert_eq!((read.driver, &read.bytes), (entry.driver, &entry.bytes));
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = decode(bytes.into());
        }
    }

    const LIMITS: FixLogLimits = FixLogLimits { keep_ms: 1000, bytes_max: 1 << 20, fold_first: true };

    async fn open(path: &Path) -> FixFile {
        FixFile::open_or_set_aside(path, LIMITS, Arc::new(LeaseTable::new(1))).await.unwrap()
    }

    async fn append(file: &FixFile, at_ms: i64, bytes: &'static [u8]) -> u64 {
        let entries = vec![Entry { driver: 1, lease: 0, bytes: bytes.into() }];
        file.append(&Flush { at_ms, entries, checkpoints: Vec::new() }).await.unwrap().number
    }

    async fn numbers(file: &FixFile) -> Vec<u64> {
        file.read(0, 100).await.unwrap().records.iter().map(|record| record.number).collect()
    }

    #[tokio::test]
    async fn nothing_is_dropped_before_it_was_folded() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("fixes.sqlite")).await;
        for _ in 0..3 {
            append(&file, 1, b"old").await;
        }
        file.trim().await;
        assert_eq!(numbers(&file).await, [1, 2, 3]);
        file.folded(Folded { generation: file.generation() + 1, number: 3 });
        file.trim().await;
        assert_eq!(numbers(&file).await, [1, 2, 3], "another log was meant");
        file.folded(Folded { generation: file.generation(), number: 2 });
        file.trim().await;
        assert_eq!(numbers(&file).await, [3]);
    }

    #[tokio::test]
    async fn a_number_is_never_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fixes.sqlite");
        let file = open(&path).await;
        assert_eq!([append(&file, 1, b"old").await, append(&file, 1, b"old").await], [1, 2]);
        file.folded(Folded { generation: file.generation(), number: 2 });
        file.trim().await;
        assert!(numbers(&file).await.is_empty());
        file.close().await;
        let file = open(&path).await;
        assert_eq!(append(&file, 1, b"new").await, 3);
        sqlx::query("UPDATE record SET body = x'00'").execute(&file.pools.write).await.unwrap();
        file.erase(1, false, |_| Fate::Stays).await.unwrap();
        assert!(numbers(&file).await.is_empty(), "what is damaged goes when something is erased");
        assert_eq!(append(&file, 1, b"new").await, 4);
    }

    #[tokio::test]
    async fn a_file_that_counted_by_itself_goes_on_counting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fixes.sqlite");
        let before = "
            CREATE TABLE record (number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms BIGINT NOT NULL, crc BIGINT NOT NULL, body BLOB NOT NULL);
            CREATE INDEX record_age ON record (at_ms);
            CREATE TABLE about (generation BIGINT NOT NULL);
            INSERT INTO about VALUES (7);
            INSERT INTO record VALUES (41, 1, 0, x'');
            DELETE FROM record;";
        sqlite::open(&path, before, true).await.unwrap().close().await;
        let file = open(&path).await;
        assert_eq!((file.generation(), append(&file, 1, b"new").await), (7, 42));
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("fixes.sqlite")).await;
        let now_ms = crate::now_ms();
        append(&file, now_ms + 365 * 86_400_000, b"ahead").await;
        append(&file, 1, b"old").await;
        append(&file, now_ms + 30_000, b"now").await;
        file.folded(Folded { generation: file.generation(), number: 3 });
        file.trim().await;
        assert_eq!(numbers(&file).await, [3]);
    }

    #[tokio::test]
    async fn checkpoints_of_drivers_long_gone_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("fixes.sqlite")).await;
        let now_ms = crate::now_ms();
        for (driver, age_ms) in [(1, CHECKPOINTS_KEEP_MS + 60_000), (2, CHECKPOINTS_KEEP_MS - 60_000)] {
            let checkpoint = Checkpoint { driver, lease: 0, bytes: Bytes::from_static(b"x") };
            let flush = Flush { at_ms: now_ms - age_ms, entries: Vec::new(), checkpoints: vec![checkpoint] };
            file.append(&flush).await.unwrap();
        }
        file.trim().await;
        let left: Vec<u128> = file.checkpoints().await.unwrap().iter().map(|(driver, ..)| *driver).collect();
        assert_eq!(left, [2]);
    }

    #[tokio::test]
    async fn a_driver_is_erased_with_everything_that_nobody_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fixes.sqlite");
        let file = open(&path).await;
        let now_ms = crate::now_ms();
        let entry = |driver, bytes: &'static [u8]| Entry { driver, lease: 0, bytes: bytes.into() };
        for _ in 0..100 {
            let entries = vec![entry(1, b"secret of one"), entry(2, b"of two"), entry(1, b"stays of one")];
            let checkpoint = |driver| Checkpoint { driver, lease: 0, bytes: Bytes::from_static(b"secret state") };
            file.append(&Flush { at_ms: now_ms, entries, checkpoints: vec![checkpoint(1)] }).await.unwrap();
        }
        sqlx::query("UPDATE record SET crc = 7 WHERE number = 50").execute(&file.pools.write).await.unwrap();
        let fate =
            |bytes: &Bytes| if bytes.starts_with(b"secret") { Fate::Becomes("rest".into()) } else { Fate::Stays };
        let erased = file.erase(1, true, fate).await.unwrap();
        assert_eq!(erased, Erased { entries: 99, checkpoints: 1, damaged: 1, set_aside: 0 });
        file.scrub().await.unwrap();
        let records = file.read(0, 200).await.unwrap().records;
        assert_eq!(records.len(), 99);
        for record in records {
            let bytes: Vec<Bytes> = record.entries.unwrap().into_iter().map(|entry| entry.bytes).collect();
            assert_eq!(bytes, ["rest", "of two", "stays of one"]);
        }
        let held = file.bytes.load(Ordering::Relaxed);
        assert_eq!(held, 99 * (3 * HEAD_BYTES as u64 + 4 + 6 + 12), "its size is known");
        for end in ["", "-wal"] {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            let bytes = std::fs::read(&name).unwrap();
            assert!(bytes.windows(6).all(|window| window != b"secret"), "{}", name.display());
        }
    }

    /// Writes over the file: a record's bytes, the first page, all of it, or a page in the middle.
    #[tokio::test]
    async fn a_damaged_record_is_told_and_a_damaged_file_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fixes.sqlite");
        let body: &'static [u8] = &[0x5a; 3000];
        let now_ms = crate::now_ms();
        let fill = async || {
            let file = open(&path).await;
            let generation = file.generation();
            for _ in 0..20 {
                append(&file, now_ms, body).await;
            }
            file.close().await;
            generation
        };
        let first = fill().await;
        let mut bytes = std::fs::read(&path).unwrap();
        let run = bytes.windows(64).rposition(|window| window == [0x5a; 64]).unwrap();
        bytes[run - 9] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let file = open(&path).await;
        let records = file.read(0, 100).await.unwrap().records;
        assert_eq!((records.len(), records.iter().filter(|record| record.entries.is_err()).count()), (20, 1));
        assert_eq!(file.generation(), first);
        file.close().await;

        let mut generation = first;
        for (from, until) in [(0, 100), (0, bytes.len()), (4096, 8192)] {
            let mut bytes = std::fs::read(&path).unwrap();
            let until = until.min(bytes.len());
            bytes[from..until].fill(0xee);
            std::fs::write(&path, &bytes).unwrap();
            let file = open(&path).await;
            assert!(file.generation() > generation, "{from}..{until}");
            assert_eq!(numbers(&file).await, [0; 0]);
            append(&file, now_ms, b"goes on").await;
            file.close().await;
            let kept = std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
            let aside = kept
                .filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-"))
                .map(|entry| entry.path());
            let aside: Vec<_> = aside.filter(|path| std::fs::read(path).unwrap() == bytes).collect();
            assert_eq!(aside.len(), 1, "its bytes are kept: {aside:?}");
            generation = fill().await;
        }
    }
}
