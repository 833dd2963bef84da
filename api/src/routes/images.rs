//! Files of pictures, for everybody; and pictures that could not be made, for operators.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_blobs::Key;
use wayfare_bus::{Job, JobError};
use wayfare_net::reply::Refusal;
use wayfare_wire::upload::{PICTURES_QUEUE, PictureJob};
use wayfare_wire::{ErrorBody, ErrorCode, ids};

use crate::House;
use crate::bearer::Bearer;
use crate::input::fault;
use crate::uploads::ends::{self, Retry};
use crate::uploads::{away, files};

/// A name stands for one content for ever.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A signed link is good for this long; the answer that leads to it may be kept for half of it.
const LINK_VALID: Duration = Duration::from_secs(3600);

/// A file of a picture
///
/// Never changes. Where files are in a bucket, the answer leads there.
#[utoipa::path(get, path = "/v1/images/{store}/{picture}/{file}", tag = "pages", params(("store" = String, Path), ("picture" = String, Path), ("file" = String, Path)), responses((status = 200), (status = 206), (status = 304), (status = 307)))]
pub async fn file(
    State(house): State<Arc<House>>,
    method: Method,
    Path((store, picture, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let blobs = files(&house).map_err(|_| Refusal::not_found())?;
    let content_type = match file.rsplit_once('.') {
        Some((_, "avif")) => "image/avif",
        Some((_, "webp")) => "image/webp",
        Some((_, "jpg")) => "image/jpeg",
        _ => return Err(Refusal::not_found()),
    };
    // Only names of pictures lead anywhere: originals have other keys.
    let key = Key::new(format!("stores/{store}/pictures/{picture}/{file}")).map_err(|_| Refusal::not_found())?;
    let etag = format!("\"{picture}-{file}\"");
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok(with_type(StatusCode::NOT_MODIFIED.into_response(), content_type, &etag));
    }
    if let Some(link) = blobs.link(&key, LINK_VALID).await.map_err(|error| away(&error))? {
        let location = HeaderValue::from_str(&link).map_err(|_| Refusal::not_found())?;
        let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
        let keep = format!("public, max-age={}", LINK_VALID.as_secs() / 2);
        response.headers_mut().insert(header::LOCATION, location);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_str(&keep).expect("plain text"));
        return Ok(response);
    }
    let size = blobs.size(&key).await.map_err(|error| away(&error))?.ok_or_else(Refusal::not_found)?;
    let wanted =
        headers.get(header::RANGE).and_then(|range| range.to_str().ok()).and_then(|range| read_range(range, size));
    let (range, status) = match wanted {
        None => (0..size, StatusCode::OK),
        Some(Some(range)) => (range, StatusCode::PARTIAL_CONTENT),
        Some(None) => {
            let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            let all = HeaderValue::from_str(&format!("bytes */{size}")).expect("plain text");
            response.headers_mut().insert(header::CONTENT_RANGE, all);
            return Ok(response);
        }
    };
    let part = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    let length = range.end - range.start;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let piece = blobs.get_range(&key, range).await.map_err(|error| away(&error))?;
        Body::from(piece.ok_or_else(Refusal::not_found)?.bytes)
    };
    let mut response = with_type((status, body).into_response(), content_type, &etag);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(&part).expect("plain text"));
    }
    Ok(response)
}

fn with_type(mut response: Response, content_type: &'static str, etag: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Pages of restaurants show them.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// One range of bytes. Nothing if it is another unit, several ranges or nonsense, which are answered by the whole; `Some(None)` if no byte of the file is in it.
fn read_range(text: &str, size: u64) -> Option<Option<std::ops::Range<u64>>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = if from.is_empty() {
        let last: u64 = to.parse().ok()?;
        size.saturating_sub(last)..size
    } else {
        let from: u64 = from.parse().ok()?;
        let to = if to.is_empty() { size } else { to.parse::<u64>().ok()?.saturating_add(1).min(size) };
        from..to
    };
    Some(if range.start < range.end && range.start < size { Some(range) } else { None })
}

/// A picture that could not be made.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadPicture {
    /// By which it is retried.
    pub job: String,
    /// The upload whose job it was, `upl_…`; others of the same picture wait for the same job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub upload: Option<ids::Upload>,
    /// Whose picture it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub store: Option<ids::Store>,
    /// What happened at the last try.
    pub reason: String,
    /// Tries that failed.
    pub failures: u32,
    /// Workers that were lost with it.
    pub losses: u32,
    /// Unix milliseconds.
    pub enqueued_ms: i64,
    /// When it was given up, Unix milliseconds.
    pub dead_ms: i64,
}

/// A page of pictures that could not be made.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadPictures {
    /// The newest first.
    pub items: Vec<DeadPicture>,
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SkipQuery {
    /// So many are left out.
    pub skip: Option<u32>,
    /// 1 to 200, 50 by default.
    pub limit: Option<u32>,
}

/// List pictures that could not be made after several tries
#[utoipa::path(get, path = "/v1/pictures/dead", tag = "pictures", params(SkipQuery), responses((status = 200, body = DeadPictures)))]
pub async fn dead(
    State(house): State<Arc<House>>,
    Query(query): Query<SkipQuery>,
) -> Result<Json<DeadPictures>, Refusal> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(crate::input::invalid("limit", format!("{limit} is not 1 to 200")));
    }
    let skip = query.skip.unwrap_or(0) as usize;
    let jobs = house.bus.jobs.dead(PICTURES_QUEUE, skip, limit as usize).await.map_err(|error| queue_away(&error))?;
    Ok(Json(DeadPictures { items: jobs.into_iter().map(shown).collect() }))
}

fn shown(job: Job) -> DeadPicture {
    let payload = serde_json::from_slice::<PictureJob>(&job.payload).ok();
    DeadPicture {
        job: job.id,
        upload: payload.as_ref().map(|payload| payload.upload),
        store: payload.as_ref().map(|payload| payload.store),
        reason: job.reason.unwrap_or_default(),
        failures: job.failures,
        losses: job.losses,
        enqueued_ms: job.enqueued_ms,
        dead_ms: job.changed_ms,
    }
}

/// Try a picture again that could not be made
#[utoipa::path(post, path = "/v1/pictures/dead/{job}/retry", tag = "pictures", params(("job" = String, Path)), responses((status = 204)))]
pub async fn retry(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(job): Path<String>,
) -> Result<StatusCode, Refusal> {
    done(ends::retry(&house, &job).await)?;
    bearer.did("POST /v1/pictures/dead/{job}/retry", &job);
    Ok(StatusCode::NO_CONTENT)
}

/// Leave nothing of a picture that could not be made
#[utoipa::path(delete, path = "/v1/pictures/dead/{job}", tag = "pictures", params(("job" = String, Path)), responses((status = 204)))]
pub async fn forget(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(job): Path<String>,
) -> Result<StatusCode, Refusal> {
    done(ends::forget_dead(&house, &job).await)?;
    bearer.did("DELETE /v1/pictures/dead/{job}", &job);
    Ok(StatusCode::NO_CONTENT)
}

fn done(result: Result<bool, Retry>) -> Result<(), Refusal> {
    match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::not_found()),
        Err(Retry::Records(error)) => Err(fault(error)),
        Err(Retry::Queue(error)) => Err(queue_away(&error)),
    }
}

fn queue_away(error: &JobError) -> Refusal {
    tracing::warn!(%error, "a request failed; whoever asked is told to try again");
    ErrorBody::new(ErrorCode::NotReady, "the queue of pictures cannot be reached just now").after_ms(1000).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_has_them() {
        for (text, range) in [
            ("bytes=0-3", Some(Some(0..4))),
            ("bytes=4-", Some(Some(4..10))),
            ("bytes=-3", Some(Some(7..10))),
            ("bytes=-99", Some(Some(0..10))),
            ("bytes=8-99", Some(Some(8..10))),
            ("bytes=10-", Some(None)),
            ("bytes=5-2", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=a-b", None),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
            ("bytes=18446744073709551615-18446744073709551615", Some(None)),
        ] {
            assert_eq!(read_range(text, 10), range, "{text}");
        }
    }
}
