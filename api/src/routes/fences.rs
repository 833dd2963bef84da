//! Fences.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use wayfare_net::reply::Refusal;
use wayfare_wire::ids;

use super::{Page, PageQuery, check_version};
use crate::input::{LargeBody, fault, invalid};
use crate::outbox;
use crate::records::fence::{self, Fence, NewFence, Window};
use crate::records::table;
use crate::{House, ids::random};

/// How many fences a page has at most: a map wants many at once.
const PAGE_MAX: u32 = 1_000;

/// Which fences, and how.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FenceQuery {
    /// From the `next` of the page before.
    cursor: Option<String>,
    /// 1 to 1000, 50 by default.
    limit: Option<u32>,
    /// `west,south,east,north`: only fences whose box touches this one. West may be greater than east.
    bbox: Option<String>,
    /// `geojson`: a FeatureCollection, its `next` beside the features.
    format: Option<String>,
}

/// Make a fence
#[utoipa::path(post, path = "/v1/fences", tag = "fences", request_body = NewFence, responses((status = 201, body = Fence)))]
pub async fn create(
    State(house): State<Arc<House>>,
    LargeBody(body): LargeBody<Value>,
) -> Result<(StatusCode, Json<Fence>), Refusal> {
    let fence = Fence::read(ids::Fence(random().map_err(fault)?), body, wayfare_bus::now_ms())?;
    let mut write = house.db.write().await.map_err(fault)?;
    fence::insert(&mut write, &fence).await.map_err(fault)??;
    outbox::put_fence(&mut write, fence.id, fence.version, Some(&fence.doc)).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    house.news.told().await;
    Ok((StatusCode::CREATED, Json(fence)))
}

/// List fences
#[utoipa::path(get, path = "/v1/fences", tag = "fences", params(FenceQuery), responses((status = 200, body = Page<Fence>)))]
pub async fn list(State(house): State<Arc<House>>, Query(query): Query<FenceQuery>) -> Result<Json<Value>, Refusal> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid("limit", format!("{limit} is not 1 to {PAGE_MAX}")));
    }
    let geojson = match query.format.as_deref() {
        None | Some("json") => false,
        Some("geojson") => true,
        Some(other) => return Err(invalid("format", format!("{other:.20?} is not json or geojson"))),
    };
    let (limit, window) = (i64::from(limit), query.bbox.as_deref().map(Window::parse).transpose()?);
    let (after_ms, after_id) = PageQuery { cursor: query.cursor, limit: None }.position((i64::MIN, ""))?;
    let after = (after_ms, after_id.as_str());
    let fences = match window {
        Some(window) => fence::page_in(&house.db, window, after, limit + 1).await,
        None => table::page::<Fence>(&house.db, after, limit + 1).await,
    };
    let page = Page::of(fences.map_err(fault)?, limit, |fence| (fence.created_ms, fence.id.to_string()));
    if !geojson {
        return Ok(Json(json!(page)));
    }
    let features: Vec<Value> = page.items.iter().map(Fence::feature).collect();
    let mut collection = json!({ "type": "FeatureCollection", "features": features });
    if let Some(next) = page.next {
        collection["next"] = next.into();
    }
    Ok(Json(collection))
}

/// Read a fence
#[utoipa::path(get, path = "/v1/fences/{id}", tag = "fences", params(("id" = String, Path)), responses((status = 200, body = Fence)))]
pub async fn read(State(house): State<Arc<House>>, Path(id): Path<String>) -> Result<Json<Fence>, Refusal> {
    table::by_id(&house.db, &id).await.map_err(fault)?.map(Json).ok_or_else(Refusal::not_found)
}

/// Replace a fence: drivers inside the new one are told as `inside`
#[utoipa::path(put, path = "/v1/fences/{id}", tag = "fences", params(("id" = String, Path)), request_body = NewFence, responses((status = 200, body = Fence)))]
pub async fn replace(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    LargeBody(body): LargeBody<Value>,
) -> Result<Json<Fence>, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let mut fence: Fence = table::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    check_version(&headers, fence.version)?;
    fence.replace(body, wayfare_bus::now_ms())?;
    fence::update(&mut write, &fence).await.map_err(fault)??;
    outbox::put_fence(&mut write, fence.id, fence.version, Some(&fence.doc)).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    house.news.told().await;
    Ok(Json(fence))
}

/// Delete a fence: nothing more is told of it, not even of drivers inside
#[utoipa::path(delete, path = "/v1/fences/{id}", tag = "fences", params(("id" = String, Path)), responses((status = 204)))]
pub async fn delete(
    State(house): State<Arc<House>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let fence: Fence = table::by_id_in(&mut write, &id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    check_version(&headers, fence.version)?;
    fence::delete(&mut write, &id).await.map_err(fault)?;
    outbox::put_fence(&mut write, fence.id, fence.version + 1, None).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    house.news.told().await;
    Ok(StatusCode::NO_CONTENT)
}
