//! The operator's fences: made over HTTP, driven through, heard of on `fences`.

use serde_json::{Value, json};

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until};
use crate::ride::{DROPOFF, PICKUP, Ride, fixes};
use crate::watch::{EventSource, Memory, Poller, Watcher};

const TOPIC: &str = "fences";

/// Most fixes of one message.
const AT_ONCE: usize = 20;

impl House {
    async fn fence(&self, body: Value) -> Value {
        let before = self.metric("wayfare_fences", "").await;
        let fence = self.post("/v1/fences", body).await;
        self.judges_by(before as usize + 1).await;
        fence
    }

    /// Waits until fixes are judged by so many fences.
    async fn judges_by(&self, count: usize) {
        let count = count as f64;
        until(SOON, "the index of fences", async || (self.metric("wayfare_fences", "").await == count).then_some(()))
            .await;
    }
}

fn kitchen() -> Value {
    let circle = json!({ "lat": PICKUP.0, "lon": PICKUP.1, "radius_m": 100 });
    json!({ "name": "Kitchen", "circle": circle, "dwell_ms": 20_000 })
}

/// A square around the customer, about 110 m to each side, as a Feature.
fn home() -> Value {
    let (south, north, west, east) = (DROPOFF.0 - 0.001, DROPOFF.0 + 0.001, DROPOFF.1 - 0.0013, DROPOFF.1 + 0.0013);
    let ring = json!([[west, south], [east, south], [east, north], [west, north], [west, south]]);
    let geometry = json!({ "type": "Polygon", "coordinates": [ring] });
    json!({ "type": "Feature", "geometry": geometry, "properties": { "name": "Home", "dwell_ms": 600_000 } })
}

/// A whole ride, ending now, as messages.
fn messages() -> Vec<Vec<Value>> {
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    let mut all = fixes(&ride.to_pickup, start_ms);
    all.extend(fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000));
    all.chunks(AT_ONCE).map(<[Value]>::to_vec).collect()
}

fn told(memory: &Memory) -> Vec<(String, String)> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let events = memory.events.get(TOPIC).map_or(&[][..], Vec::as_slice);
    events.iter().map(|event| (text(event, "kind"), text(event, "name"))).collect()
}

fn expected() -> Vec<(String, String)> {
    [("enter", "Kitchen"), ("dwell", "Kitchen"), ("exit", "Kitchen"), ("enter", "Home")]
        .map(|(kind, name)| (kind.to_owned(), name.to_owned()))
        .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ride_through_fences_is_told_in_order_over_every_transport() {
    let house = House::start().await;
    let driver = house.driver("Nina").await;
    let fence = house.fence(kitchen()).await;
    house.fence(home()).await;
    let mut socket = Watcher::open(&house, &house.key).await;
    socket.subscribe(&[TOPIC]).await;
    let mut stream = EventSource::open(&house, &house.key, &[TOPIC]).await;
    let mut poller = Poller::new(&house, &house.key, &[TOPIC]);
    poller.poll(&house).await;
    let subscribed = |memory: &Memory| memory.log_cursors.contains_key(TOPIC);
    socket.until("subscribed", subscribed).await;
    stream.until("subscribed", subscribed).await;
    let mut app = App::open(&house, &driver).await;
    let messages = messages();
    for message in messages.clone() {
        app.deliver(message).await;
    }
    let all = |memory: &Memory| told(memory).len() >= 4;
    socket.until("all events", all).await;
    stream.until("all events", all).await;
    poller.until(&house, "all events", all).await;
    for memory in [&socket.memory, &stream.memory, &poller.memory] {
        assert_eq!(told(memory), expected());
        assert_eq!(memory.events[TOPIC], socket.memory.events[TOPIC], "the same over every transport");
    }
    let events = &socket.memory.events[TOPIC];
    assert_eq!((&events[0]["fence"], &events[0]["driver"]), (&fence["id"], &json!(driver.id)));
    let at_s =
        |index: usize| (events[index]["at_ms"].as_i64().unwrap() - messages[0][0]["t_ms"].as_i64().unwrap()) / 1000;
    // From 400 m at 8 m/s to 100 m, and out again after 40 s at the kitchen.
    assert!((36..=42).contains(&at_s(0)) && at_s(1) == at_s(0) + 20, "{events:?}");
    assert!((100..=106).contains(&at_s(2)), "{events:?}");
    assert!((events[0]["position"]["lat"].as_f64().unwrap() - PICKUP.0).abs() < 0.001, "{events:?}");
    until(SOON, "the metric", async || {
        (house.metric("wayfare_fence_events_total", "kind=\"enter\"").await == 2.0).then_some(())
    })
    .await;
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_between_and_behind_fence_events_repeats_and_loses_none() {
    let mut house = House::start().await;
    let driver = house.driver("Nina").await;
    house.fence(kitchen()).await;
    house.fence(home()).await;
    let mut memory = Memory::new(&house);
    let mut poller = Poller::new(&house, &house.key, &[TOPIC]);
    poller.poll(&house).await;
    let mut outbox = Outbox::new("fe");
    for (round, message) in messages().into_iter().enumerate() {
        let mut socket = Watcher::resume(&house, &house.key, memory).await.unwrap();
        socket.subscribe(&[TOPIC]).await;
        socket.until("subscribed", |memory| memory.log_cursors.contains_key(TOPIC)).await;
        let mut app = App::resume(&house, &driver, outbox).await.unwrap();
        app.send(message).await;
        // Every other time what was sent may be judged, kept, told or acked when the lights go out, or none of it.
        if round % 2 == 0 {
            app.settle().await;
        }
        (outbox, memory) = (app.outbox, socket.memory);
        house.kill9();
        house.restart().await;
        house.judges_by(2).await;
    }
    let mut app = App::resume(&house, &driver, outbox).await.unwrap();
    app.settle().await;
    let mut socket = Watcher::resume(&house, &house.key, memory).await.unwrap();
    socket.subscribe(&[TOPIC]).await;
    let all = |memory: &Memory| told(memory).len() >= 4;
    socket.until("all events", all).await;
    poller.until(&house, "all events", all).await;
    // What comes twice would come now.
    house.fence(kitchen()).await;
    poller.poll(&house).await;
    for memory in [&socket.memory, &poller.memory] {
        assert_eq!(told(memory), expected());
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn silence_completes_a_dwell_and_new_fences_find_who_is_inside() {
    let house = House::start().await;
    let driver = house.driver("Nina").await;
    let mut short = kitchen();
    short["dwell_ms"] = json!(2_000);
    house.fence(short).await;
    let mut socket = Watcher::open(&house, &house.key).await;
    socket.subscribe(&[TOPIC]).await;
    socket.until("subscribed", |memory| memory.log_cursors.contains_key(TOPIC)).await;
    let fix = |t_ms| json!({ "lat": PICKUP.0, "lon": PICKUP.1, "t_ms": t_ms, "accuracy_m": 5, "speed_mps": 0 });
    let mut app = App::open(&house, &driver).await;
    app.deliver(vec![fix(now_ms())]).await;
    socket.until("inside and dwell", |memory| told(memory).len() >= 2).await;
    let mut yard = kitchen();
    (yard["name"], yard["circle"]["radius_m"]) = (json!("Yard"), json!(60));
    let yard = house.fence(yard).await;
    // The index counts as there a moment before the shards have it.
    until(SOON, "inside the yard", async || {
        app.deliver(vec![fix(now_ms())]).await;
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), socket.step()).await;
        (told(&socket.memory).len() >= 3).then_some(())
    })
    .await;
    // Replaced, it finds the driver again; deleted, it says no more.
    let path = format!("/v1/fences/{}", yard["id"].as_str().unwrap());
    let mut events = yard.clone();
    events = json!({ "name": "Court", "circle": events["circle"].take(), "events": ["inside", "exit"] });
    let replaced = house.done("PUT", &path, events).await;
    assert_eq!((&replaced["version"], &replaced["created_ms"]), (&json!(2), &yard["created_ms"]));
    until(SOON, "inside the court", async || {
        app.deliver(vec![fix(now_ms())]).await;
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), socket.step()).await;
        (told(&socket.memory).len() >= 4).then_some(())
    })
    .await;
    let names = [("inside", "Kitchen"), ("dwell", "Kitchen"), ("inside", "Yard"), ("inside", "Court")];
    assert_eq!(told(&socket.memory), names.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    assert_eq!(house.done("DELETE", &path, json!({})).await, Value::Null);
    house.judges_by(1).await;
    assert_eq!(house.call("GET", &path, Some(&house.key), None).await.status, 404);
    house.assert_clean_log();
}

#[tokio::test]
async fn what_is_no_fence_is_refused_with_value_and_limit() {
    let house = House::start().await;
    let check = async |body: Value, field: &str, sentence: &str| {
        let answer = house.call("POST", "/v1/fences", Some(&house.key), Some(&body)).await;
        let error = answer.json();
        assert_eq!((answer.status, &error["code"]), (422, &json!("invalid")), "{}", answer.text);
        assert_eq!(error["field"].as_str().unwrap_or(""), field, "{}", answer.text);
        assert!(error["message"].as_str().unwrap().contains(sentence), "{}", answer.text);
    };
    let polygon = |ring: Value| json!({ "name": "x", "geometry": { "type": "Polygon", "coordinates": [ring] } });
    check(
        polygon(json!([[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]])),
        "geometry",
        "polygon 1 crosses itself: the edge from corner 1 of ring 1 and the edge from corner 3 of ring 1",
    )
    .await;
    let pole = json!([[0, 80], [90, 80], [180, 80], [-90, 80], [0, 80]]);
    check(polygon(pole), "geometry", "goes around a pole (its longitudes turn by 360 degrees)").await;
    let corner = |index: i32| {
        let (sin, cos) = (f64::from(index % 10_000) * 1e-4 * std::f64::consts::TAU).sin_cos();
        [PICKUP.1 + 0.01 * sin, PICKUP.0 + 0.01 * cos]
    };
    let many: Vec<[f64; 2]> = (0..=10_000).map(corner).collect();
    check(polygon(json!(many)), "geometry", "the fence has 10000 corners, the limit is 2000").await;
    check(polygon(json!([[0, 0], [1, 1], [1, 0]])), "geometry", "is not closed").await;
    check(polygon(json!([[0, 0], [1, "x"]])), "geometry", "invalid type").await;
    check(json!({ "name": "x" }), "geometry", "either a `geometry` or a `circle`").await;
    check(json!({ "geometry": null }), "", "missing field `name`").await;
    check(json!({ "name": "x", "colour": 1 }), "", "unknown field `colour`").await;
    check(json!({ "type": "LineString", "coordinates": [] }), "type", "\"LineString\" is not a Feature").await;
    let mut circle = kitchen();
    circle["circle"]["radius_m"] = json!(3);
    check(circle, "circle", "radius_m is 3, it must be 5 to 100000").await;
    let support = house.token("support", "sue").await;
    assert_eq!(house.call("POST", "/v1/fences", Some(&support), Some(&kitchen())).await.status, 403);
    let customer = house.token("customer", "cus").await;
    assert_eq!(house.call("GET", "/v1/watch/poll?topics=fences", Some(&customer), None).await.status, 404);
    let inside = house.call("GET", "/v1/watch/poll?topics=fence-set:00", Some(&house.key), None).await;
    assert_eq!(inside.status, 422, "no such kind of topic, for anyone: {}", inside.text);
    house.assert_clean_log();
}

#[tokio::test]
async fn fences_are_listed_by_page_by_window_and_as_geojson() {
    let house = House::start().await;
    house.post("/v1/fences", kitchen()).await;
    house.post("/v1/fences", home()).await;
    let fiji = json!({ "type": "Polygon", "name": "Fiji",
        "coordinates": [[[179, -18], [-179, -18], [-179, -16], [179, -16], [179, -18]]] });
    house.post("/v1/fences", fiji).await;
    let names = async |query: &str| -> Vec<String> {
        let answer = house.call("GET", &format!("/v1/fences{query}"), Some(&house.key), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
        answer.json()["items"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(names("").await.len(), 3);
    assert_eq!(names("?bbox=-9,41,-8,42").await.len(), 2);
    assert_eq!(names("?bbox=-8.62,41.149,-8.60,41.15").await, ["Kitchen"]);
    for window in ["179.5,-17,179.9,-16.9", "-179.9,-17,-179.5,-16.9", "170,-20,-170,0", "-180,-90,-179.5,90"] {
        assert_eq!(names(&format!("?bbox={window}")).await, ["Fiji"], "{window}");
    }
    assert_eq!(names("?bbox=0,0,1,1").await, [""; 0]);
    let first = house.call("GET", "/v1/fences?limit=2&format=geojson", Some(&house.key), None).await.json();
    assert_eq!((&first["type"], first["features"].as_array().unwrap().len()), (&json!("FeatureCollection"), 2));
    let feature =
        first["features"].as_array().unwrap().iter().find(|feature| feature["properties"]["name"] == "Kitchen");
    if let Some(feature) = feature {
        assert_eq!(
            (&feature["geometry"]["type"], &feature["properties"]["radius_m"]),
            (&json!("Point"), &json!(100.0))
        );
    }
    assert_eq!(names(&format!("?limit=2&cursor={}", first["next"].as_str().unwrap())).await.len(), 1);
    for query in ["?bbox=1,2,3", "?bbox=1,2,3,x", "?bbox=0,2,0,1", "?format=kml", "?limit=0"] {
        let answer = house.call("GET", &format!("/v1/fences{query}"), Some(&house.key), None).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
    }
    // A Feature that was read can be sent back.
    let sent = house.post("/v1/fences", first["features"][0].clone()).await;
    assert_eq!(sent["name"], first["features"][0]["properties"]["name"]);
    house.assert_clean_log();
}
