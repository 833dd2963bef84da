//! Drivers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorCode, Role, ids};

use super::{Page, PageQuery, check_version, lost};
use crate::bearer::Bearer;
use crate::db::Write;
use crate::input::{Body, fault, invalid};
use crate::records::driver::{Driver, DriverChange, NewDriver};
use crate::records::table;
use crate::{House, ids::random, outbox};

/// Make a driver
#[utoipa::path(post, path = "/v1/drivers", tag = "drivers", request_body = NewDriver, responses((status = 201, body = Driver)))]
pub async fn create(
    State(house): State<Arc<House>>,
    Body(new): Body<NewDriver>,
) -> Result<(StatusCode, Json<Driver>), Refusal> {
    let now_ms = wayfare_bus::now_ms();
    if new.available_since_ms.is_some_and(|since_ms| since_ms > now_ms || !new.available) {
        return Err(invalid("available_since_ms", "must lie in the past, and the driver be available"));
    }
    let driver = Driver {
        id: ids::Driver(random().map_err(fault)?),
        name: new.name,
        vehicle: new.vehicle,
        capacity: new.capacity,
        available: new.available,
        available_since_ms: new.available.then(|| new.available_since_ms.unwrap_or(now_ms)),
        plan_version: 0,
        created_ms: now_ms,
        version: 1,
        revoked_ms: None,
    };
    driver.check()?;
    let id = driver.id.to_string();
    let mut write = house.db.write().await.map_err(fault)?;
    table::insert(&mut write, &driver).await.map_err(fault)?;
    let driver = finish(&house, write, &id).await?;
    Ok((StatusCode::CREATED, Json(driver)))
}

/// List drivers
#[utoipa::path(get, path = "/v1/drivers", tag = "drivers", params(PageQuery), responses((status = 200, body = Page<Driver>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Driver>>, Refusal> {
    let (limit, (after_ms, after_id)) = (query.limit()?, query.position((i64::MIN, ""))?);
    let drivers = table::page::<Driver>(&house.db, (after_ms, &after_id), limit + 1).await.map_err(fault)?;
    Ok(Json(Page::of(drivers, limit, |driver| (driver.created_ms, driver.id.to_string()))))
}

/// Read a driver
#[utoipa::path(get, path = "/v1/drivers/{id}", tag = "drivers", params(("id" = String, Path)), responses((status = 200, body = Driver)))]
pub async fn read(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Driver>, Refusal> {
    if bearer.0.role == Role::Driver && !bearer.is(Role::Driver, &id) {
        return Err(Refusal::not_found());
    }
    table::by_id(&house.db, &id).await.map_err(fault)?.map(Json).ok_or_else(Refusal::not_found)
}

/// Change a driver, or put it on or off shift
#[utoipa::path(patch, path = "/v1/drivers/{id}", tag = "drivers", params(("id" = String, Path)), request_body = DriverChange, responses((status = 200, body = Driver)))]
pub async fn update(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(change): Body<DriverChange>,
) -> Result<Json<Driver>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut driver: Driver = table::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    check_version(&headers, driver.version)?;
    driver.change(change, wayfare_bus::now_ms())?;
    table::update(&mut write, &driver).await.map_err(fault)?.map_err(|_| lost())?;
    finish(&house, write, &id).await.map(Json)
}

/// Revoke a driver: its tokens open nothing any more, and no trip can be given to it
#[utoipa::path(post, path = "/v1/drivers/{id}/revoke", tag = "drivers", params(("id" = String, Path)), responses((status = 200, body = Driver)))]
pub async fn revoke(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Driver>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut driver: Driver = table::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    if driver.revoked_ms.is_some() {
        return Ok(Json(driver));
    }
    driver.revoked_ms = Some(wayfare_bus::now_ms());
    driver.version += 1;
    table::update(&mut write, &driver).await.map_err(fault)?.map_err(|_| lost())?;
    super::tokens::revoke_bearer(&mut write, &id).await.map_err(fault)?;
    super::device_keys::revoke_in(&mut write, &id, None).await.map_err(fault)?;
    let driver = finish(&house, write, &id).await?;
    bearer.did("POST /v1/drivers/{id}/revoke", &wayfare_net::audit::pseudonym(&id));
    Ok(Json(driver))
}

/// For trips: the driver must exist and not be revoked.
pub async fn check_usable(write: &mut Write, id: &str) -> Result<ids::Driver, Refusal> {
    let driver: Option<Driver> = table::by_id_in(write, id).await.map_err(fault)?;
    match driver {
        Some(driver) if driver.revoked_ms.is_none() => Ok(driver.id),
        Some(_) => Err(Refusal::new(ErrorCode::Conflict, "the driver is revoked")),
        None => Err(invalid("driver", format!("there is no driver {id:.40}"))),
    }
}

/// Makes the plan anew, commits, wakes the relay; returns the record as it is now.
async fn finish(house: &House, mut write: Write, id: &str) -> Result<Driver, Refusal> {
    outbox::put_plan(&mut write, id).await.map_err(fault)?;
    let driver = table::by_id_in(&mut write, id).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    house.news.told().await;
    driver.ok_or_else(Refusal::not_found)
}
