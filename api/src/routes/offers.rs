//! Trips that a driver is asked to take, and phases said by hand: for apps that hold no connection, and for whoever answers the phone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorCode, Role};

use super::trips::{check_room, find, finish};
use super::{drivers, lost};
use crate::House;
use crate::bearer::Bearer;
use crate::db::Write;
use crate::input::{Body, fault};
use crate::outbox::{self, Cause};
use crate::records::manual::{Speaker, phase_of};
use crate::records::offer::{self, Answer};
use crate::records::trip::{self, Trip};

/// Which offer is meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Its number; absent: the last one.
    #[serde(default)]
    pub offer: Option<u64>,
}

/// Which offer is meant, and why it is declined.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decline {
    /// Its number; absent: the last one.
    #[serde(default)]
    pub offer: Option<u64>,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How far a trip has come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// `at_pickup`, `to_dropoff` (picked up), `arrived` or `delivered`.
    pub phase: String,
    /// When it was so, Unix milliseconds; absent: now.
    #[serde(default)]
    pub at_ms: Option<i64>,
}

/// What a driver has to do, and is asked to do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deliveries {
    /// Live trips, oldest assignment first, then those that are offered.
    pub items: Vec<Trip>,
}

/// A driver's deliveries: its live trips, and those it is asked to take
#[utoipa::path(get, path = "/v1/drivers/{id}/deliveries", tag = "drivers", params(("id" = String, Path)), responses((status = 200, body = Deliveries)))]
pub async fn list(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Deliveries>, Refusal> {
    if bearer.0.role == Role::Driver && !bearer.is(Role::Driver, &id) {
        return Err(Refusal::not_found());
    }
    // A write sees what was just committed, and is dropped unwritten.
    let mut write = house.db.write().await.map_err(fault)?;
    let mut items = trip::live_of_driver(&mut write, &id).await.map_err(fault)?;
    items.extend(offer::of_driver(&mut write, &id).await.map_err(fault)?);
    items.iter_mut().for_each(|trip| trip.shares.clear());
    Ok(Json(Deliveries { items }))
}

/// Take a trip that is offered
#[utoipa::path(post, path = "/v1/trips/{id}/accept", tag = "trips", params(("id" = String, Path)), request_body = Accept, responses((status = 200, body = Trip)))]
pub async fn accept(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(accept): Body<Accept>,
) -> Result<Json<Trip>, Refusal> {
    answer_offer(&house, &bearer, &id, accept.offer, Answer::Accept).await
}

/// Decline a trip that is offered: it is free for somebody else
#[utoipa::path(post, path = "/v1/trips/{id}/decline", tag = "trips", params(("id" = String, Path)), request_body = Decline, responses((status = 200, body = Trip)))]
pub async fn decline(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(decline): Body<Decline>,
) -> Result<Json<Trip>, Refusal> {
    answer_offer(&house, &bearer, &id, decline.offer, Answer::Decline(decline.reason)).await
}

/// Say by hand how far a trip has come
#[utoipa::path(post, path = "/v1/trips/{id}/status", tag = "trips", params(("id" = String, Path)), request_body = Status, responses((status = 200, body = Trip)))]
pub async fn status(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(status): Body<Status>,
) -> Result<Json<Trip>, Refusal> {
    let phase = phase_of(&status.phase)?;
    let mut write = house.db.write().await.map_err(fault)?;
    let mut trip = find(&house, &mut write, &bearer, &id).await?;
    let speaker = Speaker { role: bearer.0.role.name(), by: &bearer.0.sub };
    if !trip.say(phase, status.at_ms, speaker, wayfare_bus::now_ms())? {
        return Ok(Json(trip));
    }
    trip::update(&mut write, &trip).await.map_err(fault)?.map_err(|_| lost())?;
    let cause = if trip.is_live() { Cause::Manual } else { Cause::Ended };
    finish(&house, write, &trip, cause, trip.driver).await?;
    Ok(Json(trip))
}

async fn answer_offer(
    house: &House,
    bearer: &Bearer,
    id: &str,
    number: Option<u64>,
    answer: Answer,
) -> Result<Json<Trip>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut trip = find(house, &mut write, bearer, id).await?;
    let asked = trip.offer.as_ref().map(|offer| offer.driver);
    if bearer.0.role == Role::Driver && !asked.is_some_and(|asked| bearer.is(Role::Driver, asked)) {
        return Err(Refusal::new(ErrorCode::Conflict, "the trip was not offered to this driver"));
    }
    if !settle(&mut write, &mut trip, number, answer, wayfare_bus::now_ms()).await? {
        return Ok(Json(trip));
    }
    finish(house, write, &trip, Cause::Assigned, None).await?;
    Ok(Json(trip))
}

/// Takes over an answer with the driver's plan, without committing. False: it was answered so before.
pub async fn settle(
    write: &mut Write,
    trip: &mut Trip,
    number: Option<u64>,
    answer: Answer,
    at_ms: i64,
) -> Result<bool, Refusal> {
    let asked = trip.open_offer().map(|offer| offer.driver);
    if let (Some(asked), Answer::Accept) = (asked, &answer) {
        drivers::check_usable(write, &asked.to_string()).await?;
        check_room(write, &asked.to_string()).await?;
    }
    if !trip.answer(number, answer, at_ms)? {
        return Ok(false);
    }
    trip::update(write, trip).await.map_err(fault)?.map_err(|_| lost())?;
    if let Some(asked) = asked {
        outbox::put_plan(write, &asked.to_string()).await.map_err(fault)?;
    }
    Ok(true)
}
