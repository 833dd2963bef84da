//! The update rate: what is asked of a phone follows who looks, soon, and not to and fro.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::drive::App;
use crate::harness::{House, now_ms};
use crate::ride::near_pickup;
use crate::watch::Watcher;

#[tokio::test]
async fn a_watcher_who_comes_makes_the_phone_speak_up_at_once_and_one_who_leaves_later() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let mut app = App::open(&house, &driver).await;
    // Far from the kitchen, and nobody looks: nothing else than at the greeting is asked for.
    app.deliver(vec![near_pickup(-900.0, now_ms() - 60_000)]).await;
    // Before the pick-up a customer sees an arrival and no position.
    let customer = house.token("customer", "cus").await;
    let mut watcher = Watcher::open(&house, &customer).await;
    watcher.subscribe(&[&trip.topic]).await;
    assert_eq!(app.said("config").await["interval_ms"], 10_000);
    let mut operator = Watcher::open(&house, &house.key).await;
    operator.subscribe(&[&trip.ops]).await;
    assert_eq!(app.said("config").await["interval_ms"], 3_000);
    // Near the door both see more; so does the phone, without another look around.
    app.deliver(vec![near_pickup(-140.0, now_ms())]).await;
    assert_eq!(app.said("config").await["interval_ms"], 2_000);
    let left = Instant::now();
    drop((watcher, operator));
    assert_eq!(app.said("config").await["interval_ms"], 10_000);
    assert!(left.elapsed() > Duration::from_secs(4), "whoever comes back soon has changed nothing");
    assert!(app.said.iter().all(|said| said["type"] != "config"), "{:?}", app.said);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_phone_that_hears_only_answers_is_asked_in_them() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let key = house.post(&format!("/v1/drivers/{}/device-keys", driver.id), json!({})).await;
    let (mut second, start_ms) = (0, now_ms() - 60_000);
    let mut send = async || {
        second += 1;
        let fix = near_pickup(-900.0 + f64::from(second), start_ms + i64::from(second) * 1000);
        let coords =
            json!({ "latitude": fix["lat"], "longitude": fix["lon"], "accuracy": 5, "speed": 3, "heading": 0 });
        let record = json!({ "location": { "uuid": second.to_string(), "timestamp": fix["t_ms"], "coords": coords } });
        let answer = House::answer(house.http.post(key["url"].as_str().unwrap()).json(&record)).await;
        answer.json()["background_geolocation"][0][1]["locationUpdateInterval"].clone()
    };
    // It cannot be told when somebody comes: so it is never asked for less than this.
    assert_eq!(send().await, 10_000);
    assert_eq!(send().await, Value::Null, "asked once");
    let mut operator = Watcher::open(&house, &house.key).await;
    operator.subscribe(&[&trip.ops]).await;
    operator.until("the trip", |memory| !memory.state(&trip.ops).is_null()).await;
    assert_eq!(send().await, 3_000, "at once");
    drop(operator);
    let posted = house.call("POST", "/v1/fixes", Some(&driver.token), Some(&json!({ "fixes": [] }))).await;
    assert!([3_000, 10_000].contains(&posted.json()["interval_ms"].as_i64().unwrap()), "{}", posted.text);
    house.assert_clean_log();
}
