//! Stores.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorCode, Role, ids};

use super::{Page, PageQuery, check_version, lost};
use crate::bearer::Bearer;
use crate::input::{Body, fault};
use crate::records::store::{NewStore, Store, StoreChange};
use crate::records::table;
use crate::{House, ids::random};

/// Make a store
#[utoipa::path(post, path = "/v1/stores", tag = "stores", request_body = NewStore, responses((status = 201, body = Store)))]
pub async fn create(
    State(house): State<Arc<House>>,
    Body(new): Body<NewStore>,
) -> Result<(StatusCode, Json<Store>), Refusal> {
    let store = Store {
        id: ids::Store(random().map_err(fault)?),
        name: new.name,
        lat: new.lat,
        lon: new.lon,
        created_ms: wayfare_bus::now_ms(),
        version: 1,
        revoked_ms: None,
    };
    store.check()?;
    let mut write = house.db.write().await.map_err(fault)?;
    table::insert(&mut write, &store).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    Ok((StatusCode::CREATED, Json(store)))
}

/// List stores
#[utoipa::path(get, path = "/v1/stores", tag = "stores", params(PageQuery), responses((status = 200, body = Page<Store>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Store>>, Refusal> {
    let (limit, (after_ms, after_id)) = (query.limit()?, query.position((i64::MIN, ""))?);
    let stores = table::page::<Store>(&house.db, (after_ms, &after_id), limit + 1).await.map_err(fault)?;
    Ok(Json(Page::of(stores, limit, |store| (store.created_ms, store.id.to_string()))))
}

/// Read a store
#[utoipa::path(get, path = "/v1/stores/{id}", tag = "stores", params(("id" = String, Path)), responses((status = 200, body = Store)))]
pub async fn read(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Store>, Refusal> {
    check_own(&bearer, &id)?;
    table::by_id(&house.db, &id).await.map_err(fault)?.map(Json).ok_or_else(Refusal::not_found)
}

/// Change a store
#[utoipa::path(patch, path = "/v1/stores/{id}", tag = "stores", params(("id" = String, Path)), request_body = StoreChange, responses((status = 200, body = Store)))]
pub async fn update(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(change): Body<StoreChange>,
) -> Result<Json<Store>, Refusal> {
    check_own(&bearer, &id)?;
    let mut write = house.db.write().await.map_err(fault)?;
    let mut store: Store = table::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    check_version(&headers, store.version)?;
    store.change(change)?;
    table::update(&mut write, &store).await.map_err(fault)?.map_err(|_| lost())?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    Ok(Json(store))
}

/// Revoke a store: its tokens open nothing any more
#[utoipa::path(post, path = "/v1/stores/{id}/revoke", tag = "stores", params(("id" = String, Path)), responses((status = 200, body = Store)))]
pub async fn revoke(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Store>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut store: Store = table::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    if store.revoked_ms.is_some() {
        return Ok(Json(store));
    }
    store.revoked_ms = Some(wayfare_bus::now_ms());
    store.version += 1;
    table::update(&mut write, &store).await.map_err(fault)?.map_err(|_| lost())?;
    super::tokens::revoke_bearer(&mut write, &id).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("POST /v1/stores/{id}/revoke", &id);
    house.news.told().await;
    Ok(Json(store))
}

/// A store knows of itself only.
fn check_own(bearer: &Bearer, id: &str) -> Result<(), Refusal> {
    if bearer.0.role == Role::Store && !bearer.is(Role::Store, id) {
        return Err(Refusal::not_found());
    }
    Ok(())
}

/// For trips: the store must exist and not be revoked.
pub async fn check_usable(write: &mut crate::db::Write, id: &str) -> Result<ids::Store, Refusal> {
    let store: Option<Store> = table::by_id_in(write, id).await.map_err(fault)?;
    match store {
        Some(store) if store.revoked_ms.is_none() => Ok(store.id),
        Some(_) => Err(Refusal::new(ErrorCode::Conflict, "the store is revoked")),
        None => Err(crate::input::invalid("store", format!("there is no store {id:.40}"))),
    }
}
