//! The three ways to watch, as HTTP routes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::mpsc;
use wayfare_bus::{Away, Members, Snapshot};
use wayfare_net::reply::Refusal;
use wayfare_net::tokens::{self, TokenError};
use wayfare_net::ws::handshake;
use wayfare_wire::codec::Codec;
use wayfare_wire::cursor::parse_list;
use wayfare_wire::topic::Kind;
use wayfare_wire::{Claims, Cursor, ErrorBody, ErrorCode, TokenKind, Topic};

use crate::shard::{Command, INTERVAL_MS_MAX, Start};
use crate::sse::{EventStream, PIECES_MAX};
use crate::{Fanout, House, TOPIC_OWNERS, access, poll};

/// A ticket may be used within this time after its expiry was checked: how long its use is remembered.
const TICKET_MEMORY_MS: i64 = 120_000;

pub fn routes(fanout: Arc<Fanout>) -> Router {
    Router::new()
        .route("/v1/watch", get(websocket))
        .route("/v1/watch/sse", get(stream))
        .route("/v1/watch/poll", get(poll::poll))
        .with_state(fanout)
}

/// The part of a URL that all three share.
#[derive(Debug, Default, Deserialize)]
pub struct WatchQuery {
    /// Comma-separated names.
    #[serde(default)]
    pub topics: String,
    /// Comma-separated cursors in the same order.
    pub cursor: Option<String>,
    /// In place of a header.
    pub ticket: Option<String>,
    /// Of a stream: news of each state at most this often, milliseconds.
    #[serde(default)]
    pub interval_ms: u32,
    /// Of a poll: answer when something changed, or after so many seconds.
    #[serde(default)]
    pub wait: u32,
}

async fn websocket(
    State(fanout): State<Arc<Fanout>>,
    Query(query): Query<WatchQuery>,
    request: Request,
) -> Result<Response, Refusal> {
    let house = &fanout.house;
    check_origin(house, request.headers())?;
    let bearer = match (tokens::bearer(request.headers()), &query.ticket) {
        (None, None) => None,
        _ => {
            let claims = authenticate(house, request.headers(), query.ticket.as_deref()).await?;
            house.gate.admit(&claims)?;
            let open = house.subjects.open(&claims).ok_or_else(too_many_connections)?;
            Some((claims, open))
        }
    };
    let shard = fanout.shard().clone();
    handshake::upgrade(request, &Codec::ALL.map(Codec::subprotocol), move |socket, subprotocol| {
        let Some(codec) = Codec::of(subprotocol) else { return };
        if shard.try_send(Command::WebSocket { socket, codec, bearer }).is_err() {
            tracing::debug!("a shard is full or gone: a new connection was dropped");
        }
    })
}

async fn stream(
    State(fanout): State<Arc<Fanout>>,
    Query(query): Query<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let house = &fanout.house;
    check_origin(house, &headers)?;
    let claims = authenticate(house, &headers, query.ticket.as_deref()).await?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let wanted = parse_wanted(house, &query.topics, last.or(query.cursor.as_deref()))?;
    check_interval(query.interval_ms)?;
    // Refusals belong into the status, so the topics are looked at before the stream begins.
    let mut over = None;
    let mut topics = Vec::new();
    for (topic, start) in wanted {
        match look(house, &claims, topic).await? {
            Seen::Over(last) => over = Some(last),
            Seen::Log | Seen::Live(_) => {}
        }
        topics.push((topic, start));
    }
    if let (1, Some(last)) = (topics.len(), over) {
        return Err(poll::ended(&topics[0].0, &last));
    }
    house.gate.admit(&claims)?;
    let open = house.subjects.open(&claims).ok_or_else(too_many_connections)?;
    let (sink, pieces) = mpsc::channel(PIECES_MAX);
    let command = Command::Stream { sink, bearer: (claims, open), topics, interval_ms: query.interval_ms };
    if fanout.shard().send(command).await.is_err() {
        return Err(ErrorBody::new(ErrorCode::Draining, "the node is shutting down").after_ms(1000).into());
    }
    let mut response = Response::new(Body::new(EventStream(pieces)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies in front of us must not collect the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What is known of a topic that the bearer may watch.
pub enum Seen {
    /// A state topic that lives.
    Live(Snapshot),
    /// A state topic that has ended.
    Over(Snapshot),
    /// A log topic.
    Log,
}

/// Looks at a topic once, for the transports that answer by status.
pub async fn look(house: &House, claims: &Claims, topic: Topic) -> Result<Seen, Refusal> {
    let name = topic.to_string();
    let away = |_: Away| Refusal::from(not_ready().topic(&*name));
    let members = match topic.trip() {
        Some(trip) if !topic.is_internal() => {
            house.bus.topics.read(&Topic::Access(trip).to_string()).await.map_err(away)?
        }
        _ => None,
    };
    let allowed = access::may_watch(claims, &topic, members.as_ref().map(|access| &access.members));
    let seen = match topic.kind() {
        Kind::Log => allowed.then_some(Seen::Log),
        Kind::State if !allowed => None,
        Kind::State => {
            let empty =
                || Snapshot { epoch: house.bus.topics.epoch(), seq: 0, members: Members::default(), ended: false };
            let seen = house.bus.topics.read(&name).await.map_err(away)?.or_else(|| topic.always_exists().then(empty));
            seen.map(|seen| if seen.ended { Seen::Over(seen) } else { Seen::Live(seen) })
        }
    };
    match seen {
        Some(seen) => Ok(seen),
        None if !house.bus.topics.is_ready(TOPIC_OWNERS) => Err(not_ready().topic(name).into()),
        None if house.subjects.miss(claims) => Err(not_found(&name).into()),
        None => Err(too_many_misses(&name).into()),
    }
}

/// Topics and cursors of a URL.
pub fn parse_wanted(
    house: &House,
    topics: &str,
    cursors: Option<&str>,
) -> Result<Vec<(Topic, Option<Start>)>, Refusal> {
    let most = house.config.topics_per_url;
    let names: Vec<&str> = topics.split(',').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(ErrorBody::new(ErrorCode::Invalid, "name at least one topic").field("topics").into());
    }
    if names.len() > most {
        let message = format!("{} topics in one URL, the limit is {most}", names.len());
        return Err(ErrorBody::new(ErrorCode::TooMany, message).field("topics").into());
    }
    let starts = match cursors {
        None => vec![None; names.len()],
        Some("start") => vec![Some(Start::Oldest); names.len()],
        Some(text) => {
            let invalid = |message: String| Refusal::from(ErrorBody::new(ErrorCode::Invalid, message).field("cursor"));
            let cursors: Vec<Option<Cursor>> = parse_list(text, most).map_err(|error| invalid(error.to_string()))?;
            if cursors.len() != names.len() {
                return Err(invalid(format!("{} cursors for {} topics", cursors.len(), names.len())));
            }
            cursors.into_iter().map(|cursor| cursor.map(Start::After)).collect()
        }
    };
    let parse = |name: &str| {
        name.parse::<Topic>()
            .map_err(|error| Refusal::from(ErrorBody::new(ErrorCode::Invalid, error.to_string()).field("topics")))
    };
    names.into_iter().zip(starts).map(|(name, start)| Ok((parse(name)?, start))).collect()
}

/// By header, or by a ticket that is used up here.
pub async fn authenticate(house: &House, headers: &HeaderMap, ticket: Option<&str>) -> Result<Claims, Refusal> {
    let now_ms = wayfare_bus::now_ms();
    let refuse = |error: TokenError| Refusal::new(ErrorCode::Unauthorized, error.to_string());
    let Some(ticket) = ticket else {
        return house.verifier.verify_headers(headers, now_ms / 1000).map_err(refuse);
    };
    let claims = house.verifier.verify(ticket, TokenKind::Ticket, now_ms / 1000).map_err(refuse)?;
    // `iat` has whole seconds: give the second in which the house came up the benefit of the doubt.
    let issued_ms = claims.iat.saturating_mul(1000).saturating_add(999);
    if !house.bus.leases.once(&format!("ticket:{}", claims.jti), issued_ms, TICKET_MEMORY_MS).await {
        return Err(refuse(TokenError::Invalid));
    }
    Ok(claims)
}

pub fn check_origin(house: &House, headers: &HeaderMap) -> Result<(), Refusal> {
    if house.origins.allow(headers) {
        return Ok(());
    }
    Err(ErrorBody::new(ErrorCode::Forbidden, "this origin is not allowed here").field("origin").into())
}

/// Whether somebody may be told that seldom.
pub fn check_interval(interval_ms: u32) -> Result<(), ErrorBody> {
    if interval_ms <= INTERVAL_MS_MAX {
        return Ok(());
    }
    let message = format!("an interval of {interval_ms} ms, the longest is {INTERVAL_MS_MAX}");
    Err(ErrorBody::new(ErrorCode::Invalid, message).field("interval_ms"))
}

pub fn not_found(topic: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::NotFound, "there is no such topic, or it is not for this token").topic(topic)
}

pub fn not_ready() -> ErrorBody {
    ErrorBody::new(ErrorCode::NotReady, "the house is still waking up").after_ms(1000)
}

pub fn too_many_misses(topic: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::RateLimited, "too many topics that are not there").after_ms(10_000).topic(topic)
}

pub fn too_many_connections() -> Refusal {
    ErrorBody::new(ErrorCode::RateLimited, "too many open connections of this token's bearer").after_ms(30_000).into()
}
