//! Fixes of existing phone apps that were not kept, and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::Serialize;
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::quarantine::Aside;

use super::{Page, PageQuery};
use crate::House;
use crate::input::fault;
use crate::quarantine;

/// Which fixes.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct QuarantineQuery {
    /// Of this driver only, `drv_…`.
    pub driver: Option<String>,
    /// From the `next` of the page before.
    pub cursor: Option<String>,
    /// 1 to 200, 50 by default.
    pub limit: Option<u32>,
}

/// A fix that was not kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quarantined {
    /// Grows with each.
    pub id: i64,
    /// `drv_…`
    pub driver: String,
    /// `dev_…`: the phone, by its key.
    pub device: String,
    /// `osmand`, `traccar_client`, `traccar_json`, `owntracks`, `transistorsoft`, `overland` or `unknown`.
    pub dialect: String,
    /// The rule it broke: a verdict, or `shape`, `position`, `time`, `valid`, `encrypted`, `count` if it could not be read.
    pub rule: String,
    /// The value seen, and the limit.
    pub message: String,
    /// When it came, Unix milliseconds.
    pub at_ms: i64,
    /// When it was taken, as it said itself, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_ms: Option<i64>,
    /// What was sent, cut to 1 KiB; absent if the driver was off duty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The same in hexadecimal digits, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_hex: Option<String>,
}

/// List fixes of existing phone apps that were not kept, the newest first. They are kept for seven days, at most 500 of a driver
#[utoipa::path(get, path = "/v1/quarantine", tag = "drivers", params(QuarantineQuery), responses((status = 200, body = Page<Quarantined>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<Page<Quarantined>>, Refusal> {
    let page = PageQuery { cursor: query.cursor, limit: query.limit };
    let (limit, (before, _)) = (page.limit()?, page.position((i64::MAX, ""))?);
    let rows = quarantine::page(&house.db, query.driver.as_deref(), before, limit + 1).await.map_err(fault)?;
    let rows = rows.into_iter().map(|(id, aside)| Quarantined::of(id, aside)).collect();
    Ok(Json(Page::of(rows, limit, |row| (row.id, String::new()))))
}

impl Quarantined {
    fn of(id: i64, aside: Aside) -> Self {
        let Aside { driver, device, dialect, rule, message, at_ms, t_ms, raw, raw_hex } = aside;
        Self { id, driver, device, dialect, rule, message, at_ms, t_ms, raw, raw_hex }
    }
}
