//! After a start: every tracker that was kept comes back, judges again what came after its checkpoint, and tells what it knows.

use ahash::AHashMap;
use bytes::Bytes;
use tokio::sync::oneshot;
use wayfare_bus::{Bus, FixLogError};
use wayfare_engine::DriverId;

use crate::Ingest;
use crate::shard::Command;
use wayfare_wire::kept::{self, KeptMessage};

/// Records read at once.
const PAGE: usize = 64;

/// Brings all trackers back.
pub async fn run(ingest: &Ingest) -> Result<(), FixLogError> {
    let bus = &ingest.house.bus;
    let mut drivers: AHashMap<u128, (u64, Bytes, Vec<KeptMessage>)> = AHashMap::new();
    for (driver, number, bytes) in bus.fixes.checkpoints().await? {
        drivers.insert(driver, (number, bytes, Vec::new()));
    }
    let (mut messages, mut damaged) = (0_u64, 0_u64);
    for partition in 0..bus.fixes.partitions() {
        let here = drivers.iter().filter(|(driver, _)| bus.fixes.partition_of(**driver) == partition);
        let Some(mut after) = here.map(|(_, (number, ..))| *number).min() else { continue };
        loop {
            let page = bus.fixes.read(partition, after, PAGE).await?;
            if page.records.is_empty() {
                break;
            }
            after = page.next;
            for record in page.records {
                let Ok(entries) = record.entries else {
                    tracing::error!(record = record.number, "a record of the fix log is damaged; it is left out");
                    damaged += 1;
                    continue;
                };
                for entry in entries {
                    let Some((number, _, kept)) = drivers.get_mut(&entry.driver) else { continue };
                    if let (true, Some(message)) = (record.number > *number, kept::read(entry.bytes)) {
                        kept.push(message);
                        messages += 1;
                    }
                }
            }
        }
    }
    let count = drivers.len();
    let mut waiting = Vec::with_capacity(count);
    for (driver, (_, checkpoint, messages)) in drivers {
        let (done, restored) = oneshot::channel();
        let driver = DriverId(driver);
        let command = Command::Restore { driver, checkpoint: Some(checkpoint), messages, done };
        if ingest.shard(driver).send(command).await.is_ok() {
            waiting.push(restored);
        }
    }
    for restored in waiting {
        // A shard that is gone has been reported.
        let _ = restored.await;
    }
    tracing::info!(drivers = count, messages, damaged, "trackers brought back");
    Ok(())
}

/// A driver's messages after a record, oldest first.
pub async fn messages_of(bus: &Bus, driver: u128, number: u64) -> Result<Vec<KeptMessage>, FixLogError> {
    let partition = bus.fixes.partition_of(driver);
    let (mut after, mut messages) = (number, Vec::new());
    loop {
        let page = bus.fixes.read(partition, after, PAGE).await?;
        if page.records.is_empty() {
            return Ok(messages);
        }
        after = page.next;
        let entries = page.records.into_iter().filter_map(|record| record.entries.ok()).flatten();
        messages.extend(entries.filter(|entry| entry.driver == driver).filter_map(|entry| kept::read(entry.bytes)));
    }
}
