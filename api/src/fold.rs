//! Phases that trackers found, folded into the records. Terminal states are the records' own and win.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use wayfare_bus::{LogPage, LogStart};
use wayfare_engine::Phase;
use wayfare_wire::topic::PHASES_LOG;

use crate::House;
use crate::db::{self, DatabaseError};
use crate::outbox::{self, Cause};
use crate::records::arrival::{self, Arrival, Forecast, ForecastTuple};
use crate::records::trip;

/// Where reading goes on, in the database: moved in the same transaction as the records.
const CURSOR: &str = "phases_cursor";

/// Events folded in one transaction.
const BATCH: usize = 100;

/// One event, as ingest writes it.
#[derive(Debug, Deserialize)]
struct Found {
    trip: wayfare_wire::ids::Trip,
    assignment: u64,
    phase: String,
    at_ms: i64,
    /// With an arrival: what had been foreseen.
    #[serde(default)]
    forecasts: Vec<ForecastTuple>,
}

/// Folds until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    let mut tail = house.bus.logs.tail(PHASES_LOG).await;
    loop {
        match step(house).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "phases could not be folded in; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::select! {
            _ = tail.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
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
    let mut page = house.bus.logs.read(PHASES_LOG, start, BATCH).await?;
    if page.reset {
        // Another log than we knew, or too long away: all that is kept is read again, and old news are recognised.
        tracing::warn!("the log of phases does not reach back to where it was read; reading all of it");
        page = house.bus.logs.read(PHASES_LOG, LogStart::Oldest, BATCH).await?;
    }
    if !page.events.is_empty() {
        fold(house, &page).await?;
        house.news.hurry();
    }
    Ok(page.more)
}

async fn fold(house: &House, page: &LogPage) -> Result<(), DatabaseError> {
    let mut write = house.db.write().await?;
    for event in &page.events {
        let Ok(found) = serde_json::from_slice::<Found>(&event.payload) else {
            tracing::error!(event = event.event_id, "an event of the log of phases cannot be read");
            continue;
        };
        let Some(phase) = Phase::from_code(&found.phase) else { continue };
        let Some(mut trip) = trip::by_id_in(&mut write, &found.trip.to_string()).await? else { continue };
        if !found.forecasts.is_empty() {
            let forecasts = found.forecasts.into_iter().map(Forecast::from).collect();
            let (trip, driver, arrived_ms) = (found.trip, trip.driver, found.at_ms);
            arrival::keep(&mut write, &Arrival { trip, driver, assignment: found.assignment, arrived_ms, forecasts })
                .await?;
            arrival::forget(&mut write, wayfare_bus::now_ms() - house.config.arrivals_keep_ms).await?;
        }
        let was_picked_up = trip.is_picked_up();
        if !trip.follow(found.assignment, phase, found.at_ms) {
            continue;
        }
        // Nobody else writes inside this transaction: the version cannot be lost.
        let _ = trip::update(&mut write, &trip).await?;
        outbox::put_trip(&mut write, &trip, Cause::Phase).await?;
        if let (Some(driver), true) = (trip.driver, was_picked_up != trip.is_picked_up()) {
            outbox::put_plan(&mut write, &driver.to_string()).await?;
        }
    }
    let cursor = wayfare_wire::Cursor { epoch: page.generation, seq: page.next };
    db::set_meta(&mut write, CURSOR, &cursor.to_string()).await?;
    Ok(write.commit().await?)
}
