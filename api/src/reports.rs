//! What drivers say about trips on their connections, folded into the records: answers to offers, and phases by hand. And offers that
//! nobody answered.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use wayfare_bus::{LogPage, LogStart};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;
use wayfare_wire::topic::REPORTS_LOG;

use crate::House;
use crate::db::{self, DatabaseError, Write};
use crate::outbox::{self, Cause};
use crate::records::manual::{Speaker, phase_of};
use crate::records::offer::{self, Answer, GRACE_MS};
use crate::records::trip::{self, Trip};
use crate::routes::offers::settle;

/// Where reading goes on, in the database: moved in the same transaction as the records.
const CURSOR: &str = "reports_cursor";

/// Events folded in one transaction.
const BATCH: usize = 100;

/// How often it is looked for offers that are over.
const LOOK: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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

/// Folds until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    let mut tail = house.bus.logs.tail(REPORTS_LOG).await;
    loop {
        match step(house).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "what drivers say could not be folded in; trying again");
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

/// Ends offers that nobody answered, until told to stop.
pub async fn expire(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        if let Err(error) = expire_all(house).await {
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

/// Folds one batch; true if there is more.
async fn step(house: &House) -> Result<bool, BoxError> {
    let start = match db::meta(&house.db, CURSOR).await?.and_then(|text| text.parse::<wayfare_wire::Cursor>().ok()) {
        Some(cursor) => LogStart::After { generation: cursor.epoch, id: cursor.seq },
        None => LogStart::Oldest,
    };
    let mut page = house.bus.logs.read(REPORTS_LOG, start, BATCH).await?;
    if page.reset {
        // Another log than we knew: all that is kept is read again, and old news change nothing.
        tracing::warn!("the log of what drivers say does not reach back to where it was read; reading all of it");
        page = house.bus.logs.read(REPORTS_LOG, LogStart::Oldest, BATCH).await?;
    }
    if !page.events.is_empty() {
        fold(house, &page).await?;
        house.news.hurry();
    }
    Ok(page.more)
}

async fn fold(house: &House, page: &LogPage) -> Result<(), BoxError> {
    let mut write = house.db.write().await?;
    for event in &page.events {
        let Ok(report) = serde_json::from_slice::<Report>(&event.payload) else {
            tracing::error!(event = event.event_id, "an event of the log of reports cannot be read");
            continue;
        };
        let Some(mut trip) = trip::by_id_in(&mut write, &report.trip.to_string()).await? else { continue };
        let told = match report.said {
            Said::Accept { offer } => answer(&mut write, &mut trip, &report, offer, Answer::Accept).await,
            Said::Decline { offer, ref reason } => {
                answer(&mut write, &mut trip, &report, offer, Answer::Decline(reason.clone())).await
            }
            Said::Status { ref phase, was_ms } => say(&mut write, &mut trip, &report, phase, was_ms).await,
        };
        match told {
            Ok(Some(cause)) => outbox::put_trip(&mut write, &trip, cause).await?,
            Ok(None) => {}
            // Nothing of the batch is written; it is read again.
            Err(refusal) if refusal.error.code == ErrorCode::Internal => return Err(refusal.error.message.into()),
            // The driver sees the outcome in its deliveries.
            Err(refusal) => {
                tracing::info!(trip = %report.trip, why = refusal.error.message, "what a driver said came to nothing");
            }
        }
    }
    let cursor = wayfare_wire::Cursor { epoch: page.generation, seq: page.next };
    db::set_meta(&mut write, CURSOR, &cursor.to_string()).await?;
    Ok(write.commit().await?)
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
