//! What watchers foresee is not told, and what they see is never further off than the phase allows.

use serde_json::{Value, json};
use wayfare_engine::{Line, Marker, Millis, Position, Shown, Told};
use wayfare_wire::codec::Codec;
use wayfare_wire::polyline;

use crate::drive::App;
use crate::harness::{House, now_ms};
use crate::ride::{Ride, fixes};
use crate::watch::Watcher;

/// The defaults, which other tests turn off.
pub const FORESEEING: [(&str, &str); 3] = [
    ("PREDICTION_WAITING_TOLERANCE_M", "25"),
    ("PREDICTION_UNDER_WAY_TOLERANCE_M", "10"),
    ("PREDICTION_ARRIVING_TOLERANCE_M", "5"),
];

/// Where a watcher who holds this state sees the courier, in metres from a place.
pub fn seen_from(state: &Value, at: (f64, f64), now_ms: i64) -> f64 {
    let position = &state["position"];
    let number = |name: &str| position[name].as_f64().unwrap();
    let marker = Marker {
        position: Position::new(number("lat"), number("lon")).unwrap(),
        speed_mps: number("speed_mps") as f32,
        heading_deg: position["heading_deg"].as_f64().map(|heading| heading as f32),
        accuracy_m: 0.0,
        taken: Millis(number("t_ms") as i64),
        standing: number("speed_mps") == 0.0,
        cell: 0,
        road: None,
    };
    let line = state["route"]["polyline6"].as_str().map(|text| Line::of(&polyline::decode(text).unwrap()));
    let there = Marker { position: Position::new(at.0, at.1).unwrap(), taken: Millis(now_ms), ..marker };
    Told::new(&marker, line.as_ref()).error_m(line.as_ref(), &Shown::of(&there))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_straight_ride_is_told_seldom_and_seen_where_it_is() {
    let house = House::start_with(&FORESEEING).await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topic = &*trip.topic;
    let customer = house.token("customer", "cus").await;
    let mut watchers = [
        Watcher::open_as(&house, &customer, Codec::Json).await,
        Watcher::open_as(&house, &customer, Codec::Proto).await,
    ];
    for watcher in &mut watchers {
        watcher.subscribe(&[topic]).await;
        watcher.until("the trip", |memory| !memory.state(topic).is_null()).await;
    }
    let mut app = App::open(&house, &driver).await;
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    app.deliver(fixes(&ride.to_pickup, start_ms)).await;
    let way = fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000);
    let (mut positions, mut looked) = (0, 0);
    for fix in &way {
        app.deliver(vec![fix.clone()]).await;
        for watcher in &mut watchers {
            // What there was to tell of this fix was told before its ack was; the pong comes behind it.
            watcher.say(json!({ "type": "ping" })).await;
            let before = watcher.memory.state(topic)["position"].clone();
            watcher.said("pong").await;
            positions += usize::from(watcher.memory.state(topic)["position"] != before);
            let state = watcher.memory.state(topic);
            if state["position"].is_object() {
                let (lat, lon) = (fix["lat"].as_f64().unwrap(), fix["lon"].as_f64().unwrap());
                let off_m = seen_from(state, (lat, lon), fix["t_ms"].as_i64().unwrap());
                let allowed_m = if watcher.memory.phase(topic) == "to_dropoff" { 10.0 } else { 5.0 };
                // The filter lags a little behind the fixes.
                assert!(off_m <= allowed_m + 8.0, "{off_m} m off in {state}");
                looked += 1;
            }
        }
    }
    assert!(looked > way.len(), "both saw most of the way");
    assert!(positions < looked / 3, "{positions} positions told for {looked} fixes");
    assert!(positions > looked / 30, "{positions} positions told for {looked} fixes");
    assert!(house.metric("wayfare_positions_foreseen_total", "").await > way.len() as f64 / 2.0);
    let [json, proto] = &watchers;
    assert_eq!(json.memory.state(topic), proto.memory.state(topic));
    house.assert_clean_log();
}
