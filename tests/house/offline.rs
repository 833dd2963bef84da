//! Days without a network: what comes hours later, in any order and more than once, becomes the history as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drive::{self, Outbox};
use crate::harness::{House, SOON, now_ms, until, within};
use crate::phones::{App, Measured, Phone};
use crate::quic_app::{QUIC, QuicApp};
use crate::rest::{Answer, Driver, Trip};
use crate::ride::{DROPOFF, PICKUP};
use crate::watch::{Memory, Watcher};

const FAST: [(&str, &str); 2] = [("INGEST_MESSAGES_PER_SECOND", "5000"), ("INGEST_MESSAGES_BURST", "5000")];

/// Metres in a degree of latitude.
const DEGREE_M: f64 = 111_195.0;

/// A bicycle counts as there within this many metres, and as gone beyond this many with 5 m of accuracy.
const THERE_M: f64 = 50.0;
const GONE_M: f64 = 70.0;

/// An hour of a courier's day, a fix a second, as metres north of the kitchen: some errands in the south, a wait at the kitchen, the way to
/// the customer, a wait at the door.
fn day() -> Vec<f64> {
    let door_m = (DROPOFF.0 - PICKUP.0) * DEGREE_M;
    let errands = (0..900).map(|second| -300.0 - 3.0 * f64::from((second % 200 - 100_i32).abs()));
    let ride = |from_m: f64, to_m: f64| {
        (0..((to_m - from_m) / 6.0) as i32).map(move |second| from_m + 6.0 * f64::from(second))
    };
    let wait = |at_m: f64| std::iter::repeat_n(at_m, 90);
    errands.chain(ride(-600.0, 0.0)).chain(wait(0.0)).chain(ride(0.0, door_m)).chain(wait(door_m)).collect()
}

/// What a phone measured on that day.
fn measured(start_ms: i64) -> Vec<Measured> {
    let day = day();
    let one = |(second, north_m): (usize, &f64)| Measured {
        record: second as u64,
        lat: json!(((PICKUP.0 + north_m / DEGREE_M) * 1e7).round() / 1e7),
        lon: json!(PICKUP.1),
        t_ms: start_ms + second as i64 * 1000,
        speed_mps: 4.0,
        accuracy_m: 5.0,
        heading_deg: 0.0,
    };
    day.iter().enumerate().map(one).collect()
}

fn native(one: &Measured) -> Value {
    json!({ "lat": one.lat, "lon": one.lon, "t_ms": one.t_ms, "accuracy_m": 5, "speed_mps": 4, "heading_deg": 0 })
}

/// Two thirds of a day, the newest first; another third is missing in each `part`.
fn queue(day: &[Measured], part: usize) -> Vec<Measured> {
    let mut queue: Vec<Measured> =
        day.iter().enumerate().filter(|(place, _)| place % 3 != part).map(|(_, one)| one.clone()).collect();
    queue.reverse();
    queue
}

/// An existing app empties its queue, however often the line breaks.
async fn by_app(mut phone: Phone) {
    phone.lose_every = 7;
    while !phone.queue.is_empty() {
        if !phone.step().await {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

async fn by_websocket(port: u16, driver: Driver, queue: Vec<Measured>) {
    let mut pieces: Vec<Vec<Value>> = queue.chunks(60).map(|piece| piece.iter().map(native).collect()).collect();
    pieces.reverse();
    let mut outbox = Outbox::new("0ff1");
    while !(pieces.is_empty() && outbox.unacked.is_empty()) {
        let Ok(mut app) = drive::App::reach(port, &driver, outbox.clone()).await else {
            tokio::time::sleep(Duration::from_millis(30)).await;
            continue;
        };
        loop {
            if app.outbox.unacked.is_empty() {
                let Some(piece) = pieces.pop() else { break };
                app.send(piece).await;
            }
            if app.step().await.is_none() {
                break;
            }
        }
        outbox = app.outbox;
    }
}

async fn by_quic((port, fingerprint): (u16, String), driver: Driver, queue: Vec<Measured>) {
    let mut pieces: Vec<Vec<Value>> = queue.chunks(60).map(|piece| piece.iter().map(native).collect()).collect();
    pieces.reverse();
    let mut outbox = Outbox::new("0ff2");
    while !(pieces.is_empty() && outbox.unacked.is_empty()) {
        let reaching = QuicApp::reach(port, &fingerprint, &driver, outbox.clone());
        let Ok(Ok(mut app)) = tokio::time::timeout(Duration::from_millis(500), reaching).await else { continue };
        loop {
            if app.outbox.unacked.is_empty() {
                let Some(piece) = pieces.pop() else { break };
                app.send(piece).await;
            }
            match tokio::time::timeout(Duration::from_millis(300), app.step()).await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // A house that has come back says that it does not know us.
                Err(_) => app.control(br#"{"type":"ping"}"#).await,
            }
        }
        outbox = app.outbox;
    }
}

/// Posts without a number, so that only time and place tell what is known.
async fn by_post(http: reqwest::Client, url: String, driver: Driver, queue: Vec<Measured>) {
    for (place, piece) in queue.chunks(90).enumerate() {
        let body = json!({ "fixes": piece.iter().map(native).collect::<Vec<_>>() });
        // Every third goes out twice.
        for _ in 0..if place % 3 == 0 { 2 } else { 1 } {
            loop {
                let request = http.post(&url).bearer_auth(&driver.token).json(&body).timeout(SOON);
                match request.send().await {
                    Ok(response) if response.status() == 200 => break,
                    _ => tokio::time::sleep(Duration::from_millis(30)).await,
                }
            }
        }
    }
}

/// Time and place of every row of a track.
async fn track(house: &House, trip: &Trip) -> Vec<(i64, i64)> {
    let path = format!("/v1/trips/{}/track?format=csv&limit=20000", trip.id);
    let answer: Answer = house.call("GET", &path, Some(&house.key), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[0].parse().unwrap(), (cells[1].parse::<f64>().unwrap() * 1e7).round() as i64)
    };
    answer.text.lines().skip(1).map(row).collect()
}

impl House {
    /// A trip that a driver has had for a while.
    async fn trip_since(&self, driver: &Driver, store: &str, since_ms: i64) -> Trip {
        let place = |(lat, lon): (f64, f64)| json!({ "lat": lat, "lon": lon, "name": "x" });
        let body = json!({
            "customer": "cus", "driver": driver.id, "driver_since_ms": since_ms, "store": store,
            "pickup": place(PICKUP), "dropoff": place(DROPOFF),
        });
        let id = self.post("/v1/trips", body).await["id"].as_str().unwrap().to_owned();
        self.knows_driver(&driver.id, |state| state["trips"].to_string().contains(&id)).await;
        Trip { topic: format!("trip:{id}"), ops: format!("trip:{id}:ops"), id }
    }
}

/// The watcher's position of a trip, which may never become older.
fn check_forward(memory: &Memory, trips: &[Trip], newest: &mut BTreeMap<String, i64>) {
    for trip in trips {
        for topic in [&trip.topic, &trip.ops] {
            let Some(t_ms) = memory.state(topic)["position"]["t_ms"].as_i64() else { continue };
            let known = newest.entry(topic.clone()).or_insert(t_ms);
            assert!(t_ms >= *known, "{topic}: the marker went back from {known} to {t_ms}");
            *known = t_ms;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_told_late_in_every_way_at_once_is_the_day_as_it_was() {
    let mut house = House::start_with(&[QUIC.as_slice(), FAST.as_slice()].concat()).await;
    let store = house.store("Kitchen").await;
    let start_ms = (now_ms() - 6_000_000) / 1000 * 1000;
    let days: [&[App]; 5] = [
        &[App::Osmand],
        &[App::OwnTracks],
        &[App::BatchNewestFirst],
        &[App::Overland],
        &[App::TraccarQuery, App::TraccarArray],
    ];
    let (mut drivers, mut trips, mut phones) = (Vec::new(), Vec::new(), Vec::new());
    for (place, apps) in days.iter().enumerate() {
        // Each courier's day at other moments.
        let day = measured(start_ms + place as i64 * 7_000);
        let driver = house.driver(&format!("{apps:?}")).await;
        trips.push(house.trip_since(&driver, &store, day[0].t_ms - 30_000).await);
        for (part, app) in apps.iter().enumerate() {
            let (url, _) = house.address(&driver, json!({})).await;
            phones.push(tokio::spawn(by_app(Phone::new(&house, *app, url, queue(&day, part)))));
        }
        let rest = queue(&day, 1);
        match place {
            0 | 3 => phones.push(tokio::spawn(by_websocket(house.port, driver.clone(), rest))),
            1 => {
                phones.push(tokio::spawn(by_quic((house.quic_port, house.fingerprint.clone()), driver.clone(), rest)));
            }
            2 => {
                phones.push(tokio::spawn(by_post(house.http.clone(), house.url("/v1/fixes"), driver.clone(), rest)));
            }
            _ => {}
        }
        drivers.push((driver, day));
    }
    let mut newest = BTreeMap::new();
    let topics: Vec<&str> = trips.iter().flat_map(|trip| [&*trip.topic, &*trip.ops]).collect();
    let mut memory = Memory::new(&house);
    for fall in 0..3 {
        let mut watcher = Watcher::resume(&house, &house.key, memory).await.unwrap();
        watcher.subscribe(&topics).await;
        let enough = tokio::time::Instant::now() + Duration::from_millis(900 + 400 * fall);
        while let Ok(Some(_)) = tokio::time::timeout_at(enough, watcher.step()).await {
            check_forward(&watcher.memory, &trips, &mut newest);
        }
        assert!(phones.iter().any(|phone| !phone.is_finished()), "the house falls while they send");
        memory = watcher.memory;
        house.kill9();
        house.restart().await;
    }
    let mut watcher = Watcher::resume(&house, &house.key, memory).await.unwrap();
    watcher.subscribe(&topics).await;
    for phone in phones {
        within(6 * SOON, "the queues drain", phone).await.unwrap();
    }
    let all_there = |memory: &Memory| trips.iter().all(|trip| memory.phase(&trip.ops) == "arrived");
    within(4 * SOON, "every courier is at the door", async {
        while !all_there(&watcher.memory) {
            watcher.step().await.expect("the house stays");
            check_forward(&watcher.memory, &trips, &mut newest);
        }
    })
    .await;

    for ((_, day), trip) in drivers.iter().zip(&trips) {
        let lat_e7 = |one: &Measured| (one.lat.as_f64().unwrap() * 1e7).round() as i64;
        let truth: Vec<(i64, i64)> = day.iter().map(|one| (one.t_ms, lat_e7(one))).collect();
        until(SOON, "the whole track", async || (track(&house, trip).await.len() >= truth.len()).then_some(())).await;
        let told = track(&house, trip).await;
        assert_eq!(told.len(), truth.len(), "each fix once");
        assert_eq!(told, truth);
    }

    // What the store heard: each arrival and departure once, with the time of its own fix.
    let mut hearing = Watcher::open(&house, &house.key).await;
    let log = format!("store:{store}");
    hearing.say(json!({ "type": "subscribe", "topics": [{ "topic": log, "cursor": "start" }] })).await;
    let heard = |memory: &Memory, trip: &Trip| -> Vec<(String, i64)> {
        let events = memory.events.get(&log).into_iter().flatten();
        let of_trip = events.filter(|event| event["trip"] == *trip.id && event["phase"] != "arriving");
        of_trip.map(|event| (event["phase"].as_str().unwrap().to_owned(), event["at_ms"].as_i64().unwrap())).collect()
    };
    let enough =
        |memory: &Memory| trips.iter().all(|trip| heard(memory, trip).iter().any(|(phase, _)| phase == "arrived"));
    hearing.until("all arrivals", enough).await;
    let door_m = (DROPOFF.0 - PICKUP.0) * DEGREE_M;
    for ((_, day), trip) in drivers.iter().zip(&trips) {
        let metres = self::day();
        let after = |place: usize, there: &dyn Fn(f64) -> bool| {
            place + metres[place..].iter().position(|north_m| there(*north_m)).unwrap()
        };
        let at_pickup = after(0, &|north_m| north_m.abs() <= THERE_M);
        let left = after(at_pickup, &|north_m| north_m > GONE_M);
        let arrived = after(left, &|north_m| (door_m - north_m).abs() <= THERE_M);
        let expected = [("to_pickup", 0), ("at_pickup", at_pickup), ("to_dropoff", left), ("arrived", arrived)]
            .map(|(phase, place)| (phase.to_owned(), day[place].t_ms));
        assert_eq!(heard(&hearing.memory, trip)[1..], expected);
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_former_driver_sends_late_belongs_to_the_trip_it_had() {
    let house = House::start_with(&FAST).await;
    let store = house.store("Kitchen").await;
    let (ana, bob) = (house.driver("Ana").await, house.driver("Bob").await);
    let start_ms = (now_ms() - 3_000_000) / 1000 * 1000;
    let day = measured(start_ms);
    let trip = house.trip_since(&ana, &store, start_ms).await;
    // Given away after ten minutes; Ana's phone has told nothing yet.
    let handed_ms = start_ms + 600_000;
    let path = format!("/v1/trips/{}/assign", trip.id);
    for (since_ms, wrong) in [(start_ms - 1, true), (now_ms() + 60_000, true), (handed_ms, false)] {
        let body = json!({ "driver": bob.id, "driver_since_ms": since_ms });
        let answer = house.call("POST", &path, Some(&house.key), Some(&body)).await;
        assert_eq!(answer.status, if wrong { 422 } else { 200 }, "{}", answer.text);
    }
    house.knows_driver(&bob.id, |state| state["trips"].to_string().contains(&trip.id)).await;
    let moment = |place: usize, north_m: f64| json!({ "lat": PICKUP.0 - north_m / DEGREE_M, "lon": PICKUP.1, "t_ms": day[place].t_ms, "accuracy_m": 5 });
    // Both tell of the whole time; each counts while it had the trip.
    let of_bob: Vec<Value> = (500..700).rev().map(|place| moment(place, 200.0)).collect();
    let of_ana: Vec<Value> = (500..700).rev().map(|place| moment(place, 100.0)).collect();
    for piece in of_bob.chunks(100) {
        house.post_fixes(&bob, piece).await;
    }
    for piece in of_ana.chunks(100) {
        house.post_fixes(&ana, piece).await;
    }
    let told = until(SOON, "the whole track", async || {
        let told = track(&house, &trip).await;
        (told.len() >= 201).then_some(told)
    })
    .await;
    let lat_e7 = |north_m: f64| ((PICKUP.0 - north_m / DEGREE_M) * 1e7).round() as i64;
    let mut expected: Vec<(i64, i64)> = (500..=600).map(|place| (day[place].t_ms, lat_e7(100.0))).collect();
    expected.extend((600..700).map(|place| (day[place].t_ms, lat_e7(200.0))));
    expected.sort_unstable();
    let mut told = told;
    told.sort_unstable();
    assert_eq!(told, expected);
    house.assert_clean_log();
}
