//! The door for phone apps that already exist: an address with a device key in it, whatever method and body the app sends.
//!
//! The key says who it is; ids in what is sent count for nothing. What is sent is read in its dialect, judged like any other fix, and
//! answered as the app wants it once it is durable. A bad fix is never an error: these apps would send it for ever. The key is in the path
//! and nowhere else, and no path is ever logged.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::any;
use axum::{RequestExt as _, Router};
use tokio::sync::oneshot;
use wayfare_net::reply::Refusal;
use wayfare_wire::dialects::{self, What};
use wayfare_wire::messages::drive::Fix;
use wayfare_wire::{ErrorBody, ErrorCode};

use crate::device_keys::DeviceKey;
use crate::shard::{AppItem, AppMessage, AppTaken, Command};
use crate::{Ingest, metrics};

/// Most bytes of a body: some 15,000 records of background-geolocation, which sends its whole queue at once by default.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Bodies beyond this size are few at a time, and read on a thread of their own.
const LARGE_BYTES: usize = 256 << 10;

/// A body must be complete after this long: what apps themselves wait for.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer waits for the disk at most this long; then the app sends again and is recognised.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// When to send again what there was no room for.
const LATER_MS: u32 = 5000;

pub fn routes(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/in/{key}", any(receive))
        .route("/in/{key}/", any(receive))
        .route("/in/{key}/{*rest}", any(receive))
        .with_state(ingest)
}

async fn receive(State(ingest): State<Arc<Ingest>>, mut request: Request) -> Result<Response, Refusal> {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
    let key = match request.extract_parts::<Path<Vec<(String, String)>>>().await {
        Ok(Path(parts)) => parts.into_iter().next().and_then(|(_, key)| ingest.house.device_keys.find(&key)),
        Err(_) => None,
    };
    let Some(key) = key else {
        metrics::app_refused("unknown_key");
        if !ingest.house.device_keys.may_miss(from) {
            let text = "too many addresses that open nothing were tried from this network";
            return Err(ErrorBody::new(ErrorCode::RateLimited, text).after_ms(LATER_MS).into());
        }
        // The same for a revoked key: apps keep what they have, and whoever guesses learns nothing.
        return Err(Refusal::new(ErrorCode::NotFound, "this address opens nothing; ask for a new one"));
    };
    let (parts, body) = request.into_parts();
    let large = match is_large(&parts.headers) {
        false => None,
        true => Some(ingest.house.large_bodies.try_acquire().map_err(|_| {
            ErrorBody::new(ErrorCode::NotReady, "too many long queues are being received").after_ms(LATER_MS)
        })?),
    };
    let body = read(&parts.headers, body).await?;
    let form = Form {
        method: parts.method.to_string(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        content_type: text_of(&parts.headers, header::CONTENT_TYPE.as_str()).to_owned(),
        is_owntracks: parts.headers.contains_key("x-limit-u") || parts.headers.contains_key("x-limit-d"),
        body,
    };
    let message = if large.is_some() {
        let gone = |_| Refusal::from(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000));
        tokio::task::spawn_blocking(move || form.read(&key)).await.map_err(gone)?
    } else {
        form.read(&key)
    };
    let dialect = message.dialect;
    let taken = give(&ingest, &key, message).await.inspect_err(|_| metrics::app_refused("later"))?;
    metrics::app_answered(dialect);
    Ok(answer::to(dialect, &taken))
}

/// A request with its body, for whichever thread reads it.
struct Form {
    method: String,
    query: String,
    content_type: String,
    is_owntracks: bool,
    body: Bytes,
}

impl Form {
    fn read(&self, key: &DeviceKey) -> AppMessage {
        let request = dialects::Request {
            method: &self.method,
            query: &self.query,
            content_type: &self.content_type,
            is_owntracks: self.is_owntracks,
            body: &self.body,
            told: key.app,
        };
        let reading = dialects::read(&request);
        let phone = reading.report();
        let in_body = |raw: &[u8]| self.body.as_ptr_range().contains(&raw.as_ptr());
        let item = |(place, item): (usize, dialects::Item<'_>)| {
            let place = place as u32;
            let raw = if in_body(item.raw) { self.body.slice_ref(item.raw) } else { Bytes::copy_from_slice(item.raw) };
            match item.what {
                What::Fix(fix) => Some(AppItem::of(place, fix, raw)),
                What::Fault(fault) => {
                    let nowhere = Fix { lat: f64::NAN, lon: f64::NAN, ..Fix::default() };
                    let fault = Some(fault);
                    Some(AppItem { place, fix: nowhere, fault, identities: [None; 2], ahead: false, raw })
                }
                What::Alive | What::Ignored => None,
            }
        };
        let dialect = reading.dialect;
        let mut items: Vec<AppItem> = reading.items.into_iter().enumerate().filter_map(item).collect();
        // Some apps send the newest first. In the order taken a ride is followed; backwards, all but one fix would be late.
        items.sort_by_key(|item| item.fix.t_ms);
        AppMessage { device: key.device, dialect, items, phone }
    }
}

/// Hands a message to the driver's shard and waits until it is durable.
async fn give(ingest: &Ingest, key: &DeviceKey, message: AppMessage) -> Result<AppTaken, Refusal> {
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal::from(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000));
    let command = Command::App { driver: key.driver, message, reply };
    ingest.shard(key.driver).send(command).await.map_err(|_| gone())?;
    match tokio::time::timeout(DURABLE_TIMEOUT, answer).await {
        Ok(Ok(Ok(taken))) => Ok(taken),
        Ok(Ok(Err(error))) => Err(error.into()),
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(ErrorBody::new(ErrorCode::NotDurable, "the disk is too slow just now").after_ms(2000).into()),
    }
}

/// A body whose length is not told may be large.
fn is_large(headers: &HeaderMap) -> bool {
    let length = text_of(headers, header::CONTENT_LENGTH.as_str()).parse::<usize>().ok();
    length.map_or(headers.contains_key(header::TRANSFER_ENCODING), |length| length > LARGE_BYTES)
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        let error = ErrorBody::new(ErrorCode::TooLarge, "bodies are taken uncompressed");
        return Err(error.field("content-encoding").into());
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let text = format!("the body has more than {BODY_BYTES_MAX} bytes, or was cut off: send smaller batches");
            Err(Refusal::new(ErrorCode::TooLarge, text))
        }
        Err(_) => {
            let error = ErrorBody::new(ErrorCode::NotReady, "the body did not arrive in time");
            Err(error.after_ms(LATER_MS).into())
        }
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
