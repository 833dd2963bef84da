//! The store of files is away while uploads come in: whoever uploads is told to come again and does, pictures that wait are made afterwards, and nothing is lost.
//!
//! `LONG_TESTS=1`: for 30 s. Otherwise for 3.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{House, SOON, is_long, until};
use crate::kitchen::Kitchen;
use crate::picture::{Tus, jpeg, progressive};
use crate::watch::Watcher;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_files_that_is_away_is_waited_for_by_everybody() {
    let away = Duration::from_secs(if is_long() { 30 } else { 3 });
    let mut kitchen = Kitchen::open(1, &[("MEDIA_OPEN_PER_STORE", "100")]).await;
    kitchen.api.expect_log("a file could not be reached");
    kitchen.api.expect_log("pieces of an upload could not be deleted");
    kitchen.api.expect_log("an upload could not go on; trying again later");
    kitchen.workers[0].expect_log("a picture has to wait");

    // One that waits for a worker, one whose bytes are half there, and those that come while the store is away.
    kitchen.workers[0].kill9();
    let waiting = kitchen.send(1).await.id;
    let half = jpeg(2400, 1800, 2);
    let begun = Tus::begin(&kitchen.api, &kitchen.token, half.len(), &[("item", "dish-2")]).await;
    assert_eq!(begun.patch(0, &half[..half.len() / 2]).await.status, 204);
    let begun = begun.id;
    let topic = format!("upload:{waiting}");
    let mut watcher = Watcher::open(&kitchen.fanout, &kitchen.token).await;
    watcher.subscribe(&[&topic]).await;
    watcher.until("its place in the queue", |memory| memory.state(&topic)["ahead"] == 0).await;

    kitchen.bucket.kill();
    kitchen.workers[0].restart().await;
    let Kitchen { api, bucket, token, .. } = &mut kitchen;
    let again = Tus { house: api, token: token.clone(), id: begun.clone() };
    let new = jpeg(1600, 1200, 3);
    let (refused, (new, new_refused), ()) = tokio::join!(
        again.complete(&half),
        async {
            let begun = Tus::begin(api, token, new.len(), &[("item", "dish-3")]).await;
            let refused = begun.complete(&new).await;
            (begun.id, refused)
        },
        async {
            let started = Instant::now();
            // Whoever watches is told why nothing happens.
            watcher.until("it waits for the store", |memory| memory.state(&topic)["waiting"] == "storage").await;
            assert_eq!(watcher.memory.state(&topic)["state"], "queued");
            tokio::time::sleep(away.saturating_sub(started.elapsed())).await;
            bucket.up();
        }
    );
    for answer in refused.iter().chain(&new_refused) {
        assert_eq!((answer.status, &*answer.code()), (503, "not_ready"), "{}", answer.text);
        assert_eq!((&answer.json()["retry"], answer.header("retry-after")), (&json!(true), "2"));
    }
    assert!(!refused.is_empty() && !new_refused.is_empty(), "the store was away before they were done");
    let uploads =
        [&waiting, &begun, &new].map(|id| Tus { house: &kitchen.api, token: kitchen.token.clone(), id: id.clone() });
    let failures = dead(&kitchen.api).await;
    let began = Instant::now();
    kitchen.judge(&uploads).await;
    println!(
        "away for {} s: {} and {} refusals, all done {:.1} s after it came back",
        away.as_secs(),
        refused.len(),
        new_refused.len(),
        began.elapsed().as_secs_f32()
    );
    assert_eq!(failures, json!([]), "nobody's fault");
    watcher.until("the end", |memory| memory.ended(&topic)).await;
    assert_eq!(watcher.memory.state(&topic)["state"], "done");
    assert_eq!(watcher.memory.state(&topic)["waiting"], Value::Null);
    let api = &kitchen.api;
    assert_eq!(api.metric("wayfare_media_queue", "waiting").await, 0.0);
    api.assert_clean_log();
    kitchen.workers[0].assert_clean_log();
}

async fn dead(api: &House) -> Value {
    api.call("GET", "/v1/pictures/dead", Some(&api.key), None).await.json()["items"].clone()
}

#[tokio::test]
async fn whoever_waits_sees_the_queue_before_it_move() {
    let house = House::start_with(&[("MEDIA_WORKERS", "1")]).await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let mut watcher = Watcher::open(&house, &token).await;
    let mut uploads = Vec::new();
    // The first keeps the worker until the others have come.
    let files: Vec<Vec<u8>> =
        (0..5).map(|seed| if seed == 0 { progressive(5_600, 4_000) } else { jpeg(2400, 1800, seed) }).collect();
    for bytes in files {
        let upload = Tus::begin(&house, &token, bytes.len(), &[("item", "a")]).await;
        watcher.subscribe(&[&upload.topic()]).await;
        assert_eq!(upload.patch(0, &bytes).await.status, 204);
        uploads.push(upload);
    }
    let last = uploads[4].topic();
    let mut places = Vec::new();
    while !watcher.memory.ended(&last) {
        watcher.step().await.expect("the connection lives");
        let state = watcher.memory.state(&last).clone();
        if let Some(place) = state["ahead"].as_u64() {
            assert_eq!(state["state"], "queued", "a place in the queue of one that a worker has: {state}");
            places.push(place);
        }
        assert_eq!(state["waiting"], Value::Null);
    }
    places.dedup();
    assert!(places.is_sorted_by(|before, after| before > after), "{places:?}");
    assert!(places.len() >= 2, "the line before it moved unseen: {places:?}");
    // The record says the same to who asks only once.
    let record = until(SOON, "the end", async || Some(uploads[4].record().await)).await;
    assert_eq!((&record["state"], &record["ahead"]), (&json!("done"), &Value::Null));
    house.assert_clean_log();
}
