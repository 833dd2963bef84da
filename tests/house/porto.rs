//! Real taxi trips, watched by whoever comes: late ones, those who are cut and come back, those who want less, in both codecs. All hold what the
//! publisher holds, to the bit: at every number ([`crate::replica`] compares), and at the end.
//!
//! `WAYFARE_DATA` names the folder of `porto-taxi-trips.csv` (default `../shared/data`); without it the trips are made up, and the test says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use wayfare_wire::codec::Codec;

use crate::drive::{App, Outbox};
use crate::foresight::FORESEEING;
use crate::harness::{House, SOON, fault_rounds, now_ms, within};
use crate::rest::Driver;
use crate::watch::{EventSource, Memory, Poller, Watcher};

/// A point of a trip: seconds, latitude, longitude.
type Point = (i64, f64, f64);

/// Trips of some minutes, each with its points 15 s apart.
fn trips(count: usize) -> Vec<Vec<Point>> {
    let folder = std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join("porto-taxi-trips.csv")) else {
        eprintln!("there is no porto-taxi-trips.csv: made-up trips are driven");
        let made_up = |trip: usize| {
            let mut dice = fastrand::Rng::with_seed(trip as u64);
            let (mut lat, mut lon) = (41.15, -8.61);
            let step = |at: i64| {
                (lat, lon) = (lat + (dice.f64() - 0.3) * 0.0015, lon + (dice.f64() - 0.4) * 0.0015);
                (at * 15, lat, lon)
            };
            (0..50).map(step).collect()
        };
        return (0..count).map(made_up).collect();
    };
    let mut trips: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        trips.entry(cells[0]).or_default().push((
            cells[1].parse().unwrap(),
            cells[2].parse().unwrap(),
            cells[3].parse().unwrap(),
        ));
    }
    let long = trips.into_values().filter(|points| (40..90).contains(&points.len()));
    long.step_by(7).take(count).collect()
}

/// A watcher of one kind, until it is told to stop; then until it stands where the publisher does.
fn watch(house: &Arc<House>, topic: &str, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<Memory> {
    let (house, topic, stop) = (Arc::clone(house), topic.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let (topics, mut dice) = ([&*topic], fastrand::Rng::with_seed(seed));
        let mut memory = Memory::new(&house);
        let kind = seed % 6;
        // The first two are there from the beginning, the others come when they come.
        if kind >= 2 {
            tokio::time::sleep(Duration::from_millis(dice.u64(0..1500))).await;
        }
        let interval_ms = if matches!(kind, 3 | 4) { dice.u64(50..600) } else { 0 };
        let mut last_id = None;
        loop {
            // Who is cut lives shortly, again and again, and comes back in whatever codec.
            let cut = matches!(kind, 2 | 4 | 5);
            let lasts = Duration::from_millis(if cut { dice.u64(30..500) } else { 3_600_000 });
            let is_over = || stop.load(Ordering::Relaxed);
            let until_stopped = async {
                while !is_over() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            if kind == 5 {
                let stream = EventSource::resume(&house, &house.key, &topics, memory, last_id.take()).await;
                let mut stream = stream.unwrap_or_else(|refused| panic!("{} {}", refused.status, refused.text));
                tokio::select! {
                    () = async { while stream.step().await.is_some() {} } => {}
                    () = tokio::time::sleep(lasts) => {}
                    () = until_stopped => {}
                }
                (memory, last_id) = (stream.memory, stream.last_id);
            } else {
                let codec = Codec::ALL[if kind < 2 { kind as usize } else { dice.usize(0..2) }];
                let mut watcher = Watcher::resume_as(&house, &house.key, memory, codec).await.unwrap();
                let cursor = watcher.memory.cursor(&topic).map(|cursor| cursor.to_string());
                let wanted = json!([{ "topic": topic, "cursor": cursor, "interval_ms": interval_ms }]);
                watcher.say(json!({ "type": "subscribe", "topics": wanted })).await;
                tokio::select! {
                    () = async { while watcher.step().await.is_some() {} } => {}
                    () = tokio::time::sleep(lasts) => {}
                    () = until_stopped => {}
                }
                assert_eq!(watcher.said.iter().find(|said| said["type"] == "error"), None);
                memory = watcher.memory;
            }
            if is_over() {
                return memory;
            }
        }
    })
}

/// Drives one trip while it is watched, and ends it.
async fn drive(house: Arc<House>, number: usize, points: Vec<Point>) {
    let made =
        json!({ "name": "Rui", "vehicle": "car", "available": true, "available_since_ms": now_ms() - 7_200_000 });
    let id = house.post("/v1/drivers", made).await["id"].as_str().unwrap().to_owned();
    let driver = Driver { token: house.token("driver", &id).await, id };
    let place = |point: &Point| json!({ "lat": point.1, "lon": point.2, "name": "x" });
    let body = json!({
        "customer": "cus", "driver": driver.id, "pickup": place(&points[0]), "dropoff": place(&points[points.len() - 1]),
    });
    let trip = house.post("/v1/trips", body).await["id"].as_str().unwrap().to_owned();
    house.knows_driver(&driver.id, |state| state["trips"][0] == *trip).await;
    let topic = format!("trip:{trip}:ops");
    let stop = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = (0..6).map(|kind| watch(&house, &topic, kind + 6 * number as u64, &stop)).collect();
    let mut publisher = Poller::new(&house, &house.key, &[&topic]);
    let mut app = App::resume(&house, &driver, Outbox::new("c0ffee")).await.unwrap();
    let shift_ms = now_ms() - points[points.len() - 1].0 * 1000 - 1000;
    for point in &points {
        let fix = json!({ "lat": point.1, "lon": point.2, "t_ms": point.0 * 1000 + shift_ms });
        app.deliver(vec![fix]).await;
        publisher.poll(&house).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    publisher.poll(&house).await;
    let stands = publisher.memory.cursor(&topic);
    assert!(publisher.memory.state(&topic)["position"].is_object(), "{}", publisher.memory.state(&topic));
    stop.store(true, Ordering::Relaxed);
    let mut held = Vec::new();
    for (kind, watcher) in watchers.into_iter().enumerate() {
        let memory = within(SOON, "a watcher", watcher).await.unwrap();
        let mut watcher = Watcher::resume_as(&house, &house.key, memory, Codec::ALL[kind % 2]).await.unwrap();
        watcher.subscribe(&[&topic]).await;
        watcher.until("the publisher's number", |memory| memory.cursor(&topic) >= stands).await;
        let replica = watcher.memory.replica(&topic);
        assert!(kind > 1 || replica.deltas > 20, "{} deltas", replica.deltas);
        held.push(watcher);
    }
    house.post(&format!("/v1/trips/{trip}/complete"), json!({})).await;
    publisher.poll(&house).await;
    assert!(publisher.gone);
    for watcher in &mut held {
        watcher.until("the end", |memory| memory.ended(&topic)).await;
        assert_eq!(watcher.memory.state(&topic), publisher.memory.state(&topic));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_a_real_trip_holds_what_the_publisher_holds() {
    for settings in [&FORESEEING[..0], &FORESEEING[..]] {
        let house = Arc::new(House::start_with(settings).await);
        let trips = trips(fault_rounds(4));
        assert!(trips.len() >= 4);
        let drives = trips.into_iter().enumerate().map(|(number, points)| drive(Arc::clone(&house), number, points));
        futures_util::future::join_all(drives).await;
        house.assert_clean_log();
    }
}
