//! The fix log in one SQLite file: one row per flush, `synchronous=FULL`.
//!
//! The sync happens on the writer connection's own thread. The write-ahead log is folded in by hand, from another connection and
//! between flushes, because SQLite's automatic checkpoint is what makes a flush's tail long.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use sqlx::Row;

use super::OpenError;
use super::leases::LeaseTable;
use super::sqlite::{self, Pools};
use crate::fixlog::{
    DamagedRecord, Entry, FixLogError, FixLogLimits, Flush, FlushReceipt, KeptEntry, KeptRecord, RecordPage,
};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms BIGINT NOT NULL, crc BIGINT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS record_age ON record (at_ms);
CREATE TABLE IF NOT EXISTS checkpoint (driver BLOB PRIMARY KEY, number BIGINT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
";

/// Bytes of write-ahead log after which it is folded in: the page cache holds this much with ease.
const WAL_BYTES: u64 = 8 << 20;

/// The file and its bounds.
pub struct FixFile {
    pools: Arc<Pools>,
    limits: FixLogLimits,
    leases: Arc<LeaseTable>,
    /// Bytes of all records.
    bytes: AtomicU64,
    /// Bytes written since the write-ahead log was folded in.
    unfolded: AtomicU64,
}

impl FixFile {
    pub(super) async fn open(path: &Path, limits: FixLogLimits, leases: Arc<LeaseTable>) -> Result<Self, OpenError> {
        let pools = sqlite::open(path, SCHEMA, true).await?;
        let bytes: i64 = sqlx::query_scalar("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM record")
            .fetch_one(&pools.read)
            .await
            .map_err(|source| OpenError::Database { path: path.display().to_string(), source })?;
        Ok(Self {
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
        let mut write = self.pools.write.begin().await?;
        let number: i64 =
            sqlx::query_scalar("INSERT INTO record (at_ms, crc, body) VALUES ($1, $2, $3) RETURNING number")
                .bind(flush.at_ms)
                .bind(i64::from(crc32fast::hash(&body)))
                .bind(body)
                .fetch_one(&mut *write)
                .await?;
        for checkpoint in flush.checkpoints.iter().filter(|kept| !stale(kept.driver, kept.lease)) {
            sqlx::query(
                "INSERT INTO checkpoint (driver, number, body) VALUES ($1, $2, $3)
                 ON CONFLICT (driver) DO UPDATE SET number = excluded.number, body = excluded.body",
            )
            .bind(&checkpoint.driver.to_be_bytes()[..])
            .bind(number)
            .bind(&checkpoint.bytes[..])
            .execute(&mut *write)
            .await?;
        }
        write.commit().await?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
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
        let oldest = crate::now_ms() - self.limits.keep_ms;
        if let Err(error) = self.try_trim(oldest).await {
            tracing::warn!(%error, "old records could not be dropped; trying again later");
        }
        metrics::gauge!("wayfare_fixlog_bytes").set(self.bytes.load(Ordering::Relaxed) as f64);
    }

    /// In small steps, so that a flush never waits long for the writer.
    async fn try_trim(&self, oldest_ms: i64) -> Result<(), sqlx::Error> {
        loop {
            let dropped: Vec<i64> = sqlx::query_scalar(
                "DELETE FROM record WHERE number IN (SELECT number FROM record WHERE at_ms < $1 ORDER BY at_ms LIMIT 64)
                 RETURNING LENGTH(body)",
            )
            .bind(oldest_ms)
            .fetch_all(&self.pools.write)
            .await?;
            if dropped.is_empty() {
                return Ok(());
            }
            self.bytes.fetch_sub(dropped.iter().sum::<i64>() as u64, Ordering::Relaxed);
        }
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

/// driver (16) · length (4) · bytes, for each entry; little endian.
fn encode(entries: &[Entry], refused: &[usize]) -> Vec<u8> {
    let size = entries.iter().map(|entry| 20 + entry.bytes.len()).sum();
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
}
