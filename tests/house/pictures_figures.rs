//! How soon watchers hear of what happens to a picture, and what poisonous pictures cost the others. The figures are printed, and nothing is asserted of them: this is no timed test.
//!
//! ```text
//! LONG_TESTS=1 cargo nextest run --test house --no-capture pictures_figures
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::harness::{House, is_long, now_ms};
use crate::kitchen::Kitchen;
use crate::picture::{Tus, commented, jpeg, photo, progressive};
use crate::watch::Watcher;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_hears_of_every_stage() {
    let count = if is_long() { 100 } else { 3 };
    let kitchen = Kitchen::open(1, &[("MEDIA_PER_STORE_DAY", "10000")]).await;
    let real = photo();
    let mut watcher = Watcher::open(&kitchen.fanout, &kitchen.token).await;
    // From the moment a stage was reached, by the clock of the worker, which is that of the test, until its word is here; by stage.
    let mut late_ms = BTreeMap::<String, Vec<i64>>::new();
    for number in 0..count {
        let bytes = commented(&real, number);
        let upload = Tus::begin(&kitchen.api, &kitchen.token, bytes.len(), &[("item", "a")]).await;
        let topic = upload.topic();
        watcher.subscribe(&[&topic]).await;
        watcher.until("the beginning", |memory| memory.state(&topic)["state"] == "receiving").await;
        assert_eq!(upload.patch(0, &bytes).await.status, 204);
        let (mut reached_ms, mut stages) = (0, Vec::new());
        while !watcher.memory.ended(&topic) {
            let message = watcher.step().await.expect("the connection lives");
            let (state, now) = (watcher.memory.state(&topic).clone(), now_ms());
            // Several stages may come as one snapshot; each word that came is one.
            if !["snapshot", "delta"].contains(&message["type"].as_str().unwrap()) || !state["at_ms"].is_i64() {
                continue;
            }
            let at_ms = state["at_ms"].as_i64().unwrap();
            assert!(at_ms >= reached_ms, "{state}");
            reached_ms = at_ms;
            let stage = state["state"].as_str().unwrap().to_owned();
            late_ms.entry(stage.clone()).or_default().push(now - at_ms);
            stages.push(stage);
        }
        assert!(stages.contains(&"decoding".to_owned()) && stages.contains(&"storing".to_owned()), "{stages:?}");
        // The end is told by the records, with the time at which they noted it.
        let record = upload.record().await;
        assert_eq!(record["state"], "done");
        late_ms.entry("done".into()).or_default().push(now_ms() - record["ended_ms"].as_i64().unwrap());
        late_ms.entry("storing to done".into()).or_default().push(record["ended_ms"].as_i64().unwrap() - reached_ms);
    }
    for (stage, late_ms) in &mut late_ms {
        println!("{stage}: {} words, {}", late_ms.len(), figures(late_ms));
    }
    kitchen.api.assert_clean_log();
    kitchen.workers[0].assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_among_pictures_is_set_aside_and_the_others_are_made() {
    // That poison is set aside is tried by `pictures_faults`; this is long because figures need many pictures.
    if !is_long() {
        return;
    }
    let count = 100;
    let settings = [
        ("MEDIA_WORKERS", "3"),
        // What is poison here needs more.
        ("MEDIA_CHILD_MEMORY_MIB", "48"),
        ("MEDIA_OPEN_PER_STORE", "1000"),
    ];
    let house = House::start_with(&settings).await;
    house.expect_log("a picture could not be made");
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let poison = progressive(5_000, 4_000);
    let mut alone_ms = delays(&house, &token, count, None).await.0;
    let (mut among_ms, poisons) = delays(&house, &token, count, Some(&poison)).await;
    println!(
        "alone: {}; among poison, {} in {count}: {}",
        figures(&mut alone_ms),
        poisons.len(),
        figures(&mut among_ms)
    );
    for poison in &poisons {
        let poison = Tus { house: &house, token: token.clone(), id: poison.clone() };
        assert_eq!(poison.ended().await["error"]["code"], "processing_failed");
    }
    let dead = house.call("GET", "/v1/pictures/dead", Some(&house.key), None).await.json();
    let dead = dead["items"].as_array().unwrap();
    assert_eq!(dead.len(), poisons.len());
    assert!(dead.iter().all(|dead| dead["failures"] == json!(3)), "{dead:?}");
    house.assert_clean_log();
}

/// Sends so many good pictures, evenly, and every third time a poisonous one before. Returns how long each good one took from its last byte to its end, milliseconds, and the others.
async fn delays(house: &House, token: &str, count: u64, poison: Option<&[u8]>) -> (Vec<i64>, Vec<String>) {
    let (mut sent, mut poisons) = (Vec::new(), Vec::new());
    let mut pace = tokio::time::interval(Duration::from_millis(400));
    for number in 0..count {
        pace.tick().await;
        if let Some(poison) = poison.filter(|_| number % 3 == 0) {
            poisons.push(Tus::send(house, token, &commented(poison, number), &[]).await.id);
        }
        let seed = number + if poison.is_some() { count } else { 0 };
        let upload = Tus::send(house, token, &jpeg(1600, 1200, seed), &[]).await;
        sent.push((upload, now_ms()));
    }
    let mut delays = Vec::new();
    for (upload, at_ms) in sent {
        let record = upload.ended().await;
        assert_eq!(record["state"], "done", "{record}");
        delays.push((record["ended_ms"].as_i64().unwrap() - at_ms).max(0));
    }
    (delays, poisons)
}

fn figures(ms: &mut [i64]) -> String {
    ms.sort_unstable();
    let at = |share: usize| ms[(ms.len() * share / 100).min(ms.len() - 1)];
    format!("p50 {} ms, p95 {} ms, longest {} ms", at(50), at(95), ms[ms.len() - 1])
}
