//! Feeds that look made up: marked for operators, never refused for it, and of no concern to customers.

use serde_json::{Value, json};

use crate::drive::App;
use crate::harness::{House, now_ms};
use crate::ride::PICKUP;
use crate::watch::Watcher;

/// Fixes every three seconds to the north; `wobble_m` is how far they stray.
fn track(
    start_ms: i64,
    count: i64,
    mps: f64,
    accuracy_m: impl Fn(i64) -> f64,
    wobble_m: impl Fn(i64) -> f64,
) -> Vec<Value> {
    let fix = |step: i64| {
        let north_m = mps * 3.0 * step as f64 + wobble_m(step);
        let (lat, t_ms) = (PICKUP.0 + north_m / 111_195.0, start_ms + step * 3000);
        json!({ "lat": lat, "lon": PICKUP.1, "t_ms": t_ms, "accuracy_m": accuracy_m(step) })
    };
    (0..count).map(fix).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_made_up_track_is_marked_and_a_true_one_never() {
    let mut house = House::start().await;
    let mut lines = Vec::new();
    for name in ["made up", "one accuracy", "true"] {
        let driver = house.driver(name).await;
        let trip = house.trip(Some(&driver), None).await;
        lines.push((App::open(&house, &driver).await, driver, trip));
    }
    let start_ms = now_ms() - 400_000;
    // A few metres to and fro, as a foot on the pedal and a receiver make them.
    let wobble = |step: i64| (fastrand::Rng::with_seed(step as u64).f64() - 0.5) * 6.0;
    let tracks = [
        track(start_ms, 60, 8.0, |_| 5.0, |_| 0.0),
        track(start_ms, 60, 8.0, |_| 3.79, wobble),
        track(start_ms, 60, 8.0, |step| 4.0 + (step % 5) as f64 * 0.3, wobble),
    ];
    for ((app, ..), fixes) in lines.iter_mut().zip(tracks) {
        assert!(app.deliver(fixes).await.iter().all(|verdict| verdict == "accepted"));
    }
    // It outlives the house.
    for round in 0..2 {
        for (place, (_, driver, trip)) in lines.iter().enumerate() {
            let (own, ops) = (format!("driver:{}", driver.id), format!("{}:ops", trip.topic));
            let mut watcher = Watcher::open(&house, &house.key).await;
            watcher.subscribe(&[&own, &ops, &trip.topic]).await;
            let all = [&own, &ops, &trip.topic];
            watcher.until("all states", |memory| all.iter().all(|topic| !memory.state(topic).is_null())).await;
            watcher
                .until("the position", |memory| {
                    [&own, &ops].iter().all(|topic| !memory.state(topic)["position"].is_null())
                })
                .await;
            for topic in [&own, &ops] {
                let suspect = &watcher.memory.state(topic)["suspect"];
                assert_eq!(suspect["reason"] == "too_even", place == 0, "round {round}, {topic}: {suspect}");
                let since_ms = suspect["since_ms"].as_i64().unwrap_or(start_ms + 60_000);
                assert!((start_ms + 50_000..start_ms + 180_000).contains(&since_ms), "{suspect}");
            }
            assert_eq!(watcher.memory.state(&trip.topic).get("suspect"), None, "not for customers");
        }
        if round == 0 {
            house.kill9();
            house.restart().await;
        }
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_sees_the_courier_does_not_hear_that_the_feed_looks_made_up() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let customer = house.token("customer", "cus").await;
    let mut watcher = Watcher::open(&house, &customer).await;
    watcher.subscribe(&[&trip.topic]).await;
    let mut operator = Watcher::open(&house, &house.key).await;
    operator.subscribe(&[&trip.ops]).await;
    let mut app = App::open(&house, &driver).await;
    let start_ms = now_ms() - 400_000;
    let fixes = track(start_ms, 55, 8.0, |_| 5.0, |_| 0.0);
    app.deliver(fixes[..1].to_vec()).await;
    app.raw(&json!({ "type": "status", "trip": trip.id, "phase": "to_dropoff" }).to_string()).await;
    app.said("noted").await;
    watcher.until("the courier comes into view", |memory| memory.phase(&trip.topic) == "to_dropoff").await;
    for fixes in fixes[1..].chunks(20) {
        app.deliver(fixes.to_vec()).await;
    }
    operator.until("the mark", |memory| memory.state(&trip.ops)["suspect"].is_object()).await;
    let newest = fixes.last().unwrap()["t_ms"].clone();
    watcher.until("the newest position", |memory| memory.state(&trip.topic)["position"]["t_ms"] == newest).await;
    assert_eq!(watcher.memory.state(&trip.topic).get("suspect"), None, "not for customers");
    house.assert_clean_log();
}
