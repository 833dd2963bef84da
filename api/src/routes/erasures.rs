//! Erasures: by driver and by order, with a receipt.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use wayfare_net::audit::pseudonym;
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use super::{Page, PageQuery, lost};
use crate::House;
use crate::bearer::Bearer;
use crate::db::{DatabaseError, Write};
use crate::export;
use crate::input::fault;
use crate::outbox::{self, Cause};
use crate::records::erasure::{self, Erasure, Kind};
use crate::records::{Driver, offer, table, trip};

/// Erase a driver and everything that is held of it
///
/// Its connection is closed with 4201, its tokens and keys open nothing from now on, and the trips it has are taken back. Orders stay, without their
/// driver; everything else goes: positions, tracks, keys, events, what was set aside. The answer is the receipt, `done` some seconds later; it holds nothing personal.
#[utoipa::path(delete, path = "/v1/drivers/{id}", tag = "drivers", params(("id" = String, Path)), responses((status = 202, body = Erasure)))]
pub async fn driver(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Erasure>), Refusal> {
    let now_ms = wayfare_bus::now_ms();
    let mut write = house.db.write().await.map_err(fault)?;
    table::by_id_in::<Driver>(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    let mut erasure = Erasure::new(Kind::Driver, now_ms).map_err(fault)?;
    let own = trip::live_of_driver(&mut write, &id).await.map_err(fault)?;
    let offered = offer::of_driver(&mut write, &id).await.map_err(fault)?;
    for mut trip in own.into_iter().chain(offered) {
        trip.assign(None, None, now_ms)?;
        trip.forget(id.parse().map_err(|_| Refusal::not_found())?);
        trip::update(&mut write, &trip).await.map_err(fault)?.map_err(|_| lost())?;
        outbox::put_trip(&mut write, &trip, Cause::Assigned).await.map_err(fault)?;
        erasure.count("trips_pseudonymised", 1);
    }
    erasure.count("tokens", end_tokens(&mut write, &id, now_ms / 1000).await.map_err(fault)?);
    super::device_keys::revoke_in(&mut write, &id, None).await.map_err(fault)?;
    delete(&mut write, "DELETE FROM offer WHERE driver = $1", &id).await.map_err(fault)?;
    delete(&mut write, "DELETE FROM driver WHERE id = $1", &id).await.map_err(fault)?;
    erasure.count("profiles", 1);
    accept(&house, &bearer, write, erasure, &id).await
}

/// Export everything that is held of a driver
///
/// A line of JSON for each item: `class` and `data`. Profile, state, device keys (never the keys), tokens (by id), trips without their customers, offers and
/// what was said by hand, tracks, fixes that were not kept, arrivals, what the fix log still holds, fence events. The last line has the class `end`; an export without it is not whole.
#[utoipa::path(get, path = "/v1/drivers/{id}/export", tag = "drivers", params(("id" = String, Path)), responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub async fn export(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let driver: Option<Driver> = table::by_id(&house.db, &id).await.map_err(fault)?;
    let driver = driver.ok_or_else(Refusal::not_found)?;
    bearer.did("GET /v1/drivers/{id}/export", &pseudonym(&id));
    let body = axum::body::Body::new(export::of_driver(house, driver));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Erase an order that is over and everything that is held of it
///
/// The record, the track, and the positions of its drivers while they had it. The answer is the receipt, `done` some seconds later; it holds nothing personal.
#[utoipa::path(delete, path = "/v1/trips/{id}", tag = "trips", params(("id" = String, Path)), responses((status = 202, body = Erasure)))]
pub async fn trip(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Erasure>), Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let trip = trip::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    if trip.is_live() {
        return Err(Refusal::new(ErrorCode::Conflict, format!("the trip goes on: it is {}", trip.phase)));
    }
    let mut erasure = Erasure::new(Kind::Trip, wayfare_bus::now_ms()).map_err(fault)?;
    // Without its record nothing that comes late finds a track.
    delete(&mut write, "DELETE FROM trip WHERE id = $1", &id).await.map_err(fault)?;
    erasure.count("orders", 1);
    accept(&house, &bearer, write, erasure, &id).await
}

/// List erasures, the newest first
#[utoipa::path(get, path = "/v1/erasures", tag = "erasures", params(PageQuery), responses((status = 200, body = Page<Erasure>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Erasure>>, Refusal> {
    let (limit, (before_ms, before_id)) = (query.limit()?, query.position((i64::MAX, ""))?);
    let erasures = erasure::page(&house.db, (before_ms, &before_id), limit + 1).await.map_err(fault)?;
    Ok(Json(Page::of(erasures, limit, |erasure| (erasure.requested_ms, erasure.id.clone()))))
}

/// Read how far an erasure is; when it is done, this is its receipt
#[utoipa::path(get, path = "/v1/erasures/{id}", tag = "erasures", params(("id" = String, Path)), responses((status = 200, body = Erasure)))]
pub async fn read(State(house): State<Arc<House>>, Path(id): Path<String>) -> Result<Json<Erasure>, Refusal> {
    erasure::by_id(&house.db, &id).await.map_err(fault)?.map(Json).ok_or_else(Refusal::not_found)
}

/// From here on it is the job's.
async fn accept(
    house: &House,
    bearer: &Bearer,
    mut write: Write,
    erasure: Erasure,
    subject: &str,
) -> Result<(StatusCode, Json<Erasure>), Refusal> {
    erasure::insert(&mut write, &erasure, subject).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    let what = match erasure.kind {
        Kind::Driver => "DELETE /v1/drivers/{id}",
        Kind::Trip => "DELETE /v1/trips/{id}",
    };
    // The receipt's id, not the subject's: that is to be forgotten.
    bearer.did(what, &erasure.id);
    tracing::info!(erasure = erasure.id, by = bearer.0.sub, "an erasure was asked for");
    house.news.told().await;
    house.erasures.notify_one();
    Ok((StatusCode::ACCEPTED, Json(erasure)))
}

/// Revokes a subject's tokens one by one: a revocation of the subject itself would keep its id for ever. Those that are over are forgotten.
async fn end_tokens(write: &mut Write, subject: &str, now_s: i64) -> Result<u64, DatabaseError> {
    let over = sqlx::query("DELETE FROM token WHERE sub = $1 AND expires_s <= $2")
        .bind(subject)
        .bind(now_s)
        .execute(&mut **write)
        .await?;
    let live: Vec<String> =
        sqlx::query_scalar("SELECT id FROM token WHERE sub = $1").bind(subject).fetch_all(&mut **write).await?;
    for id in &live {
        super::tokens::revoke_one(write, id).await?;
    }
    sqlx::query("UPDATE token SET sub = 'erased' WHERE sub = $1").bind(subject).execute(&mut **write).await?;
    Ok(over.rows_affected() + live.len() as u64)
}

async fn delete(write: &mut Write, statement: &'static str, id: &str) -> Result<(), DatabaseError> {
    sqlx::query(statement).bind(id).execute(&mut **write).await?;
    Ok(())
}
