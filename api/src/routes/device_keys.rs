//! Device keys: addresses that are pasted into existing phone apps.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use wayfare_net::device_key as keys;
use wayfare_net::reply::Refusal;
use wayfare_wire::device_key::{DeviceSeenDoc, device_seen_set_of};
use wayfare_wire::{ErrorCode, ids};

use super::{Page, drivers};
use crate::bearer::Bearer;
use crate::db::{DatabaseError, Write};
use crate::input::{Body, fault};
use crate::records::device_key::{self, DeviceKey, MadeDeviceKey, NewDeviceKey};
use crate::records::{Driver, table};
use crate::{House, ids::random, outbox};

/// Most keys of one driver that open something.
const LIVE_MAX: i64 = 10;

/// Most keys of one driver, revoked ones included.
const KEPT_MAX: i64 = 500;

/// Make a device key: the address for a driver's existing phone app. It is shown once
#[utoipa::path(post, path = "/v1/drivers/{id}/device-keys", tag = "drivers", params(("id" = String, Path)), request_body = NewDeviceKey, responses((status = 201, body = MadeDeviceKey)))]
pub async fn create(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewDeviceKey>,
) -> Result<(StatusCode, Json<MadeDeviceKey>), Refusal> {
    new.check()?;
    let random_key = || keys::draw().ok_or(DatabaseError::Random).map_err(fault);
    let (device, key) = (ids::Device(random().map_err(fault)?), random_key()?);
    let hash = keys::hash(&key).ok_or(DatabaseError::Random).map_err(fault)?;
    let mut write = house.db.write().await.map_err(fault)?;
    let known: Option<Driver> = table::by_id_in(&mut write, &id).await.map_err(fault)?;
    known.ok_or_else(Refusal::not_found)?;
    let driver = drivers::check_usable(&mut write, &id).await?;
    let (live, all) = device_key::count_of(&mut write, &id).await.map_err(fault)?;
    if live >= LIVE_MAX || all >= KEPT_MAX {
        let text = format!(
            "the driver has {live} device keys, {all} with those revoked; the limits are {LIVE_MAX} and {KEPT_MAX}"
        );
        return Err(Refusal::new(ErrorCode::Conflict, text));
    }
    let record = DeviceKey::new(device, driver, new, &hash, wayfare_bus::now_ms());
    device_key::insert(&mut write, &record, &hash).await.map_err(fault)?;
    outbox::put_device_key(&mut write, &device.to_string(), 1, &hash, Some(record.doc())).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    house.news.told().await;
    bearer.did("POST /v1/drivers/{id}/device-keys", &device.to_string());
    let url = format!("{}/in/{key}", base_url(&headers));
    Ok((StatusCode::CREATED, Json(MadeDeviceKey { record, key, url })))
}

/// List a driver's device keys, revoked ones included; never the keys themselves
#[utoipa::path(get, path = "/v1/drivers/{id}/device-keys", tag = "drivers", params(("id" = String, Path)), responses((status = 200, body = Page<DeviceKey>)))]
pub async fn list(State(house): State<Arc<House>>, Path(id): Path<String>) -> Result<Json<Page<DeviceKey>>, Refusal> {
    let known: Option<Driver> = table::by_id(&house.db, &id).await.map_err(fault)?;
    known.ok_or_else(Refusal::not_found)?;
    let mut keys = device_key::of_driver(&house.db, &id).await.map_err(fault)?;
    for key in &mut keys {
        // When it was used last is not worth refusing the list.
        let topic = house.bus.topics.read(&device_seen_set_of(key.id)).await.unwrap_or_default();
        let doc = topic.as_ref().and_then(|topic| topic.members.get(&key.id.to_string()));
        if let Some(seen) = doc.and_then(|doc| serde_json::from_slice::<DeviceSeenDoc>(doc).ok()) {
            (key.seen_ms, key.seen_app) = (Some(seen.at_ms), Some(seen.dialect));
        }
    }
    Ok(Json(Page { items: keys, next: None }))
}

/// Revoke a device key: its address opens nothing any more
#[utoipa::path(delete, path = "/v1/drivers/{id}/device-keys/{device}", tag = "drivers", params(("id" = String, Path), ("device" = String, Path)), responses((status = 204)))]
pub async fn revoke(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path((id, device)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    if !device_key::exists(&mut write, &id, &device).await.map_err(fault)? {
        return Err(Refusal::not_found());
    }
    revoke_in(&mut write, &id, Some(&device)).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("DELETE /v1/drivers/{id}/device-keys/{device}", &device);
    tracing::info!(device, by = bearer.0.sub, "a device key was revoked");
    house.news.told().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes one key of a driver, or all of them; those that are revoked already stay as they are.
pub async fn revoke_in(write: &mut Write, driver: &str, device: Option<&str>) -> Result<(), DatabaseError> {
    for (id, hash) in device_key::revoke(write, driver, device, wayfare_bus::now_ms()).await? {
        outbox::put_device_key(write, &id, 2, &hash, None).await?;
    }
    Ok(())
}

/// The address by which this request came, as far as it tells. What is not on this machine speaks TLS: otherwise it would not be served.
fn base_url(headers: &HeaderMap) -> String {
    let plain = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).filter(plain).unwrap_or("localhost");
    let forwarded = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let here = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host.starts_with(name));
    let scheme = if forwarded == Some("https") || !here { "https" } else { "http" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_was_asked() {
        let check = |pairs: &[(&'static str, &str)], expected: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            assert_eq!(base_url(&headers), expected);
        };
        check(&[("host", "127.0.0.1:8080")], "http://127.0.0.1:8080");
        check(&[("host", "track.example.com")], "https://track.example.com");
        check(&[("host", "localhost"), ("x-forwarded-proto", "https")], "https://localhost");
        check(&[("host", "evil\"<script>")], "http://localhost");
        check(&[], "http://localhost");
    }
}
