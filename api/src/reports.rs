//! What drivers say about trips on their connections, folded into the records: answers to offers, and phases by hand. And offers that
//! nobody answered.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use wayfare_bus::LogPage;
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;
use wayfare_wire::topic::REPORTS_LOG;

use crate::House;
use crate::db::{DatabaseError, Write};
use crate::follow::{Failure, Follow};
use crate::outbox::{self, Cause};
use crate::records::manual::{Speaker, phase_of};
use crate::records::offer::{self, Answer, GRACE_MS};
use crate::records::trip::{self, Trip};
use crate::routes::offers::settle;

/// How often it is looked for offers that are over.
const LOOK: Duration = Duration::from_secs(1);

/// One event, as ingest writes it.
#[derive(Debug, Deserialize)]
struct Report {
    driver: wayfare_wire::ids::Driver,
    trip: wayfare_wire::ids::Trip,
    /// When the server heard it.
    at_ms: i64,
    #[serde(flatten)]
    said: Said,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
enum Said {
    Accept { offer: u64 },
    Decline { offer: u64, reason: Option<String> },
    Status { phase: String, was_ms: Option<i64> },
}

/// Ends offers that nobody answered, until told to stop.
pub async fn expire(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        if house.leads()
            && let Err(error) = expire_all(house).await
        {
            tracing::warn!(%error, "offers that are over could not be ended; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn expire_all(house: &House) -> Result<(), DatabaseError> {
    let now_ms = wayfare_bus::now_ms();
    for id in offer::ended_before(&house.db, now_ms - GRACE_MS).await? {
        let mut write = house.db.write().await?;
        let Some(mut trip) = trip::by_id_in(&mut write, &id).await? else { continue };
        let Some(driver) = trip.open_offer().map(|offer| offer.driver) else { continue };
        if !trip.expire(now_ms) {
            continue;
        }
        // Nobody else writes inside this transaction: the version cannot be lost.
        let _ = trip::update(&mut write, &trip).await?;
        outbox::put_trip(&mut write, &trip, Cause::Assigned).await?;
        outbox::put_plan(&mut write, &driver.to_string()).await?;
        write.commit().await?;
        house.news.hurry();
    }
    Ok(())
}

/// What drivers say.
pub struct Reports;

impl Follow for Reports {
    const LOG: &str = REPORTS_LOG;
    const CURSOR: &str = "reports_cursor";
    const BATCH: usize = 100;
    const WHAT: &str = "what drivers say";

    async fn fold(_: &House, write: &mut Write, page: &LogPage) -> Result<(), Failure> {
        for event in &page.events {
            let Ok(report) = serde_json::from_slice::<Report>(&event.payload) else {
                tracing::error!(event = event.event_id, "an event of the log of reports cannot be read");
                continue;
            };
            let Some(mut trip) = trip::by_id_in(write, &report.trip.to_string()).await? else { continue };
            let told = match report.said {
                Said::Accept { offer } => answer(write, &mut trip, &report, offer, Answer::Accept).await,
                Said::Decline { offer, ref reason } => {
                    answer(write, &mut trip, &report, offer, Answer::Decline(reason.clone())).await
                }
                Said::Status { ref phase, was_ms } => say(write, &mut trip, &report, phase, was_ms).await,
            };
            match told {
                Ok(Some(cause)) => outbox::put_trip(write, &trip, cause).await?,
                Ok(None) => {}
                // Nothing of the batch is written; it is read again.
                Err(refusal) if matches!(refusal.error.code, ErrorCode::Internal | ErrorCode::NotReady) => {
                    return Err(refusal.error.message.into());
                }
                // The driver sees the outcome in its deliveries.
                Err(refusal) => {
                    tracing::info!(trip = %report.trip, why = refusal.error.message, "what a driver said came to nothing");
                }
            }
        }
        Ok(())
    }
}

async fn answer(
    write: &mut Write,
    trip: &mut Trip,
    report: &Report,
    offer: u64,
    answer: Answer,
) -> Result<Option<Cause>, Refusal> {
    if trip.offer.as_ref().is_none_or(|offered| offered.driver != report.driver) {
        return Ok(None);
    }
    let changed = settle(write, trip, Some(offer), answer, report.at_ms).await?;
    Ok(changed.then_some(Cause::Assigned))
}

async fn say(
    write: &mut Write,
    trip: &mut Trip,
    report: &Report,
    phase: &str,
    was_ms: Option<i64>,
) -> Result<Option<Cause>, Refusal> {
    if trip.driver != Some(report.driver) {
        return Ok(None);
    }
    let driver = report.driver.to_string();
    let speaker = Speaker { role: "driver", by: &driver };
    if !trip.say(phase_of(phase)?, was_ms, speaker, report.at_ms)? {
        return Ok(None);
    }
    let failed = |error: DatabaseError| crate::input::fault(error);
    let _ = trip::update(write, trip).await.map_err(failed)?;
    outbox::put_plan(write, &driver).await.map_err(failed)?;
    Ok(Some(if trip.is_live() { Cause::Manual } else { Cause::Ended }))
}
