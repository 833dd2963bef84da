//! The doors for drivers: a WebSocket, and POST for whoever has none.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::oneshot;
use wayfare_engine::DriverId;
use wayfare_net::reply::Refusal;
use wayfare_net::tokens;
use wayfare_net::ws::handshake::{self, Socket};
use wayfare_wire::codec::{DriveCodec, fixes_from_json};
use wayfare_wire::messages::drive::Phone;
use wayfare_wire::{Claims, ErrorBody, ErrorCode, Role, ids};

use crate::shard::{Command, parse_session};
use crate::{House, Ingest, hello};

/// Most bytes of a POST.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of what a phone says of itself.
const PHONE_BYTES_MAX: usize = 4 * 1024;

/// A body must be complete after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer waits for the disk at most this long; then the app sends again and is recognised.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What we speak on a WebSocket.
const SUBPROTOCOLS: [&str; 2] = [DriveCodec::ALL[0].subprotocol(), DriveCodec::ALL[1].subprotocol()];

/// The codec of one of [`SUBPROTOCOLS`].
fn codec_of(subprotocol: &str) -> DriveCodec {
    DriveCodec::of(subprotocol).unwrap_or_default()
}

pub fn routes(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/v1/drive", get(websocket))
        .route("/v1/fixes", post(fixes))
        .route("/v1/phone", post(phone))
        .with_state(ingest)
}

async fn websocket(State(ingest): State<Arc<Ingest>>, request: Request) -> Result<Response, Refusal> {
    let house = &ingest.house;
    check_origin(house, request.headers())?;
    if tokens::bearer(request.headers()).is_none() {
        // The token comes with `hello`: the socket waits for it outside of any shard, within its deadline.
        let ingest = Arc::clone(&ingest);
        let runtime = tokio::runtime::Handle::current();
        return handshake::upgrade(request, &SUBPROTOCOLS, move |socket, subprotocol| {
            runtime.spawn(hello::await_token(ingest, socket, codec_of(subprotocol)));
        });
    }
    let (claims, driver) = authenticate(house, request.headers())?;
    house.gate.admit(&claims)?;
    let shard = ingest.shard(driver).clone();
    handshake::upgrade(request, &SUBPROTOCOLS, move |socket: Socket, subprotocol| {
        let codec = codec_of(subprotocol);
        if shard.try_send(Command::WebSocket { socket, codec, claims, driver }).is_err() {
            tracing::debug!("a shard is full or gone: a new connection was dropped");
        }
    })
}

async fn fixes(State(ingest): State<Arc<Ingest>>, request: Request) -> Result<Response, Refusal> {
    let house = &ingest.house;
    check_origin(house, request.headers())?;
    let (_, driver) = authenticate(house, request.headers())?;
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let error = ErrorBody::new(ErrorCode::TooLarge, "bodies are taken uncompressed");
        return Err(error.field("content-encoding").into());
    }
    let body = read_body(request, BODY_BYTES_MAX).await?;
    let message = fixes_from_json(&body).map_err(|error| Refusal::new(ErrorCode::Malformed, error.to_string()))?;
    let session = match (&message.message.session, message.message.seq) {
        (None, 0) => 0,
        (Some(session), 1..) => parse_session(session).ok_or_else(|| {
            let error = ErrorBody::new(ErrorCode::Invalid, "a session is 1 to 16 hexadecimal digits, not zero");
            Refusal::from(error.field("session"))
        })?,
        _ => {
            let error = ErrorBody::new(ErrorCode::Invalid, "`session` and `seq` (from 1) come together or not at all");
            return Err(error.field("session").into());
        }
    };
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal::from(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000));
    let command = Command::Post { driver, message, session, reply };
    ingest.shard(driver).send(command).await.map_err(|_| gone())?;
    match tokio::time::timeout(DURABLE_TIMEOUT, answer).await {
        Ok(Ok(Ok(body))) => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
        Ok(Ok(Err(error))) => Err(error.into()),
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(ErrorBody::new(ErrorCode::NotDurable, "the disk is too slow just now").after_ms(2000).into()),
    }
}

/// What a phone says of itself: taken, or not; nothing waits for a disk.
async fn phone(State(ingest): State<Arc<Ingest>>, request: Request) -> Result<StatusCode, Refusal> {
    let house = &ingest.house;
    check_origin(house, request.headers())?;
    let (_, driver) = authenticate(house, request.headers())?;
    let body = read_body(request, PHONE_BYTES_MAX).await?;
    let message: Phone =
        serde_json::from_slice(&body).map_err(|error| Refusal::new(ErrorCode::Malformed, error.to_string()))?;
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal::from(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000));
    let command = Command::Phone { driver, report: message.report(), reply };
    ingest.shard(driver).send(command).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())??;
    Ok(StatusCode::NO_CONTENT)
}

async fn read_body(request: Request, most: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let text = format!("the body has more than {most} bytes, or was cut off");
            Err(Refusal::new(ErrorCode::TooLarge, text))
        }
        Err(_) => Err(Refusal::new(ErrorCode::Malformed, "the body did not arrive in time")),
    }
}

/// The driver whom the token names: an id in the message would count for nothing.
fn authenticate(house: &House, headers: &HeaderMap) -> Result<(Claims, DriverId), Refusal> {
    let claims = house
        .verifier
        .verify_headers(headers, wayfare_bus::now_ms() / 1000)
        .map_err(|error| Refusal::new(ErrorCode::Unauthorized, error.to_string()))?;
    let driver = driver_of(&claims)?;
    Ok((claims, driver))
}

/// The driver that a token names.
pub fn driver_of(claims: &Claims) -> Result<DriverId, Refusal> {
    if claims.role != Role::Driver {
        tracing::info!(role = claims.role.name(), "someone who is no driver tried to send fixes");
        let text = format!("only drivers send fixes, not the role {}", claims.role.name());
        return Err(Refusal::new(ErrorCode::Forbidden, text));
    }
    let id: ids::Driver =
        claims.sub.parse().map_err(|_| Refusal::new(ErrorCode::Forbidden, "the token names no driver"))?;
    Ok(id.into())
}

fn check_origin(house: &House, headers: &HeaderMap) -> Result<(), Refusal> {
    if house.origins.allow(headers) {
        return Ok(());
    }
    Err(ErrorBody::new(ErrorCode::Forbidden, "this origin is not allowed here").field("origin").into())
}
