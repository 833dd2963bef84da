//! A trip: one order on its way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;
use wayfare_engine::Phase;
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use crate::db::{self, Database, DatabaseError, Write};
use crate::input::{check_own_id, check_position, check_text, invalid};
use crate::records::assignment;
use crate::records::manual::Manual;
use crate::records::offer::{self, Offer, OfferState};
use crate::records::table::Lost;

/// No driver has the trip yet.
pub const UNASSIGNED: &str = "unassigned";

/// A trip can be given to a driver at a moment that lies at most so far back, milliseconds: as far as positions are taken.
const GIVEN_BEFORE_MS: i64 = 7 * 86_400_000;

/// Where something is picked up or handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Shown to courier and customer.
    pub name: String,
    /// Radius within which the driver counts as there, metres, 5 to 2000; absent: by vehicle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_m: Option<f32>,
    /// Time usually spent there, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_s: Option<u32>,
}

/// A trip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Trip {
    /// `trp_…`
    #[schema(value_type = String)]
    pub id: wayfare_wire::ids::Trip,
    /// The store it is picked up from, `sto_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub store: Option<wayfare_wire::ids::Store>,
    /// The operator's own id of the customer.
    pub customer: String,
    /// Who drives, `drv_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub driver: Option<wayfare_wire::ids::Driver>,
    /// How often the trip was given to a driver.
    pub assignment: u64,
    /// When it was given to this one, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_ms: Option<i64>,
    /// `unassigned`, `assigned`, `to_pickup`, `at_pickup`, `to_dropoff`, `arriving`, `arrived`, `delivered`, `cancelled` or `failed`.
    pub phase: String,
    /// When the phase began, Unix milliseconds.
    pub phase_since_ms: i64,
    /// Where it is picked up.
    pub pickup: Place,
    /// Where it is handed over.
    pub dropoff: Place,
    /// When the kitchen is ready, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at_ms: Option<i64>,
    /// The operator's own number of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Why it was cancelled or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last offer to a driver, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
    /// Phases that somebody said, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manual: Vec<Manual>,
    /// Ids of share links that are alive.
    #[serde(default)]
    pub shares: Vec<String>,
    /// When it was created, Unix milliseconds.
    pub created_ms: i64,
    /// When it ended, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// When its track was erased, Unix milliseconds: nothing more is kept of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_erased_ms: Option<i64>,
    /// Grows with each change.
    pub version: u64,
}

/// A trip to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTrip {
    /// `sto_…`; of a store's token: itself.
    pub store: Option<String>,
    /// The operator's own id of the customer.
    pub customer: String,
    /// `drv_…`; may be given later.
    pub driver: Option<String>,
    /// With a driver: when it got the trip, if that was earlier, Unix milliseconds. Positions taken since then count for the trip, however
    /// late they come.
    pub driver_since_ms: Option<i64>,
    /// The driver is asked, and has so many seconds to answer (5 to 3600); 0: the trip is the driver's at once. Absent: as configured.
    pub answer_within_s: Option<u32>,
    /// Where it is picked up.
    pub pickup: Place,
    /// Where it is handed over.
    pub dropoff: Place,
    /// When the kitchen is ready, Unix milliseconds.
    pub ready_at_ms: Option<i64>,
    /// The operator's own number of the order.
    pub reference: Option<String>,
}

/// What may be changed of a trip that lives.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TripChange {
    /// Until the pick-up.
    pub pickup: Option<Place>,
    /// Until the end.
    pub dropoff: Option<Place>,
    /// When the kitchen is ready, Unix milliseconds.
    pub ready_at_ms: Option<i64>,
    /// The operator's own number of the order.
    pub reference: Option<String>,
}

impl Place {
    fn check(&self, field: &str) -> Result<(), Refusal> {
        check_position(field, self.lat, self.lon)?;
        check_text(field, &self.name)?;
        if self.radius_m.is_some_and(|radius_m| !(5.0..=2000.0).contains(&radius_m)) {
            return Err(invalid(field, "radius_m must be 5 to 2000"));
        }
        if self.service_s.is_some_and(|service_s| service_s > 7200) {
            return Err(invalid(field, "service_s must be at most 7200"));
        }
        Ok(())
    }
}

impl Trip {
    /// Checks places and names.
    pub fn check(&self) -> Result<(), Refusal> {
        self.pickup.check("pickup")?;
        self.dropoff.check("dropoff")?;
        check_own_id("customer", &self.customer)?;
        if let Some(reference) = &self.reference {
            check_text("reference", reference)?;
        }
        let millennium = 946_684_800_000..4_102_444_800_000;
        if self.ready_at_ms.is_some_and(|ready_at_ms| !millennium.contains(&ready_at_ms)) {
            return Err(invalid("ready_at_ms", "must be Unix milliseconds between the years 2000 and 2100"));
        }
        Ok(())
    }

    /// Whether it still goes on.
    pub fn is_live(&self) -> bool {
        self.ended_ms.is_none()
    }

    /// The phase as the engine knows it; `None` while unassigned.
    pub fn engine_phase(&self) -> Option<Phase> {
        Phase::from_code(&self.phase)
    }

    /// Whether the order is on board or handed over.
    pub fn is_picked_up(&self) -> bool {
        self.engine_phase().is_some_and(|phase| phase.rank() >= Phase::ToDropoff.rank())
    }

    /// Gives the trip to a driver, or takes it back.
    /// It has had it since `since_ms`, not before the last driver got it.
    pub fn assign(
        &mut self,
        driver: Option<wayfare_wire::ids::Driver>,
        since_ms: Option<i64>,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        self.check_live()?;
        let earliest_ms = self.assigned_ms.unwrap_or(now_ms - GIVEN_BEFORE_MS).max(now_ms - GIVEN_BEFORE_MS);
        if let Some(since_ms) = since_ms.filter(|since_ms| !(earliest_ms..=now_ms).contains(since_ms)) {
            let message = format!("{since_ms} is not between {earliest_ms} and now, {now_ms}");
            return Err(invalid("driver_since_ms", message));
        }
        self.withdraw_offer(now_ms);
        self.driver = driver;
        if driver.is_some() {
            self.assignment += 1;
        }
        self.assigned_ms = driver.map(|_| since_ms.unwrap_or(now_ms));
        self.enter(driver.map_or(UNASSIGNED, |_| Phase::Assigned.code()), now_ms);
        Ok(())
    }

    /// Nothing in it names this driver any more.
    pub fn forget(&mut self, driver: wayfare_wire::ids::Driver) {
        let id = driver.to_string();
        self.driver = self.driver.filter(|own| *own != driver);
        self.offer = self.offer.take().filter(|offer| offer.driver != driver);
        for word in self.manual.iter_mut().filter(|word| word.by == id) {
            word.by = "erased".into();
        }
    }

    /// Ends the trip.
    pub fn end(&mut self, phase: Phase, reason: Option<String>, now_ms: i64) -> Result<(), Refusal> {
        self.check_live()?;
        if let Some(reason) = &reason {
            check_text("reason", reason)?;
        }
        if phase == Phase::Delivered && self.driver.is_none() {
            return Err(Refusal::new(ErrorCode::Conflict, "the trip has no driver who could have delivered it"));
        }
        self.reason = reason;
        self.withdraw_offer(now_ms);
        self.ended_ms = Some(now_ms);
        self.enter(phase.code(), now_ms);
        Ok(())
    }

    /// Applies a change.
    pub fn change(&mut self, change: TripChange) -> Result<(), Refusal> {
        self.check_live()?;
        if change.pickup.is_some() && self.is_picked_up() {
            return Err(Refusal::new(ErrorCode::Conflict, "the order is picked up already: its pick-up cannot change"));
        }
        self.pickup = change.pickup.unwrap_or_else(|| self.pickup.clone());
        self.dropoff = change.dropoff.unwrap_or_else(|| self.dropoff.clone());
        self.ready_at_ms = change.ready_at_ms.or(self.ready_at_ms);
        self.reference = change.reference.or(self.reference.take());
        self.version += 1;
        self.check()
    }

    /// Takes over a phase that a tracker found. False if it is old news: another assignment, an ended trip, or a step back.
    pub fn follow(&mut self, assignment: u64, phase: Phase, at_ms: i64) -> bool {
        let ahead = self.engine_phase().is_some_and(|known| phase.rank() > known.rank());
        if assignment != self.assignment || !self.is_live() || phase.is_terminal() || !ahead {
            return false;
        }
        self.enter(phase.code(), at_ms);
        true
    }

    fn withdraw_offer(&mut self, now_ms: i64) {
        if let Some(offer) = self.offer.as_mut().filter(|offer| offer.is_open()) {
            offer.close(OfferState::Withdrawn, now_ms);
        }
    }

    pub(super) fn enter(&mut self, phase: &str, at_ms: i64) {
        self.phase = phase.to_owned();
        self.phase_since_ms = at_ms;
        self.version += 1;
    }

    pub(super) fn check_live(&self) -> Result<(), Refusal> {
        if self.is_live() {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Conflict, format!("the trip is over: {}", self.phase)))
    }
}

/// One trip.
pub async fn by_id(db: &Database, id: &str) -> Result<Option<Trip>, DatabaseError> {
    let doc: Option<String> = sqlx::query_scalar(BY_ID).bind(id).fetch_optional(db.read()).await?;
    Ok(doc.map(|doc| serde_json::from_str(&doc)).transpose()?)
}

/// The same inside a write, which sees its own changes.
pub async fn by_id_in(write: &mut Write, id: &str) -> Result<Option<Trip>, DatabaseError> {
    let doc: Option<String> = sqlx::query_scalar(BY_ID).bind(id).fetch_optional(&mut **write).await?;
    Ok(doc.map(|doc| serde_json::from_str(&doc)).transpose()?)
}

const BY_ID: &str = "SELECT doc FROM trip WHERE id = $1";

/// Stores a new trip with the columns it is found by.
pub async fn insert(write: &mut Write, trip: &Trip) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO trip (id, created_ms, version, live, ended_ms, driver, store, customer, doc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(trip.id.to_string())
    .bind(trip.created_ms)
    .bind(trip.version as i64)
    .bind(i64::from(trip.is_live()))
    .bind(trip.ended_ms)
    .bind(trip.driver.map(|id| id.to_string()))
    .bind(trip.store.map(|id| id.to_string()))
    .bind(&trip.customer)
    .bind(serde_json::to_string(trip)?)
    .execute(&mut **write)
    .await?;
    assignment::note(write, trip).await?;
    offer::note(write, trip).await
}

/// Stores a trip whose version is one above the stored one.
pub async fn update(write: &mut Write, trip: &Trip) -> Result<Result<(), Lost>, DatabaseError> {
    let done = sqlx::query(
        "UPDATE trip SET version = $2, live = $3, ended_ms = $4, driver = $5, doc = $6 WHERE id = $1 AND version = $7",
    )
    .bind(trip.id.to_string())
    .bind(trip.version as i64)
    .bind(i64::from(trip.is_live()))
    .bind(trip.ended_ms)
    .bind(trip.driver.map(|id| id.to_string()))
    .bind(serde_json::to_string(trip)?)
    .bind(trip.version as i64 - 1)
    .execute(&mut **write)
    .await?;
    if done.rows_affected() != 1 {
        return Ok(Err(Lost));
    }
    assignment::note(write, trip).await?;
    offer::note(write, trip).await.map(Ok)
}

/// A driver's live trips, oldest assignment first.
pub async fn live_of_driver(write: &mut Write, driver: &str) -> Result<Vec<Trip>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar("SELECT doc FROM trip WHERE driver = $1 AND live = 1")
        .bind(driver)
        .fetch_all(&mut **write)
        .await?;
    let mut trips: Vec<Trip> = docs.iter().map(|doc| serde_json::from_str(doc)).collect::<Result<_, _>>()?;
    trips.sort_by_key(|trip| (trip.assigned_ms, trip.created_ms, trip.id));
    Ok(trips)
}

/// Trips that one statement asks for.
const STEP: usize = 256;

/// Of these trips those that keep a track: they are there, and theirs was not erased.
pub async fn that_keep_track(write: &mut Write, ids: &BTreeSet<&str>) -> Result<BTreeSet<String>, DatabaseError> {
    #[derive(Deserialize)]
    struct Erased {
        track_erased_ms: Option<i64>,
    }
    let ids: Vec<&str> = ids.iter().copied().collect();
    let mut keep = BTreeSet::new();
    for ids in ids.chunks(STEP) {
        let statement = format!(
            "WITH asked (id) AS (VALUES {}) SELECT trip.id, trip.doc FROM asked JOIN trip ON trip.id = asked.id",
            db::rows_of(1, ids.len())
        );
        let mut query = sqlx::query_as(AssertSqlSafe(statement)).persistent(ids.len() == STEP);
        for id in ids {
            query = query.bind(*id);
        }
        let docs: Vec<(String, String)> = query.fetch_all(&mut **write).await?;
        for (id, doc) in docs {
            if serde_json::from_str::<Erased>(&doc)?.track_erased_ms.is_none() {
                keep.insert(id);
            }
        }
    }
    Ok(keep)
}

/// All that live, and those that ended after `ended_after_ms`.
pub async fn live_or_ended_after(db: &Database, ended_after_ms: i64) -> Result<Vec<Trip>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar("SELECT doc FROM trip WHERE live = 1 OR ended_ms > $1")
        .bind(ended_after_ms)
        .fetch_all(db.read())
        .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}

/// What trips are listed by.
#[derive(Debug, Default)]
pub struct Filter {
    pub store: Option<String>,
    pub driver: Option<String>,
    pub customer: Option<String>,
    pub live: Option<bool>,
}

/// A page of trips, newest first, before `(created_ms, id)`.
pub async fn list(db: &Database, filter: &Filter, before: (i64, &str), limit: i64) -> Result<Vec<Trip>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar(
        "SELECT doc FROM trip WHERE (created_ms, id) < ($1, $2)
         AND ($3 IS NULL OR store = $3) AND ($4 IS NULL OR driver = $4) AND ($5 IS NULL OR customer = $5)
         AND ($6 IS NULL OR live = $6) ORDER BY created_ms DESC, id DESC LIMIT $7",
    )
    .bind(before.0)
    .bind(before.1)
    .bind(&filter.store)
    .bind(&filter.driver)
    .bind(&filter.customer)
    .bind(filter.live.map(i64::from))
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}
