//! Existing phone apps against the whole house: their queues drain, good fixes land once, bad ones are set aside.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::drive::Outbox;
use crate::harness::{House, SOON, fault_rounds, now_ms, until, within};
use crate::kill;
use crate::phones::{App, Measured, Phone};
use crate::quic_app::QUIC;
use crate::rest::Driver;
use crate::ride::{self, Ride, near_pickup};

const FAST: &[(&str, &str)] =
    &[("INGEST_MESSAGES_PER_SECOND", "5000"), ("INGEST_MESSAGES_BURST", "5000"), ("LOG_LEVEL", "trace")];

impl House {
    /// The address for a driver's app, with the id of its record.
    async fn address(&self, driver: &Driver, body: Value) -> (String, String) {
        let made = self.post(&format!("/v1/drivers/{}/device-keys", driver.id), body).await;
        self.note_token(made["key"].as_str().unwrap());
        let url = made["url"].as_str().unwrap();
        assert_eq!(url, self.url(&format!("/in/{}", made["key"].as_str().unwrap())));
        (url.to_owned(), made["id"].as_str().unwrap().to_owned())
    }

    /// Lines that are kept of a driver, by the time of the fix.
    async fn kept(&self, driver: &Driver) -> BTreeMap<i64, Vec<Vec<String>>> {
        let csv = self.command(&["fixes", "--driver", &driver.id]).await;
        let mut lines = BTreeMap::new();
        for line in csv.lines().skip(1) {
            let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
            lines.entry(fields[3].parse().unwrap()).or_insert_with(Vec::new).push(fields);
        }
        lines
    }

    /// What was set aside of a driver, once there is this much.
    async fn aside(&self, driver: &Driver, count: usize) -> Vec<Value> {
        let path = format!("/v1/quarantine?driver={}&limit=200", driver.id);
        until(SOON, "what was set aside", async || {
            let items =
                self.call("GET", &path, Some(&self.key), None).await.json()["items"].as_array().unwrap().clone();
            assert!(items.len() <= count, "{count} wanted: {items:?}");
            (items.len() == count).then_some(items)
        })
        .await
    }
}

/// A ride that ended `before_ms` ago, a fix every two seconds, in whole seconds: not every app can say more.
fn measured(before_ms: i64) -> Vec<Measured> {
    let mut ride = Ride::new();
    // An app that does not say zero leaves it to the positions to tell that someone stands.
    ride.to_dropoff.extend([*ride.to_dropoff.last().unwrap(); 30]);
    let start_ms = (now_ms() - before_ms - ride.seconds() * 1000) / 1000 * 1000;
    let mut all = ride::fixes(&ride.to_pickup, start_ms);
    all.extend(ride::fixes(&ride.to_dropoff, start_ms + ride.to_pickup.len() as i64 * 1000));
    let one = |(record, fix): (usize, &Value)| Measured {
        record: record as u64,
        lat: fix["lat"].clone(),
        lon: fix["lon"].clone(),
        t_ms: fix["t_ms"].as_i64().unwrap(),
        speed_mps: fix["speed_mps"].as_f64().unwrap(),
        accuracy_m: 5.5,
        heading_deg: 1.0,
    };
    all.iter().step_by(2).enumerate().map(one).collect()
}

/// Everything that can be wrong with a fix, beginning with one that would block a queue at its head.
fn spoiled(good: &Measured) -> Vec<(Measured, &'static str)> {
    let with = |change: fn(&mut Measured)| {
        // Between two good ones: the same time and place twice would be one fix.
        let (record, t_ms) = (good.record + 0x1000_0000, good.t_ms + 1000);
        let mut bad = Measured { record, t_ms, ..good.clone() };
        change(&mut bad);
        bad
    };
    vec![
        (with(|bad| bad.lat = json!("far")), "position"),
        (with(|bad| (bad.lat, bad.lon) = (json!(0), json!(0))), "invalid"),
        (with(|bad| bad.lat = json!(141.5)), "invalid"),
        (with(|bad| bad.t_ms += 366 * 86_400_000), "future"),
        (with(|bad| bad.t_ms = 1_000_000), "stale"),
        (with(|bad| bad.accuracy_m = 5000.0), "inaccurate"),
        (with(|bad| bad.lon = json!(12.0)), "implausible_speed"),
    ]
}

/// Good fixes with bad ones strewn among them, the first at the head, and the rules that they break.
fn strewn(good: &[Measured]) -> (Vec<Measured>, Vec<&'static str>) {
    let (mut queue, mut rules) = (Vec::new(), Vec::new());
    let step = good.len() / 7;
    for (place, one) in good.iter().enumerate() {
        // Spread, because several that agree on another place would be believed.
        if place % step == 0
            && let Some((bad, rule)) = spoiled(one).into_iter().nth(place / step)
        {
            queue.push(bad);
            rules.push(rule);
        }
        queue.push(one.clone());
    }
    (queue, rules)
}

async fn check_drains(house: &House, app: App) {
    let driver = house.driver(&format!("{app:?}")).await;
    let trip = house.trip(Some(&driver), None).await;
    let (url, device) = house.address(&driver, json!({ "name": "the phone" })).await;
    let good = measured(60_000);
    let (queue, mut rules) = strewn(&good);
    let mut phone = Phone::new(house, app, url, queue);
    phone.lose_every = 3;
    phone.drain().await;

    // Each good fix once, with the place, the time, the accuracy and the speed that were meant.
    let kept = house.kept(&driver).await;
    assert_eq!(kept.len(), good.len(), "{app:?}: what was kept is what was good");
    for one in &good {
        let lines = &kept[&one.t_ms];
        assert_eq!(lines.len(), 1, "{app:?}: kept more than once: {lines:?}");
        let number = |field: usize| lines[0][field].parse::<f64>().unwrap_or(f64::NAN);
        assert!((number(4) - one.lat.as_f64().unwrap()).abs() < 1e-9, "{app:?}: {lines:?}");
        assert!((number(5) - one.lon.as_f64().unwrap()).abs() < 1e-9, "{app:?}: {lines:?}");
        assert_eq!(number(6), 5.5, "{app:?}: {lines:?}");
        let stands_in_owntracks = app == App::OwnTracks && one.speed_mps == 0.0;
        let speed = number(7);
        let near = (speed - one.speed_mps).abs() <= app.speed_error_mps();
        assert!(near || (stands_in_owntracks && speed.is_nan()), "{app:?}: {} m/s, {lines:?}", one.speed_mps);
    }
    // The door is reached once the courier has stood there for a while. Of one who stands a position is told every ten seconds.
    let newest_ms = good.last().unwrap().t_ms;
    until(SOON, &format!("the ride of {app:?} ends at the door"), async || {
        let state = house.peek(&trip.ops).await.unwrap();
        let behind_ms = newest_ms - state["position"]["t_ms"].as_i64().unwrap();
        assert!((0..=10_000).contains(&behind_ms), "{app:?}: the marker is {behind_ms} ms behind");
        (state["phase"] == "arrived").then_some(())
    })
    .await;

    // Each bad one set aside once, with its rule.
    let aside = house.aside(&driver, rules.len()).await;
    let mut found: Vec<&str> = aside.iter().map(|one| one["rule"].as_str().unwrap()).collect();
    found.sort_unstable();
    rules.sort_unstable();
    assert_eq!(found, rules, "{app:?}");
    for one in &aside {
        assert_eq!((&one["driver"], &one["device"]), (&json!(driver.id), &json!(device)));
        let raw = one["raw"].as_str().unwrap_or_default();
        assert!(!raw.is_empty() || one["rule"] == "stale", "{one}");
        assert!(!one["message"].as_str().unwrap().is_empty());
    }
    if matches!(app, App::Batch | App::BatchNewestFirst | App::Single | App::Overland) {
        assert!(!phone.asked.is_empty(), "{app:?} can be asked for another rate");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_of_every_app_drain_whatever_is_in_them() {
    let house = House::start_with(FAST).await;
    let checks = App::ALL.map(|app| check_drains(&house, app));
    futures_util::future::join_all(checks).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_queue_of_days_whose_answer_was_lost_in_a_fall_lands_once() {
    let mut house = House::start_with(FAST).await;
    let driver = house.driver("Ana").await;
    let (url, _) = house.address(&driver, json!({})).await;
    let start_ms = (now_ms() - 7_000_000) / 1000 * 1000;
    let to_and_fro = |second: i64| near_pickup(((second % 400) - 200).abs() as f64, start_ms + second * 1000);
    let queue: Vec<Measured> = (0..3000)
        .map(|second| {
            let fix = to_and_fro(second);
            let (lat, lon) = (fix["lat"].clone(), fix["lon"].clone());
            let record = second as u64;
            Measured {
                record,
                lat,
                lon,
                t_ms: start_ms + second * 1000,
                speed_mps: 1.0,
                accuracy_m: 5.0,
                heading_deg: 0.0,
            }
        })
        .collect();
    // The answer to the first request is lost, and the house falls.
    let mut phone = Phone::new(&house, App::BatchNewestFirst, url, queue.clone());
    phone.lose_every = 1;
    assert!(phone.step().await);
    house.kill9();
    house.restart().await;
    phone.lose_every = usize::MAX;
    phone.drain().await;
    assert_eq!(phone.requests, 2);
    until(SOON, "all of them are recognised", async || {
        (house.metric("wayfare_fixes_total", "duplicate").await == 3000.0).then_some(())
    })
    .await;
    let kept = house.kept(&driver).await;
    assert_eq!((kept.len(), kept.values().filter(|lines| lines.len() > 1).count()), (queue.len(), 0));
    house.assert_clean_log();
}

/// A phone that measures something every few milliseconds and sends it when it can, until told to stop; then it sends what is left.
async fn measure_and_send(mut phone: Phone, start_ms: i64, mut stop: watch::Receiver<bool>) -> (App, i64) {
    let mut second = 0;
    loop {
        let stopping = *stop.borrow();
        if stopping && phone.queue.is_empty() {
            return (phone.app, second);
        }
        for _ in 0..if stopping || phone.queue.len() > 100 { 0 } else { 3 } {
            let fix = near_pickup(((second % 400) - 200).abs() as f64, 0);
            let (lat, lon, record) = (fix["lat"].clone(), fix["lon"].clone(), second as u64);
            let t_ms = start_ms + second * 1000;
            phone.queue.push_back(Measured {
                record,
                lat,
                lon,
                t_ms,
                speed_mps: 1.0,
                accuracy_m: 5.0,
                heading_deg: 0.0,
            });
            second += 1;
        }
        let answered = phone.step().await;
        let pause = Duration::from_millis(if answered { 5 } else { 20 });
        let _ = tokio::time::timeout(pause, stop.changed()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_nothing_that_anyone_was_told_is_kept_and_doubles_nothing() {
    let mut house = House::start_with(&[&FAST[..2], &QUIC[..]].concat()).await;
    let (stop, stopped) = watch::channel(false);
    let start_ms = (now_ms() - 7_000_000) / 1000 * 1000;
    let (mut drivers, mut phones) = (Vec::new(), Vec::new());
    for app in App::ALL {
        let driver = house.driver(&format!("{app:?}")).await;
        let (url, _) = house.address(&driver, json!({})).await;
        let phone = Phone::new(&house, app, url, []);
        phones.push(tokio::spawn(measure_and_send(phone, start_ms, stopped.clone())));
        drivers.push(driver);
    }
    // Beside them our own protocol, on both of its transports.
    let (on_ws, on_quic) = (house.driver("WebSocket").await, house.driver("QUIC").await);
    let door = (house.quic_port, house.fingerprint.clone());
    let couriers = [
        tokio::spawn(kill::courier(house.port, on_ws.clone(), Outbox::new("ab1"), stopped.clone())),
        tokio::spawn(kill::courier_on_quic(door, on_quic.clone(), Outbox::new("ab2"), stopped.clone())),
    ];
    for _ in 0..fault_rounds(5) {
        // Each fall at another moment of a flush.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(100..500))).await;
        house.kill9();
        house.restart().await;
    }
    stop.send(true).unwrap();
    let mut told = 0;
    for (driver, courier) in [on_ws, on_quic].iter().zip(couriers) {
        let outbox = within(SOON, "everything is acked", courier).await.unwrap();
        let acked = kill::acked_once(&house, driver, &outbox).await;
        assert!(acked > 20, "{acked} fixes are no load");
        told += acked;
    }
    for (driver, phone) in drivers.iter().zip(phones) {
        let (app, seconds) = within(SOON, "the queue drains", phone).await.unwrap();
        let kept = house.kept(driver).await;
        let twice: Vec<_> = kept.values().filter(|lines| lines.len() > 1).collect();
        assert!(twice.is_empty(), "{app:?}: kept twice: {twice:?}");
        assert_eq!(kept.len() as i64, seconds, "{app:?}: all of it is kept");
        assert!(seconds > 20, "{app:?} has sent {seconds}");
        told += kept.len();
    }
    eprintln!("{told} fixes were told to be kept, and are, once");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_key_opens_its_drivers_door_until_it_is_revoked() {
    let house = House::start_with(FAST).await;
    let (ana, bob) = (house.driver("Ana").await, house.driver("Bob").await);
    let (url, device) = house.address(&ana, json!({ "app": "osmand", "name": "the old phone" })).await;
    let key = url.rsplit('/').next().unwrap().to_owned();
    let send = async |url: &str, query: &str| House::answer(house.http.get(format!("{url}?{query}"))).await;
    // The id in what is sent counts for nothing.
    let fix = near_pickup(0.0, 0);
    let query = |second: i64| {
        format!(
            "id={}&lat={}&lon={}&timestamp={}&speed=3&hdop=5",
            bob.id,
            fix["lat"],
            fix["lon"],
            now_ms() - second * 1000
        )
    };
    assert_eq!(send(&url, &query(20)).await.status, 200);
    assert_eq!(house.kept(&bob).await.len(), 0);
    let kept = house.kept(&ana).await;
    assert_eq!(kept.values().next().unwrap()[0][7], "3", "the key says that it is OsmAnd, so it is 3 m/s");

    let path = format!("/v1/drivers/{}/device-keys", ana.id);
    let listed = house.call("GET", &path, Some(&house.key), None).await;
    let record = &listed.json()["items"][0];
    assert_eq!(
        (&record["id"], &record["name"], &record["app"]),
        (&json!(device), &json!("the old phone"), &json!("osmand"))
    );
    assert_eq!(record["seen_app"], "osmand");
    assert!((now_ms() - record["seen_ms"].as_i64().unwrap()) < 60_000, "{record}");
    assert!(!listed.text.contains(&key) && record["fingerprint"].as_str().unwrap().len() == 12);
    assert_eq!(
        house
            .call("DELETE", &format!("/v1/drivers/{}/device-keys/{device}", bob.id), Some(&house.key), None)
            .await
            .status,
        404
    );

    let other = house.address(&ana, json!({})).await.0;
    for url in [&other, &url] {
        assert_eq!(send(url, &query(10)).await.status, 200);
    }
    house.call("DELETE", &format!("{path}/{device}"), Some(&house.key), None).await;
    assert_eq!(send(&url, &query(5)).await.status, 404, "the call returns when the doors know");
    assert_eq!(send(&other, &query(5)).await.status, 200);
    house.post(&format!("/v1/drivers/{}/revoke", ana.id), Value::Null).await;
    assert_eq!(send(&other, &query(4)).await.status, 404);
    let live = house.call("GET", &path, Some(&house.key), None).await.json();
    assert!(live["items"].as_array().unwrap().iter().all(|key| key["revoked_ms"].is_i64()), "{live}");
    house.assert_clean_log();
}

#[tokio::test]
async fn keys_outlive_the_house() {
    let mut house = House::start_with(FAST).await;
    let driver = house.driver("Ana").await;
    let (url, _) = house.address(&driver, json!({})).await;
    let (gone, device) = house.address(&driver, json!({})).await;
    house.call("DELETE", &format!("/v1/drivers/{}/device-keys/{device}", driver.id), Some(&house.key), None).await;
    house.kill9();
    house.restart().await;
    assert_eq!(House::answer(house.http.get(&url)).await.status, 200);
    assert_eq!(House::answer(house.http.get(&gone)).await.status, 404);
    house.assert_clean_log();
}

#[tokio::test]
async fn wrong_keys_are_few_and_right_ones_never_suffer() {
    let house = House::start_with(FAST).await;
    let driver = house.driver("Ana").await;
    let (url, _) = house.address(&driver, json!({})).await;
    let mut answers = BTreeMap::new();
    for number in 0..100_u32 {
        let wrong = house.url(&format!("/in/dvk_{number:026}"));
        *answers.entry(House::answer(house.http.post(&wrong).body("x")).await.status).or_insert(0) += 1;
    }
    assert!(answers[&404] >= 60 && answers[&429] > 0 && answers.len() == 2, "{answers:?}");
    for path in ["/in/", "/in/x", "/in/dvk_", "/in/%00", "/in/..%2f"] {
        let status = House::answer(house.http.get(house.url(path))).await.status;
        assert!([404, 429].contains(&status), "{path}: {status}");
    }
    assert_eq!(House::answer(house.http.get(&url)).await.status, 200);
    house.assert_clean_log();
}

#[tokio::test]
async fn whatever_is_sent_to_a_right_address_is_answered_well() {
    let house = House::start_with(FAST).await;
    let driver = house.driver("Ana").await;
    let (url, _) = house.address(&driver, json!({})).await;
    for (method, body) in [
        ("POST", "".to_owned()),
        ("POST", "{".to_owned()),
        ("PUT", "[1,2,3]".to_owned()),
        ("OPTIONS", "null".to_owned()),
        ("POST", "\u{0}\u{1}\u{2}".to_owned()),
        ("POST", "[".repeat(100_000)),
        ("POST", r#"{"location":{"coords":{"latitude":1e999}}}"#.to_owned()),
        ("POST", r#"{"_type":"card","name":"x"}"#.to_owned()),
        ("PATCH", r#"{"_type":"encrypted","data":"x"}"#.to_owned()),
        ("POST", format!(r#"{{"location":[{}]}}"#, vec![r#"{"coords":7}"#; 20_000].join(","))),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = House::answer(house.http.request(method, &url).body(body.clone())).await;
        assert_eq!(answer.status, 200, "{body:.60}: {}", answer.text);
    }
    let empty = House::answer(house.http.post(&url).header("X-Limit-U", "jane")).await;
    assert_eq!((empty.status, empty.text.as_str()), (200, "[]"));
    let big = "x".repeat(9 << 20);
    // The house does not wait for the rest of it: some clients see the answer, some the closed line.
    if let Ok(answer) = reqwest::Client::new().post(&url).body(big).send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    let zipped = House::answer(house.http.post(&url).header("content-encoding", "gzip").body("x")).await;
    assert_eq!(zipped.status, 413);
    house.assert_clean_log();
}

#[tokio::test]
async fn off_duty_nothing_is_set_aside_that_tells_where_someone_was() {
    let house = House::start_with(FAST).await;
    let driver = house.driver("Ana").await;
    let (url, _) = house.address(&driver, json!({})).await;
    house.done("PATCH", &format!("/v1/drivers/{}", driver.id), json!({ "available": false })).await;
    house.knows_driver(&driver.id, |state| state["available"] != true).await;
    let at_ms = now_ms() + 300_000; // later than any duty, and too far ahead
    let bodies = [
        json!([{ "latitude": 41.1234567, "longitude": -8.6, "time": now_ms() - 8_000_000 }]),
        json!([{ "latitude": 41.1234567, "longitude": "x", "time": now_ms() }]),
        json!([{ "latitude": 41.1234567, "longitude": -8.6, "time": at_ms }]),
    ];
    for body in bodies {
        assert_eq!(House::answer(house.http.post(&url).json(&body)).await.status, 200);
    }
    let aside = house.aside(&driver, 2).await;
    assert!(aside.iter().all(|one| !one.to_string().contains("41.12")), "{aside:?}");
    assert_eq!(house.kept(&driver).await.len(), 0);
    house.assert_clean_log();
}
