//! What customers see, and when: by the operator's rules, and never what is somebody else's.

use serde_json::{Value, json};
use wayfare_engine::Position;

use crate::drive::App;
use crate::harness::{House, now_ms};
use crate::rest::Driver;
use crate::ride::{DROPOFF, PICKUP, Ride, fixes};
use crate::watch::Watcher;

/// Sends a fix and reads what is told of it: what there was to tell was told before its ack.
async fn send(app: &mut App, watchers: &mut [&mut Watcher], fix: &Value) {
    app.deliver(vec![fix.clone()]).await;
    for watcher in watchers {
        watcher.say(json!({ "type": "ping" })).await;
        watcher.said("pong").await;
    }
}

fn place(of: &Value) -> Position {
    Position::new(of["lat"].as_f64().unwrap(), of["lon"].as_f64().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_pickup_a_customer_sees_a_square_if_so_configured() {
    let house = House::start_with(&[("VISIBILITY_COARSE_BEFORE_PICKUP_M", "300")]).await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topic = &*trip.topic;
    let mut watcher = Watcher::open(&house, &house.token("customer", "cus").await).await;
    watcher.subscribe(&[topic]).await;
    watcher.until("the trip", |memory| !memory.state(topic).is_null()).await;
    let mut app = App::open(&house, &driver).await;
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    let mut squares = Vec::new();
    for fix in fixes(&ride.to_pickup, start_ms).iter().step_by(2) {
        send(&mut app, &mut [&mut watcher], fix).await;
        let position = watcher.memory.state(topic)["position"].clone();
        assert!(watcher.memory.phase(topic) != "to_dropoff");
        assert_eq!((&position["accuracy_m"], &position["speed_mps"]), (&json!(300), &json!(0)), "{position}");
        assert!(position["heading_deg"].is_null());
        assert!(place(&position).distance_m(place(fix)) < 300.0 * 0.75 + 20.0, "{position}");
        squares.push((position["lat"].clone(), position["lon"].clone()));
    }
    let deltas = watcher.memory.replica(topic).deltas;
    squares.dedup();
    assert!((2..=4).contains(&squares.len()), "400 m are some squares of 300: {squares:?}");
    assert!(deltas < 20, "{deltas} deltas: a square is told once");
    let way = fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000);
    for fix in way[..40].iter().step_by(2) {
        send(&mut app, &mut [&mut watcher], fix).await;
    }
    assert_eq!(watcher.memory.phase(topic), "to_dropoff");
    let position = &watcher.memory.state(topic)["position"];
    assert!(place(position).distance_m(place(&way[38])) < 20.0, "{position}");
    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    watcher.until("the end", |memory| memory.ended(topic)).await;
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn things_come_into_view_by_their_rules_and_stay() {
    let house = House::start_with(&[
        ("VISIBILITY_POSITION", "within 600 metres"),
        ("VISIBILITY_ETA", "never"),
        ("VISIBILITY_STOPS_LEFT", "within 1 minute"),
    ])
    .await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let (topic, ops) = (&*trip.topic, &*trip.ops);
    let mut watcher = Watcher::open(&house, &house.token("customer", "cus").await).await;
    watcher.subscribe(&[topic]).await;
    watcher.until("the trip", |memory| !memory.state(topic).is_null()).await;
    let mut operator = Watcher::open(&house, &house.key).await;
    operator.subscribe(&[ops]).await;
    operator.until("the trip", |memory| !memory.state(ops).is_null()).await;
    let mut app = App::open(&house, &driver).await;
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    for fix in fixes(&ride.to_pickup, start_ms).chunks(50) {
        app.deliver(fix.to_vec()).await;
    }
    let door = Position::new(DROPOFF.0, DROPOFF.1).unwrap();
    let (mut first_m, mut hidden, mut arrivals) = (None, 0, 0);
    for fix in &fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000) {
        send(&mut app, &mut [&mut watcher, &mut operator], fix).await;
        let (seen, all) = (watcher.memory.state(topic), operator.memory.state(ops));
        assert!(seen["eta"].is_null(), "{seen}");
        arrivals += usize::from(all["eta"].is_object());
        assert!(place(&all["position"]).distance_m(place(fix)) < 25.0, "operators see it all");
        let left_m = place(fix).distance_m(door);
        match (seen["position"].is_object(), first_m) {
            (true, None) => first_m = Some(left_m),
            (true, Some(_)) => {}
            (false, None) => hidden += 1,
            (false, Some(_)) => panic!("what was seen is gone again {left_m} m from the door"),
        }
    }
    let first_m = first_m.expect("the courier came into view");
    // By the way that the estimate has left, which is longer than the straight line and moves in steps; estimates are made of young fixes only.
    assert!((300.0..=620.0).contains(&first_m), "first seen {first_m} m from the door");
    assert!(hidden > 50 && arrivals > 30, "{hidden}, {arrivals}");
    assert_eq!(watcher.memory.state(topic)["stops_left"], 0, "a minute from the door");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_another_customers_stops_leaves_the_house() {
    let house = House::start().await;
    let driver: Driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    // On board as well: somebody else's, with a door that is on the way.
    let other = json!({
        "customer": "else", "driver": driver.id, "reference": "B 99",
        "pickup": { "lat": PICKUP.0 + 0.000_123, "lon": PICKUP.1 + 0.000_123, "name": "Other kitchen" },
        "dropoff": { "lat": 41.155_321, "lon": PICKUP.1 + 0.000_321, "name": "Somebody's door" },
    });
    let other = house.post("/v1/trips", other).await["id"].as_str().unwrap().to_owned();
    house.knows_driver(&driver.id, |state| state["trips"].as_array().is_some_and(|trips| trips.len() == 2)).await;
    let mut watcher = Watcher::open(&house, &house.token("customer", "cus").await).await;
    watcher.subscribe(&[&trip.topic]).await;
    watcher.subscribe(&[&format!("trip:{other}"), &format!("trip:{other}:ops"), &trip.ops]).await;
    let mut app = App::open(&house, &driver).await;
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    let mut all = fixes(&ride.to_pickup, start_ms);
    all.extend(fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000));
    for part in all.chunks(20) {
        app.deliver(part.to_vec()).await;
    }
    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    let mut told = Vec::new();
    while !watcher.memory.ended(&trip.topic) {
        told.push(watcher.step().await.expect("the line holds"));
    }
    assert!(told.iter().any(|message| message["type"] == "delta"));
    for message in told.iter().filter(|message| message["type"] != "error" && message["type"] != "unsubscribed") {
        let text = message.to_string();
        for secret in ["41.155321", "-8.610679", "Other kitchen", "Somebody", "B 99", "else", &other, &driver.id] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let refused: Vec<&Value> = told.iter().filter(|message| message["type"] == "error").collect();
    assert_eq!(refused.len(), 3, "what is not for the customer is not there: {refused:?}");
    assert!(refused.iter().all(|error| error["code"] == "not_found"));
    house.assert_clean_log();
}

#[tokio::test]
async fn a_rule_that_is_none_is_refused_by_name() {
    for (key, value) in
        [("POSITION", "sometimes"), ("ROUTE", "within 5"), ("ETA", "within 3 miles"), ("STOPS_LEFT", "")]
    {
        let told = House::refused(&[(&format!("VISIBILITY_{key}"), value)], &[]).await;
        assert!(told.contains(&format!("visibility.{}", key.to_lowercase())), "{told}");
        assert!(told.contains("within N metres"), "{told}");
    }
}
