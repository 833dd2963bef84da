//! Uploads by the tus protocol, version 1.0 (tus.io): creation, creation-with-upload, checksum, expiration and termination, as tus-js-client, Uppy and tuspy
//! speak it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest as _, Multipart, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use serde::Serialize;
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::upload::{PictureError, UploadState};
use wayfare_wire::{ErrorBody, ErrorCode, Role, Topic, ids};

use super::upload_form;
use crate::bearer::Bearer;
use crate::ids::random;
use crate::input::{check_own_id, fault, invalid};
use crate::records::upload::{self, Image, Upload};
use crate::uploads::receive::{Checksum, Received, receive};
use crate::uploads::{ends, files, finish, tell};
use crate::{House, routes::stores};

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,checksum,expiration,termination";
const OFFSET_TYPE: &str = "application/offset+octet-stream";

/// What is read away before a refusal is not more than this, and takes no longer.
const DRAIN_BYTES_MAX: usize = 4 << 20;
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");

/// An upload as its record is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadView {
    /// `upl_…`
    #[schema(value_type = String)]
    pub id: ids::Upload,
    /// Whose picture it is.
    #[schema(value_type = String)]
    pub store: ids::Store,
    /// Item of the menu that it is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// Shape: `5:4`, `4:3`, `1:1` or `none`.
    pub preset: String,
    /// `receiving`, `queued`, `decoding`, `encoding`, `storing`, `done`, `failed`, `cancelled`, `expired`.
    #[schema(value_type = String)]
    pub state: UploadState,
    /// Bytes that are kept.
    pub received: u64,
    /// Bytes of the whole file.
    pub length: u64,
    /// Pictures that come before it; of one that waits for a worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// When it was begun, Unix milliseconds.
    pub created_ms: i64,
    /// When it expires if no byte comes; Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// When it ended, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
    /// What was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<Image>,
    /// Why nothing was made: `code` for programs, `message` for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub error: Option<PictureError>,
}

impl UploadView {
    pub fn of(upload: &Upload) -> Self {
        Self {
            id: upload.id,
            store: upload.store,
            item: upload.item.clone(),
            preset: upload.preset.clone(),
            state: upload.state,
            received: upload.received,
            length: upload.length,
            ahead: None,
            created_ms: upload.created_ms,
            expires_ms: (upload.state == UploadState::Receiving).then_some(upload.due_ms),
            ended_ms: upload.state.is_end().then_some(upload.due_ms),
            picture: Image::of(upload),
            error: upload.error.clone(),
        }
    }
}

/// What whoever uploads says of a picture.
#[derive(Debug, Default)]
pub struct Wish {
    pub store: Option<String>,
    pub item: Option<String>,
    pub preset: Option<String>,
    pub focus: Option<String>,
}

impl Wish {
    /// Sets a member by its name; others (names of files, types) are of no interest.
    pub fn set(&mut self, name: &str, value: String) {
        match name {
            "store" => self.store = Some(value),
            "item" => self.item = Some(value),
            "preset" => self.preset = Some(value),
            "focus" => self.focus = Some(value),
            _ => {}
        }
    }

    /// `Upload-Metadata`: pairs of a name and base64, separated by commas.
    fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut wish = Self::default();
        let Some(text) = text(headers, &UPLOAD_METADATA)? else { return Ok(wish) };
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let bytes =
                STANDARD.decode(value.trim()).map_err(|_| invalid("Upload-Metadata", "a value is not base64"))?;
            let value = String::from_utf8(bytes).map_err(|_| invalid("Upload-Metadata", "a value is not UTF-8"))?;
            wish.set(name, value);
        }
        Ok(wish)
    }
}

/// What this server can, by tus. For everybody, and in no document: who speaks tus knows where to ask.
pub async fn about(State(house): State<Arc<House>>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    headers.insert("tus-version", HeaderValue::from_static(VERSION));
    headers.insert("tus-extension", HeaderValue::from_static(EXTENSIONS));
    headers.insert("tus-checksum-algorithm", HeaderValue::from_static("sha1,sha256"));
    headers.insert("tus-max-size", HeaderValue::from(house.config.uploads.bytes_max));
    response
}

/// Begin an upload (tus), or send a small file at once as a form
///
/// With `Tus-Resumable: 1.0.0`: `Upload-Length`, and in `Upload-Metadata` `store` (not needed with a store's own token), `item`, `preset` (`4:3` by default) and
/// `focus` (`0.5,0.3`). The body may hold the first bytes. Without it: `multipart/form-data` with the same fields before `file`.
#[utoipa::path(post, path = "/v1/uploads", tag = "pictures", responses((status = 201, body = UploadView)))]
pub async fn create(State(house): State<Arc<House>>, bearer: Bearer, request: Request) -> Result<Response, Refusal> {
    files(&house)?;
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with("multipart/form-data")) {
        let form = Multipart::from_request(request, &()).await;
        let form = form.map_err(|error| Refusal::new(ErrorCode::Malformed, error.body_text()))?;
        return upload_form::take(&house, &bearer, form).await;
    }
    if let Some(refused) = wrong_version(request.headers()) {
        return Ok(refused);
    }
    let (head, body) = request.into_parts();
    if head.headers.contains_key("upload-defer-length") {
        return Err(invalid("Upload-Defer-Length", "the length must be known at the beginning"));
    }
    let length = number(&head.headers, &UPLOAD_LENGTH)?
        .ok_or_else(|| Refusal::new(ErrorCode::Malformed, "Upload-Length is missing: how many bytes will come"))?;
    let has_bytes = text(&head.headers, &header::CONTENT_TYPE)? == Some(OFFSET_TYPE);
    if has_bytes && body.size_hint().lower() > length {
        return Err(Refusal::new(
            ErrorCode::TooLarge,
            format!("the body has more than the {length} bytes of the upload"),
        ));
    }
    let checksum = text(&head.headers, &UPLOAD_CHECKSUM)?.map(Checksum::read).transpose()?;
    let mut upload = begin(&house, &bearer, Wish::read(&head.headers)?, length).await?;
    let mut response = StatusCode::CREATED.into_response();
    if has_bytes && !body.is_end_stream() {
        match add(&house, &mut upload, body, checksum).await? {
            Ok(()) => {}
            Err(refused) => return Ok(refused),
        }
        response.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(upload.received));
    }
    let location = HeaderValue::from_str(&format!("/v1/uploads/{}", upload.id));
    response.headers_mut().insert(header::LOCATION, location.expect("an id is plain text"));
    tus(&mut response, &upload);
    Ok(response)
}

/// How many bytes are kept (tus)
#[utoipa::path(head, path = "/v1/uploads/{id}", tag = "pictures", params(("id" = String, Path)), responses((status = 200)))]
pub async fn offset(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if let Some(refused) = wrong_version(&headers) {
        return Ok(refused);
    }
    let mut upload = own(&house, &bearer, &id).await?;
    if upload.state == UploadState::Receiving {
        // Who asks has lost its line, whether we have noticed or not.
        house.receiving.call_off(upload.id).await;
        upload = own(&house, &bearer, &id).await?;
    }
    if let Some(gone) = gone(&upload) {
        return Ok(gone);
    }
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(upload.received));
    response.headers_mut().insert(UPLOAD_LENGTH, HeaderValue::from(upload.length));
    tus(&mut response, &upload);
    Ok(response)
}

/// Add bytes (tus)
#[utoipa::path(patch, path = "/v1/uploads/{id}", tag = "pictures", params(("id" = String, Path)), responses((status = 204)))]
pub async fn append(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if let Some(refused) = wrong_version(&headers) {
        return Ok(refused);
    }
    if text(&headers, &header::CONTENT_TYPE)? != Some(OFFSET_TYPE) {
        let error = ErrorBody::new(ErrorCode::Malformed, format!("the content type must be {OFFSET_TYPE}"));
        return Ok(with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    let offset = number(&headers, &UPLOAD_OFFSET)?
        .ok_or_else(|| Refusal::new(ErrorCode::Malformed, "Upload-Offset is missing: where the bytes begin"))?;
    let checksum = text(&headers, &UPLOAD_CHECKSUM)?.map(Checksum::read).transpose()?;
    let mut upload = own(&house, &bearer, &id).await?;
    if let Some(gone) = gone(&upload) {
        drain(body).await;
        return Ok(gone);
    }
    if offset != upload.received {
        drain(body).await;
        return Ok(elsewhere(&upload, offset));
    }
    if upload.received + body.size_hint().lower() > upload.length {
        return Err(too_many(&upload));
    }
    if let Err(refused) = add(&house, &mut upload, body, checksum).await? {
        return Ok(refused);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(upload.received));
    tus(&mut response, &upload);
    Ok(response)
}

/// Take an upload back (tus)
///
/// Also while it waits or is worked on. What is done is taken out of the menu instead.
#[utoipa::path(delete, path = "/v1/uploads/{id}", tag = "pictures", params(("id" = String, Path)), responses((status = 204)))]
pub async fn terminate(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if headers.contains_key(TUS_RESUMABLE)
        && let Some(refused) = wrong_version(&headers)
    {
        return Ok(refused);
    }
    let upload = own(&house, &bearer, &id).await?;
    if !ends::cancel(&house, upload.id).await.map_err(fault)? {
        if let Some(gone) = gone(&upload) {
            return Ok(gone);
        }
        let message = format!("the upload has ended ({})", upload.state.as_str());
        return Err(Refusal::new(ErrorCode::Conflict, message));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    Ok(response)
}

/// Read an upload: how far it is, and what was made
#[utoipa::path(get, path = "/v1/uploads/{id}", tag = "pictures", params(("id" = String, Path)), responses((status = 200, body = UploadView)))]
pub async fn read(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<UploadView>, Refusal> {
    let upload = own(&house, &bearer, &id).await?;
    let mut view = UploadView::of(&upload);
    // Between the queue and the end the workers know more than the record.
    if upload.state == UploadState::Queued
        && let Ok(Some(live)) = house.bus.topics.read(&Topic::Upload(upload.id).to_string()).await
    {
        let member = |name: &str| live.members.get(name);
        let state = member(wayfare_wire::upload::field::STATE).and_then(|state| serde_json::from_slice(state).ok());
        view.state = state.filter(|state: &UploadState| !state.is_end()).unwrap_or(view.state);
        view.ahead = member(wayfare_wire::upload::field::AHEAD).and_then(|ahead| serde_json::from_slice(ahead).ok());
    }
    Ok(Json(view))
}

/// Makes the record, before a byte is taken: what will not do is refused here.
pub async fn begin(house: &House, bearer: &Bearer, wish: Wish, length: u64) -> Result<Upload, Refusal> {
    let limits = house.config.uploads;
    if length == 0 {
        return Err(invalid("Upload-Length", "0 bytes are no picture"));
    }
    if length > limits.bytes_max {
        let message = format!("the file has {length} bytes, up to {} are possible", limits.bytes_max);
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    if let Some(item) = &wish.item {
        check_own_id("item", item)?;
    }
    let preset = wish.preset.unwrap_or_else(|| "4:3".into());
    if !["5:4", "4:3", "1:1", "none"].contains(&preset.as_str()) {
        return Err(invalid("preset", format!("{preset:.20} is not 5:4, 4:3, 1:1 or none")));
    }
    let focus = wish.focus.as_deref().map(focus).transpose()?;
    let store = match (bearer.0.role, wish.store) {
        (Role::Store, None) => bearer.0.sub.clone(),
        (Role::Store, Some(store)) if store != bearer.0.sub => return Err(Refusal::not_found()),
        (_, Some(store)) => store,
        (_, None) => return Err(invalid("store", "is missing: whose picture it is")),
    };
    let now_ms = wayfare_bus::now_ms();
    let mut write = house.db.write().await.map_err(fault)?;
    let store = stores::check_usable(&mut write, &store).await?;
    let sub = bearer.0.sub.clone();
    let used = upload::used(&mut write, &store.to_string(), &sub, now_ms - 86_400_000).await.map_err(fault)?;
    let over = |used: i64, limit: u32, what: &str, after_ms: u32| {
        let message = format!("{used} {what}, up to {limit} are possible");
        (used >= i64::from(limit)).then(|| ErrorBody::new(ErrorCode::RateLimited, message).after_ms(after_ms).into())
    };
    let over = over(used.store_open, limits.open_per_store, "pictures of the store are on their way", 10_000)
        .or_else(|| over(used.sub_receiving, limits.receiving_per_user, "uploads of this user are unfinished", 10_000))
        .or_else(|| {
            over(used.store_lately, limits.per_store_day, "pictures of the store were uploaded in a day", 3_600_000)
        });
    if let Some(refusal) = over {
        return Err(refusal);
    }
    let upload = Upload {
        id: ids::Upload::of(store, random().map_err(fault)? as u64),
        store,
        sub,
        item: wish.item,
        preset,
        focus,
        length,
        created_ms: now_ms,
        version: 1,
        state: UploadState::Receiving,
        received: 0,
        due_ms: now_ms + limits.expire_ms,
        sha256: None,
        job: None,
        picture: None,
        error: None,
    };
    upload::insert(&mut write, &upload).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    metrics::counter!("wayfare_uploads_begun_total").increment(1);
    tell::begun(house, &upload).await;
    Ok(upload)
}

fn focus(text: &str) -> Result<[f32; 2], Refusal> {
    let parsed = text.split_once(',').and_then(|(x, y)| Some([x.trim().parse().ok()?, y.trim().parse().ok()?]));
    parsed
        .filter(|focus: &[f32; 2]| focus.iter().all(|part| (0.0..=1.0).contains(part)))
        .ok_or_else(|| invalid("focus", "must be two fractions of width and height, such as 0.5,0.3"))
}

/// Takes the bytes of a request. The inner error is an answer of tus.
pub async fn add(
    house: &House,
    upload: &mut Upload,
    mut body: Body,
    checksum: Option<Checksum>,
) -> Result<Result<(), Response>, Refusal> {
    let received = match receive(house, upload, &mut body, checksum).await {
        Ok(received) => received,
        Err(refusal) => {
            drain(body).await;
            return Err(refusal);
        }
    };
    match received {
        Received::All(received) => upload.received = received,
        Received::Cut | Received::Elsewhere => {
            drain(body).await;
            return Ok(Err(elsewhere(upload, upload.received)));
        }
        Received::TooMany => {
            drain(body).await;
            return Err(too_many(upload));
        }
        Received::Wrong => {
            // The status that tus has for it; it is in no other standard.
            let status = StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST);
            let error =
                ErrorBody::new(ErrorCode::Invalid, "the bytes are not those of Upload-Checksum; send them again");
            return Ok(Err(with_status(status, error)));
        }
    }
    if upload.received == upload.length {
        // All bytes are safe: if this fails, it is done later, and whoever uploaded has no more to do.
        if let Err(refusal) = finish::finish(house, upload.id).await {
            tracing::warn!(upload = %upload.id, why = refusal.error.message, "an upload could not go on; trying again later");
        }
    }
    Ok(Ok(()))
}

/// An upload that the bearer may know of.
async fn own(house: &House, bearer: &Bearer, id: &str) -> Result<Upload, Refusal> {
    let upload = upload::by_id(&house.db, id).await.map_err(fault)?.ok_or_else(Refusal::not_found)?;
    if bearer.0.role == Role::Store && !bearer.is(Role::Store, upload.store) {
        return Err(Refusal::not_found());
    }
    Ok(upload)
}

/// Reads away what is on its way. A client that is still sending when the line is closed under it does not read the answer, and would take a conflict for a bad line.
async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_WITHIN, read).await;
}

/// To tus, an upload that was taken back or has expired is gone; one that is worked on or done is merely complete.
fn gone(upload: &Upload) -> Option<Response> {
    matches!(upload.state, UploadState::Cancelled | UploadState::Expired).then(|| {
        let error = ErrorBody::new(ErrorCode::Ended, format!("the upload is gone ({})", upload.state.as_str()));
        with_status(StatusCode::GONE, error)
    })
}

fn elsewhere(upload: &Upload, offset: u64) -> Response {
    let message = format!("the upload does not go on at byte {offset}; ask where it does");
    let mut response = Refusal::new(ErrorCode::Conflict, message).into_response();
    tus(&mut response, upload);
    response
}

fn too_many(upload: &Upload) -> Refusal {
    Refusal::new(ErrorCode::TooLarge, format!("more bytes came than the {} of the upload", upload.length))
}

fn wrong_version(headers: &HeaderMap) -> Option<Response> {
    if headers.get(TUS_RESUMABLE).is_some_and(|version| version == VERSION) {
        return None;
    }
    let message = format!("Tus-Resumable must be {VERSION}");
    let mut response = with_status(StatusCode::PRECONDITION_FAILED, ErrorBody::new(ErrorCode::Invalid, message));
    response.headers_mut().insert("tus-version", HeaderValue::from_static(VERSION));
    Some(response)
}

fn with_status(status: StatusCode, error: ErrorBody) -> Response {
    let mut response = Refusal::from(error).into_response();
    *response.status_mut() = status;
    response.headers_mut().insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    response
}

/// What every answer of tus says.
fn tus(response: &mut Response, upload: &Upload) {
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if upload.state == UploadState::Receiving && upload.received < upload.length {
        let expires = std::time::UNIX_EPOCH + Duration::from_millis(upload.due_ms.max(0) as u64);
        if let Ok(expires) = HeaderValue::from_str(&httpdate::fmt_http_date(expires)) {
            headers.insert(UPLOAD_EXPIRES, expires);
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| invalid(name.as_str(), "is not plain text"))?;
    Ok(Some(text))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Refusal> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    // No signs: tus has none.
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(Some).ok_or_else(|| invalid(name.as_str(), format!("{text:.40} is not a number of bytes")))
}
