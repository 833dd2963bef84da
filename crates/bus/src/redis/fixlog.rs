//! The fix log on Redis, in partitions of drivers: leases, records and checkpoints of a partition live in one slot, so that one script refuses what was
//! written under a lost lease.
//!
//! A record is an entry of a stream, which tells its id and age, and a field of a hash, which holds its body: what is in a stream cannot be
//! changed, and who is erased must go. Its number is its id, the server's clock in milliseconds and a count. An ack is as strong as the server's
//! `appendfsync`, and what a failover may lose is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, HashesInterface as _};
use fred::types::{ClusterHash, CustomCommand, Value};
use futures_util::future::try_join_all;
use tokio::sync::Notify;

use super::hub::Hub;
use super::scripts::{DROP, FLUSH, OUTLIVED, RECORDS, REPLACE};
use super::{PARTITIONS, Running};
use crate::fixlog::{
    Checkpoint, DamagedRecord, Entry, Erased, Fate, FixLogError, FixLogLimits, Flush, FlushReceipt, Folded, KeptEntry,
    KeptRecord, RecordPage,
};
use crate::queue::lock;

/// It never counts anew, so there is only one.
const GENERATION: u64 = 1;

/// Bits of a number that count records of one millisecond.
const COUNT_BITS: u32 = 20;

/// Bytes of an entry beside the writer's own: checksum, driver, length.
const HEAD_BYTES: usize = 4 + 16 + 4;

/// Records looked through at once when something is erased.
const ERASED_AT_ONCE: usize = 64;

/// Checkpoints are kept for this long after the last: a fix that comes later than a week is refused anyway.
const CHECKPOINTS_KEEP_MS: i64 = 8 * 86_400_000;

/// See [`crate::FixLog`].
pub struct FixStreams {
    pub(super) hub: Arc<Hub>,
    pub(super) _running: Arc<Running>,
    pub(super) limits: FixLogLimits,
    /// Bytes of all records, as of the last look, and what was added here since.
    pub(super) bytes: AtomicU64,
    /// Newest number of each partition that may be dropped.
    pub(super) droppable: Mutex<BTreeMap<u32, u64>>,
    /// Tells this writer from others.
    pub(super) writer: String,
    pub(super) appended: Notify,
    /// Which partition's checkpoints are looked through next, and where.
    pub(super) outlived: (AtomicU32, Mutex<String>),
}

/// What one partition gets of a flush.
#[derive(Default)]
struct Part<'a> {
    entries: Vec<(usize, &'a Entry)>,
    checkpoints: Vec<&'a Checkpoint>,
}

impl FixStreams {
    pub(crate) fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn key(&self, partition: u32, rest: &str) -> String {
        self.hub.link.key(&format!("drivers:{partition}"), rest)
    }

    pub(crate) async fn append(&self, flush: &Flush) -> Result<FlushReceipt, FixLogError> {
        let held = self.bytes.load(Ordering::Relaxed);
        if held >= self.limits.bytes_max {
            return Err(FixLogError::Full { bytes: held, limit: self.limits.bytes_max });
        }
        let mut parts: BTreeMap<u32, Part<'_>> = BTreeMap::new();
        for (place, entry) in flush.entries.iter().enumerate() {
            parts.entry(partition_of(entry.driver)).or_default().entries.push((place, entry));
        }
        for checkpoint in &flush.checkpoints {
            parts.entry(partition_of(checkpoint.driver)).or_default().checkpoints.push(checkpoint);
        }
        let parts = parts.iter().map(|(partition, part)| self.append_part(*partition, flush.at_ms, part));
        // Where one fails the whole is tried again; the others know what they have.
        let done = try_join_all(parts).await?;
        let mut refused: Vec<usize> = done.iter().flat_map(|(_, refused)| refused.iter().copied()).collect();
        refused.sort_unstable();
        let size: usize = flush.entries.iter().map(|entry| HEAD_BYTES + entry.bytes.len()).sum();
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        self.appended.notify_one();
        Ok(FlushReceipt { number: done.iter().map(|(number, _)| *number).max().unwrap_or(0), refused })
    }

    async fn append_part(&self, partition: u32, at_ms: i64, part: &Part<'_>) -> Result<(u64, Vec<usize>), Error> {
        let mut arguments =
            vec![Value::from(at_ms), Value::Null, Value::from(i64::try_from(part.entries.len()).unwrap_or(i64::MAX))];
        let mut digest = crc32fast::Hasher::new();
        for (_, entry) in &part.entries {
            let piece = encode(entry);
            digest.update(&piece);
            arguments.extend([hex(entry.driver), digits(entry.lease), Value::Bytes(piece)]);
        }
        for kept in &part.checkpoints {
            digest.update(&kept.bytes);
            arguments.extend([hex(kept.driver), digits(kept.lease), Value::Bytes(kept.bytes.clone())]);
        }
        arguments[1] = format!("{at_ms}.{}.{:08x}", arguments.len(), digest.finalize()).into();
        let keys = [":leases", ":index", ":records", ":about", ":checkpoints"].map(|rest| self.key(partition, rest));
        let last = self.key(partition, &format!(":last:{}", self.writer));
        let keys: Vec<&str> = keys.iter().chain([&last]).map(String::as_str).collect();
        let mut reply = self.hub.link.run(&FLUSH, &keys, arguments).await?.into_array().into_iter();
        let number = reply.next().and_then(|id| number_of(&id.as_string()?)).ok_or_else(another_form)?;
        let refused = reply.filter_map(|place| Some(part.entries.get(place.as_usize()?)?.0)).collect();
        Ok((number, refused))
    }

    pub(crate) async fn checkpoint(&self, driver: u128) -> Result<Option<(u64, Bytes)>, FixLogError> {
        let (link, key) = (&self.hub.link, self.key(partition_of(driver), ":checkpoints"));
        let field = format!("{driver:032x}");
        let kept: Option<Bytes> = link.ask(|| link.commands.hget(&key, &field)).await?;
        Ok(kept.and_then(read_checkpoint))
    }

    pub(crate) async fn checkpoints(&self) -> Result<Vec<(u128, u64, Bytes)>, FixLogError> {
        let mut all = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let (link, key) = (&self.hub.link, self.key(partition, ":checkpoints"));
            let mut cursor = "0".to_owned();
            loop {
                let scan = CustomCommand::new_static("HSCAN", ClusterHash::FirstKey, false);
                let arguments: Vec<Value> =
                    vec![key.as_str().into(), cursor.as_str().into(), "COUNT".into(), 200_i64.into()];
                let reply: Value = link.ask(|| link.commands.custom(scan.clone(), arguments.clone())).await?;
                let mut reply = reply.into_array().into_iter();
                cursor = reply.next().and_then(Value::into_string).ok_or_else(another_form)?;
                let mut fields = reply.next().unwrap_or(Value::Null).into_array().into_iter();
                while let (Some(driver), Some(kept)) = (fields.next(), fields.next()) {
                    let driver = driver.as_string().and_then(|driver| u128::from_str_radix(&driver, 16).ok());
                    if let (Some(driver), Some((number, bytes))) = (driver, kept.into_bytes().and_then(read_checkpoint))
                    {
                        // A scan may tell a field twice.
                        all.insert(driver, (number, bytes));
                    }
                }
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(all.into_iter().map(|(driver, (number, bytes))| (driver, number, bytes)).collect())
    }

    pub(crate) async fn read(&self, partition: u32, after: u64, limit: usize) -> Result<RecordPage, FixLogError> {
        let keys = [self.key(partition, ":index"), self.key(partition, ":records")];
        let mut page = RecordPage { next: after, ..RecordPage::default() };
        // What was damaged and went with an erasure leaves its id: a page of nothing else is not the end.
        while page.records.is_empty() {
            let arguments: Vec<Value> = vec![id_of(page.next).into(), Value::from(limit.max(1) as i64)];
            let reply = self.hub.link.run(&RECORDS, &[&keys[0], &keys[1]], arguments).await?;
            let mut parts = reply.into_array().into_iter();
            let mut found = false;
            while let (Some(id), Some(at), Some(body)) = (parts.next(), parts.next(), parts.next()) {
                let number = id.as_string().and_then(|id| number_of(&id)).ok_or_else(another_form)?;
                (page.next, found) = (number, true);
                let Some(body) = body.into_bytes() else { continue };
                let entries = decode(body).ok_or(DamagedRecord { number });
                page.records.push(KeptRecord { number, at_ms: at.as_i64().unwrap_or(0), entries });
            }
            if !found {
                break;
            }
        }
        Ok(page)
    }

    pub(crate) async fn erase(
        &self,
        driver: u128,
        whole: bool,
        fate: impl Fn(&Bytes) -> Fate + Send + Sync,
    ) -> Result<Erased, FixLogError> {
        let partition = partition_of(driver);
        let keys = [self.key(partition, ":records"), self.key(partition, ":about")];
        let (mut erased, mut after) = (Erased::default(), 0);
        loop {
            let page = self.read(partition, after, ERASED_AT_ONCE).await?;
            if page.records.is_empty() {
                break;
            }
            after = page.next;
            for record in page.records {
                let (body, goes) = match record.entries {
                    // Whose it was cannot be told.
                    Err(_) => {
                        erased.damaged += 1;
                        (Bytes::new(), 1_i64)
                    }
                    Ok(entries) => {
                        let (left, gone) = crate::fixlog::without(entries, driver, &fate);
                        if gone == 0 {
                            continue;
                        }
                        erased.entries += gone;
                        (left.iter().flat_map(encode).collect(), 0)
                    }
                };
                let arguments: Vec<Value> = vec![id_of(record.number).into(), Value::Bytes(body), goes.into()];
                self.hub.link.run(&REPLACE, &[&keys[0], &keys[1]], arguments).await?;
            }
        }
        if whole {
            let (link, key) = (&self.hub.link, self.key(partition, ":checkpoints"));
            let field = format!("{driver:032x}");
            erased.checkpoints = link.ask(|| link.commands.hdel::<u64, _, _>(&key, &field)).await?;
        }
        Ok(erased)
    }

    pub(crate) async fn scrub(&self) -> Result<(), FixLogError> {
        Ok(self.hub.link.rewrite_files().await?)
    }

    pub(crate) fn generation(&self) -> u64 {
        GENERATION
    }

    pub(crate) fn folded(&self, partition: u32, folded: Folded) {
        if folded.generation == GENERATION {
            lock(&self.droppable).insert(partition, folded.number);
        }
    }

    pub(crate) async fn appended(&self) {
        // Other nodes append too, and nobody tells.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.appended.notified()).await;
    }

    pub(crate) async fn trim(&self) {
        if let Err(error) = self.try_trim().await {
            tracing::warn!(%error, "old records could not be dropped; trying again later");
        }
        metrics::gauge!("wayfare_fixlog_bytes").set(self.bytes.load(Ordering::Relaxed) as f64);
    }

    async fn try_trim(&self) -> Result<(), Error> {
        let keep_ms = self.limits.keep_for(self.bytes.load(Ordering::Relaxed));
        let oldest_ms = crate::now_ms().saturating_sub(keep_ms);
        let drops = (0..PARTITIONS).map(async |partition| {
            let may_go = match self.limits.fold_first {
                true => lock(&self.droppable).get(&partition).copied().unwrap_or(0),
                false => u64::MAX,
            };
            let keys = [":index", ":records", ":about"].map(|rest| self.key(partition, rest));
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let (ms, count) = ((may_go >> COUNT_BITS) as i64, (may_go & ((1 << COUNT_BITS) - 1)) as i64);
            let left = self.hub.link.run(&DROP, &keys, vec![oldest_ms.into(), ms.into(), count.into()]).await?;
            Ok::<u64, Error>(left.as_u64().unwrap_or(0))
        });
        let left = try_join_all(drops).await?;
        self.bytes.store(left.iter().sum(), Ordering::Relaxed);
        self.forget_outlived().await
    }

    /// One step through the checkpoints of one partition.
    async fn forget_outlived(&self) -> Result<(), Error> {
        let (partition, cursor) = &self.outlived;
        let key = self.key(partition.load(Ordering::Relaxed) % PARTITIONS, ":checkpoints");
        let from = std::mem::take(&mut *lock(cursor));
        let from = if from.is_empty() { "0".to_owned() } else { from };
        let arguments: Vec<Value> = vec![from.into(), Value::from(crate::now_ms() - CHECKPOINTS_KEEP_MS)];
        let next = self.hub.link.run(&OUTLIVED, &[&key], arguments).await?.into_string().unwrap_or_default();
        if next == "0" {
            partition.fetch_add(1, Ordering::Relaxed);
        } else {
            *lock(cursor) = next;
        }
        Ok(())
    }
}

/// Ids are random: their low bits spread as well as any hash.
fn partition_of(driver: u128) -> u32 {
    (driver % u128::from(PARTITIONS)) as u32
}

fn hex(driver: u128) -> Value {
    format!("{driver:032x}").into()
}

fn digits(number: u64) -> Value {
    format!("{number:020}").into()
}

fn another_form() -> Error {
    Error::new(ErrorKind::Protocol, "an answer of another form")
}

/// A record's number, from its id in the stream.
fn number_of(id: &str) -> Option<u64> {
    let (ms, count) = id.split_once('-')?;
    let (ms, count): (u64, u64) = (ms.parse().ok()?, count.parse().ok()?);
    (count < 1 << COUNT_BITS).then_some((ms << COUNT_BITS) | count)
}

fn id_of(number: u64) -> String {
    format!("{}-{}", number >> COUNT_BITS, number & ((1 << COUNT_BITS) - 1))
}

/// `<id> <milliseconds> <bytes>`, made by the script.
fn read_checkpoint(kept: Bytes) -> Option<(u64, Bytes)> {
    let id = kept.iter().position(|byte| *byte == b' ')?;
    let at = id + 1 + kept[id + 1..].iter().position(|byte| *byte == b' ')?;
    Some((number_of(std::str::from_utf8(&kept[..id]).ok()?)?, kept.slice(at + 1..)))
}

/// Checksum of the rest (4) · driver (16) · length (4) · bytes; little endian.
fn encode(entry: &Entry) -> Bytes {
    let mut piece = Vec::with_capacity(HEAD_BYTES + entry.bytes.len());
    piece.extend_from_slice(&[0; 4]);
    piece.extend_from_slice(&entry.driver.to_le_bytes());
    piece.extend_from_slice(&(entry.bytes.len() as u32).to_le_bytes());
    piece.extend_from_slice(&entry.bytes);
    let crc = crc32fast::hash(&piece[4..]).to_le_bytes();
    piece[..4].copy_from_slice(&crc);
    piece.into()
}

fn decode(mut body: Bytes) -> Option<Vec<KeptEntry>> {
    let mut entries = Vec::new();
    while body.has_remaining() {
        if body.remaining() < HEAD_BYTES {
            return None;
        }
        let crc = body.get_u32_le();
        let rest = body.clone();
        let (driver, length) = (body.get_u128_le(), body.get_u32_le() as usize);
        if body.remaining() < length || crc32fast::hash(&rest[..16 + 4 + length]) != crc {
            return None;
        }
        entries.push(KeptEntry { driver, bytes: body.split_to(length) });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_undoes_encode(entries: Vec<(u128, Vec<u8>)>, damage: prop::sample::Index) {
            let entries: Vec<Entry> = entries.into_iter()
                .map(|(driver, bytes)| Entry { driver, lease: 0, bytes: bytes.into() }).collect();
            let mut body: Vec<u8> = entries.iter().flat_map(encode).collect();
            let read = decode(body.clone().into()).expect("whole");
            prop_assert_eq!(read.len(), entries.len());
            prop_assert!(read.iter().zip(&entries).all(|(read, entry)| (read.driver, &read.bytes) == (entry.driver, &entry.bytes)));
            if !body.is_empty() {
                let place = damage.index(body.len());
                body[place] ^= 0x10;
                prop_assert_eq!(decode(body.into()), None);
            }
        }

        #[test]
        fn numbers_are_ids(ms in 0..1_u64 << 43, count in 0..1_u64 << COUNT_BITS) {
            prop_assert_eq!(number_of(&format!("{ms}-{count}")).map(id_of), Some(format!("{ms}-{count}")));
        }
    }
}
