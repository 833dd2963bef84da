//! What was acked becomes history: the fix log is folded into the tracks of trips.
//!
//! A record is folded once: where reading goes on is moved in the same transaction as the tracks. Only then may the log drop it. A fix
//! belongs to each trip that its driver had when it was taken, also if it comes hours after the trip is over; others are kept in no track.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wayfare_bus::{Folded, KeptRecord};
use wayfare_wire::kept::{self, KeptFix};
use wayfare_wire::{Cursor, ids};

use crate::House;
use crate::db;
use crate::records::track::{self, Point};
use crate::records::{assignment, trip};

/// Records folded in one transaction. Under load more gather in a pause than are half of this: a driver costs some statements for each
/// transaction it appears in, so that few large ones cost a part of many small ones.
const BATCH: usize = 256;
/// Between two batches while the log is young: fewer chunks are written twice, and nobody asks for history of this very second.
const PAUSE: Duration = Duration::from_secs(2);

/// Folds until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        if !house.leads() {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => continue,
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
        let (mut more, began) = (false, Instant::now());
        for partition in 0..house.bus.fixes.partitions() {
            match step(house, partition).await {
                Ok(full) => more |= full,
                Err(error) => tracing::warn!(%error, "fixes could not be folded into tracks; trying again"),
            }
        }
        let took = began.elapsed();
        let pause = async {
            // Behind: half of the time belongs to whoever else writes records, who must not wait for history.
            tokio::time::sleep(if more { took } else { PAUSE }).await;
            if !more {
                house.bus.fixes.appended().await;
            }
        };
        tokio::select! {
            () = pause => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Where reading of a partition goes on: generation and number.
fn cursor_key(partition: u32) -> String {
    format!("fixes_cursor.{partition}")
}

/// Folds one batch; true if there is more.
async fn step(house: &House, partition: u32) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let fixes = &house.bus.fixes;
    let generation = fixes.generation();
    let key = cursor_key(partition);
    let from = db::meta(&house.db, &key).await?;
    let after = match from.as_ref().and_then(|text| text.parse::<Cursor>().ok()) {
        Some(cursor) if cursor.epoch == generation => cursor.seq,
        Some(_) => {
            tracing::warn!(
                "the fix log is another one than before; what it held that was not folded is lost to tracks"
            );
            0
        }
        None => 0,
    };
    let page = fixes.read(partition, after, BATCH).await?;
    if !page.records.is_empty() {
        let mut write = house.db.write().await?;
        let next = Cursor { epoch: generation, seq: page.next }.to_string();
        if !db::move_cursor(&mut write, &key, from.as_deref(), &next).await? {
            // Another process has folded them.
            return Ok(true);
        }
        for (driver, points) in by_driver(&page.records) {
            let driver = ids::Driver(driver).to_string();
            let oldest_ms = points.iter().map(|fix| fix.at.0).min().unwrap_or(0);
            let parts = assignment::of_driver_since(&mut write, &driver, oldest_ms).await?;
            for parts in parts.chunk_by(|one, other| one.trip == other.trip) {
                let own = points.iter().filter(|fix| parts.iter().any(|part| part.covers(fix.at.0))).map(Point::of);
                let own: Vec<Point> = own.collect();
                let trip = &parts[0].trip;
                if !own.is_empty() && !trip::keeps_no_track(&mut write, trip).await? {
                    let new = track::append(&mut write, trip, &driver, &own).await?;
                    metrics::counter!("wayfare_track_points_total").increment(new as u64);
                }
            }
        }
        write.commit().await?;
    }
    fixes.folded(partition, Folded { generation, number: page.next });
    Ok(page.records.len() == BATCH)
}

/// All fixes of the records, by driver, in the order received.
fn by_driver(records: &[KeptRecord]) -> BTreeMap<u128, Vec<KeptFix>> {
    let mut drivers: BTreeMap<u128, Vec<KeptFix>> = BTreeMap::new();
    for record in records {
        let Ok(entries) = &record.entries else {
            tracing::error!(record = record.number, "a record of the fix log is damaged; tracks go on without it");
            metrics::counter!("wayfare_fixlog_damaged_total").increment(1);
            continue;
        };
        for entry in entries {
            match kept::read(entry.bytes.clone()) {
                Some(message) => drivers.entry(entry.driver).or_default().extend(message.fixes),
                None => tracing::error!(record = record.number, "an entry of the fix log is of another version"),
            }
        }
    }
    drivers
}
