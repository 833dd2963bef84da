//! Existing phone apps, emulated with their queues and their way of trying again.
//!
//! Each keeps what it has until it hears what it wants to hear, oldest first, and a refused record holds back all that are behind it.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::harness::{House, SOON};
use crate::rest::Answer;

/// A queue that has not drained after this many requests never will.
const REQUESTS_MAX: usize = 2_000;

/// What a phone has measured, or what went wrong with it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The phone's own number for it.
    pub record: u64,
    pub lat: Value,
    pub lon: Value,
    pub t_ms: i64,
    pub speed_mps: f64,
    pub accuracy_m: f64,
    pub heading_deg: f64,
}

/// An app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Traccar Client for Android up to 8: one POST with a query each, strictly in order.
    TraccarQuery,
    /// Traccar Client 10, one form each.
    TraccarForm,
    /// Traccar Client 10 with JSON: bare arrays.
    TraccarArray,
    /// Traccar Client 9: an object each.
    TraccarObject,
    /// The OsmAnd app: a GET each, of our template.
    Osmand,
    /// OwnTracks: a POST each, and an answer that is a list.
    OwnTracks,
    /// background-geolocation, one record each.
    Single,
    /// The same, the whole queue in one request.
    Batch,
    /// The same, the newest first.
    BatchNewestFirst,
    /// Overland: batches, and exactly one answer that counts.
    Overland,
}

impl App {
    pub const ALL: [Self; 10] = [
        Self::TraccarQuery,
        Self::TraccarForm,
        Self::TraccarArray,
        Self::TraccarObject,
        Self::Osmand,
        Self::OwnTracks,
        Self::Single,
        Self::Batch,
        Self::BatchNewestFirst,
        Self::Overland,
    ];

    /// Records in one request.
    fn batch(self) -> usize {
        match self {
            Self::TraccarArray => 50,
            Self::Batch | Self::BatchNewestFirst => usize::MAX,
            Self::Overland => 40,
            _ => 1,
        }
    }

    /// How often it is slower than the truth in what it can say: whole km/h cannot tell more.
    pub fn speed_error_mps(self) -> f64 {
        if self == Self::OwnTracks { 0.3 } else { 0.01 }
    }
}

/// A phone with its queue.
pub struct Phone {
    pub app: App,
    pub url: String,
    http: reqwest::Client,
    pub queue: VecDeque<Measured>,
    /// Answers that never arrive: every so many.
    pub lose_every: usize,
    pub requests: usize,
    /// What the server asked of it.
    pub asked: Vec<Value>,
}

impl Phone {
    pub fn new(house: &House, app: App, url: String, queue: impl IntoIterator<Item = Measured>) -> Self {
        let (http, queue) = (house.http.clone(), queue.into_iter().collect());
        Self { app, url, http, queue, lose_every: usize::MAX, requests: 0, asked: Vec::new() }
    }

    /// Sends until nothing is left.
    pub async fn drain(&mut self) {
        while !self.queue.is_empty() {
            assert!(self.step().await, "{:?}: the line holds", self.app);
            let left = self.queue.len();
            assert!(self.requests < REQUESTS_MAX, "{:?}: {left} left after {} requests", self.app, self.requests);
        }
    }

    /// One request, and what the app makes of the answer. False if there was none.
    pub async fn step(&mut self) -> bool {
        let count = self.app.batch().min(self.queue.len());
        self.requests += 1;
        let Ok(response) = self.request(count).timeout(SOON).send().await else { return false };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let Ok(text) = response.text().await else { return false };
        if self.requests.is_multiple_of(self.lose_every) {
            return true; // the line broke: as far as the app knows, nothing arrived
        }
        if self.is_delivered(&Answer { status, headers, text }) {
            self.queue.drain(..count);
        }
        true
    }

    fn is_delivered(&mut self, answer: &Answer) -> bool {
        let good = (200..300).contains(&answer.status);
        match self.app {
            App::OwnTracks => {
                let list = serde_json::from_str::<Vec<Value>>(&answer.text);
                assert!(!good || list.is_ok(), "not a list: {:?}", answer.text);
                good
            }
            App::Overland => {
                let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
                self.asked.extend(body.get("set").cloned());
                good && body["result"] == "ok"
            }
            App::Single | App::Batch | App::BatchNewestFirst => {
                if good && !answer.text.is_empty() {
                    let commands = answer.json()["background_geolocation"].clone();
                    self.asked.extend(commands.as_array().into_iter().flatten().cloned());
                }
                good
            }
            App::TraccarQuery | App::TraccarForm | App::TraccarArray | App::TraccarObject | App::Osmand => {
                assert!(!good || answer.text.is_empty(), "taken for a command: {:?}", answer.text);
                good
            }
        }
    }

    fn request(&self, count: usize) -> reqwest::RequestBuilder {
        let records: Vec<&Measured> = self.queue.iter().take(count).collect();
        let first = records[0];
        let (url, post) = (self.url.clone(), || self.http.post(&self.url));
        match self.app {
            App::TraccarQuery => self.http.post(format!("{url}/?{}", traccar(first))),
            App::TraccarForm => post()
                .header("content-type", "application/x-www-form-urlencoded")
                .body(traccar(first)),
            App::TraccarArray => post().json(&records.iter().map(|record| traccar_flat(record)).collect::<Vec<_>>()),
            App::TraccarObject => post().json(&json!({
                "device_id": "1", "location": without_uuid(record(first)),
            })),
            App::Osmand => self.http.get(format!(
                "{url}?app=osmand&lat={}&lon={}&timestamp={}&hdop={}&altitude=90.0&speed={}&bearing={}&eta=0",
                text(&first.lat), text(&first.lon), first.t_ms, first.accuracy_m, first.speed_mps, first.heading_deg,
            )),
            App::OwnTracks => post().header("x-limit-u", "jane").header("x-limit-d", "phone").json(&json!({
                "_type": "location", "_id": format!("{:08x}", first.record), "tid": "jp", "lat": first.lat, "lon": first.lon,
                "tst": first.t_ms / 1000, "acc": first.accuracy_m, "vel": (first.speed_mps * 3.6).floor(), "cog": first.heading_deg,
                "batt": 55, "bs": 1, "t": "u", "m": 2, "conn": "m", "created_at": first.t_ms / 1000 + 5,
            })),
            App::Single => post().json(&json!({ "location": record(first), "company": "merged by params" })),
            App::Batch => post().json(&json!({ "location": records.iter().map(|one| record(one)).collect::<Vec<_>>() })),
            App::BatchNewestFirst => {
                post().json(&json!({ "my_root": records.iter().rev().map(|one| record(one)).collect::<Vec<_>>() }))
            }
            App::Overland => {
                let mut body = json!({ "locations": records.iter().map(|one| feature(one)).collect::<Vec<_>>() });
                if self.queue.len() > 2 * count {
                    body["current"] = feature(self.queue.back().unwrap());
                }
                post().json(&body)
            }
        }
    }
}

/// As the app would write it, whatever it is.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn traccar(one: &Measured) -> String {
    format!(
        "id=123456&timestamp={}&lat={}&lon={}&speed={}&bearing={}&altitude=90.0&accuracy={}&batt=87.0",
        one.t_ms / 1000,
        text(&one.lat),
        text(&one.lon),
        one.speed_mps * 1.943_844,
        one.heading_deg,
        one.accuracy_m
    )
}

fn traccar_flat(one: &Measured) -> Value {
    json!({
        "id": "123456", "timestamp": one.t_ms / 1000, "lat": one.lat, "lon": one.lon, "speed": one.speed_mps * 1.943_844,
        "bearing": one.heading_deg, "altitude": 90.0, "accuracy": one.accuracy_m, "batt": 87,
    })
}

fn record(one: &Measured) -> Value {
    json!({
        "uuid": format!("a8a08b9e-0fa5-4c01-9f4c-{:012x}", one.record), "timestamp": iso(one.t_ms), "recorded_at": iso(one.t_ms + 90_000),
        "coords": {
            "latitude": one.lat, "longitude": one.lon, "accuracy": one.accuracy_m, "speed": one.speed_mps, "speed_accuracy": -1,
            "heading": one.heading_deg, "heading_accuracy": -1, "altitude": 90.0, "altitude_accuracy": -1,
        },
        "is_moving": true, "odometer": 120.5, "event": "motionchange", "activity": { "type": "on_bicycle", "confidence": 90 },
        "battery": { "level": 0.87, "is_charging": false }, "extras": {},
    })
}

fn without_uuid(mut record: Value) -> Value {
    record.as_object_mut().unwrap().remove("uuid");
    record
}

fn feature(one: &Measured) -> Value {
    json!({
        "type": "Feature", "geometry": { "type": "Point", "coordinates": [one.lon, one.lat] },
        "properties": {
            "timestamp": iso(one.t_ms), "altitude": 90, "speed": one.speed_mps, "course": one.heading_deg,
            "horizontal_accuracy": one.accuracy_m, "vertical_accuracy": -1, "motion": ["cycling"], "battery_state": "unplugged",
            "battery_level": 0.87, "device_id": "someone else", "wifi": "",
        },
    })
}

/// ISO 8601 with an offset, as a phone in another zone writes it.
fn iso(t_ms: i64) -> String {
    let (days, ms) = (t_ms.div_euclid(86_400_000), t_ms.rem_euclid(86_400_000));
    let (mut year, mut day) = (1970, days);
    let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let lengths = [31, length(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", month + 1, day + 1, ms % 1000)
}
