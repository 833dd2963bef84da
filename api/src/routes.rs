//! The HTTP API.

pub mod arrivals;
pub mod audit;
pub mod device_keys;
pub mod drivers;
pub mod erasures;
pub mod fences;
pub mod images;
pub mod keys;
pub mod menu;
pub mod nearby;
pub mod offers;
pub mod pages;
pub mod quarantine;
pub mod roads;
pub mod stores;
pub mod tokens;
pub mod tracks;
pub mod trips;
pub mod upload_form;
pub mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use crate::{House, bearer};

/// Every route; the ones about records are behind [`bearer::check`].
pub fn routes(house: Arc<House>) -> Router {
    let records = Router::new()
        .route("/v1/stores", post(stores::create).get(stores::list))
        .route("/v1/stores/{id}", get(stores::read).patch(stores::update))
        .route("/v1/stores/{id}/revoke", post(stores::revoke))
        .route("/v1/drivers", post(drivers::create).get(drivers::list))
        .route("/v1/drivers/{id}", get(drivers::read).patch(drivers::update).delete(erasures::driver))
        .route("/v1/drivers/{id}/export", get(erasures::export))
        .route("/v1/drivers/{id}/deliveries", get(offers::list))
        .route("/v1/drivers/{id}/revoke", post(drivers::revoke))
        .route("/v1/drivers/{id}/device-keys", post(device_keys::create).get(device_keys::list))
        .route("/v1/drivers/{id}/device-keys/{device}", delete(device_keys::revoke))
        .route("/v1/fences", post(fences::create).get(fences::list))
        .route("/v1/fences/{id}", get(fences::read).put(fences::replace).delete(fences::delete))
        .route("/v1/audit", get(audit::list))
        .route("/v1/erasures", get(erasures::list))
        .route("/v1/erasures/{id}", get(erasures::read))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/nearby", get(nearby::nearby))
        .route("/v1/route", get(roads::route))
        .route("/v1/traffic", get(roads::traffic))
        .route("/v1/arrivals", get(arrivals::list))
        .route("/v1/arrivals/summary", get(arrivals::summary))
        .route("/v1/trips", post(trips::create).get(trips::list))
        .route("/v1/trips/{id}", get(trips::read).patch(trips::update).delete(erasures::trip))
        .route("/v1/trips/{id}/assign", post(trips::assign))
        .route("/v1/trips/{id}/cancel", post(trips::cancel))
        .route("/v1/trips/{id}/complete", post(trips::complete))
        .route("/v1/trips/{id}/fail", post(trips::fail))
        .route("/v1/trips/{id}/accept", post(offers::accept))
        .route("/v1/trips/{id}/decline", post(offers::decline))
        .route("/v1/trips/{id}/status", post(offers::status))
        .route("/v1/trips/{id}/track", get(tracks::read).delete(tracks::erase))
        .route("/v1/tokens", post(tokens::create))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/keys", post(keys::create).get(keys::list))
        .route("/v1/keys/{id}", delete(keys::withdraw))
        .route("/v1/tickets", post(tokens::ticket))
        .route("/v1/uploads", post(uploads::create).layer(DefaultBodyLimit::max(upload_form::BODY_BYTES_MAX)))
        .route(
            "/v1/uploads/{id}",
            get(uploads::read).head(uploads::offset).patch(uploads::append).delete(uploads::terminate),
        )
        .route("/v1/stores/{id}/menu", get(menu::list))
        .route("/v1/stores/{id}/menu/{item}/images", get(menu::read).put(menu::replace))
        .route("/v1/pictures/dead", get(images::dead))
        .route("/v1/pictures/dead/{job}", delete(images::forget))
        .route("/v1/pictures/dead/{job}/retry", post(images::retry))
        .route_layer(from_fn_with_state(Arc::clone(&house), bearer::check));
    let open = Router::new()
        .route("/v1/streets", get(pages::streets))
        .route("/v1/uploads", axum::routing::options(uploads::about))
        .route("/v1/images/{store}/{picture}/{file}", get(images::file))
        .route("/v1/web-config", get(pages::web_config))
        .route("/openapi.json", get(pages::openapi))
        .route("/.well-known/jwks.json", get(pages::jwks));
    records.merge(open).method_not_allowed_fallback(wrong_method).with_state(house)
}

async fn wrong_method() -> Refusal {
    Refusal::new(ErrorCode::MethodNotAllowed, "this path has no such method")
}

/// How many records a page has at most.
const PAGE_MAX: u32 = 200;

/// The part of a query that all lists share.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// From the `next` of the page before.
    pub cursor: Option<String>,
    /// 1 to 200, 50 by default.
    pub limit: Option<u32>,
}

/// A page of records.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The records.
    pub items: Vec<T>,
    /// For the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl PageQuery {
    fn limit(&self) -> Result<i64, Refusal> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(crate::input::invalid("limit", format!("{limit} is not 1 to {PAGE_MAX}")));
        }
        Ok(i64::from(limit))
    }

    /// `created_ms~id`, or where a list begins.
    fn position(&self, begin: (i64, &str)) -> Result<(i64, String), Refusal> {
        let Some(cursor) = &self.cursor else { return Ok((begin.0, begin.1.to_owned())) };
        let parsed = cursor.split_once('~').and_then(|(ms, id)| Some((ms.parse().ok()?, id.to_owned())));
        parsed.ok_or_else(|| crate::input::invalid("cursor", "is not the `next` of a page"))
    }
}

impl<T> Page<T> {
    /// One record more than `limit` was read, to know whether there is another page.
    fn of(mut items: Vec<T>, limit: i64, position: impl Fn(&T) -> (i64, String)) -> Self {
        let more = items.len() as i64 > limit;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| {
            let (ms, id) = position(last);
            format!("{ms}~{id}")
        });
        Self { items, next }
    }
}

/// Someone changed the record between reading and writing.
fn lost() -> Refusal {
    Refusal::new(ErrorCode::Conflict, "the record was changed by someone else: read it again")
}

/// `If-Match: "3"` asks that the record still has version 3.
fn check_version(headers: &axum::http::HeaderMap, version: u64) -> Result<(), Refusal> {
    let Some(wanted) = headers.get(axum::http::header::IF_MATCH) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default().trim_matches('"');
    if wanted == "*" || wanted.parse() == Ok(version) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Conflict, format!("the record has version {version}, not {wanted:.20}")))
}
