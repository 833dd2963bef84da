//! Phases that trackers found, folded into the records. Terminal states are the records' own and win.

use serde::Deserialize;
use wayfare_bus::LogPage;
use wayfare_engine::Phase;
use wayfare_wire::topic::PHASES_LOG;

use crate::House;
use crate::db::Write;
use crate::follow::{Failure, Follow};
use crate::outbox::{self, Cause};
use crate::records::arrival::{self, Arrival, Forecast, ForecastTuple};
use crate::records::trip;

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

/// What trackers found.
pub struct Phases;

impl Follow for Phases {
    const LOG: &str = PHASES_LOG;
    const CURSOR: &str = "phases_cursor";
    const BATCH: usize = 100;
    const WHAT: &str = "phases";

    async fn fold(house: &House, write: &mut Write, page: &LogPage) -> Result<(), Failure> {
        for event in &page.events {
            let Ok(found) = serde_json::from_slice::<Found>(&event.payload) else {
                tracing::error!(event = event.event_id, "an event of the log of phases cannot be read");
                continue;
            };
            let Some(phase) = Phase::from_code(&found.phase) else { continue };
            let Some(mut trip) = trip::by_id_in(write, &found.trip.to_string()).await? else { continue };
            if !found.forecasts.is_empty() {
                let forecasts = found.forecasts.into_iter().map(Forecast::from).collect();
                let (trip, driver, arrived_ms) = (found.trip, trip.driver, found.at_ms);
                arrival::keep(write, &Arrival { trip, driver, assignment: found.assignment, arrived_ms, forecasts })
                    .await?;
                arrival::forget(write, wayfare_bus::now_ms() - house.config.arrivals_keep_ms).await?;
            }
            let was_picked_up = trip.is_picked_up();
            if !trip.follow(found.assignment, phase, found.at_ms) {
                continue;
            }
            // Nobody else writes inside this transaction: the version cannot be lost.
            let _ = trip::update(write, &trip).await?;
            outbox::put_trip(write, &trip, Cause::Phase).await?;
            if let (Some(driver), true) = (trip.driver, was_picked_up != trip.is_picked_up()) {
                outbox::put_plan(write, &driver.to_string()).await?;
            }
        }
        Ok(())
    }
}
