//! The reader's side: for clients in Rust, tests and the load generator. `web/client/src/lines/watch-proto.ts` is its twin.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde_json::{Map, Number, Value as Json};
use wayfare_engine::{Millis, Shown};

use super::super::decode::Malformed;
use super::moves::{ACCURACY, SEQ_BITS, TURNED};
use crate::messages::Bye;
use crate::messages::watch::{FromWatcher, Subscription, ToWatcher};
use crate::state::{field, write_shown};
use crate::{ErrorBody, cursor};

#[derive(Clone, PartialEq, Message)]
struct FromMessage {
    #[prost(oneof = "From", tags = "1, 2, 3, 4")]
    message: Option<From>,
}

#[derive(Clone, PartialEq, Oneof)]
enum From {
    #[prost(message, tag = "1")]
    Auth(Auth),
    #[prost(message, tag = "2")]
    Subscribe(Subscribe),
    #[prost(message, tag = "3")]
    Unsubscribe(Unsubscribe),
    #[prost(message, tag = "4")]
    Ping(Empty),
}

#[derive(Clone, PartialEq, Message)]
struct Auth {
    #[prost(string, tag = "1")]
    token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Subscribe {
    #[prost(message, repeated, tag = "1")]
    topics: Vec<Wanted>,
}

#[derive(Clone, PartialEq, Message)]
struct Wanted {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(string, optional, tag = "2")]
    cursor: Option<String>,
    #[prost(uint32, optional, tag = "3")]
    interval_ms: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Unsubscribe {
    #[prost(string, repeated, tag = "1")]
    topics: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct ToMessage {
    #[prost(message, repeated, tag = "1")]
    frames: Vec<Frame>,
    #[prost(uint32, repeated, tag = "2")]
    moves: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(oneof = "One", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    frame: Option<One>,
}

#[derive(Clone, PartialEq, Oneof)]
enum One {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(message, tag = "2")]
    Subscribed(Subscribed),
    #[prost(message, tag = "3")]
    Snapshot(Snapshot),
    #[prost(message, tag = "4")]
    Delta(Delta),
    #[prost(message, tag = "5")]
    Event(Event),
    #[prost(message, tag = "6")]
    Reset(Reset),
    #[prost(message, tag = "7")]
    Stale(Stale),
    #[prost(message, tag = "8")]
    End(End),
    #[prost(message, tag = "9")]
    Unsubscribed(Unsubscribed),
    #[prost(message, tag = "10")]
    Error(Error),
    #[prost(message, tag = "11")]
    Heartbeat(Empty),
    #[prost(message, tag = "12")]
    Pong(Empty),
    #[prost(message, tag = "13")]
    Bye(ByeMessage),
}

#[derive(Clone, PartialEq, Message)]
struct Welcome {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    heartbeat_ms: u32,
    #[prost(uint32, tag = "3")]
    max_topics: u32,
    #[prost(int64, tag = "4")]
    expires_at_ms: i64,
    #[prost(uint32, tag = "5")]
    max_areas: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Cursor {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Subscribed {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(uint32, tag = "2")]
    alias: u32,
    #[prost(message, optional, tag = "3")]
    cursor: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint32, tag = "1")]
    alias: u32,
    #[prost(message, optional, tag = "2")]
    cursor: Option<Cursor>,
    #[prost(message, optional, tag = "3")]
    state: Option<Object>,
}

#[derive(Clone, PartialEq, Message)]
struct Delta {
    #[prost(uint32, tag = "1")]
    alias: u32,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(message, optional, tag = "3")]
    patch: Option<Object>,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(uint32, tag = "1")]
    alias: u32,
    #[prost(message, optional, tag = "2")]
    cursor: Option<Cursor>,
    #[prost(message, optional, tag = "3")]
    event: Option<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Reset {
    #[prost(uint32, tag = "1")]
    alias: u32,
    #[prost(message, optional, tag = "2")]
    cursor: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
struct Stale {
    #[prost(uint32, tag = "1")]
    alias: u32,
}

#[derive(Clone, PartialEq, Message)]
struct End {
    #[prost(uint32, tag = "1")]
    alias: u32,
    #[prost(message, optional, tag = "2")]
    state: Option<Object>,
}

#[derive(Clone, PartialEq, Message)]
struct Unsubscribed {
    #[prost(string, tag = "1")]
    topic: String,
}

#[derive(Clone, PartialEq, Message)]
struct Error {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bool, tag = "3")]
    retry: bool,
    #[prost(uint32, optional, tag = "4")]
    retry_after_ms: Option<u32>,
    #[prost(string, optional, tag = "5")]
    field: Option<String>,
    #[prost(string, optional, tag = "6")]
    topic: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ByeMessage {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(uint32, optional, tag = "3")]
    retry_after_ms: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(bool, tag = "1")]
    Truth(bool),
    #[prost(sint64, tag = "2")]
    Integer(i64),
    #[prost(message, tag = "3")]
    Decimal(Decimal),
    #[prost(double, tag = "4")]
    Number(f64),
    #[prost(string, tag = "5")]
    Text(String),
    #[prost(message, tag = "6")]
    List(List),
    #[prost(message, tag = "7")]
    Object(Object),
    #[prost(message, tag = "8")]
    Position(Position),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Decimal {
    #[prost(sint64, tag = "1")]
    mantissa: i64,
    #[prost(uint32, tag = "2")]
    places: u32,
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(message, repeated, tag = "1")]
    members: Vec<Member>,
}

#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Position {
    #[prost(sint32, tag = "1")]
    lat_e6: i32,
    #[prost(sint32, tag = "2")]
    lon_e6: i32,
    #[prost(uint32, optional, tag = "3")]
    heading_deg: Option<u32>,
    #[prost(uint32, tag = "4")]
    speed_dmps: u32,
    #[prost(uint32, tag = "5")]
    accuracy_m: u32,
    #[prost(int64, tag = "6")]
    t_ms: i64,
}

fn malformed(error: &prost::DecodeError) -> Malformed {
    Malformed(error.to_string())
}

pub(super) fn from_watcher(bytes: &[u8]) -> Result<FromWatcher, Malformed> {
    let message = FromMessage::decode(bytes).map_err(|error| malformed(&error))?.message;
    let message = message.ok_or_else(|| Malformed("a message without any member this protocol knows".into()))?;
    let wanted = |Wanted { topic, cursor, interval_ms }| Subscription { topic, cursor, interval_ms };
    Ok(match message {
        From::Auth(Auth { token }) => FromWatcher::Auth { token },
        From::Subscribe(Subscribe { topics }) => {
            FromWatcher::Subscribe { topics: topics.into_iter().map(wanted).collect() }
        }
        From::Unsubscribe(Unsubscribe { topics }) => FromWatcher::Unsubscribe { topics },
        From::Ping(Empty {}) => FromWatcher::Ping,
    })
}

/// Reads what one connection is told. It knows of each alias what a move starts from; of a topic that was subscribed from a cursor that is
/// current, [`Self::hold`] must say it.
#[derive(Debug, Default)]
pub struct WatchReader(BTreeMap<u32, Held>);

#[derive(Debug)]
struct Held {
    seq: u64,
    position: Option<Shown>,
}

impl WatchReader {
    /// Appends the frames of one message, moves as the deltas that they stand for.
    ///
    /// # Errors
    /// The bytes are no message of the protocol, or a move of something that never was anywhere.
    pub fn read(&mut self, bytes: &[u8], out: &mut Vec<ToWatcher>) -> Result<(), Malformed> {
        let ToMessage { frames, moves } = ToMessage::decode(bytes).map_err(|error| malformed(&error))?;
        for frame in frames.into_iter().filter_map(|frame| frame.frame) {
            out.push(self.frame(frame)?);
        }
        let mut numbers = moves.into_iter();
        while let Some(alias) = numbers.next() {
            out.push(self.step(alias, &mut numbers)?);
        }
        Ok(())
    }

    /// What is held already of the topic with this alias: the value of `position`.
    pub fn hold(&mut self, alias: u32, position: &Json) {
        if let Some(held) = self.0.get_mut(&alias) {
            held.position = shown_of(position);
        }
    }

    fn frame(&mut self, frame: One) -> Result<ToWatcher, Malformed> {
        let text = |cursor: Option<Cursor>| {
            let Cursor { epoch, seq } = cursor.unwrap_or_default();
            cursor::Cursor { epoch, seq }.to_string()
        };
        Ok(match frame {
            One::Welcome(Welcome { version, heartbeat_ms, max_topics, max_areas, expires_at_ms }) => {
                ToWatcher::Welcome { version, heartbeat_ms, max_topics, max_areas, expires_at_ms }
            }
            One::Subscribed(Subscribed { topic, alias, cursor }) => {
                self.0.insert(alias, Held { seq: cursor.unwrap_or_default().seq, position: None });
                ToWatcher::Subscribed { topic, alias, cursor: text(cursor) }
            }
            One::Snapshot(Snapshot { alias, cursor, state }) => {
                let state = json_object(state)?;
                let position = state.get(field::POSITION).and_then(shown_of);
                self.0.insert(alias, Held { seq: cursor.unwrap_or_default().seq, position });
                ToWatcher::Snapshot { alias, cursor: text(cursor), state }
            }
            One::Delta(Delta { alias, seq, patch }) => {
                let patch = json_object(patch)?;
                if let Some(held) = self.0.get_mut(&alias) {
                    held.seq = seq;
                    if let Some(position) = patch.get(field::POSITION) {
                        held.position = shown_of(position);
                    }
                }
                ToWatcher::Delta { alias, seq, patch }
            }
            One::Event(Event { alias, cursor, event }) => {
                ToWatcher::Event { alias, cursor: text(cursor), event: json(event)? }
            }
            One::Reset(Reset { alias, cursor }) => ToWatcher::Reset { alias, cursor: text(cursor) },
            One::Stale(Stale { alias }) => ToWatcher::Stale { alias },
            One::End(End { alias, state }) => {
                self.0.remove(&alias);
                ToWatcher::End { alias, state: json_object(state)? }
            }
            One::Unsubscribed(Unsubscribed { topic }) => ToWatcher::Unsubscribed { topic },
            One::Error(Error { code, message, retry, retry_after_ms, field, topic }) => {
                let code = serde_json::from_value(code.into()).map_err(|error| Malformed(error.to_string()))?;
                ToWatcher::Error(ErrorBody { code, message, retry, retry_after_ms, field, topic })
            }
            One::Heartbeat(Empty {}) => ToWatcher::Heartbeat,
            One::Pong(Empty {}) => ToWatcher::Pong,
            One::Bye(ByeMessage { code, reason, retry_after_ms }) => {
                ToWatcher::Bye(Bye { code: u16::try_from(code).unwrap_or(0), reason, retry_after_ms })
            }
        })
    }

    fn step(&mut self, alias: u32, numbers: &mut impl Iterator<Item = u32>) -> Result<ToWatcher, Malformed> {
        let lost =
            || Malformed(format!("a move of {alias} that starts from nowhere, ends nowhere or leaves the Earth"));
        let mut next = || numbers.next().map(u64::from).ok_or_else(lost);
        let held = self.0.get_mut(&alias).ok_or_else(lost)?;
        let from = held.position.ok_or_else(lost)?;
        let (head, later) = (next()?, next()?);
        let later_ms = if later & 1 == 1 { later >> 1 } else { (later >> 1) * 1000 };
        let add = |to: i64, difference: u64| to + unzigzag(difference);
        let lat_e6 = i32::try_from(add(from.lat_e6.into(), next()?)).map_err(|_| lost())?;
        let lon_e6 = i32::try_from(add(from.lon_e6.into(), next()?)).map_err(|_| lost())?;
        let mut shown = Shown { lat_e6, lon_e6, taken: from.taken + later_ms as i64, ..from };
        if head & TURNED != 0 {
            let turn = unzigzag(next()?);
            shown.heading_deg = from.heading_deg.map(|heading| (i64::from(heading) + turn).rem_euclid(360) as u16);
            shown.speed_dmps = u32::try_from(add(from.speed_dmps.into(), next()?)).map_err(|_| lost())?;
        }
        if head & ACCURACY != 0 {
            shown.accuracy_m = u32::try_from(add(from.accuracy_m.into(), next()?)).map_err(|_| lost())?;
        }
        // The next number, unless its low bits say that some are missing: then the replica sees the gap.
        let expected = held.seq.wrapping_add(1);
        let seq = expected.wrapping_add((head >> 2).wrapping_sub(expected) & SEQ_BITS);
        *held = Held { seq, position: Some(shown) };
        let mut patch = Map::new();
        patch.insert(field::POSITION.to_owned(), json_position(&shown)?);
        Ok(ToWatcher::Delta { alias, seq, patch: Json::Object(patch) })
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn json_object(object: Option<Object>) -> Result<Json, Malformed> {
    let members = object.unwrap_or_default().members;
    let members = members.into_iter().map(|Member { name, value }| Ok((name, json(value)?)));
    Ok(Json::Object(members.collect::<Result<Map<_, _>, _>>()?))
}

fn json(value: Option<Value>) -> Result<Json, Malformed> {
    let double = |number: f64| Number::from_f64(number).map_or(Json::Null, Json::Number);
    Ok(match value.and_then(|value| value.kind) {
        None => Json::Null,
        Some(Kind::Truth(truth)) => truth.into(),
        Some(Kind::Integer(integer)) => integer.into(),
        Some(Kind::Decimal(Decimal { mantissa, places })) if places <= 22 => {
            double(mantissa as f64 / 10_f64.powi(places as i32))
        }
        Some(Kind::Decimal(Decimal { places, .. })) => {
            return Err(Malformed(format!("a decimal with {places} places, at most 22 are")));
        }
        Some(Kind::Number(number)) => double(number),
        Some(Kind::Text(text)) => text.into(),
        Some(Kind::List(List { values })) => {
            Json::Array(values.into_iter().map(|value| json(Some(value))).collect::<Result<_, _>>()?)
        }
        Some(Kind::Object(object)) => json_object(Some(object))?,
        Some(Kind::Position(position)) => json_position(&Shown {
            lat_e6: position.lat_e6,
            lon_e6: position.lon_e6,
            heading_deg: position.heading_deg.map(|heading| u16::try_from(heading).unwrap_or(u16::MAX)),
            speed_dmps: position.speed_dmps,
            accuracy_m: position.accuracy_m,
            taken: Millis(position.t_ms),
        })?,
    })
}

/// By the text that a watcher of JSON gets, so that both hold the same to the bit.
fn json_position(shown: &Shown) -> Result<Json, Malformed> {
    let mut text = Vec::new();
    write_shown(&mut text, shown);
    serde_json::from_slice(&text).map_err(|error| Malformed(error.to_string()))
}

fn shown_of(position: &Json) -> Option<Shown> {
    let fixed = |name: &str, scale: f64| position[name].as_f64().map(|value| (value * scale).round());
    Some(Shown {
        lat_e6: fixed("lat", 1e6)? as i32,
        lon_e6: fixed("lon", 1e6)? as i32,
        heading_deg: position["heading_deg"].as_u64().and_then(|heading| u16::try_from(heading).ok()),
        speed_dmps: fixed("speed_mps", 10.0)? as u32,
        accuracy_m: fixed("accuracy_m", 1.0)? as u32,
        taken: Millis(position["t_ms"].as_i64()?),
    })
}
