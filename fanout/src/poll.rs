//! Polling: the bus is read, no connection is kept. With `wait=` the answer comes when something changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use wayfare_bus::{LogStart, Snapshot};
use wayfare_net::reply::Refusal;
use wayfare_wire::{Claims, Cursor, ErrorBody, ErrorCode, Topic};

use crate::routes::{Seen, WatchQuery, authenticate, check_origin, look, parse_wanted, too_many_connections};
use crate::shard::Start;
use crate::wait::{Waiter, check_bearer, check_wait};
use crate::{Fanout, House};

/// Events of a log in one answer.
const EVENTS_MAX: usize = 200;

/// One topic's part of the answer, and where its reader stands afterwards.
struct Part {
    cursor: Option<Cursor>,
    changed: bool,
    body: Value,
}

pub async fn poll(
    State(fanout): State<Arc<Fanout>>,
    Query(query): Query<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let house = &fanout.house;
    check_origin(house, &headers)?;
    let claims = authenticate(house, &headers, query.ticket.as_deref()).await?;
    let tag = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let tag = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"')).filter(|tag| !tag.is_empty());
    let wanted = parse_wanted(house, &query.topics, query.cursor.as_deref().or(tag))?;
    check_wait(query.wait)?;
    let mut parts = read(house, &claims, &wanted).await?;
    if query.wait > 0 && parts.iter().all(|part| !part.changed) {
        // It counts as a connection of its bearer for as long as it is one.
        let _open = house.subjects.open(&claims).ok_or_else(too_many_connections)?;
        parts = wait(house, &claims, &wanted, Duration::from_secs(query.wait.into())).await?;
    }
    let show = |part: &Part| part.cursor.map_or_else(|| "-".into(), |cursor| cursor.to_string());
    let cursor = parts.iter().map(show).collect::<Vec<String>>().join(",");
    let unchanged = tag == Some(cursor.as_str()) && parts.iter().all(|part| !part.changed);
    // Who waits for news may come back at once.
    let interval_ms = if query.wait > 0 { 0 } else { house.config.poll_interval.as_millis() as u64 };
    let topics: Vec<Value> = parts.into_iter().map(|part| part.body).collect();
    let body = json!({ "cursor": cursor, "retry_after_ms": interval_ms, "topics": topics });
    let mut response = match unchanged {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Response::new(Body::from(body.to_string())),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{cursor}\"")) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// What each topic has to say.
async fn read(house: &House, claims: &Claims, wanted: &[(Topic, Option<Start>)]) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::with_capacity(wanted.len());
    for (topic, start) in wanted {
        parts.push(match look(house, claims, *topic).await? {
            Seen::Over(last) if wanted.len() == 1 => return Err(ended(topic, &last)),
            Seen::Over(last) => over(topic, *start, &last),
            Seen::Live(now) => state(topic, *start, &now),
            Seen::Log => log(house, topic, *start).await?,
        });
    }
    Ok(parts)
}

/// The same when one of them has, or when the time is over. Who may watch is asked at every look.
async fn wait(
    house: &House,
    claims: &Claims,
    wanted: &[(Topic, Option<Start>)],
    time: Duration,
) -> Result<Vec<Part>, Refusal> {
    let deadline = Instant::now() + time;
    let topics: Vec<Topic> = wanted.iter().map(|(topic, _)| *topic).collect();
    let mut waiter = Waiter::new(house, &topics).await;
    loop {
        check_bearer(house, claims)?;
        let parts = read(house, claims, wanted).await?;
        let is_over = Instant::now() >= deadline || house.draining.load(Ordering::Relaxed);
        if is_over || parts.iter().any(|part| part.changed) {
            return Ok(parts);
        }
        // At the deadline there is nothing to wait for any more: another look and the answer.
        let _ = tokio::time::timeout_at(deadline.into(), waiter.changed()).await;
    }
}

fn state(topic: &Topic, start: Option<Start>, now: &Snapshot) -> Part {
    let cursor = Cursor { epoch: now.epoch, seq: now.seq };
    let current = start == Some(Start::After(cursor));
    let mut body = json!({ "topic": topic.to_string(), "cursor": cursor.to_string() });
    if !current {
        body["state"] = whole(now);
    }
    Part { cursor: Some(cursor), changed: !current, body }
}

fn over(topic: &Topic, start: Option<Start>, last: &Snapshot) -> Part {
    let cursor = Cursor { epoch: last.epoch, seq: last.seq };
    let body = json!({ "topic": topic.to_string(), "ended": true, "state": whole(last) });
    // Whoever stands at the end has heard of it: that is no news to wait for.
    Part { cursor: Some(cursor), changed: start != Some(Start::After(cursor)), body }
}

async fn log(house: &House, topic: &Topic, start: Option<Start>) -> Result<Part, Refusal> {
    // Whoever has no cursor yet is told one at once.
    let is_new = start.is_none();
    let start = match start {
        None => LogStart::Now,
        Some(Start::Oldest) => LogStart::Oldest,
        Some(Start::After(cursor)) => LogStart::After { generation: cursor.epoch, id: cursor.seq },
    };
    let page = house.bus.logs.read(&topic.to_string(), start, EVENTS_MAX).await.map_err(|error| {
        tracing::warn!(%error, "a log could not be read for a poll");
        Refusal::from(ErrorBody::new(ErrorCode::NotReady, "the log is not available just now").after_ms(1000))
    })?;
    let at = |id| Cursor { epoch: page.generation, seq: id };
    let cursor = at(page.next);
    let events: Vec<Value> = page
        .events
        .iter()
        .map(|event| json!({ "cursor": at(event.id).to_string(), "event": parse(&event.payload) }))
        .collect();
    let changed = is_new || page.reset || !events.is_empty();
    let body = json!({
        "topic": topic.to_string(), "cursor": cursor.to_string(), "events": events,
        "reset": page.reset, "more": page.more,
    });
    Ok(Part { cursor: Some(cursor), changed, body })
}

/// The answer where a URL's only topic is over.
pub fn ended(topic: &Topic, last: &Snapshot) -> Refusal {
    let error = ErrorBody::new(ErrorCode::Ended, "the trip is over").topic(topic.to_string());
    Refusal::with_state(error, whole(last))
}

fn whole(snapshot: &Snapshot) -> Value {
    let fields = snapshot.members.iter().map(|(name, value)| (name.to_string(), parse(value)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Values on the bus are JSON made by our own writers.
fn parse(value: &[u8]) -> Value {
    serde_json::from_slice(value).unwrap_or(Value::Null)
}
