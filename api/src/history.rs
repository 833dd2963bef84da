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
use crate::db::{self, DatabaseError, Write};
use crate::records::assignment::{self, Part};
use crate::records::track::{self, Addition, Point};
use crate::records::trip;

/// Records folded in one transaction. Under load more gather in a pause than are half of this: a track's last chunk is written again in each
/// transaction its driver appears in, so that few large ones cost a part of many small ones.
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
        let additions = additions(&mut write, by_driver(&page.records)).await?;
        let new = track::append(&mut write, &additions).await?;
        metrics::counter!("wayfare_track_points_total").increment(new as u64);
        write.commit().await?;
    }
    fixes.folded(partition, Folded { generation, number: page.next });
    Ok(page.records.len() == BATCH)
}

/// What the fixes of drivers add to the tracks of trips.
async fn additions(write: &mut Write, fixes: BTreeMap<String, Vec<KeptFix>>) -> Result<Vec<Addition>, DatabaseError> {
    let since = |(driver, fixes): (&String, &Vec<KeptFix>)| {
        let oldest_ms = fixes.iter().map(|fix| fix.at.0).min().unwrap_or(0);
        (driver.clone(), oldest_ms)
    };
    let asked: Vec<(String, i64)> = fixes.iter().map(since).collect();
    let parts = assignment::of_drivers_since(write, &asked).await?;
    let trips = parts.iter().map(|(_, part)| part.trip.as_str()).collect();
    let kept = trip::that_keep_track(write, &trips).await?;
    let of_one = |one: &(String, Part), other: &(String, Part)| one.0 == other.0 && one.1.trip == other.1.trip;
    let addition = |parts: &[(String, Part)]| {
        let (driver, Part { trip, .. }) = &parts[0];
        let covered = |fix: &&KeptFix| parts.iter().any(|(_, part)| part.covers(fix.at.0));
        let points = fixes[driver].iter().filter(covered).map(Point::of).collect();
        Addition { trip: trip.clone(), driver: driver.clone(), points }
    };
    Ok(parts.chunk_by(of_one).filter(|parts| kept.contains(&parts[0].1.trip)).map(addition).collect())
}

/// All fixes of the records, by driver as text, in the order received.
fn by_driver(records: &[KeptRecord]) -> BTreeMap<String, Vec<KeptFix>> {
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
    drivers.into_iter().map(|(driver, fixes)| (ids::Driver(driver).to_string(), fixes)).collect()
}
