//! Fixes of existing phone apps that were not kept: from their log into a table that can be asked, bounded per driver, in all, and in age.

use std::time::Duration;

use tokio::sync::watch;
use wayfare_bus::{LogPage, LogStart};
use wayfare_wire::quarantine::{Aside, QUARANTINE_LOG};

use crate::House;
use crate::db::{self, Database, DatabaseError, Write};

/// Where reading goes on, in the database: moved in the same transaction as the rows.
const CURSOR: &str = "quarantine_cursor";

/// Events folded in one transaction.
const BATCH: usize = 250;

/// Rows kept of one driver: an hour of a phone that is wrong every time it sends.
const OF_DRIVER_MAX: i64 = 500;

/// Rows kept in all, of at most 2 KiB each.
const ROWS_MAX: i64 = 50_000;

/// Rows are kept for this long.
const KEEP_MS: i64 = 7 * 86_400_000;

/// Folds until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    let mut tail = house.bus.logs.tail(QUARANTINE_LOG).await;
    loop {
        match step(house).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "fixes set aside could not be folded in; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::select! {
            _ = tail.changed() => {}
            // Also lets what is past its time go.
            () = tokio::time::sleep(Duration::from_secs(300)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Folds one batch; true if there is more.
async fn step(house: &House) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let start = match db::meta(&house.db, CURSOR).await?.and_then(|text| text.parse::<wayfare_wire::Cursor>().ok()) {
        Some(cursor) => LogStart::After { generation: cursor.epoch, id: cursor.seq },
        None => LogStart::Oldest,
    };
    let mut page = house.bus.logs.read(QUARANTINE_LOG, start, BATCH).await?;
    if page.reset {
        page = house.bus.logs.read(QUARANTINE_LOG, LogStart::Oldest, BATCH).await?;
    }
    fold(house, &page).await?;
    Ok(page.more)
}

async fn fold(house: &House, page: &LogPage) -> Result<(), DatabaseError> {
    let mut write = house.db.write().await?;
    let mut drivers = std::collections::BTreeSet::new();
    for event in &page.events {
        let Ok(aside) = serde_json::from_slice::<Aside>(&event.payload) else {
            tracing::error!(event = event.event_id, "an event of the log of fixes set aside cannot be read");
            continue;
        };
        // The id is the writer's number, so that an event read twice is one row.
        let Ok(id) = i64::from_str_radix(&event.event_id, 16) else { continue };
        sqlx::query(
            "INSERT INTO quarantine (id, driver, at_ms, doc) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(&aside.driver)
        .bind(aside.at_ms)
        .bind(serde_json::to_string(&aside)?)
        .execute(&mut *write)
        .await?;
        drivers.insert(aside.driver);
    }
    forget(&mut write, &drivers).await?;
    if !page.events.is_empty() {
        let cursor = wayfare_wire::Cursor { epoch: page.generation, seq: page.next };
        db::set_meta(&mut write, CURSOR, &cursor.to_string()).await?;
    }
    Ok(write.commit().await?)
}

/// Lets go of what is too old, and of the oldest where there is too much.
async fn forget(write: &mut Write, drivers: &std::collections::BTreeSet<String>) -> Result<(), DatabaseError> {
    let oldest_ms = wayfare_bus::now_ms() - KEEP_MS;
    sqlx::query("DELETE FROM quarantine WHERE at_ms < $1").bind(oldest_ms).execute(&mut **write).await?;
    for driver in drivers {
        let beyond = "DELETE FROM quarantine WHERE driver = $1 AND id <= COALESCE(
            (SELECT id FROM quarantine WHERE driver = $1 ORDER BY id DESC LIMIT 1 OFFSET $2), -1)";
        sqlx::query(beyond).bind(driver).bind(OF_DRIVER_MAX).execute(&mut **write).await?;
    }
    let beyond = "DELETE FROM quarantine WHERE id <= COALESCE((SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET $1), -1)";
    sqlx::query(beyond).bind(ROWS_MAX).execute(&mut **write).await?;
    Ok(())
}

/// A page before `before`, the newest first.
pub async fn page(
    db: &Database,
    driver: Option<&str>,
    before: i64,
    limit: i64,
) -> Result<Vec<(i64, Aside)>, DatabaseError> {
    let rows: Vec<(i64, String)> = match driver {
        Some(driver) => {
            sqlx::query_as("SELECT id, doc FROM quarantine WHERE driver = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
                .bind(driver)
                .bind(before)
                .bind(limit)
                .fetch_all(db.read())
                .await?
        }
        None => {
            sqlx::query_as("SELECT id, doc FROM quarantine WHERE id < $1 ORDER BY id DESC LIMIT $2")
                .bind(before)
                .bind(limit)
                .fetch_all(db.read())
                .await?
        }
    };
    rows.into_iter().map(|(id, doc)| Ok((id, serde_json::from_str(&doc)?))).collect()
}
