//! Tracks: what was acked is found again in the history of its trip, each fix once, whatever happened on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drive::App;
use crate::harness::{House, SOON, now_ms, until};
use crate::rest::{Answer, Driver, Trip};
use crate::ride::near_pickup;

/// Fixes 20 ms apart from a moment on, slowly going north.
fn steps(from_ms: i64, places: impl IntoIterator<Item = i64>) -> Vec<Value> {
    places.into_iter().map(|place| near_pickup(place as f64 * 0.06, from_ms + 20 * place)).collect()
}

/// Time and place of every row of a track, as CSV; the same twice counts twice.
async fn rows(house: &House, trip: &Trip, query: &str) -> Vec<(i64, String)> {
    let path = format!("/v1/trips/{}/track?format=csv&{query}", trip.id);
    let answer = house.call("GET", &path, Some(&house.key), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.header("content-type").starts_with("text/csv"));
    let row = |line: &str| {
        let mut cells = line.split(',');
        let t_ms = cells.next().unwrap().parse().unwrap();
        (t_ms, cells.take(2).collect::<Vec<_>>().join(","))
    };
    answer.text.lines().skip(1).map(row).collect()
}

fn told(fixes: &[Value]) -> Vec<(i64, String)> {
    let rounded = |value: &Value| (value.as_f64().unwrap() * 1e7).round() / 1e7;
    let mut told: Vec<(i64, String)> = fixes
        .iter()
        .map(|fix| (fix["t_ms"].as_i64().unwrap(), format!("{},{}", rounded(&fix["lat"]), rounded(&fix["lon"]))))
        .collect();
    told.sort();
    told
}

async fn until_rows(house: &House, trip: &Trip, count: usize) -> Vec<(i64, String)> {
    until(SOON, "the whole track", async || {
        let rows = rows(house, trip, "limit=20000").await;
        (rows.len() >= count).then_some(rows)
    })
    .await
}

/// A trip of a driver that has had it for some seconds.
async fn trip_for_a_while(house: &House, driver: &Driver, store: Option<&str>) -> (Trip, i64) {
    let trip = house.trip(Some(driver), store).await;
    let since_ms = now_ms();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    (trip, since_ms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_holds_what_was_acked_once_over_kills_late_fixes_and_resends() {
    let mut house = House::start().await;
    let driver = house.driver("Ada").await;
    let (trip, since_ms) = trip_for_a_while(&house, &driver, None).await;
    let mut app = App::open(&house, &driver).await;
    let mut sent: BTreeMap<i64, Value> = BTreeMap::new();
    for round in 0..6 {
        // Every third place, then those between them: most come late.
        let places: Vec<i64> = (0..120).filter(|place| place % 6 == round).collect();
        for piece in steps(since_ms, places).chunks(5) {
            sent.extend(piece.iter().map(|fix| (fix["t_ms"].as_i64().unwrap(), fix.clone())));
            app.send(piece.to_vec()).await;
        }
        if round % 2 == 0 {
            app.settle().await;
        }
        let outbox = app.outbox.clone();
        house.kill9();
        house.restart().await;
        app = App::resume(&house, &driver, outbox).await.unwrap();
        app.settle().await;
    }
    // The last of it again by POST, without a number: recognised by time and place.
    let all: Vec<Value> = sent.values().cloned().collect();
    let last: Vec<Value> = app.outbox.acked.values().rev().take(4).flat_map(|(fixes, _)| fixes.clone()).collect();
    assert_eq!(last.len(), 20);
    assert!(house.post_fixes(&driver, &last).await.iter().all(|verdict| verdict == "duplicate"));
    let verdicts: Vec<&String> = app.outbox.acked.values().flat_map(|(_, verdicts)| verdicts).collect();
    assert!(verdicts.iter().any(|verdict| *verdict == "late"));
    assert!(
        verdicts.iter().all(|verdict| ["accepted", "late", "duplicate"].contains(&verdict.as_str())),
        "{verdicts:?}"
    );
    let track = until_rows(&house, &trip, all.len()).await;
    assert_eq!(track, told(&all));
    house.kill9();
    house.restart().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rows(&house, &trip, "").await, track, "a restart folds nothing twice");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_end_belongs_to_the_trip_in_which_it_was_taken() {
    let house = House::start().await;
    let driver = house.driver("Bram").await;
    let (first, since_ms) = trip_for_a_while(&house, &driver, None).await;
    house.post(&format!("/v1/trips/{}/complete", first.id), json!({})).await;
    let ended_ms = now_ms();
    house.knows_driver(&driver.id, |state| state["trips"].as_array().is_none_or(Vec::is_empty)).await;
    let (second, again_ms) = trip_for_a_while(&house, &driver, None).await;
    let third = house.trip(None, None).await;
    // Newest first, as a phone empties its queue.
    let late = steps(since_ms, 0..100);
    let new = steps(again_ms, 0..100);
    assert!(since_ms + 20 * 100 < ended_ms, "they were taken while the first trip went on");
    for piece in new.rchunks(50).chain(late.rchunks(50)) {
        let newest_first: Vec<Value> = piece.iter().rev().cloned().collect();
        house.post_fixes(&driver, &newest_first).await;
    }
    assert_eq!(until_rows(&house, &second, 100).await, told(&new));
    assert_eq!(until_rows(&house, &first, 100).await, told(&late));
    assert_eq!(rows(&house, &third, "").await, []);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_is_read_in_every_form_by_page_and_only_by_those_who_may() {
    let house = House::start().await;
    let driver = house.driver("Chidi").await;
    let (store, other) = (house.store("Kitchen").await, house.store("Elsewhere").await);
    let (trip, since_ms) = trip_for_a_while(&house, &driver, Some(&store)).await;
    let all = steps(since_ms, 0..100);
    house.post_fixes(&driver, &all).await;
    let track = until_rows(&house, &trip, 100).await;
    let path = format!("/v1/trips/{}/track", trip.id);
    let get = async |query: &str| -> Answer {
        let answer = house.call("GET", &format!("{path}?{query}"), Some(&house.key), None).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        answer
    };
    let geojson = get("").await;
    assert_eq!(geojson.header("content-type"), "application/geo+json");
    let feature = geojson.json();
    let coordinates = feature["geometry"]["coordinates"].as_array().unwrap();
    assert_eq!((feature["geometry"]["type"].as_str(), coordinates.len()), (Some("LineString"), 100));
    assert_eq!(feature["properties"]["times_ms"][99], track[99].0);
    assert_eq!(
        (&feature["properties"]["speed_mps"][0], &feature["properties"]["accuracy_m"][0]),
        (&json!(3.0), &json!(5.0))
    );
    let gpx = get("format=gpx").await.text;
    assert_eq!(gpx.matches("<trkpt ").count(), 100);
    let polyline = get("format=polyline").await.json();
    assert!(polyline["polyline6"].as_str().is_some_and(|line| line.len() > 200), "{polyline}");

    // Page by page, along the links.
    let (mut read, mut query) = (Vec::new(), "limit=33".to_owned());
    loop {
        let answer = get(&format!("{query}&format=csv")).await;
        read.extend(answer.text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse::<i64>().unwrap()));
        let Some(next) = answer.header("link").strip_prefix(&format!("<{path}?")).map(str::to_owned) else { break };
        query = next.split('>').next().unwrap().replace("format=csv&", "");
    }
    assert_eq!(read, track.iter().map(|(t_ms, _)| *t_ms).collect::<Vec<_>>());
    let span = format!("from_ms={}&until_ms={}", track[10].0, track[20].0);
    assert_eq!(rows(&house, &trip, &span).await, track[10..20]);

    let call = async |method: &str, role: &str, sub: &str| {
        let token = house.token(role, sub).await;
        house.call(method, &path, Some(&token), None).await.status
    };
    assert_eq!(call("GET", "store", &store).await, 200);
    assert_eq!(call("GET", "store", &other).await, 404);
    assert_eq!(call("GET", "customer", "cus").await, 403);
    assert_eq!(call("GET", "driver", &driver.id).await, 403);
    assert_eq!(call("DELETE", "store", &store).await, 403);
    for (query, field) in
        [("limit=0", "limit"), ("limit=20001", "limit"), ("cursor=7", "cursor"), ("cursor=a~b", "cursor")]
    {
        let answer = house.call("GET", &format!("{path}?{query}"), Some(&house.key), None).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{query}: {}", answer.text);
    }

    // Erased, it stays so, also for what comes later.
    house.done("DELETE", &path, Value::Null).await;
    assert_eq!(rows(&house, &trip, "").await, []);
    house.post_fixes(&driver, &steps(since_ms + 7, 0..50)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(rows(&house, &trip, "").await, []);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_fix_log_is_set_aside_and_history_goes_on_with_the_next() {
    let mut house = House::start().await;
    let driver = house.driver("Dina").await;
    let (trip, since_ms) = trip_for_a_while(&house, &driver, None).await;
    house.post_fixes(&driver, &steps(since_ms, 0..60)).await;
    until_rows(&house, &trip, 60).await;
    house.terminate().await;
    let file = house.data().join("fixes.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    let half = bytes.len() / 2;
    bytes[half - 2_000..half + 2_000].fill(0xa7);
    bytes[..64].fill(0xa7);
    std::fs::write(&file, &bytes).unwrap();
    house.expect_log("the fix log is damaged; it was set aside, a new one begins");
    house.expect_log("the fix log is another one than before");
    house.restart().await;
    assert!(house.log().contains("fixes.sqlite.damaged-"));
    house.knows_driver(&driver.id, |_| true).await;
    house.post_fixes(&driver, &steps(since_ms, 60..100)).await;
    assert_eq!(until_rows(&house, &trip, 100).await, told(&steps(since_ms, 0..100)));
    house.assert_clean_log();
}
