//! From a driver's phone to a customer's screen.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wayfare_wire::codec::Codec;

use crate::drive::App;
use crate::harness::{House, SOON, now_ms, until};
use crate::ride::{Ride, fixes, near_pickup};
use crate::watch::{EventSource, Memory, Poller, Watcher};

const PHASES: [&str; 7] = ["assigned", "to_pickup", "at_pickup", "to_dropoff", "arriving", "arrived", "delivered"];

fn rank(phase: &str) -> usize {
    PHASES.iter().position(|known| *known == phase).unwrap_or_else(|| panic!("the phase {phase:?}"))
}

/// What a customer may see in this phase, and nothing else.
fn check_customer_view(state: &Value) {
    let known = [
        "phase",
        "phase_since_ms",
        "position",
        "eta",
        "stops_left",
        "silent_since_ms",
        "silent_reason",
        "pickup",
        "dropoff",
        "driver",
        "ready_at_ms",
        "reference",
    ];
    for name in state.as_object().unwrap().keys() {
        assert!(known.contains(&name.as_str()), "a customer sees {name}: {state}");
    }
    let phase = state["phase"].as_str().unwrap();
    let visible = ["to_dropoff", "arriving", "arrived"].contains(&phase);
    assert!(visible || state["position"].is_null(), "a position in the phase {phase}");
    assert!(state["driver"]["id"].is_null(), "a customer sees the driver's id");
}

#[tokio::test]
async fn a_ride_is_seen_the_same_over_all_transports_from_assignment_to_the_end() {
    a_ride_is_seen_the_same(House::start().await).await;
}

/// Whatever the house's bus lives on.
pub async fn a_ride_is_seen_the_same(house: House) {
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let customer = house.token("customer", "cus").await;
    let support = house.token("support", "sup").await;
    let topic = &*trip.topic;
    let mut socket = Watcher::open(&house, &customer).await;
    socket.subscribe(&[topic]).await;
    let mut binary = Watcher::open_as(&house, &customer, Codec::Proto).await;
    binary.subscribe(&[topic]).await;
    let mut stream = EventSource::open(&house, &customer, &[topic]).await;
    let mut poller = Poller::new(&house, &customer, &[topic]);
    let mut operator = Watcher::open(&house, &support).await;
    operator.subscribe(&[&trip.ops, &format!("driver:{}", driver.id)]).await;
    operator.until("the operator's view", |memory| !memory.state(&trip.ops).is_null()).await;
    assert_eq!(operator.memory.state(&trip.ops)["customer"], "cus");
    assert_eq!(operator.memory.state(&trip.ops)["driver"]["id"], *driver.id);

    let mut app = App::open(&house, &driver).await;
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    let mut all = fixes(&ride.to_pickup, start_ms);
    all.extend(fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000));
    let (mut reached, mut seen) = (0, vec![]);
    for part in all.chunks(10) {
        let verdicts = app.deliver(part.to_vec()).await;
        assert!(verdicts.iter().all(|verdict| verdict == "accepted"), "{verdicts:?}");
        // The operator sees every position; the customer's view follows by the phase found here.
        let newest = part.last().unwrap()["t_ms"].clone();
        operator.until("the newest position", |memory| memory.state(&trip.ops)["position"]["t_ms"] == newest).await;
        let phase = operator.memory.phase(&trip.ops).to_owned();
        assert!(rank(&phase) >= reached, "the phase {phase} after {}", PHASES[reached]);
        reached = rank(&phase);
        let as_wanted = |memory: &Memory| {
            let position = &memory.state(topic)["position"];
            memory.phase(topic) == phase && (reached < rank("to_dropoff") || position["t_ms"] == newest)
        };
        socket.until("the customer's view", as_wanted).await;
        binary.until("the customer's view", as_wanted).await;
        stream.until("the customer's view", as_wanted).await;
        poller.until(&house, "the customer's view", as_wanted).await;
        check_customer_view(socket.memory.state(topic));
        if seen.last() != Some(&phase) {
            seen.push(phase);
        }
    }
    assert_eq!(seen, ["to_pickup", "at_pickup", "to_dropoff", "arriving"]);
    assert!(socket.memory.state(topic)["eta"]["at_ms"].is_i64(), "{}", socket.memory.state(topic));
    assert_eq!(socket.memory.state(topic)["eta"]["basis"], "straight_line");

    // The dwell at the door is completed by silence: fixes of before the assignment do not count for it.
    socket.until("arrival", |memory| memory.phase(topic) == "arrived").await;
    binary.until("arrival", |memory| memory.phase(topic) == "arrived").await;
    stream.until("arrival", |memory| memory.phase(topic) == "arrived").await;
    poller.until(&house, "arrival", |memory| memory.phase(topic) == "arrived").await;
    assert_eq!(socket.memory.cursor(topic), stream.memory.cursor(topic));

    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    socket.until("the end", |memory| memory.ended(topic)).await;
    binary.until("the end", |memory| memory.ended(topic)).await;
    stream.until("the end", |memory| memory.ended(topic)).await;
    stream.ended().await;
    poller.until(&house, "the end", |memory| memory.ended(topic)).await;
    operator.until("the end", |memory| memory.ended(&trip.ops)).await;
    assert_eq!(socket.memory.phase(topic), "delivered");
    assert_eq!(socket.memory.state(topic), binary.memory.state(topic));
    assert_eq!(socket.memory.state(topic), stream.memory.state(topic));
    assert_eq!(socket.memory.state(topic), poller.memory.state(topic));

    // Who comes later gets the final status and no more.
    assert!(poller.gone);
    let late = EventSource::resume(&house, &customer, &[topic], Memory::new(&house), stream.last_id.clone()).await;
    let refused = late.err().expect("an ended trip has no stream");
    assert_eq!((refused.status, refused.code().as_str()), (410, "ended"));
    assert_eq!(refused.json()["state"], *socket.memory.state(topic));
    let mut late = Watcher::open(&house, &customer).await;
    late.subscribe(&[topic]).await;
    late.until("the end", |memory| memory.ended(topic)).await;
    let told = app.deliver(vec![near_pickup(0.0, now_ms())]).await;
    assert_eq!(told, ["implausible_speed"], "the customer's door is a kilometre from there");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_fix_by_post_and_one_by_websocket_come_out_the_same() {
    let house = House::start().await;
    let (by_post, by_socket) = (house.driver("Ana").await, house.driver("Rui").await);
    let token = house.token("support", "sup").await;
    let topics = [&by_post, &by_socket].map(|driver| format!("driver:{}", driver.id));
    let topics = topics.each_ref().map(String::as_str);
    let mut socket = Watcher::open(&house, &token).await;
    socket.subscribe(&topics).await;
    let mut stream = EventSource::open(&house, &token, &topics).await;
    let mut poller = Poller::new(&house, &token, &topics);
    let mut app = App::open(&house, &by_socket).await;
    let start_ms = now_ms() - 60_000;
    for step in 0..20 {
        let fix = near_pickup(f64::from(step) * 3.0, start_ms + i64::from(step) * 1000);
        assert_eq!(house.post_fixes(&by_post, std::slice::from_ref(&fix)).await, ["accepted"]);
        assert_eq!(app.deliver(vec![fix]).await, ["accepted"]);
    }
    let newest =
        |memory: &Memory| topics.iter().all(|topic| memory.state(topic)["position"]["t_ms"] == start_ms + 19_000);
    socket.until("the newest positions", newest).await;
    stream.until("the newest positions", newest).await;
    poller.until(&house, "the newest positions", newest).await;
    for memory in [&socket.memory, &stream.memory, &poller.memory] {
        assert_eq!(memory.state(topics[0])["position"], memory.state(topics[1])["position"]);
        for topic in topics {
            assert_eq!(memory.state(topic), socket.memory.state(topic));
            assert_eq!(memory.cursor(topic), socket.memory.cursor(topic));
        }
    }
    poller.poll(&house).await;
    assert!(poller.unchanged > 0, "nothing changed, so the tag still holds");
    house.assert_clean_log();
}

#[tokio::test]
async fn what_is_acked_is_on_the_disk() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let mut app = App::open(&house, &driver).await;
    let start_ms = now_ms() - 60_000;
    app.deliver(vec![near_pickup(0.0, start_ms), near_pickup(2.0, start_ms + 1000)]).await;
    // At once: no time to write anything after the ack.
    house.kill9();
    let kept = house.command(&["fixes", "--driver", &driver.id]).await;
    assert_eq!(kept.lines().count(), 3, "{kept}");
    house.restart().await;
    let topic = format!("driver:{}", driver.id);
    assert_eq!(house.peek(&topic).await.unwrap()["position"]["t_ms"], start_ms + 1000);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_message_sent_again_is_acked_again_and_moves_nothing() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let mut app = App::open(&house, &driver).await;
    let start_ms = now_ms() - 60_000;
    let message = json!({ "type": "fixes", "seq": 1, "fixes": [near_pickup(0.0, start_ms)] }).to_string();
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        app.raw(&message).await;
        let ack = loop {
            let message = app.step().await.unwrap();
            if message["type"] == "ack" {
                break message;
            }
        };
        assert_eq!(ack["seq"], 1);
        verdicts.push(ack["verdicts"][0].as_str().unwrap().to_owned());
    }
    assert_eq!(verdicts, ["accepted", "duplicate", "duplicate"]);
    let body = json!({ "session": "9f3a61c0", "seq": 1, "fixes": [near_pickup(0.0, start_ms)] });
    let answer = house.call("POST", "/v1/fixes", Some(&driver.token), Some(&body)).await;
    assert_eq!((answer.status, answer.json()["verdicts"][0].as_str()), (200, Some("duplicate")));
    let bare = house.call("POST", "/v1/fixes", Some(&driver.token), Some(&near_pickup(0.0, start_ms))).await;
    assert_eq!(bare.json()["verdicts"][0], "duplicate", "by time and position");
    assert_eq!(house.command(&["fixes", "--driver", &driver.id]).await.lines().count(), 2);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_revoked_share_link_ends_its_open_streams_within_two_seconds() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let (id, link) = house.issue("share", &trip.id, 3600).await;
    let (_, other) = house.issue("share", &trip.id, 3600).await;
    let mut socket = Watcher::open(&house, &link).await;
    socket.subscribe(&[&trip.topic]).await;
    socket.until("the state", |memory| !memory.state(&trip.topic).is_null()).await;
    let mut stream = EventSource::open(&house, &link, &[&trip.topic]).await;
    stream.until("the state", |memory| !memory.state(&trip.topic).is_null()).await;
    let mut friend = Watcher::open(&house, &other).await;
    friend.subscribe(&[&trip.topic]).await;
    let revoked = Instant::now();
    house.done("DELETE", &format!("/v1/tokens/{id}"), Value::Null).await;
    assert_eq!(socket.closed().await, 4201);
    let first = revoked.elapsed();
    stream.ended().await;
    // A second of grace for a busy machine.
    assert!(
        first < Duration::from_secs(3) && revoked.elapsed() < Duration::from_secs(5),
        "{first:?} {:?}",
        revoked.elapsed()
    );
    let (name, error) = stream.said.first().expect("a last word");
    assert_eq!(name, "error");
    assert!(["forbidden", "not_found"].contains(&error["code"].as_str().unwrap()), "{error}");
    let refused = EventSource::resume(&house, &link, &[&trip.topic], Memory::new(&house), None).await.err().unwrap();
    assert_eq!(refused.status, 401);
    friend.until("the state", |memory| !memory.state(&trip.topic).is_null()).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_stream_ended_by_revocation_says_forbidden() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let (id, token) = house.issue("customer", "cus", 3600).await;
    let mut stream = EventSource::open(&house, &token, &[&trip.topic]).await;
    stream.until("the state", |memory| !memory.state(&trip.topic).is_null()).await;
    house.done("DELETE", &format!("/v1/tokens/{id}"), Value::Null).await;
    stream.ended().await;
    let first = stream.said.first().map(|(name, error)| (name.as_str(), &error["code"]));
    assert_eq!(first, Some(("error", &json!("forbidden"))), "{:?}", stream.said);
    house.assert_clean_log();
}

#[tokio::test]
async fn every_event_of_a_stream_carries_the_cursors_of_all_topics() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topic = format!("driver:{}", driver.id);
    let mut stream = EventSource::open(&house, &house.key, &[&trip.ops, &topic]).await;
    house.post_fixes(&driver, &[near_pickup(0.0, now_ms())]).await;
    stream.until("a position", |memory| memory.state(&trip.ops)["position"].is_object()).await;
    for (name, id) in &stream.heard {
        assert!(id.is_some(), "an event {name} without id; heard: {:?}", stream.heard);
    }
    // A log that nothing was told of yet goes on from where it began.
    let store = house.store("Kitchen").await;
    let log = &*format!("store:{store}");
    let mut stream = EventSource::open(&house, &house.key, &[log]).await;
    stream.until("subscribed", |memory| memory.log_cursors.contains_key(log)).await;
    let last_id = stream.last_id.clone();
    drop(stream);
    house.trip(None, Some(&store)).await;
    let again = EventSource::resume(&house, &house.key, &[log], Memory::new(&house), last_id).await;
    again.ok().unwrap().until("what was missed", |memory| memory.events.contains_key(log)).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_trip_given_to_another_driver_is_moved_by_that_one_only() {
    let house = House::start().await;
    let (first, second) = (house.driver("Ana").await, house.driver("Rui").await);
    let trip = house.trip(Some(&first), None).await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[&trip.ops]).await;
    let start_ms = now_ms() - 60_000;
    house.post_fixes(&first, &[near_pickup(-300.0, start_ms)]).await;
    watcher
        .until("the first driver's position", |memory| memory.state(&trip.ops)["position"]["t_ms"] == start_ms)
        .await;
    house.post(&format!("/v1/trips/{}/assign", trip.id), json!({ "driver": second.id })).await;
    watcher.until("the second driver", |memory| memory.state(&trip.ops)["driver"]["id"] == *second.id).await;
    house.knows_driver(&second.id, |state| state["trips"][0] == *trip.id).await;
    house.knows_driver(&first.id, |state| state["trips"].as_array().is_some_and(Vec::is_empty)).await;
    assert!(watcher.memory.state(&trip.ops)["position"].is_null(), "where the first driver is concerns nobody now");
    for step in 1..20 {
        house
            .post_fixes(&first, &[near_pickup(-300.0 + f64::from(step) * 5.0, start_ms + i64::from(step) * 1000)])
            .await;
        let state = house.peek(&trip.ops).await.unwrap();
        assert!(state["position"].is_null(), "{state}");
    }
    house.post_fixes(&second, &[near_pickup(-200.0, start_ms + 30_000)]).await;
    watcher
        .until("the second driver's position", |memory| {
            memory.state(&trip.ops)["position"]["t_ms"] == start_ms + 30_000
        })
        .await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_store_hears_each_event_of_its_trips_once_and_in_order() {
    let house = House::start().await;
    let (driver, store) = (house.driver("Ana").await, house.store("Kitchen").await);
    let token = house.token("store", &store).await;
    let topic = &*format!("store:{store}");
    let mut socket = Watcher::open(&house, &token).await;
    socket.subscribe(&[topic]).await;
    socket.until("subscribed", |memory| memory.log_cursors.contains_key(topic)).await;
    let mut stream = EventSource::open(&house, &token, &[topic]).await;
    let mut poller = Poller::new(&house, &token, &[topic]);
    poller.poll(&house).await;
    until(SOON, "the stream is subscribed", async || stream.step().await).await;
    let first = house.trip(Some(&driver), Some(&store)).await;
    let second = house.trip(None, Some(&store)).await;
    house.post(&format!("/v1/trips/{}/cancel", second.id), json!({ "reason": "no flour" })).await;
    house.post(&format!("/v1/trips/{}/complete", first.id), json!({})).await;
    let whole = |memory: &Memory| memory.events.get(topic).is_some_and(|events| events.len() >= 4);
    socket.until("four events", whole).await;
    stream.until("four events", whole).await;
    poller.until(&house, "four events", whole).await;
    let phases: Vec<&str> = socket.memory.events[topic].iter().map(|event| event["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["assigned", "unassigned", "cancelled", "delivered"]);
    assert_eq!(socket.memory.events, stream.memory.events);
    assert_eq!(socket.memory.events, poller.memory.events);
    // From the oldest kept, on a connection that knows nothing.
    for codec in Codec::ALL {
        let mut again = Watcher::open_as(&house, &token, codec).await;
        again.say(json!({ "type": "subscribe", "topics": [{ "topic": topic, "cursor": "start" }] })).await;
        again.until("four events", whole).await;
        assert_eq!(again.memory.events, socket.memory.events);
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_watchers_hear_the_end_within_two_seconds_and_nothing_after() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let token = house.token("support", "sup").await;
    let mut watchers = Vec::new();
    for _ in 0..100 {
        let mut watcher = Watcher::open(&house, &token).await;
        watcher.subscribe(&[&trip.ops]).await;
        watchers.push(watcher);
    }
    house.post_fixes(&driver, &[near_pickup(-300.0, now_ms() - 60_000)]).await;
    for watcher in &mut watchers {
        watcher.until("the position", |memory| memory.state(&trip.ops)["position"].is_object()).await;
    }
    let done = house.call("POST", &format!("/v1/trips/{}/complete", trip.id), Some(&driver.token), None).await;
    assert_eq!(done.status, 200, "the driver itself may hand it over: {}", done.text);
    let began = Instant::now();
    for watcher in &mut watchers {
        watcher.until("the end", |memory| memory.ended(&trip.ops)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for step in 1..10 {
        house
            .post_fixes(&driver, &[near_pickup(-300.0 + f64::from(step), now_ms() - 50_000 + i64::from(step) * 1000)])
            .await;
    }
    for watcher in &mut watchers {
        watcher.say(json!({ "type": "ping" })).await;
        watcher.said("pong").await;
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn a_person_has_a_bounded_number_of_connections() {
    let house = House::start().await;
    let customer = house.token("customer", "cus").await;
    let mut watchers = Vec::new();
    for _ in 0..32 {
        watchers.push(Watcher::open(&house, &customer).await);
    }
    let refused = Watcher::resume(&house, &customer, Memory::new(&house)).await.err().expect("one too many");
    assert!(refused.to_string().contains("429"), "{refused}");
    let other = house.token("customer", "other").await;
    Watcher::open(&house, &other).await;
    drop(watchers);
    until(SOON, "room again", async || Watcher::resume(&house, &customer, Memory::new(&house)).await.ok()).await;
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_a_trip_can_watch_it_at_once() {
    let house = House::start().await;
    for number in 0..20 {
        let body = json!({
            "customer": "cus", "reference": number.to_string(),
            "pickup": { "lat": 41.15, "lon": -8.61, "name": "Kitchen" },
            "dropoff": { "lat": 41.16, "lon": -8.60, "name": "Home" },
        });
        let trip = house.post("/v1/trips", body).await;
        let topic = format!("trip:{}", trip["id"].as_str().unwrap());
        let state = house.peek(&topic).await.expect("the topic is there when the call returns");
        assert_eq!(state["reference"], number.to_string());
    }
    house.assert_clean_log();
}
