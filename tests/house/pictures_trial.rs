//! The whole way of pictures under fire: workers killed at random again and again, and Redis once. Every upload that was begun ends, once, everywhere where its end is told,
//! and nothing is left behind.
//!
//! `LONG_TESTS=1`: 200 photographs. Otherwise 24.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{House, is_long, until};
use crate::kitchen::{Kitchen, keys_of};
use crate::picture::{Tus, commented, jpeg, photo, told};
use crate::redis_server::Server;
use crate::watch::Watcher;

/// Nothing takes longer, on a machine however busy.
const AT_LAST: Duration = Duration::from_secs(280);

const WORKERS: usize = 3;

/// What is tried is something else.
const SETTINGS: &[(&str, &str)] = &[
    ("MEDIA_OPEN_PER_STORE", "1000"),
    ("MEDIA_SWEEP_HOURS", "0.0005"),
    ("FANOUT_TOPICS_PER_CONNECTION_MAX", "1000"),
    ("GATE_ARRIVALS_PER_SECOND", "10000"),
    ("GATE_ARRIVALS_BURST", "10000"),
];

/// An upload of the trial.
struct Sent {
    id: String,
    sha256: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_at_random_and_redis_restarted_lose_and_double_nothing() {
    let (count, killed_every) =
        if is_long() { (200, Duration::from_secs(2)) } else { (24, Duration::from_millis(300)) };
    let mut kitchen = Kitchen::open(WORKERS, SETTINGS).await;
    for process in kitchen.workers.iter().chain([&kitchen.api, &kitchen.fanout]) {
        for text in ["Redis is away", "Redis started anew", "trying again", "does not reach back"] {
            process.expect_log(text);
        }
    }
    // Until there is something to do.
    kitchen.workers.iter_mut().for_each(House::kill9);
    let watcher = Watcher::open(&kitchen.fanout, &kitchen.token).await;
    let (begun, ids) = mpsc::unbounded_channel();
    let (begin, photographs) = mpsc::channel(2);
    let drawing = tokio::task::spawn_blocking(move || {
        let real = photo();
        for number in 0..count as u64 {
            // Most are made, some are a real one of 12 megapixels.
            let bytes = if number % 4 == 3 { commented(&real, number) } else { jpeg(2400, 1800, number) };
            begin.blocking_send(bytes).unwrap();
        }
    });
    let Kitchen { api, workers, redis, token, .. } = &mut kitchen;
    let started = Instant::now();
    let (sent, states, hits) = tokio::join!(
        upload(api, token, photographs, begun),
        watch(watcher, ids, count),
        kill(api, workers, redis, count, killed_every)
    );
    drawing.await.unwrap();
    let took = started.elapsed();

    // One end per upload, for who watched the upload and for who read the store's log, and the same in the record and in the menu.
    let events = told(&kitchen.fanout, &kitchen.store, count).await;
    let ended: BTreeMap<&str, &Value> = events.iter().map(|event| (event["upload"].as_str().unwrap(), event)).collect();
    assert_eq!((ended.len(), states.len()), (count, count));
    let mut named = BTreeSet::new();
    for (number, Sent { id, sha256 }) in sent.iter().enumerate() {
        let upload = Tus { house: &kitchen.api, token: kitchen.token.clone(), id: id.clone() };
        let record = upload.record().await;
        assert_eq!(record["state"], "done", "{record}");
        assert_eq!(record["picture"], ended[&**id]["picture"]);
        assert_eq!(record["picture"], states[&upload.topic()]["picture"]);
        let menu = format!("/v1/stores/{}/menu/dish-{number}/images", kitchen.store);
        let images = kitchen.api.call("GET", &menu, Some(&kitchen.token), None).await.json();
        assert_eq!(images["images"], json!([record["picture"]]));
        named.insert(format!("stores/{}/originals/{sha256}", kitchen.store));
        named.extend(keys_of(&record["picture"]));
    }
    // 2 formats in 3 widths of each, and what was uploaded.
    assert_eq!(named.len(), count * 7);
    let before = kitchen.files().await;
    assert!(named.is_subset(&before), "not there: {:?}", named.difference(&before).collect::<Vec<_>>());
    until(AT_LAST, "nothing is left in the bucket that nothing names", async || {
        (kitchen.files().await == named).then_some(())
    })
    .await;
    // And nothing in the queue.
    for part in ["records", "payloads", "results", "waiting", "delayed", "running", "ended", "dead"] {
        assert_eq!(ask(&kitchen.redis, &["EXISTS", part]), "0", "{part} of the queue");
    }
    assert_eq!(kitchen.redis.ask(&["XLEN", "wayfare:{jobs:pictures}"]), "0");
    println!(
        "{count} pictures in {:.0} s, {} kills, {} of them of a worker at work; {} files were swept",
        took.as_secs_f32(),
        hits.len(),
        hits.iter().filter(|hit| **hit).count(),
        before.len() - named.len()
    );
    assert!(hits.len() > 1, "workers were to be killed");
    kitchen.api.assert_clean_log();
    kitchen.fanout.assert_clean_log();
    kitchen.workers.iter().for_each(House::assert_clean_log);
}

/// Uploads one photograph after the other, as a client of tus that does not give up.
async fn upload(
    api: &House,
    token: &str,
    mut photographs: mpsc::Receiver<Vec<u8>>,
    begun: mpsc::UnboundedSender<String>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    while let Some(bytes) = photographs.recv().await {
        let item = format!("dish-{}", sent.len());
        let upload = Tus::begin(api, token, bytes.len(), &[("item", &*item)]).await;
        begun.send(upload.id.clone()).unwrap();
        upload.complete(&bytes).await;
        let sha256 = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let sha256 = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        sent.push(Sent { id: upload.id, sha256 });
    }
    sent
}

/// Watches every upload until all have ended, and returns the last states by topic. That none ends twice or leads back is checked where they are applied.
async fn watch(
    mut watcher: Watcher,
    mut ids: mpsc::UnboundedReceiver<String>,
    count: usize,
) -> BTreeMap<String, Value> {
    let (mut topics, mut again) = (Vec::<String>::new(), BTreeSet::<String>::new());
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let deadline = Instant::now() + AT_LAST;
    loop {
        let ended = topics.iter().filter(|topic| watcher.memory.ended(topic)).count();
        if ended == count {
            return topics.iter().map(|topic| (topic.clone(), watcher.memory.state(topic).clone())).collect();
        }
        assert!(Instant::now() < deadline, "{ended} topics of {count} have ended");
        tokio::select! {
            id = ids.recv(), if topics.len() < count => {
                topics.push(format!("upload:{}", id.unwrap()));
                watcher.subscribe(&[topics.last().unwrap()]).await;
            }
            message = watcher.step() => {
                let message = message.unwrap_or_else(|| panic!("the watcher was closed with {:?}", watcher.closed));
                // While the bus is away nothing new can be subscribed to.
                if message["type"] == "error" && message["retry"] == true {
                    again.insert(message["topic"].as_str().unwrap().to_owned());
                }
            }
            _ = tick.tick() => {
                let topics: Vec<String> = std::mem::take(&mut again).into_iter().collect();
                if !topics.is_empty() {
                    watcher.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
                }
            }
        }
    }
}

/// Starts the workers when there is something to do, then kills one at random again and again until all is done; Redis in the middle.
/// Returns which kills found the worker at its work.
async fn kill(api: &House, workers: &mut [House], redis: &mut Server, count: usize, every: Duration) -> Vec<bool> {
    let some_wait = async || (ask(redis, &["ZCARD", "waiting"]).parse::<usize>().unwrap() >= count / 2).then_some(());
    until(AT_LAST, "half of them wait", some_wait).await;
    for worker in &mut *workers {
        worker.restart().await;
    }
    let (mut hits, mut random, mut restarted) = (Vec::new(), fastrand::Rng::with_seed(7), false);
    loop {
        tokio::time::sleep(every).await;
        let ended = api.metric("wayfare_uploads_ended_total", "").await as usize;
        if ended >= count {
            assert!(restarted, "Redis was to be restarted before the end");
            return hits;
        }
        if !restarted && ended >= count / 3 {
            redis.kill();
            tokio::time::sleep(Duration::from_millis(700)).await;
            redis.up();
            restarted = true;
        }
        let number = random.usize(..workers.len());
        // Slashes are escaped in the script's JSON.
        let name = format!("\"worker\":\"kitchen-{number}\\/0\"");
        let records = ask(redis, &["HVALS", "records"]);
        let worker = &mut workers[number];
        worker.kill9();
        hits.push(records.lines().any(|record| record.contains("\"state\":\"running\"") && record.contains(&name)));
        tokio::time::sleep(Duration::from_millis(200)).await;
        worker.restart().await;
    }
}

/// Asks Redis about a part of the queue.
fn ask(redis: &Server, [command, part]: &[&str; 2]) -> String {
    redis.ask(&[command, &format!("wayfare:{{jobs:pictures}}:{part}")])
}
