//! Deliveries told to drivers, offers taken and left, and phases said by hand.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wayfare_driver::{Driver as Phone, DriverConfig, Event, Trust, Way};
use wayfare_wire::DRIVE_PROTO_V1;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until, within};
use crate::library::WAYS;
use crate::quic_app::{QUIC, QuicApp};
use crate::rest::Driver;
use crate::ride::{DROPOFF, PICKUP, Ride, fixes};
use crate::watch::{Watcher, open_port};

/// A trip that the driver is asked to take within a minute.
async fn offered(house: &House, driver: &Driver, store: Option<&str>) -> String {
    let trip = house.trip(None, store).await.id;
    let body = json!({ "driver": driver.id, "answer_within_s": 60 });
    let record = house.post(&format!("/v1/trips/{trip}/assign"), body).await;
    assert_eq!((&record["phase"], &record["driver"]), (&json!("unassigned"), &Value::Null));
    assert_eq!((&record["offer"]["state"], &record["offer"]["driver"]), (&json!("open"), &json!(driver.id)));
    trip
}

/// The driver stands at the kitchen.
fn here() -> wayfare_driver::Fix {
    wayfare_driver::Fix { lat: PICKUP.0, lon: PICKUP.1, accuracy_m: Some(5.0), ..wayfare_driver::Fix::default() }
}

impl House {
    async fn record(&self, trip: &str) -> Value {
        self.call("GET", &format!("/v1/trips/{trip}"), Some(&self.key), None).await.json()
    }

    async fn becomes(&self, trip: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(SOON, what, async || Some(self.record(trip).await).filter(|record| wanted(record))).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_is_told_on_every_connection_until_it_is_taken() {
    let mut house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let mut app = App::open(&house, &driver).await;
    let trip = offered(&house, &driver, None).await;
    let told = app.said("new_delivery_assigned").await;
    assert_eq!((&told["trip"], &told["offer"]), (&json!(trip), &json!(1)));
    assert!(told["answer_by_ms"].as_i64().unwrap() > now_ms());
    let stop = |pickup: bool, (lat, lon): (f64, f64), name: &str| json!({ "pickup": pickup, "lat": lat, "lon": lon, "name": name });
    assert_eq!(told["stops"], json!([stop(true, PICKUP, "Kitchen"), stop(false, DROPOFF, "Home")]));
    // An offer is no plan: nobody is on the way.
    let state = house.peek(&format!("trip:{trip}")).await.unwrap();
    assert_eq!((&state["phase"], &state["driver"]), (&json!("unassigned"), &Value::Null));
    assert_eq!(house.peek(&format!("trip:{trip}:ops")).await.unwrap()["offer"]["state"], "open");

    // Told again on the next connection, whichever it is, and after a fall.
    let mut quic = QuicApp::resume(&house, &driver, Outbox::new("a")).await.unwrap();
    assert_eq!(quic.said("new_delivery_assigned").await["trip"], *trip);
    house.kill9();
    house.restart().await;
    let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, Some(&driver.token), None).await.unwrap();
    let mut say = async |message: FromDriver| {
        let mut bytes = Vec::new();
        DriveCodec::Proto.write_from_driver(&mut bytes, &message);
        ws.send(Message::binary(bytes)).await.unwrap();
        within(SOON, "an answer", async {
            loop {
                let Some(Ok(Message::Binary(bytes))) = ws.next().await else { continue };
                let answer = DriveCodec::Proto.read_to_driver(&bytes).unwrap();
                if matches!(answer, ToDriver::NewDeliveryAssigned(_) | ToDriver::Noted { .. } | ToDriver::Error(_)) {
                    return answer;
                }
            }
        })
        .await
    };
    let ToDriver::NewDeliveryAssigned(told) = say(FromDriver::Hello { token: None, session: "7".into() }).await else {
        panic!("no offer");
    };
    assert_eq!((&told.trip, told.offer, told.stops.len()), (&trip, Some(1), 2));
    // Of another trip, and another offer, nothing is noted.
    for (trip, offer) in [("trp_1", 1), (trip.as_str(), 2)] {
        let answer = say(FromDriver::Accept { trip: trip.into(), offer }).await;
        assert!(matches!(answer, ToDriver::Error(_)), "{answer:?}");
    }
    let noted = say(FromDriver::Accept { trip: trip.clone(), offer: 1 }).await;
    assert_eq!(noted, ToDriver::Noted { trip: trip.clone(), said: "accept".into() });
    // Noted is kept, whatever happens next.
    house.kill9();
    house.restart().await;
    let record = house.becomes(&trip, "the driver's", |record| record["phase"] == "assigned").await;
    assert_eq!((&record["driver"], &record["offer"]["state"]), (&json!(driver.id), &json!("accepted")));
    let mut app = App::open(&house, &driver).await;
    let mut told = app.said("new_delivery_assigned").await;
    // The records knew it first; until the room for drivers has heard of it the offer is told once more.
    while !told["offer"].is_null() {
        assert_eq!(told["trip"], *trip);
        told = app.said("new_delivery_assigned").await;
    }
    assert_eq!(told["trip"], *trip, "it is no offer any more");
    app.raw(&json!({ "type": "accept", "trip": trip, "offer": 1 }).to_string()).await;
    assert_eq!(app.said("noted").await["said"], "accept");
    let again = house.record(&trip).await;
    assert_eq!((&again["assignment"], &again["phase"]), (&json!(1), &json!("assigned")), "once");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_that_is_declined_or_not_answered_is_free_again_and_its_store_hears_of_it() {
    let house = House::start().await;
    let (ana, bob) = (house.driver("Ana").await, house.driver("Bob").await);
    let store = house.store("Trattoria").await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    let topic = format!("store:{store}");
    watcher.subscribe(&[&topic]).await;
    watcher.until("the log", |memory| memory.log_cursors.contains_key(&topic)).await;
    let trip = offered(&house, &ana, Some(&store)).await;
    let mut app = App::open(&house, &ana).await;
    app.said("new_delivery_assigned").await;
    let decline = json!({ "type": "decline", "trip": trip, "offer": 1, "reason": "a flat tyre" }).to_string();
    app.raw(&decline).await;
    assert_eq!(app.said("noted").await["said"], "decline");
    assert_eq!(app.said("delivery_withdrawn").await["offer"], 1);
    let record = house.becomes(&trip, "declined", |record| record["offer"]["state"] == "declined").await;
    assert_eq!((&record["offer"]["reason"], &record["phase"]), (&json!("a flat tyre"), &json!("unassigned")));
    app.raw(&decline).await;
    assert_eq!(app.said("error").await["code"], "not_found");

    // Bob answers nothing.
    house.post(&format!("/v1/trips/{trip}/assign"), json!({ "driver": bob.id, "answer_within_s": 5 })).await;
    let mut other = App::open(&house, &bob).await;
    assert_eq!(other.said("new_delivery_assigned").await["offer"], 2);
    assert_eq!(other.said("delivery_withdrawn").await["trip"], *trip);
    let record = house.becomes(&trip, "expired", |record| record["offer"]["state"] == "expired").await;
    assert_eq!((&record["driver"], &record["phase"]), (&Value::Null, &json!("unassigned")));
    let late = house.call("POST", &format!("/v1/trips/{trip}/accept"), Some(&bob.token), Some(&json!({}))).await;
    assert_eq!(late.status, 409, "{}", late.text);
    // Given without a question, as ever.
    house.post(&format!("/v1/trips/{trip}/assign"), json!({ "driver": ana.id })).await;
    let told = app.said("new_delivery_assigned").await;
    assert_eq!((&told["trip"], &told["offer"]), (&json!(trip), &Value::Null));
    let states = |memory: &crate::watch::Memory| -> Vec<String> {
        let events = memory.events.get(&topic).into_iter().flatten();
        events.map(|event| event["offer"]["state"].as_str().unwrap_or("").to_owned()).collect()
    };
    let wanted = ["", "open", "declined", "open", "expired", "expired"];
    watcher.until("all events", |memory| states(memory).len() == wanted.len()).await;
    assert_eq!(states(&watcher.memory), wanted);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_without_a_connection_answers_by_request() {
    let house = House::start_with(&[("TRIPS_ANSWER_WITHIN_S", "60")]).await;
    let (ana, bob) = (house.driver("Ana").await, house.driver("Bob").await);
    let body = json!({
        "customer": "cus", "driver": ana.id,
        "pickup": { "lat": PICKUP.0, "lon": PICKUP.1, "name": "Kitchen" },
        "dropoff": { "lat": DROPOFF.0, "lon": DROPOFF.1, "name": "Home" },
    });
    let trip = house.post("/v1/trips", body.clone()).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/drivers/{}/deliveries", ana.id);
    let items = house.call("GET", &path, Some(&ana.token), None).await.json()["items"].clone();
    assert_eq!((&items[0]["id"], &items[0]["offer"]["state"]), (&json!(trip), &json!("open")));
    assert_eq!(house.call("GET", &path, Some(&bob.token), None).await.status, 404);
    let call = async |token: &str, what: &str, body: Value| {
        house.call("POST", &format!("/v1/trips/{trip}/{what}"), Some(token), Some(&body)).await
    };
    assert_eq!(call(&bob.token, "accept", json!({})).await.status, 404);
    assert_eq!(call(&ana.token, "accept", json!({ "offer": 2 })).await.status, 409);
    for _ in 0..2 {
        let taken = call(&ana.token, "accept", json!({ "offer": 1 })).await;
        assert_eq!((taken.status, &taken.json()["phase"]), (200, &json!("assigned")), "{}", taken.text);
    }
    assert_eq!(call(&ana.token, "decline", json!({})).await.status, 409);
    // Of a driver who is not asked it is the driver's at once.
    let mut at_once = body;
    at_once["answer_within_s"] = json!(0);
    assert_eq!(house.post("/v1/trips", at_once.clone()).await["phase"], "assigned");
    at_once["answer_within_s"] = json!(4);
    assert_eq!(house.call("POST", "/v1/trips", Some(&house.key), Some(&at_once)).await.status, 422);
    house.assert_clean_log();
}

#[tokio::test]
async fn who_only_sends_requests_hears_of_deliveries_when_there_is_something_new_and_wants_it() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let post = async |deliveries: Option<&str>| -> Value {
        let mut body = json!({ "fixes": [{ "lat": PICKUP.0, "lon": PICKUP.1, "t_ms": now_ms() }] });
        if let Some(tag) = deliveries {
            body["deliveries"] = tag.into();
        }
        let answer = house.call("POST", "/v1/fixes", Some(&driver.token), Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
        let told = members.iter().any(|name| name == "deliveries");
        assert_eq!(members.len(), if told { 4 } else { 3 }, "{members:?}");
        answer.json()["deliveries"].clone()
    };
    assert_eq!(post(Some("")).await, Value::Null, "there is nothing");
    let trip = offered(&house, &driver, None).await;
    let told = until(SOON, "the offer", async || Some(post(Some("")).await).filter(|told| !told.is_null())).await;
    assert_eq!((&told["open"][0]["trip"], &told["open"][0]["offer"]), (&json!(trip), &json!(1)));
    let tag = told["tag"].as_str().unwrap();
    assert_eq!(post(Some(tag)).await, Value::Null, "nothing new");
    assert_eq!(post(None).await, Value::Null, "who does not ask is told nothing");
    assert_eq!(post(Some("")).await, told, "an answer that was lost is given again");
    let accepted = house.call("POST", &format!("/v1/trips/{trip}/accept"), Some(&driver.token), Some(&json!({}))).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    let now =
        until(SOON, "it is the driver's", async || Some(post(Some(tag)).await).filter(|told| !told.is_null())).await;
    assert_eq!((&now["open"][0]["trip"], &now["open"][0]["offer"]), (&json!(trip), &Value::Null));
    house.post(&format!("/v1/trips/{trip}/cancel"), json!({})).await;
    let now =
        until(SOON, "it is gone", async || Some(post(now["tag"].as_str()).await).filter(|told| !told.is_null())).await;
    assert_eq!(now, json!({ "tag": "", "open": [] }));
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_passes_offers_on_and_says_answers_until_they_are_noted() {
    let house = House::start_with(&QUIC).await;
    for (way, codec) in WAYS {
        let ana = house.driver("Ana").await;
        let config = DriverConfig {
            quic: Some(format!("127.0.0.1:{}", house.quic_port)),
            trust: Trust::fingerprint(&house.fingerprint).unwrap(),
            ways: vec![way],
            codec,
            ..DriverConfig::new(house.url(""), &*ana.token)
        };
        let (phone, mut events) = Phone::connect(config).unwrap();
        let trip = offered(&house, &ana, None).await;
        // Without a connection it is heard in the answer to a fix.
        let speak = || {
            if way == Way::Http {
                phone.send(here()).unwrap();
            }
        };
        let mut hears = async |what: &str, wanted: &dyn Fn(&Event) -> bool| {
            within(SOON, what, async {
                loop {
                    speak();
                    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(300), events.recv()).await {
                        if wanted(&event) {
                            return;
                        }
                    }
                }
            })
            .await;
        };
        let told = |wanted: String, number: Option<u64>| move |event: &Event| matches!(event, Event::Delivery(told) if told.trip == wanted && told.offer == number);
        hears("an offer", &told(trip.clone(), Some(1))).await;
        let brief = offered(&house, &ana, None).await;
        hears("another", &told(brief.clone(), Some(1))).await;
        house.post(&format!("/v1/trips/{brief}/cancel"), json!({})).await;
        hears("its end", &|event| matches!(event, Event::Withdrawn { trip, .. } if *trip == brief)).await;
        assert!(phone.accept("trp_00000000000000000000000000", 1) && phone.accept(&*trip, 1));
        let mut noted = async |wanted: &str| {
            within(SOON, "a note", async {
                loop {
                    if let Event::Noted { said, .. } = events.recv().await.unwrap() {
                        assert_eq!(said, wanted);
                        return;
                    }
                }
            })
            .await;
        };
        noted("accept").await;
        house.becomes(&trip, "the driver's", |record| record["phase"] == "assigned").await;
        house.knows_driver(&ana.id, |state| state["trips"].as_array().is_some_and(|trips| trips.len() == 1)).await;
        assert!(phone.status(&*trip, "at_pickup"));
        noted("at_pickup").await;
        house.becomes(&trip, "at the pick-up", |record| record["phase"] == "at_pickup").await;
        phone.close().await;
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_gps_fails_somebody_says_how_far_a_trip_is_and_the_tracker_follows() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let store = house.store("Trattoria").await;
    let trip = house.trip(Some(&driver), Some(&store)).await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    let topic = format!("store:{store}");
    watcher.subscribe(&[&topic, &trip.topic, &trip.ops]).await;
    watcher.until("the trip", |memory| memory.phase(&trip.topic) == "assigned").await;
    let mut app = App::open(&house, &driver).await;
    app.raw(&json!({ "type": "status", "trip": trip.id, "phase": "flying" }).to_string()).await;
    assert_eq!(app.said("error").await["code"], "invalid");
    for _ in 0..2 {
        app.raw(&json!({ "type": "status", "trip": trip.id, "phase": "at_pickup" }).to_string()).await;
        assert_eq!(app.said("noted").await["said"], "at_pickup");
    }
    watcher.until("at the pick-up", |memory| memory.phase(&trip.topic) == "at_pickup").await;
    assert!(watcher.memory.state(&trip.ops)["position"].is_null(), "nobody invents a position");
    watcher.until("who said it", |memory| memory.state(&trip.ops)["manual"]["role"] == "driver").await;
    assert_eq!(watcher.memory.state(&trip.ops)["manual"]["by"], *driver.id);

    // GPS comes back, and finds what was said already.
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    app.deliver(fixes(&ride.to_pickup, start_ms).into_iter().skip(50).collect()).await;
    let staff = house.token("support", "sue").await;
    let path = format!("/v1/trips/{}/status", trip.id);
    let said = house.call("POST", &path, Some(&staff), Some(&json!({ "phase": "to_dropoff" }))).await;
    assert_eq!((said.status, &said.json()["manual"][1]["by"]), (200, &json!("sue")), "{}", said.text);
    watcher.until("on the way", |memory| memory.phase(&trip.topic) == "to_dropoff").await;
    watcher.until("the courier", |memory| memory.state(&trip.topic)["position"].is_object()).await;
    let stores = house.token("store", &store).await;
    let back = house.call("POST", &path, Some(&stores), Some(&json!({ "phase": "at_pickup" }))).await;
    assert_eq!(back.json()["phase"], "to_dropoff", "never back");
    for message in fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000).chunks(90) {
        app.deliver(message.to_vec()).await;
    }
    watcher.until("near", |memory| memory.phase(&trip.topic) == "arriving").await;
    // The store hears of it once it is in the records. Said before that, the end would leave it out.
    let near = |memory: &crate::watch::Memory| memory.events[&topic].iter().any(|event| event["phase"] == "arriving");
    watcher.until("the store's event", near).await;
    app.raw(&json!({ "type": "status", "trip": trip.id, "phase": "delivered" }).to_string()).await;
    assert_eq!(app.said("noted").await["said"], "delivered");
    watcher.until("the end", |memory| memory.ended(&trip.topic)).await;
    let record = house.becomes(&trip.id, "delivered", |record| record["phase"] == "delivered").await;
    let said: Vec<&str> =
        record["manual"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert_eq!(said, ["driver", "support", "driver"]);
    let over = |memory: &crate::watch::Memory| memory.events[&topic].iter().any(|event| event["phase"] == "delivered");
    watcher.until("the last event", over).await;
    let phases: Vec<String> =
        watcher.memory.events[&topic].iter().map(|event| event["phase"].as_str().unwrap().to_owned()).collect();
    let mut once = phases.clone();
    once.dedup();
    assert_eq!(phases, once, "each phase is raised once");
    assert!(phases.ends_with(&["arriving".to_owned(), "delivered".to_owned()]), "{phases:?}");
    let stranger = house.driver("Bob").await;
    let foreign = house.call("POST", &path, Some(&stranger.token), Some(&json!({ "phase": "arrived" }))).await;
    assert_eq!(foreign.status, 404);
    house.assert_clean_log();
}
