//! Images of the items of a menu.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::upload::UploadState;
use wayfare_wire::{ErrorCode, Role};

use super::{Page, PageQuery, stores};
use crate::House;
use crate::bearer::Bearer;
use crate::input::{Body, check_own_id, fault, invalid};
use crate::records::upload::{self, IMAGES_MAX, Image};

/// The images of an item, in the order in which they are shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct Images {
    /// The first is the one for lists.
    pub images: Vec<Image>,
}

/// Which images an item is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImages {
    /// Uploads that are done, at most 10, in the order in which they are shown. Those that are left out go a day later.
    pub uploads: Vec<String>,
}

/// An item of a menu that has images.
#[derive(Debug, Serialize, ToSchema)]
pub struct Item {
    /// As the uploads name it.
    pub item: String,
    /// The first is the one for lists.
    pub images: Vec<Image>,
}

/// List the items of a menu that have images
///
/// In the order of their names.
#[utoipa::path(get, path = "/v1/stores/{id}/menu", tag = "pictures", params(("id" = String, Path), PageQuery), responses((status = 200, body = Page<Item>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(store): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Item>>, Refusal> {
    check_own(&bearer, &store)?;
    let limit = query.limit()?;
    let after = query.cursor.unwrap_or_default();
    // One more than is shown, to know whether there is another page.
    let mut names = upload::items_after(&house.db, &store, &after, limit + 1).await.map_err(fault)?;
    let next = if names.len() as i64 > limit { names.pop().and(names.last().cloned()) } else { None };
    let mut items: Vec<Item> = names.into_iter().map(|item| Item { item, images: Vec::new() }).collect();
    if let (Some(first), Some(last)) = (items.first(), items.last()) {
        let shown = upload::of_items(&house.db, &store, &first.item, &last.item).await.map_err(fault)?;
        for (item, upload) in shown {
            if let Some(listed) = items.iter_mut().find(|listed| listed.item == item) {
                listed.images.extend(Image::of(&upload));
            }
        }
    }
    Ok(Json(Page { items, next }))
}

/// Read the images of an item
#[utoipa::path(get, path = "/v1/stores/{id}/menu/{item}/images", tag = "pictures", params(("id" = String, Path), ("item" = String, Path)), responses((status = 200, body = Images)))]
pub async fn read(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path((store, item)): Path<(String, String)>,
) -> Result<Json<Images>, Refusal> {
    check_own(&bearer, &store)?;
    check_own_id("item", &item)?;
    shown(&house, &store, &item).await
}

/// Set the images of an item
#[utoipa::path(put, path = "/v1/stores/{id}/menu/{item}/images", tag = "pictures", params(("id" = String, Path), ("item" = String, Path)), request_body = NewImages, responses((status = 200, body = Images)))]
pub async fn replace(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path((store, item)): Path<(String, String)>,
    Body(new): Body<NewImages>,
) -> Result<Json<Images>, Refusal> {
    check_own(&bearer, &store)?;
    check_own_id("item", &item)?;
    if new.uploads.len() > IMAGES_MAX {
        let message = format!("{} images, an item may have up to {IMAGES_MAX}", new.uploads.len());
        return Err(Refusal::new(ErrorCode::TooMany, message));
    }
    let mut write = house.db.write().await.map_err(fault)?;
    let store_id = stores::check_usable(&mut write, &store).await?;
    for (place, id) in new.uploads.iter().enumerate() {
        if new.uploads[..place].contains(id) {
            return Err(invalid("uploads", format!("{id:.40} is there twice")));
        }
        let found = upload::by_id_in(&mut write, id).await.map_err(fault)?.filter(|upload| upload.store == store_id);
        let upload = found.ok_or_else(|| invalid("uploads", format!("the store has no upload {id:.40}")))?;
        if upload.state != UploadState::Done {
            let message = format!("{id:.40} is {}, it must be done", upload.state.as_str());
            return Err(invalid("uploads", message));
        }
    }
    upload::set_item(&mut write, &store, &item, &new.uploads).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    shown(&house, &store, &item).await
}

async fn shown(house: &House, store: &str, item: &str) -> Result<Json<Images>, Refusal> {
    let uploads = upload::of_item(&house.db, store, item).await.map_err(fault)?;
    Ok(Json(Images { images: uploads.iter().filter_map(Image::of).collect() }))
}

fn check_own(bearer: &Bearer, store: &str) -> Result<(), Refusal> {
    if bearer.0.role == Role::Store && !bearer.is(Role::Store, store) {
        return Err(Refusal::not_found());
    }
    Ok(())
}
