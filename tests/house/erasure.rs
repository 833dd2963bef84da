//! Who asks to be forgotten is forgotten: everywhere, also in bytes that no table shows any more, and over falls.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wayfare_wire::ids;

use crate::drive::App;
use crate::harness::{House, SOON, now_ms, until};
use crate::rest::{Driver, Trip};
use crate::watch::{Memory, Watcher};

const FAST: [(&str, &str); 2] = [("INGEST_MESSAGES_PER_SECOND", "5000"), ("INGEST_MESSAGES_BURST", "5000")];

/// A place where nobody else is.
const HIDEOUT: (f64, f64) = (41.152_345_7, -8.612_345_7);

/// Somebody else's.
const ELSEWHERE: (f64, f64) = (41.148_765_3, -8.609_876_3);

fn there(place: (f64, f64), t_ms: i64) -> Value {
    json!({ "lat": place.0, "lon": place.1, "t_ms": t_ms, "accuracy_m": 5, "speed_mps": 0.5, "heading_deg": 0 })
}

/// A signed number as tracks write it.
fn varint(value: i64) -> Vec<u8> {
    let (mut value, mut out) = ((value << 1 ^ value >> 63) as u64, Vec::new());
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Every form in which a driver or its place may stand in a file.
fn needles(driver: &Driver, (lat, lon): (f64, f64)) -> Vec<(&'static str, Vec<u8>)> {
    let id: ids::Driver = driver.id.parse().unwrap();
    let place_e7 = [varint((lat * 1e7).round() as i64), varint((lon * 1e7).round() as i64)].concat();
    vec![
        ("the id as text", driver.id.clone().into_bytes()),
        ("the id", id.0.to_le_bytes().to_vec()),
        ("the id backwards", id.0.to_be_bytes().to_vec()),
        ("the latitude", lat.to_le_bytes().to_vec()),
        ("the longitude", lon.to_le_bytes().to_vec()),
        ("the latitude as text", format!("{lat}").into_bytes()),
        ("the longitude as text", format!("{lon}").into_bytes()),
        ("the latitude in millionths", format!("{lat:.6}").into_bytes()),
        ("the place in a track", place_e7),
    ]
}

/// Where a form is found, in every file of the house.
fn found(folder: &Path, needles: &[(&'static str, Vec<u8>)]) -> Vec<String> {
    let mut hits = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            hits.extend(found(&entry.path(), needles));
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        for (what, needle) in needles {
            if bytes.windows(needle.len()).any(|window| window == needle) {
                hits.push(format!("{what} in {}", entry.path().display()));
            }
        }
    }
    hits
}

/// A driver of whom something is held in every place there is. Returns its trip that is over and the one that goes on.
async fn life(house: &House, driver: &Driver, place: (f64, f64), store: &str) -> ([Trip; 2], String) {
    let over = house.trip(Some(driver), Some(store)).await;
    let since_ms = now_ms();
    let (url, _) = house.address(driver, json!({ "name": "the phone" })).await;
    let mut app = App::open(house, driver).await;
    for step in 0..30 {
        app.deliver(vec![there(place, since_ms + step)]).await;
    }
    // From the phone's own app: a good one, one that is set aside, and one that nobody can read.
    for (lat, t_ms) in [(place.0, now_ms()), (place.0 + 3.0, now_ms()), (place.0, 1_000_000)] {
        let query = format!("lat={lat}&lon={}&timestamp={t_ms}&hdop=5", place.1);
        assert_eq!(House::answer(house.http.get(format!("{url}?{query}"))).await.status, 200);
    }
    let share = json!({ "role": "share", "sub": over.id });
    house.note_token(house.post("/v1/tokens", share).await["token"].as_str().unwrap());
    house.post(&format!("/v1/trips/{}/complete", over.id), json!({})).await;
    let live = house.trip(Some(driver), Some(store)).await;
    house.post_fixes(driver, &[there(place, now_ms())]).await;
    until(SOON, "a track and what was set aside", async || {
        let points = track(house, &over).await;
        let path = format!("/v1/quarantine?driver={}", driver.id);
        let aside = house.call("GET", &path, Some(&house.key), None).await.json()["items"].as_array().unwrap().len();
        (points >= 30 && aside >= 2).then_some(())
    })
    .await;
    ([over, live], url)
}

/// Trips that the driver was asked to take: taken and said to be further than it is, left, and not answered.
async fn offers(house: &House, driver: &Driver, store: &str) -> Vec<Trip> {
    let mut trips = Vec::new();
    for answer in ["accept", "decline", ""] {
        let trip = house.trip(None, Some(store)).await;
        let path = |what: &str| format!("/v1/trips/{}/{what}", trip.id);
        house.post(&path("assign"), json!({ "driver": driver.id, "answer_within_s": 60 })).await;
        let said = [(answer, json!({})), ("status", json!({ "phase": "at_pickup" }))];
        let words = match answer {
            "accept" => &said[..],
            "decline" => &said[..1],
            _ => &[],
        };
        for (what, body) in words {
            until(SOON, what, async || {
                let said = house.call("POST", &path(what), Some(&driver.token), Some(body)).await;
                (said.status == 200).then_some(())
            })
            .await;
        }
        trips.push(trip);
    }
    trips
}

async fn track(house: &House, trip: &Trip) -> usize {
    let path = format!("/v1/trips/{}/track?format=csv&limit=20000", trip.id);
    house.call("GET", &path, Some(&house.key), None).await.text.lines().skip(1).count()
}

async fn done(house: &House, erasure: &Value) -> Value {
    let path = format!("/v1/erasures/{}", erasure["id"].as_str().unwrap());
    until(2 * SOON, "the erasure is done", async || {
        let receipt = house.call("GET", &path, Some(&house.key), None).await.json();
        (receipt["state"] == "done").then_some(receipt)
    })
    .await
}

/// Everything that can be asked, as one text.
async fn all_that_is_told(house: &House, driver: &Driver, trips: &[Trip], store: &str) -> String {
    let mut told = String::new();
    let mut paths: Vec<String> = [
        "/v1/drivers?limit=200",
        "/v1/trips?limit=200",
        "/v1/quarantine?limit=200",
        "/v1/arrivals?limit=200",
        "/v1/erasures",
        "/metrics",
    ]
    .map(str::to_owned)
    .into();
    let (lat, lon) = HIDEOUT;
    paths.push(format!("/v1/nearby?lat={lat}&lon={lon}&k=50"));
    for trip in trips {
        paths.extend([format!("/v1/trips/{}", trip.id), format!("/v1/trips/{}/track", trip.id)]);
        paths.extend([format!("/v1/watch/poll?topics={}", trip.topic), format!("/v1/watch/poll?topics={}", trip.ops)]);
    }
    for path in &paths {
        let answer = house.call("GET", path, Some(&house.key), None).await;
        assert!([200, 404, 410].contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        told.push_str(&answer.text);
    }
    for path in [format!("/v1/drivers/{}", driver.id), format!("/v1/drivers/{}/device-keys", driver.id)] {
        assert_eq!(house.call("GET", &path, Some(&house.key), None).await.status, 404, "{path}");
    }
    assert_eq!(house.peek(&format!("driver:{}", driver.id)).await, None);
    let mut logs = Watcher::open(house, &house.key).await;
    for topic in [format!("store:{store}"), "fences".to_owned()] {
        logs.say(json!({ "type": "subscribe", "topics": [{ "topic": topic, "cursor": "start" }] })).await;
    }
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(700), logs.step()).await {
        told.push_str(&message.to_string());
    }
    told.push_str(&house.command(&["fixes", "--driver", &driver.id]).await);
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_driver_is_found_nowhere_and_nobody_else_misses_anything() {
    let mut house = House::start_with(&FAST).await;
    let store = house.store("Kitchen").await;
    let circle = json!({ "lat": 41.151, "lon": -8.611, "radius_m": 1500 });
    let fence = json!({ "name": "Quarter", "circle": circle });
    let made = house.call("POST", "/v1/fences", Some(&house.key), Some(&fence)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let (ana, bob) = (house.driver("Ana Forgotten").await, house.driver("Bob").await);
    let (ana_trips, ana_url) = life(&house, &ana, HIDEOUT, &store).await;
    let (bob_trips, bob_url) = life(&house, &bob, ELSEWHERE, &store).await;
    let forms = needles(&ana, HIDEOUT);
    assert!(found(&house.data(), &forms).len() > 5, "it was there: {:?}", found(&house.data(), &forms));
    let kept_of_bob = house.command(&["fixes", "--driver", &bob.id]).await;

    // All of it can be had before.
    let path = format!("/v1/drivers/{}/export", ana.id);
    let answer = house.call("GET", &path, Some(&house.key), None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |class: &str| lines.iter().filter(|line| line["class"] == class).count();
    let counts = ["profile", "state", "device_key", "token", "trip", "quarantine", "end"].map(count);
    assert_eq!(counts, [1, 1, 1, 1, 2, 2, 1], "{}", answer.text);
    assert_eq!(lines.last().unwrap(), &json!({ "class": "end", "data": { "lines": lines.len() - 1 } }));
    let points = |class: &str, name: &str| -> usize {
        let own = lines.iter().filter(|line| line["class"] == class);
        own.map(|line| line["data"][name].as_array().unwrap().len()).sum()
    };
    assert!(
        points("track", "points") >= 31 && points("fixes", "fixes") >= 31 && count("fence_event") > 0,
        "{}",
        answer.text
    );
    assert!(!answer.text.contains(&bob.id) && !answer.text.contains("cus") && !answer.text.contains(&ana_url));
    let support = house.token("support", "sue").await;
    assert_eq!(house.call("GET", &path, Some(&support), None).await.status, 403);

    // A record of the fix log that is damaged, and a file that was set aside.
    house.terminate().await;
    let file = house.data().join("fixes.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    // Driver, length, then the message: its head, the flags of the first fix, its latitude.
    let entry = |window: &[u8]| window[..16] == forms[1].1 && window[54..62] == forms[3].1;
    let place = bytes.windows(62).rposition(entry).unwrap();
    bytes[place + 25] ^= 0x40;
    std::fs::write(&file, &bytes).unwrap();
    std::fs::write(house.data().join("fixes.sqlite.damaged-17"), &bytes).unwrap();
    for text in ["a record of the fix log is damaged", "a damaged fix log that was set aside is deleted"] {
        house.expect_log(text);
    }
    house.restart().await;

    let mut app = App::open(&house, &ana).await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    let topic = format!("driver:{}", ana.id);
    watcher.subscribe(&[&topic]).await;
    watcher.until("the driver", |memory: &Memory| !memory.state(&topic).is_null()).await;
    let offered = offers(&house, &ana, &store).await;
    // What she was asked, what she answered, and what she said by hand can be had too.
    let answer = house.call("GET", &path, Some(&house.key), None).await;
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_class = |class: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["class"] == class).map(|line| &line["data"]).collect()
    };
    for (trip, state) in offered.iter().zip(["accepted", "declined", "open"]) {
        let found = of_class("offer").into_iter().find(|data| data["trip"] == *trip.id);
        let found = found.unwrap_or_else(|| panic!("{state}: {}", answer.text));
        assert_eq!((&found["offer"]["state"], &found["offer"]["driver"]), (&json!(state), &json!(ana.id)));
        assert_eq!(found["places"]["pickup"]["name"], "Kitchen");
    }
    assert_eq!(of_class("offer").len(), 3);
    assert_eq!(of_class("said").len(), 1);
    assert_eq!(of_class("said")[0]["said"]["phase"], "at_pickup");
    assert_eq!(lines.last().unwrap()["data"]["lines"], lines.len() - 1);
    let asked: Vec<Trip> = [ana_trips.to_vec(), offered].concat();
    let erasure = house.done("DELETE", &format!("/v1/drivers/{}", ana.id), Value::Null).await;
    assert_eq!((&erasure["kind"], &erasure["state"]), (&json!("driver"), &json!("erasing")));
    assert_eq!(app.closed().await, 4201);
    watcher.until("its topic ends", |memory: &Memory| memory.ended(&topic)).await;
    // What comes late is refused: by token, and by key.
    let late = json!({ "fixes": [there(HIDEOUT, now_ms() - 1_000)] });
    assert_eq!(house.call("POST", "/v1/fixes", Some(&ana.token), Some(&late)).await.status, 401);
    let query = format!("lat={}&lon={}&timestamp={}", HIDEOUT.0, HIDEOUT.1, now_ms());
    assert_eq!(House::answer(house.http.get(format!("{ana_url}?{query}"))).await.status, 404);
    // The house falls in the middle of it.
    house.kill9();
    house.restart().await;
    let receipt = done(&house, &erasure).await;
    for class in [
        "profiles",
        "tokens",
        "device_keys",
        "quarantine",
        "track_points",
        "trips_pseudonymised",
        "assignments",
        "fix_log_messages",
        "fix_log_checkpoints",
        "fix_log_damaged_records",
        "fix_log_files_set_aside",
        "events",
        "events_pseudonymised",
    ] {
        // What was erased before the fall and counted with it is there too; keys were revoked at once.
        assert!(receipt["items"][class].as_u64().is_some(), "{class}: {receipt}");
    }
    assert!(!receipt.to_string().contains(&ana.id));

    for again in [false, true] {
        assert_eq!(found(&house.data(), &forms), [""; 0], "restarted: {again}");
        let told = all_that_is_told(&house, &ana, &asked, &store).await;
        for (what, needle) in &forms {
            let Ok(needle) = std::str::from_utf8(needle) else { continue };
            let near = told.find(needle).map(|at| &told[at.saturating_sub(300)..(at + 100).min(told.len())]);
            assert_eq!(near, None, "{what} is told, restarted: {again}");
        }
        assert!(!told.contains("Ana Forgotten"));
        // The orders are there, without their driver; the one that went on waits for another.
        let [over, live] = &ana_trips;
        let record = house.call("GET", &format!("/v1/trips/{}", over.id), Some(&house.key), None).await.json();
        assert_eq!((&record["phase"], &record["driver"]), (&json!("delivered"), &Value::Null));
        let record = house.call("GET", &format!("/v1/trips/{}", live.id), Some(&house.key), None).await.json();
        assert_eq!((&record["phase"], &record["driver"]), (&json!("unassigned"), &Value::Null));
        assert_eq!(house.call("POST", "/v1/fixes", Some(&ana.token), Some(&late)).await.status, 401);
        assert_eq!(House::answer(house.http.get(format!("{ana_url}?{query}"))).await.status, 404);

        // Bob has all that was his, but for the record that nobody could read.
        let kept = house.command(&["fixes", "--driver", &bob.id]).await;
        assert!(kept.starts_with(&kept_of_bob), "{kept}");
        assert!(track(&house, &bob_trips[0]).await >= 30);
        let query = format!("lat={}&lon={}&timestamp={}", ELSEWHERE.0, ELSEWHERE.1, now_ms());
        assert_eq!(House::answer(house.http.get(format!("{bob_url}?{query}"))).await.status, 200);
        assert_eq!(house.post_fixes(&bob, &[there(ELSEWHERE, now_ms())]).await, ["accepted"]);
        if !again {
            house.kill9();
            house.restart().await;
        }
    }
    assert_eq!(house.call("DELETE", &format!("/v1/drivers/{}", ana.id), Some(&house.key), None).await.status, 404);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_order_is_gone_with_where_its_driver_was_and_the_driver_stays() {
    let house = House::start_with(&FAST).await;
    let store = house.store("Kitchen").await;
    let ana = house.driver("Ana").await;
    let ([over, live], _) = life(&house, &ana, HIDEOUT, &store).await;
    let path = format!("/v1/trips/{}", over.id);
    let answer = house.call("DELETE", &format!("/v1/trips/{}", live.id), Some(&house.key), None).await;
    assert_eq!(answer.status, 409, "{}", answer.text);
    // Somewhere else by now, and its phone's memory of the last places is full of that.
    for step in 0..80 {
        house.post_fixes(&ana, &[there((HIDEOUT.0 + 0.000_3, HIDEOUT.1), now_ms() + step % 2)]).await;
    }
    let erasure = house.done("DELETE", &path, Value::Null).await;
    let receipt = done(&house, &erasure).await;
    for class in ["orders", "track_points", "fix_log_messages", "events", "tokens"] {
        assert!(receipt["items"][class].as_u64().is_some_and(|count| count > 0), "{class}: {receipt}");
    }
    assert_eq!(house.call("GET", &path, Some(&house.key), None).await.status, 404);
    assert_eq!(house.peek(&over.topic).await, None);
    let id: ids::Trip = over.id.parse().unwrap();
    let forms = [("the order as text", over.id.clone().into_bytes()), ("the order", id.0.to_le_bytes().to_vec())];
    assert_eq!(found(&house.data(), &forms), [""; 0]);
    let kept = house.command(&["fixes", "--driver", &ana.id]).await;
    assert!(kept.lines().count() > 40, "what was not the order's stays: {kept}");
    assert_eq!(house.call("GET", &format!("/v1/trips/{}", live.id), Some(&house.key), None).await.status, 200);
    house.assert_clean_log();
}
