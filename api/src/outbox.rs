//! What must be told, written in the same transaction as what happened.
//!
//! An event's number is its entity's version. The relay sends the rows in order per entity and deletes them when the bus has them; the bus
//! ignores a number that is not higher than what it has, so sending one twice does no harm.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::db::{DatabaseError, Write};
use crate::records::trip::{Place, live_of_driver};
use crate::records::upload::Upload;
use crate::records::{Driver, Trip, offer, table};
use wayfare_wire::device_key::DeviceKeyDoc;
use wayfare_wire::fence::FenceDoc;
use wayfare_wire::ids;
use wayfare_wire::plan::{OfferDoc, PlanDoc, StopDoc, TripDoc};

/// Why a trip is told anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was made.
    Created,
    /// It was given to a driver, or taken back.
    Assigned,
    /// Places, times or names changed.
    Updated,
    /// Its share links changed: nothing that watchers see.
    Access,
    /// A tracker found a phase, and has told it already.
    Phase,
    /// Somebody said a phase; the driver's tracker follows.
    Manual,
    /// It is over.
    Ended,
}

/// What a row says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A trip as of this version, with what its views show of its driver.
    Trip {
        /// The record.
        trip: Box<Trip>,
        /// Who drives, if anyone.
        driver: Option<Box<Driver>>,
        /// Why.
        cause: Cause,
    },
    /// A driver's plan as of this version.
    Plan {
        /// The record.
        driver: Box<Driver>,
        /// What ingest follows.
        plan: PlanDoc,
    },
    /// A fence as of this version.
    Fence {
        /// Which.
        id: ids::Fence,
        /// What it is now; nothing when it was deleted.
        fence: Option<Box<FenceDoc>>,
    },
    /// A device key was made or revoked.
    DeviceKey {
        /// The key's hash.
        hash: String,
        /// Whose it is; nothing when it was revoked.
        doc: Option<DeviceKeyDoc>,
    },
    /// A signing key was made or withdrawn.
    Key {
        /// Which.
        id: String,
        /// In the words of the API.
        what: String,
        /// Who, where it has still to be noted in the audit trail.
        by: Option<String>,
    },
    /// An upload has ended.
    Upload {
        /// The record.
        upload: Box<Upload>,
        /// Bytes that were kept.
        received: u64,
        /// When, Unix milliseconds.
        at_ms: i64,
    },
    /// A token or a subject was revoked.
    Revoked {
        /// Token id or subject.
        name: String,
        /// Everything issued up to then, Unix seconds.
        before_s: i64,
    },
}

/// A row to be sent.
pub struct Row {
    pub entity: String,
    pub number: u64,
    pub event: Event,
}

/// Writes a row.
pub async fn put(write: &mut Write, entity: &str, number: u64, event: &Event) -> Result<(), DatabaseError> {
    // In the order in which they were written, whatever the clocks of several processes say.
    let statement = "INSERT INTO outbox (entity, number, created_ms, payload)
         SELECT $1, $2, CASE WHEN newest.ms > $3 THEN newest.ms ELSE $3 END, $4
         FROM (SELECT COALESCE(MAX(created_ms), 0) AS ms FROM outbox) AS newest";
    sqlx::query(statement)
        .bind(entity)
        .bind(number as i64)
        .bind(wayfare_bus::now_ms())
        .bind(serde_json::to_string(event)?)
        .execute(&mut **write)
        .await?;
    Ok(())
}

/// Notes that a trip changed.
pub async fn put_trip(write: &mut Write, trip: &Trip, cause: Cause) -> Result<(), DatabaseError> {
    let driver = match trip.driver {
        Some(id) => table::by_id_in::<Driver>(write, &id.to_string()).await?.map(Box::new),
        None => None,
    };
    let event = Event::Trip { trip: Box::new(trip.clone()), driver, cause };
    put(write, &trip.id.to_string(), trip.version, &event).await
}

/// Makes a driver's plan anew from its record and live trips, and notes it.
pub async fn put_plan(write: &mut Write, driver: &str) -> Result<(), DatabaseError> {
    let Some(mut record) = table::by_id_in::<Driver>(write, driver).await? else { return Ok(()) };
    record.plan_version += 1;
    sqlx::query("UPDATE driver SET doc = $2 WHERE id = $1")
        .bind(driver)
        .bind(serde_json::to_string(&record)?)
        .execute(&mut **write)
        .await?;
    let trips = live_of_driver(write, driver).await?;
    let offered = offer::of_driver(write, driver).await?;
    let number = record.plan_version;
    let event = Event::Plan { plan: plan(&record, &trips, &offered), driver: Box::new(record) };
    put(write, &format!("plan:{driver}"), number, &event).await
}

/// The ordered stops of a driver's live trips: as assigned, each pick-up before its drop-off; and the trips that it is offered.
pub fn plan(driver: &Driver, trips: &[Trip], offered: &[Trip]) -> PlanDoc {
    let stops = trips.iter().flat_map(stops).collect();
    let trips = trips.iter().map(|trip| TripDoc {
        id: trip.id,
        assignment: trip.assignment,
        phase: trip.phase.clone(),
        since_ms: trip.assigned_ms.unwrap_or(trip.created_ms),
        ready_at_ms: trip.ready_at_ms,
    });
    PlanDoc {
        version: driver.plan_version,
        available: driver.available && driver.revoked_ms.is_none(),
        available_since_ms: driver.available_since_ms,
        vehicle: driver.vehicle.clone(),
        capacity: driver.capacity.and_then(NonZeroU16::new),
        trips: trips.collect(),
        stops,
        offers: offered.iter().filter_map(offer_doc).collect(),
    }
}

fn stops(trip: &Trip) -> impl Iterator<Item = StopDoc> {
    let stop = |place: &Place, pickup: bool, service_s: u32| StopDoc {
        trip: trip.id,
        pickup,
        lat: place.lat,
        lon: place.lon,
        radius_m: place.radius_m,
        service_ms: i64::from(place.service_s.unwrap_or(service_s)) * 1000,
        name: place.name.clone(),
    };
    let pickup = (!trip.is_picked_up()).then(|| stop(&trip.pickup, true, 120));
    pickup.into_iter().chain([stop(&trip.dropoff, false, 60)])
}

fn offer_doc(trip: &Trip) -> Option<OfferDoc> {
    let offer = trip.open_offer()?;
    let (number, answer_by_ms) = (offer.number, offer.answer_by_ms);
    Some(OfferDoc { trip: trip.id, number, answer_by_ms, ready_at_ms: trip.ready_at_ms, stops: stops(trip).collect() })
}

/// Notes that a fence was made, replaced or deleted.
pub async fn put_fence(
    write: &mut Write,
    id: ids::Fence,
    version: u64,
    fence: Option<&FenceDoc>,
) -> Result<(), DatabaseError> {
    let event = Event::Fence { id, fence: fence.cloned().map(Box::new) };
    put(write, &id.to_string(), version, &event).await
}

/// Notes that an upload has ended.
pub async fn put_upload(write: &mut Write, upload: &Upload) -> Result<(), DatabaseError> {
    let event = Event::Upload { upload: Box::new(upload.clone()), received: upload.received, at_ms: upload.due_ms };
    put(write, &upload.id.to_string(), upload.version, &event).await
}

/// Notes that a device key was made or revoked.
pub async fn put_device_key(
    write: &mut Write,
    id: &str,
    version: u64,
    hash: &str,
    doc: Option<DeviceKeyDoc>,
) -> Result<(), DatabaseError> {
    put(write, id, version, &Event::DeviceKey { hash: hash.to_owned(), doc }).await
}

/// Notes that a signing key was made (1) or withdrawn (2).
pub async fn put_key(
    write: &mut Write,
    id: &str,
    number: u64,
    what: &str,
    by: Option<&str>,
) -> Result<(), DatabaseError> {
    let event = Event::Key { id: id.to_owned(), what: what.to_owned(), by: by.map(str::to_owned) };
    put(write, id, number, &event).await
}

/// Notes a revocation; `entity` is told apart from the record's own events.
pub async fn put_revoked(write: &mut Write, name: &str, before_s: i64) -> Result<(), DatabaseError> {
    put(write, &format!("revoked:{name}"), 1, &Event::Revoked { name: name.to_owned(), before_s }).await
}

/// The oldest rows.
pub async fn oldest(db: &crate::db::Database, limit: i64) -> Result<Vec<Row>, DatabaseError> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT entity, number, payload FROM outbox ORDER BY created_ms, entity, number LIMIT $1")
            .bind(limit)
            .fetch_all(db.read())
            .await?;
    rows.into_iter()
        .map(|(entity, number, payload)| {
            Ok(Row { entity, number: number as u64, event: serde_json::from_str(&payload)? })
        })
        .collect()
}

/// The bus has these.
pub async fn delete(db: &crate::db::Database, rows: &[Row]) -> Result<(), DatabaseError> {
    let mut write = db.write().await?;
    for row in rows {
        sqlx::query("DELETE FROM outbox WHERE entity = $1 AND number = $2")
            .bind(&row.entity)
            .bind(row.number as i64)
            .execute(&mut *write)
            .await?;
    }
    Ok(write.commit().await?)
}
