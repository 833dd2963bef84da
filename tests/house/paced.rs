//! Subscriptions with a least interval: whole states from time to time, and at once what must not wait.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wayfare_wire::codec::Codec;

use crate::drive::App;
use crate::harness::{House, SOON, now_ms, within};
use crate::ride::near_pickup;
use crate::watch::{EventSource, Memory, Watcher};

async fn paced(house: &House, codec: Codec, topic: &str, interval_ms: u32) -> Watcher {
    let mut watcher = Watcher::open_as(house, &house.key, codec).await;
    let wanted = json!([{ "topic": topic, "interval_ms": interval_ms }]);
    watcher.say(json!({ "type": "subscribe", "topics": wanted })).await;
    watcher.until("the state", |memory| !memory.state(topic).is_null()).await;
    watcher
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_less_gets_whole_states_that_others_hold_too() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let topic = &*format!("driver:{}", driver.id);
    let mut app = App::open(&house, &driver).await;
    app.deliver(vec![near_pickup(0.0, now_ms() - 100_000)]).await;
    let mut steady = Watcher::open(&house, &house.key).await;
    steady.subscribe(&[topic]).await;
    let mut slow = [paced(&house, Codec::Json, topic, 700).await, paced(&house, Codec::Proto, topic, 700).await];
    let mut stream = EventSource::paced(&house, &house.key, &[topic], 700).await;
    let (began, start_ms) = (Instant::now(), now_ms() - 90_000);
    let mut newest = Value::Null;
    for step in 0..60 {
        newest = json!(start_ms + step * 1000);
        app.deliver(vec![near_pickup(3.0 * step as f64, start_ms + step * 1000)]).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let lasted = began.elapsed();
    let arrived = |memory: &Memory| memory.state(topic)["position"]["t_ms"] == newest;
    steady.until("the newest position", arrived).await;
    let most = lasted.as_millis() as usize / 700 + 3;
    let check = |memory: &mut Memory| {
        let replica = memory.replica(topic);
        assert_eq!(replica.deltas, 0, "whole states only");
        assert!((2..=most).contains(&replica.snapshots), "{} states in {lasted:?}", replica.snapshots);
        memory.cursor(topic)
    };
    for watcher in &mut slow {
        // The newest comes by itself, when the time has come.
        watcher.until("the newest position", arrived).await;
        assert_eq!(check(&mut watcher.memory), steady.memory.cursor(topic));
    }
    stream.until("the newest position", arrived).await;
    check(&mut stream.memory);
    assert!(steady.memory.replica(topic).deltas >= 60);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_is_taken_back_and_the_end_never_wait() {
    let house = House::start().await;
    let (first, second) = (house.driver("Ana").await, house.driver("Rui").await);
    let trip = house.trip(Some(&first), None).await;
    let topic = &*trip.ops;
    house.post_fixes(&first, &[near_pickup(-300.0, now_ms() - 60_000)]).await;
    let mut watchers =
        [paced(&house, Codec::Json, topic, 60_000).await, paced(&house, Codec::Proto, topic, 60_000).await];
    let mut stream = EventSource::paced(&house, &house.key, &[topic], 60_000).await;
    let shown = |memory: &Memory| memory.state(topic)["position"].is_object();
    let gone = |memory: &Memory| !memory.state(topic).is_null() && memory.state(topic)["position"].is_null();
    for watcher in &mut watchers {
        watcher.until("the position", shown).await;
    }
    stream.until("the position", shown).await;
    // Another driver: where the first one is concerns nobody now.
    house.post(&format!("/v1/trips/{}/assign", trip.id), json!({ "driver": second.id })).await;
    for watcher in &mut watchers {
        watcher.until("no position", gone).await;
    }
    stream.until("no position", gone).await;
    house.post_fixes(&second, &[near_pickup(-200.0, now_ms() - 30_000)]).await;
    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    for watcher in &mut watchers {
        watcher.until("the end", |memory| memory.ended(topic)).await;
    }
    stream.until("the end", |memory| memory.ended(topic)).await;
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_is_bounded_and_may_be_changed() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let topic = &*format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    let ask =
        |interval_ms: u32| json!({ "type": "subscribe", "topics": [{ "topic": topic, "interval_ms": interval_ms }] });
    watcher.say(ask(60_001)).await;
    let refused = watcher.said("error").await;
    assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid"), &json!("interval_ms")));
    let answer =
        house.call("GET", &format!("/v1/watch/sse?topics={topic}&interval_ms=60001"), Some(&house.key), None).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"));
    watcher.say(ask(60_000)).await;
    watcher.until("the state", |memory| !memory.state(topic).is_null()).await;
    let start_ms = now_ms() - 60_000;
    house.post_fixes(&driver, &[near_pickup(0.0, start_ms)]).await;
    watcher.say(json!({ "type": "ping" })).await;
    watcher.said("pong").await;
    assert!(watcher.memory.state(topic)["position"].is_null(), "not yet");
    // Asked for anew: the state as it is, and from now on every change.
    watcher.say(ask(0)).await;
    watcher.until("the position", |memory| memory.state(topic)["position"]["t_ms"] == start_ms).await;
    house.post_fixes(&driver, &[near_pickup(3.0, start_ms + 1000)]).await;
    watcher.until("the next", |memory| memory.state(topic)["position"]["t_ms"] == start_ms + 1000).await;
    assert!(within(SOON, "deltas", async { watcher.memory.replica(topic).deltas }).await > 0);
    house.assert_clean_log();
}
