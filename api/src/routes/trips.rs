//! Trips.

#![allow(unused_qualifications, reason = "the macro that describes parameters writes their paths in full")]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use wayfare_engine::Phase;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorCode, Role, ids};

use super::{Page, PageQuery, check_version, drivers, lost, stores};
use crate::bearer::Bearer;
use crate::db::Write;
use crate::input::{Body, fault, invalid};
use crate::outbox::{self, Cause};
use crate::records::trip::{self, Filter, NewTrip, Trip, TripChange, UNASSIGNED};
use crate::{House, ids::random};

/// A driver follows this many trips at once; more would not fit its plan.
const LIVE_TRIPS_PER_DRIVER: usize = 32;

/// Who shall drive.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// `drv_…`; absent or null: nobody any more.
    #[serde(default)]
    pub driver: Option<String>,
    /// When it got the trip, if that was earlier, Unix milliseconds; not before the last driver got it. Positions taken since then count for
    /// the trip, however late they come.
    #[serde(default)]
    pub driver_since_ms: Option<i64>,
    /// The driver is asked, and has so many seconds to answer (5 to 3600); 0: the trip is the driver's at once. Absent: as configured.
    #[serde(default)]
    pub answer_within_s: Option<u32>,
}

/// Why a trip ends.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Which trips are listed, newest first.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TripQuery {
    /// `sto_…`
    pub store: Option<String>,
    /// `drv_…`
    pub driver: Option<String>,
    /// The operator's own id of a customer.
    pub customer: Option<String>,
    /// Only those that go on, or only those that are over.
    pub live: Option<bool>,
    /// From the `next` of the page before.
    pub cursor: Option<String>,
    /// 1 to 200, 50 by default.
    pub limit: Option<u32>,
}

/// Make a trip
#[utoipa::path(post, path = "/v1/trips", tag = "trips", request_body = NewTrip, responses((status = 201, body = Trip)))]
pub async fn create(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Body(new): Body<NewTrip>,
) -> Result<(StatusCode, Json<Trip>), Refusal> {
    let now_ms = wayfare_bus::now_ms();
    let mut write = house.db.write().await.map_err(fault)?;
    let store = match (&new.store, bearer.0.role) {
        (None, Role::Store) => Some(bearer.0.sub.clone()),
        (Some(store), Role::Store) if *store != bearer.0.sub => {
            return Err(invalid("store", "a store makes trips of its own only"));
        }
        (store, _) => store.clone(),
    };
    if new.driver.is_some() && bearer.0.role == Role::Store {
        return Err(Refusal::new(ErrorCode::Forbidden, "a store does not choose the driver"));
    }
    let store = match store {
        Some(id) => Some(stores::check_usable(&mut write, &id).await?),
        None => None,
    };
    let mut trip = Trip {
        id: ids::Trip(random().map_err(fault)?),
        store,
        customer: new.customer,
        driver: None,
        assignment: 0,
        assigned_ms: None,
        phase: UNASSIGNED.into(),
        phase_since_ms: now_ms,
        pickup: new.pickup,
        dropoff: new.dropoff,
        ready_at_ms: new.ready_at_ms,
        reference: new.reference,
        reason: None,
        offer: None,
        manual: Vec::new(),
        shares: Vec::new(),
        created_ms: now_ms,
        ended_ms: None,
        track_erased_ms: None,
        version: 1,
    };
    if let Some(driver) = &new.driver {
        let terms = Terms { since_ms: new.driver_since_ms, answer_within_s: new.answer_within_s };
        give(&house, &mut write, &mut trip, driver, terms).await?;
        trip.version = 1;
    }
    trip.check()?;
    trip::insert(&mut write, &trip).await.map_err(fault)?;
    finish(&house, write, &trip, Cause::Created, whose(&trip)).await?;
    Ok((StatusCode::CREATED, Json(trip)))
}

/// List trips
#[utoipa::path(get, path = "/v1/trips", tag = "trips", params(TripQuery), responses((status = 200, body = Page<Trip>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Query(query): Query<TripQuery>,
) -> Result<Json<Page<Trip>>, Refusal> {
    let page = PageQuery { cursor: query.cursor, limit: query.limit };
    let (limit, (before_ms, before_id)) = (page.limit()?, page.position((i64::MAX, ""))?);
    let store = if bearer.0.role == Role::Store { Some(bearer.0.sub.clone()) } else { query.store };
    let filter = Filter { store, driver: query.driver, customer: query.customer, live: query.live };
    let trips = trip::list(&house.db, &filter, (before_ms, &before_id), limit + 1).await.map_err(fault)?;
    Ok(Json(Page::of(trips, limit, |trip| (trip.created_ms, trip.id.to_string()))))
}

/// Read a trip
#[utoipa::path(get, path = "/v1/trips/{id}", tag = "trips", params(("id" = String, Path)), responses((status = 200, body = Trip)))]
pub async fn read(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Trip>, Refusal> {
    let mut trip = known(&house, &bearer, &id).await?;
    if bearer.0.role == Role::Customer {
        // What a customer may know of the driver stands in the topic, as long as the trip goes on.
        trip.driver = None;
        trip.store = None;
        trip.shares.clear();
    }
    Ok(Json(trip))
}

/// Change a trip that goes on
#[utoipa::path(patch, path = "/v1/trips/{id}", tag = "trips", params(("id" = String, Path)), request_body = TripChange, responses((status = 200, body = Trip)))]
pub async fn update(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(change): Body<TripChange>,
) -> Result<Json<Trip>, Refusal> {
    change_trip(&house, &bearer, &id, Some(&headers), Cause::Updated, |trip| trip.change(change)).await
}

/// Give a trip to a driver, to another driver, or take it back
#[utoipa::path(post, path = "/v1/trips/{id}/assign", tag = "trips", params(("id" = String, Path)), request_body = Assign, responses((status = 200, body = Trip)))]
pub async fn assign(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(assign): Body<Assign>,
) -> Result<Json<Trip>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut trip = find(&house, &mut write, &bearer, &id).await?;
    let before = whose(&trip);
    match &assign.driver {
        Some(driver) => {
            let terms = Terms { since_ms: assign.driver_since_ms, answer_within_s: assign.answer_within_s };
            give(&house, &mut write, &mut trip, driver, terms).await?;
        }
        None => trip.assign(None, None, wayfare_bus::now_ms())?,
    }
    trip::update(&mut write, &trip).await.map_err(fault)?.map_err(|_| lost())?;
    if before != whose(&trip)
        && let Some(before) = before
    {
        outbox::put_plan(&mut write, &before.to_string()).await.map_err(fault)?;
    }
    finish(&house, write, &trip, Cause::Assigned, whose(&trip)).await?;
    Ok(Json(trip))
}

/// Cancel a trip
#[utoipa::path(post, path = "/v1/trips/{id}/cancel", tag = "trips", params(("id" = String, Path)), request_body = End, responses((status = 200, body = Trip)))]
pub async fn cancel(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(end): Body<End>,
) -> Result<Json<Trip>, Refusal> {
    let now_ms = wayfare_bus::now_ms();
    change_trip(&house, &bearer, &id, None, Cause::Ended, |trip| trip.end(Phase::Cancelled, end.reason, now_ms)).await
}

/// The order is handed over: watching ends
#[utoipa::path(post, path = "/v1/trips/{id}/complete", tag = "trips", params(("id" = String, Path)), request_body = End, responses((status = 200, body = Trip)))]
pub async fn complete(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(end): Body<End>,
) -> Result<Json<Trip>, Refusal> {
    let now_ms = wayfare_bus::now_ms();
    change_trip(&house, &bearer, &id, None, Cause::Ended, |trip| trip.end(Phase::Delivered, end.reason, now_ms)).await
}

/// The order could not be handed over
#[utoipa::path(post, path = "/v1/trips/{id}/fail", tag = "trips", params(("id" = String, Path)), request_body = End, responses((status = 200, body = Trip)))]
pub async fn fail(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(end): Body<End>,
) -> Result<Json<Trip>, Refusal> {
    let now_ms = wayfare_bus::now_ms();
    change_trip(&house, &bearer, &id, None, Cause::Ended, |trip| trip.end(Phase::Failed, end.reason, now_ms)).await
}

/// Reads, changes, stores and notes a trip in one transaction.
pub async fn change_trip(
    house: &House,
    bearer: &Bearer,
    id: &str,
    headers: Option<&HeaderMap>,
    cause: Cause,
    change: impl FnOnce(&mut Trip) -> Result<(), Refusal>,
) -> Result<Json<Trip>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut trip = find(house, &mut write, bearer, id).await?;
    if let Some(headers) = headers {
        check_version(headers, trip.version)?;
    }
    let whose = whose(&trip);
    change(&mut trip)?;
    trip::update(&mut write, &trip).await.map_err(fault)?.map_err(|_| lost())?;
    finish(house, write, &trip, cause, whose).await?;
    Ok(Json(trip))
}

/// The trip, if the bearer may know of it.
pub async fn known(house: &House, bearer: &Bearer, id: &str) -> Result<Trip, Refusal> {
    let trip = trip::by_id(&house.db, id).await.map_err(fault)?;
    trip.filter(|trip| may_know(bearer, trip)).ok_or_else(|| miss(house, bearer))
}

/// The same inside a write.
pub async fn find(house: &House, write: &mut Write, bearer: &Bearer, id: &str) -> Result<Trip, Refusal> {
    let trip = trip::by_id_in(write, id).await.map_err(fault)?;
    trip.filter(|trip| may_know(bearer, trip)).ok_or_else(|| miss(house, bearer))
}

fn may_know(bearer: &Bearer, trip: &Trip) -> bool {
    match bearer.0.role {
        Role::Support | Role::Admin | Role::Service => true,
        Role::Store => trip.store.is_some_and(|store| bearer.is(Role::Store, store)),
        Role::Driver => whose(trip).is_some_and(|driver| bearer.is(Role::Driver, driver)),
        Role::Customer => bearer.is(Role::Customer, &trip.customer),
        Role::Share => false,
    }
}

/// Absent and foreign are the same, and neither may be tried for ever.
fn miss(house: &House, bearer: &Bearer) -> Refusal {
    let mut misses = house.misses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if bearer.0.role.sees_everything() || misses.take(&bearer.0.sub, std::time::Instant::now()) {
        return Refusal::not_found();
    }
    let error = wayfare_wire::ErrorBody::new(ErrorCode::RateLimited, "too many tries at trips that are not there");
    error.after_ms(10_000).into()
}

/// Who has the trip, or was asked last while nobody has it.
fn whose(trip: &Trip) -> Option<ids::Driver> {
    trip.driver.or_else(|| trip.offer.as_ref().map(|offer| offer.driver))
}

/// From when a driver has a trip, and how long it has to answer.
struct Terms {
    since_ms: Option<i64>,
    answer_within_s: Option<u32>,
}

/// Gives the trip to a driver, or asks.
async fn give(house: &House, write: &mut Write, trip: &mut Trip, driver: &str, terms: Terms) -> Result<(), Refusal> {
    let id = drivers::check_usable(write, driver).await?;
    check_room(write, driver).await?;
    let now_ms = wayfare_bus::now_ms();
    match terms.answer_within_s.unwrap_or(house.config.answer_within_s) {
        0 => trip.assign(Some(id), terms.since_ms, now_ms),
        within_s @ 5..=3600 => trip.offer_to(id, within_s, now_ms),
        within_s => Err(invalid("answer_within_s", format!("{within_s} is neither 0 nor 5 to 3600"))),
    }
}

/// Whether another trip fits a driver's plan.
pub async fn check_room(write: &mut Write, driver: &str) -> Result<(), Refusal> {
    let live = trip::live_of_driver(write, driver).await.map_err(fault)?.len();
    if live >= LIVE_TRIPS_PER_DRIVER {
        let message = format!("the driver has {live} trips on board, the limit is {LIVE_TRIPS_PER_DRIVER}");
        return Err(Refusal::new(ErrorCode::Conflict, message));
    }
    Ok(())
}

/// Notes the trip and the plan it is part of, commits, wakes the relay.
pub async fn finish(
    house: &House,
    mut write: Write,
    trip: &Trip,
    cause: Cause,
    driver: Option<ids::Driver>,
) -> Result<(), Refusal> {
    outbox::put_trip(&mut write, trip, cause).await.map_err(fault)?;
    if let (Some(driver), true) = (driver, cause != Cause::Access) {
        outbox::put_plan(&mut write, &driver.to_string()).await.map_err(fault)?;
    }
    write.commit().await.map_err(|error| fault(error.into()))?;
    house.news.told().await;
    Ok(())
}
