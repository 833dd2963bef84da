//! A silence has a reason where the phone gave one: whole for operators, in a word for customers, and over with the next position.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wayfare_wire::DRIVE_PROTO_V1;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{FromDriver, Phone};

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until};
use crate::quic_app::QuicApp;
use crate::rest::{Driver, Trip};
use crate::ride::{DROPOFF, PICKUP, near_pickup};
use crate::watch::open_port;

/// Silence comes soon.
const SHORT: [(&str, &str); 3] =
    [("QUIC_LISTEN", "127.0.0.1:0"), ("QUIC_GENERATED_CERTIFICATE", "true"), ("INGEST_SILENCE_S", "1")];

/// A driver with a live trip.
async fn on_the_way(house: &House, name: &str) -> (Driver, Trip) {
    let driver = house.driver(name).await;
    let trip = house.trip(Some(&driver), None).await;
    (driver, trip)
}

/// Waits until the operator's view of the trip, and the driver's, are as wanted, and gives them with the customer's.
async fn seen(house: &House, driver: &Driver, trip: &Trip, what: &str, wanted: impl Fn(&Value) -> bool) -> [Value; 3] {
    until(SOON, what, async || {
        let ops = house.peek(&trip.ops).await?;
        let own = house.peek(&format!("driver:{}", driver.id)).await?;
        let customer = house.peek(&trip.topic).await?;
        (wanted(&ops) && wanted(&own)).then_some([ops, own, customer])
    })
    .await
}

/// Whoever says `reason`, it is told with the silence, and gone when `speak` sends a position.
async fn check(house: &House, (driver, trip): (&Driver, &Trip), reason: &str, for_customers: &str) {
    let silent = |state: &Value| state["silent_since_ms"].is_i64() && state["outage"]["reason"] == reason;
    let [_, _, customer] = seen(house, driver, trip, &format!("a silence because of {reason}"), silent).await;
    assert_eq!((customer["silent_since_ms"].is_i64(), &customer["silent_reason"]), (true, &json!(for_customers)));
    assert!(customer["outage"].is_null() && customer["phone"].is_null(), "a customer sees {customer}");
    // Any app of the driver's will do.
    assert_eq!(house.post_fixes(driver, &[near_pickup(1.0, now_ms())]).await, ["accepted"]);
    let well = |state: &Value| state["silent_since_ms"].is_null() && state["outage"].is_null();
    let [ops, ..] = seen(house, driver, trip, "the end of the silence", well).await;
    assert!(ops["silent_reason"].is_null(), "{ops}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_of_our_protocol_says_why_it_falls_silent() {
    let mut house = House::start_with(&SHORT).await;
    let (driver, trip) = on_the_way(&house, "Ana").await;
    let both = (&driver, &trip);

    let mut app = App::open(&house, &driver).await;
    app.deliver(vec![near_pickup(0.0, now_ms())]).await;
    let battery = json!({ "battery_pct": 12, "charging": false });
    app.raw(r#"{"type":"phone","battery":0.12,"charging":false}"#).await;
    seen(&house, &driver, &trip, "the battery", |state| state["phone"] == battery).await;
    let before_ms = now_ms();
    app.raw(r#"{"type":"phone","battery":0.12,"charging":false,"outage":"permission"}"#).await;
    // Operators hear of it before anybody counts as silent.
    let told = |state: &Value| state["outage"]["reason"] == "permission";
    let [ops, ..] = seen(&house, &driver, &trip, "the reason", told).await;
    assert!((before_ms..=now_ms()).contains(&ops["outage"]["since_ms"].as_i64().unwrap()), "{ops}");
    check(&house, both, "permission", "paused").await;

    // Taken back by a word.
    app.raw(r#"{"type":"phone","outage":"a word of tomorrow"}"#).await;
    seen(&house, &driver, &trip, "another reason", |state| state["outage"]["reason"] == "other").await;
    app.raw(r#"{"type":"phone"}"#).await;
    seen(&house, &driver, &trip, "no reason", |state| state["outage"].is_null()).await;

    // In Protocol Buffers; before `hello` nothing is heard.
    let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, Some(&driver.token), None).await.unwrap();
    let phone = FromDriver::Phone(Phone { outage: Some("airplane".into()), ..Phone::default() });
    for message in [FromDriver::Hello { token: None, session: "7".into() }, phone] {
        let mut bytes = Vec::new();
        DriveCodec::Proto.write_from_driver(&mut bytes, &message);
        ws.send(Message::binary(bytes)).await.unwrap();
    }
    check(&house, both, "airplane", "offline").await;

    let mut app = QuicApp::resume(&house, &driver, Outbox::new("a")).await.unwrap();
    app.control(br#"{"type":"phone","outage":"stopped"}"#).await;
    check(&house, both, "stopped", "paused").await;

    let post = |body: Value| async {
        let body = body;
        house.call("POST", "/v1/phone", Some(&driver.token), Some(&body)).await.status
    };
    assert_eq!((post(json!({ "battery": "full" })).await, post(json!({ "outage": "battery" })).await), (400, 204));
    assert_eq!(house.call("POST", "/v1/phone", Some(&house.key), Some(&json!({}))).await.status, 403);
    let told = |state: &Value| state["silent_since_ms"].is_i64() && state["outage"]["reason"] == "battery";
    seen(&house, &driver, &trip, "an empty battery", told).await;

    // It is still the reason when the house has come back.
    house.terminate().await;
    house.restart().await;
    check(&house, both, "battery", "offline").await;
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phone_apps_that_exist_say_why_they_fall_silent() {
    let house = House::start_with(&SHORT).await;
    let (lat, lon) = PICKUP;
    let record = |event: &str, provider: Value| {
        let coords = json!({ "latitude": lat, "longitude": lon, "accuracy": 5, "speed": -1, "heading": -1 });
        json!({ "location": [{
            "uuid": format!("{event}{provider}"), "timestamp": now_ms(), "event": event, "provider": provider, "coords": coords,
            "battery": { "level": 0.5, "is_charging": true },
        }] })
    };
    let provider = |enabled: bool, status: u8, airplane: bool| {
        record("providerchange", json!({ "enabled": enabled, "status": status, "airplane": airplane }))
    };
    let feature = json!({ "locations": [{
        "type": "Feature", "geometry": { "type": "Point", "coordinates": [lon, lat] },
        "properties": { "timestamp": now_ms(), "battery_state": "unplugged", "battery_level": 0.02 },
    }] });
    let cases: [(&str, Value, &str, &str); 9] = [
        ("?app=osmand&batt=3", Value::Null, "battery", "offline"),
        ("?id=1&batt=1.0", Value::Null, "battery", "offline"),
        ("", json!({ "_type": "lwt", "tst": now_ms() / 1000 + 1 }), "app_gone", "paused"),
        (
            "",
            json!({ "_type": "location", "t": "p", "tst": now_ms() / 1000, "lat": lat, "lon": lon, "batt": 2, "bs": 1 }),
            "battery",
            "offline",
        ),
        ("", provider(true, 2, false), "permission", "paused"),
        ("", provider(false, 3, false), "location_off", "paused"),
        ("", provider(true, 3, true), "airplane", "offline"),
        ("", record("terminate", Value::Null), "app_gone", "paused"),
        ("", feature, "battery", "offline"),
    ];
    for (query, body, reason, for_customers) in cases {
        let (driver, trip) = on_the_way(&house, reason).await;
        let made = house.post(&format!("/v1/drivers/{}/device-keys", driver.id), json!({})).await;
        let url = format!("{}{query}", made["url"].as_str().unwrap());
        let mut request = house.http.post(&url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = House::answer(request).await;
        assert_eq!(answer.status, 200, "{query} {body}: {}", answer.text);
        check(&house, (&driver, &trip), reason, for_customers).await;
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn a_heartbeat_without_a_position_is_no_sign_of_where_a_driver_is() {
    let house = House::start_with(&SHORT).await;
    let (driver, trip) = on_the_way(&house, "Ana").await;
    let made = house.post(&format!("/v1/drivers/{}/device-keys", driver.id), json!({})).await;
    let url = made["url"].as_str().unwrap();
    assert_eq!(house.post_fixes(&driver, &[near_pickup(0.0, now_ms())]).await, ["accepted"]);
    until(SOON, "a silence in spite of heartbeats", async || {
        assert_eq!(House::answer(house.http.post(format!("{url}?id=1&batt=80"))).await.status, 200);
        house.peek(&trip.ops).await.filter(|state| state["silent_since_ms"].is_i64())
    })
    .await;
    let [ops, ..] = seen(&house, &driver, &trip, "what is known", |state| state["phone"]["battery_pct"] == 80).await;
    assert!(ops["silent_since_ms"].is_i64() && ops["outage"].is_null(), "nobody said why: {ops}");
    // A reason in a queue that comes late is over when positions are newer.
    let far = json!({ "lat": DROPOFF.0, "lon": DROPOFF.1, "t_ms": now_ms() });
    assert_eq!(
        house.call("POST", "/v1/fixes", Some(&driver.token), Some(&json!({ "fixes": [far] }))).await.status,
        200
    );
    let late = json!({ "at_ms": now_ms() - 60_000, "outage": "airplane" });
    assert_eq!(house.call("POST", "/v1/phone", Some(&driver.token), Some(&late)).await.status, 204);
    let [ops, ..] = seen(&house, &driver, &trip, "what is known", |state| state["phone"]["battery_pct"] == 80).await;
    assert!(ops["outage"].is_null(), "{ops}");
    house.assert_clean_log();
}
