//! All that is held of a driver, as lines of JSON, read piece by piece: an export of years takes no more memory than one of a day.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::sync::mpsc;
use wayfare_bus::LogStart;
use wayfare_wire::{Topic, ids, kept};

use crate::House;
use crate::records::track::{self, Point};
use crate::records::{Driver, Trip, device_key, trip};

/// Lines that wait for a slow reader; then reading waits too.
const QUEUE: usize = 16;

/// Rows read at once.
const PAGE: i64 = 100;

/// Records of the fix log, and events, read at once.
const RECORDS: usize = 64;

/// Points of one line.
const POINTS: usize = 256;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The body of the answer. It ends with a line `{"class":"end"}`; one without it is not whole.
pub struct Lines(mpsc::Receiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Begins an export.
pub fn of_driver(house: Arc<House>, driver: Driver) -> Lines {
    let (sender, lines) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut out = Out { sender, lines: 0 };
        if let Err(error) = write(&house, &driver, &mut out).await {
            // Whoever reads sees that the last line is missing.
            tracing::warn!(%error, "an export did not come to its end");
        }
    });
    Lines(lines)
}

struct Out {
    sender: mpsc::Sender<Bytes>,
    lines: u64,
}

impl Out {
    async fn line(&mut self, class: &str, data: Value) -> Result<(), Failure> {
        let mut line = json!({ "class": class, "data": data }).to_string();
        line.push('\n');
        self.lines += 1;
        Ok(self.sender.send(line.into()).await?)
    }
}

async fn write(house: &House, driver: &Driver, out: &mut Out) -> Result<(), Failure> {
    let id = driver.id.to_string();
    out.line("profile", serde_json::to_value(driver)?).await?;
    if let Some(topic) = house.bus.topics.read(&Topic::Driver(driver.id).to_string()).await? {
        let members = topic.members.iter().filter_map(|(name, value)| Some((name.to_string(), value_of(value)?)));
        out.line("state", Value::Object(members.collect())).await?;
    }
    for key in device_key::of_driver(&house.db, &id).await? {
        out.line("device_key", serde_json::to_value(&key)?).await?;
    }
    tokens(house, &id, out).await?;
    parts(house, &id, out).await?;
    answers(house, driver.id, out).await?;
    tracks(house, &id, out).await?;
    quarantined(house, &id, out).await?;
    arrivals(house, &id, out).await?;
    fixes(house, driver.id, out).await?;
    fence_events(house, &id, out).await?;
    let lines = out.lines;
    out.line("end", json!({ "lines": lines })).await
}

async fn tokens(house: &House, driver: &str, out: &mut Out) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let rows = sqlx::query(
            "SELECT id, issued_s, expires_s, revoked_s FROM token WHERE sub = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(driver)
        .bind(&after)
        .bind(PAGE)
        .fetch_all(house.db.read())
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.get("id");
        for row in &rows {
            let revoked = row.get::<Option<i64>, _>("revoked_s").is_some();
            let times = (row.get::<i64, _>("issued_s"), row.get::<i64, _>("expires_s"));
            let id: String = row.get("id");
            out.line("token", json!({ "id": id, "issued_s": times.0, "expires_s": times.1, "revoked": revoked }))
                .await?;
        }
    }
}

/// Trips the driver had, as far as they are about the driver: the customer is somebody else.
async fn parts(house: &House, driver: &str, out: &mut Out) -> Result<(), Failure> {
    let (mut after_trip, mut after) = (String::new(), 0_i64);
    loop {
        let rows = sqlx::query(
            "SELECT trip, assignment, from_ms, until_ms FROM assignment
             WHERE driver = $1 AND (trip, assignment) > ($2, $3) ORDER BY trip, assignment LIMIT $4",
        )
        .bind(driver)
        .bind(&after_trip)
        .bind(after)
        .bind(PAGE)
        .fetch_all(house.db.read())
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        (after_trip, after) = (last.get("trip"), last.get("assignment"));
        for row in &rows {
            let id: String = row.get("trip");
            let record = trip::by_id(&house.db, &id).await?;
            let places = record.as_ref().map(|trip| json!({ "pickup": trip.pickup, "dropoff": trip.dropoff }));
            out.line(
                "trip",
                json!({
                    "trip": id, "assignment": row.get::<i64, _>("assignment"), "from_ms": row.get::<i64, _>("from_ms"),
                    "until_ms": row.get::<Option<i64>, _>("until_ms"), "phase": record.as_ref().map(|trip| &trip.phase), "places": places,
                }),
            )
            .await?;
        }
    }
}

/// What the driver was offered and answered, also of trips that went to somebody else, and what it said of trips by hand. Of each trip the last
/// offer is held.
async fn answers(house: &House, driver: ids::Driver, out: &mut Out) -> Result<(), Failure> {
    let (id, mut after) = (driver.to_string(), String::new());
    loop {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT id, doc FROM trip WHERE doc LIKE '%' || $1 || '%' AND id > $2 ORDER BY id LIMIT $3")
                .bind(&id)
                .bind(&after)
                .bind(PAGE)
                .fetch_all(house.db.read())
                .await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after.clone_from(last);
        for (_, doc) in &rows {
            let trip: Trip = serde_json::from_str(doc)?;
            let places = || json!({ "pickup": trip.pickup, "dropoff": trip.dropoff });
            if let Some(offer) = trip.offer.as_ref().filter(|offer| offer.driver == driver) {
                out.line("offer", json!({ "trip": trip.id.to_string(), "offer": offer, "places": places() })).await?;
            }
            for word in trip.manual.iter().filter(|word| word.by == id) {
                out.line("said", json!({ "trip": trip.id.to_string(), "said": word })).await?;
            }
        }
    }
}

async fn tracks(house: &House, driver: &str, out: &mut Out) -> Result<(), Failure> {
    let mut after = (String::new(), i64::MIN);
    loop {
        let rows = track::chunks_of_driver(&house.db, driver, (&after.0, after.1), PAGE).await?;
        let Some((trip, number, _)) = rows.last() else { return Ok(()) };
        after = (trip.clone(), *number);
        for (trip, _, points) in &rows {
            for points in points.chunks(POINTS) {
                let points: Vec<Value> = points.iter().map(point).collect();
                out.line("track", json!({ "trip": trip, "points": points })).await?;
            }
        }
    }
}

fn point(point: &Point) -> Value {
    json!({
        "t_ms": point.at_ms, "lat": point.lat(), "lon": point.lon(), "accuracy_m": point.accuracy_m(), "speed_mps": point.speed_mps(),
        "heading_deg": point.heading_deg(), "altitude_m": point.altitude_m(), "late": point.late, "mock": point.mock,
    })
}

/// What was not kept of the driver's phones.
async fn quarantined(house: &House, driver: &str, out: &mut Out) -> Result<(), Failure> {
    let mut after = i64::MIN;
    loop {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, doc FROM quarantine WHERE driver = $1 AND id > $2 ORDER BY id LIMIT $3")
                .bind(driver)
                .bind(after)
                .bind(PAGE)
                .fetch_all(house.db.read())
                .await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after = *last;
        for (_, doc) in &rows {
            out.line("quarantine", serde_json::from_str(doc)?).await?;
        }
    }
}

/// How well the driver's arrivals were foreseen.
async fn arrivals(house: &House, driver: &str, out: &mut Out) -> Result<(), Failure> {
    let mut after = (String::new(), i64::MIN);
    loop {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT trip, assignment, doc FROM arrival WHERE doc LIKE '%' || $1 || '%' AND (trip, assignment) > ($2, $3)
             ORDER BY trip, assignment LIMIT $4",
        )
        .bind(driver)
        .bind(&after.0)
        .bind(after.1)
        .bind(PAGE)
        .fetch_all(house.db.read())
        .await?;
        let Some((trip, assignment, _)) = rows.last() else { return Ok(()) };
        after = (trip.clone(), *assignment);
        for (.., doc) in &rows {
            out.line("arrival", serde_json::from_str(doc)?).await?;
        }
    }
}

/// What was acked lately and stands in the fix log.
async fn fixes(house: &House, driver: ids::Driver, out: &mut Out) -> Result<(), Failure> {
    let log = &house.bus.fixes;
    let (partition, mut after) = (log.partition_of(driver.0), 0);
    loop {
        let page = log.read(partition, after, RECORDS).await?;
        if page.records.is_empty() {
            return Ok(());
        }
        after = page.next;
        let entries = page.records.into_iter().filter_map(|record| record.entries.ok()).flatten();
        for entry in entries.filter(|entry| entry.driver == driver.0) {
            let Some(message) = kept::read(entry.bytes) else { continue };
            let fixes: Vec<Value> = message.fixes.iter().map(|fix| point(&Point::of(fix))).collect();
            out.line("fixes", json!({ "received_ms": message.received.0, "fixes": fixes })).await?;
        }
    }
}

async fn fence_events(house: &House, driver: &str, out: &mut Out) -> Result<(), Failure> {
    let topic = Topic::Fences.to_string();
    let mut start = LogStart::Oldest;
    loop {
        let page = house.bus.logs.read(&topic, start, RECORDS).await?;
        if page.reset {
            return Err("events went past their age while they were read; export again".into());
        }
        for event in &page.events {
            let own = value_of(&event.payload).filter(|event| event["driver"] == driver);
            if let Some(event) = own {
                out.line("fence_event", event).await?;
            }
        }
        if !page.more {
            return Ok(());
        }
        start = LogStart::After { generation: page.generation, id: page.next };
    }
}

fn value_of(json: &[u8]) -> Option<Value> {
    serde_json::from_slice(json).ok()
}
