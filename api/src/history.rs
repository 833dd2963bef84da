//! What was acked becomes history: the fix log is folded into the tracks of trips, and both are forgotten in time.
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
use crate::db::{self, Database, DatabaseError};
use crate::records::track::{self, Point};
use crate::records::trip;

/// Records folded in one transaction. Under load more gather in a pause than are half of this: a driver costs some statements for each
/// transaction it appears in, so that few large ones cost a part of many small ones.
const BATCH: usize = 256;
/// Between two batches while the log is young: fewer chunks are written twice, and nobody asks for history of this very second.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two looks for what is past its time.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Folds until told to stop.
pub async fn run(house: &House, stop: watch::Receiver<bool>) {
    tokio::join!(fold(house, stop.clone()), forget(house, stop));
}

async fn fold(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
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

async fn cursor(db: &Database, partition: u32) -> Result<Option<Cursor>, DatabaseError> {
    Ok(db::meta(db, &cursor_key(partition)).await?.and_then(|text| text.parse().ok()))
}

/// Folds one batch; true if there is more.
async fn step(house: &House, partition: u32) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let fixes = &house.bus.fixes;
    let generation = fixes.generation();
    let after = match cursor(&house.db, partition).await? {
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
        for (driver, points) in by_driver(&page.records) {
            let driver = ids::Driver(driver).to_string();
            let oldest_ms = points.iter().map(|fix| fix.at.0).min().unwrap_or(0);
            for trip in trip::of_driver_since(&mut write, &driver, oldest_ms).await? {
                let own = points.iter().filter(|fix| track::belongs(&trip, fix.at)).map(Point::of);
                let own: Vec<Point> = own.collect();
                if !own.is_empty() {
                    track::append(&mut write, &trip.id.to_string(), &driver, &own).await?;
                    metrics::counter!("wayfare_track_points_total").increment(own.len() as u64);
                }
            }
        }
        let cursor = Cursor { epoch: generation, seq: page.next };
        db::set_meta(&mut write, &cursor_key(partition), &cursor.to_string()).await?;
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

/// Tracks past their time go, in small steps.
async fn forget(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = forget_once(house).await {
            tracing::warn!(%error, "old tracks could not be forgotten; trying again later");
        }
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn forget_once(house: &House) -> Result<(), DatabaseError> {
    let until_ms = wayfare_bus::now_ms() - house.config.tracks_keep_ms;
    loop {
        let mut write = house.db.write().await?;
        let more = track::forget(&mut write, until_ms).await?;
        write.commit().await?;
        if !more {
            return Ok(());
        }
    }
}
