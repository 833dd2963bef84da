//! Lines that break: nothing is missed silently, nothing comes twice, nothing goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;
use wayfare_wire::codec::Codec;

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, fault_time, now_ms, within};
use crate::rest::Driver;
use crate::ride::near_pickup;
use crate::watch::{EventSource, Memory, Poller, Watcher};

/// Fixes a second, each a delta of three topics.
const PACE: Duration = Duration::from_millis(20);

/// Many messages are no flood here: what is tried is the watchers.
const SETTINGS: &[(&str, &str)] = &[("INGEST_MESSAGES_PER_SECOND", "1000"), ("INGEST_MESSAGES_BURST", "1000")];

/// Numbers without a source of randomness, the same in every run: which cut comes when shall not change.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// About a second.
    fn while_line_lasts(&mut self) -> Duration {
        Duration::from_millis(200 + self.roll(1600))
    }
}

/// Publishes until told to stop; returns when the last fix was taken.
fn publish(house: &Arc<House>, driver: &Driver, stop: &Arc<AtomicBool>) -> JoinHandle<i64> {
    let (house, driver, stop) = (Arc::clone(house), driver.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut app = App::resume(&house, &driver, Outbox::new("c0ffee")).await.unwrap();
        let mut t_ms = now_ms() - 3_600_000;
        let mut pace = tokio::time::interval(PACE);
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                message = app.step() => assert!(message.is_some(), "the driver's own line holds"),
                _ = pace.tick(), if app.outbox.unacked.len() < 60 => {
                    t_ms += 1000;
                    let north_m = ((t_ms / 1000 % 400) - 200).abs() as f64 * 3.0;
                    app.send(vec![near_pickup(north_m, t_ms)]).await;
                }
            }
        }
        app.settle().await;
        assert!(app.outbox.acked.values().all(|(_, verdicts)| verdicts == &["accepted"]));
        t_ms
    })
}

fn arrived(memory: &Memory, topics: &[&str], t_ms: i64) -> bool {
    topics.iter().all(|topic| memory.state(topic)["position"]["t_ms"].as_i64() == Some(t_ms))
}

/// The three ways a line ends.
fn cut(watcher: Watcher, dice: &mut Dice, half_open: &mut Vec<Watcher>) -> Memory {
    let memory = watcher.memory.clone();
    match dice.roll(3) {
        // A plain close of the TCP connection, without a word of WebSocket.
        0 => drop(watcher),
        // A reset.
        1 => {
            watcher.ws.get_ref().set_zero_linger().unwrap();
            drop(watcher);
        }
        // The phone is gone and nobody was told: the server goes on sending for a while.
        _ => half_open.push(watcher),
    }
    memory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_are_cut_again_and_again_miss_nothing_silently() {
    let house = Arc::new(House::start_with(SETTINGS).await);
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topics = [trip.ops.clone(), format!("driver:{}", driver.id)];
    let time = fault_time(Duration::from_secs(8));
    let (stop_publishing, stop_watching) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let publisher = publish(&house, &driver, &stop_publishing);
    let mut watchers: Vec<JoinHandle<(Memory, usize, usize)>> = Vec::new();
    for number in 0..3 {
        let (house, topics, stop) = (Arc::clone(&house), topics.clone(), Arc::clone(&stop_watching));
        watchers.push(tokio::spawn(async move {
            let topics = topics.each_ref().map(String::as_str);
            let (mut memory, mut dice, mut half_open, mut cuts) = (Memory::new(&house), Dice(number), Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                // The codec changes from line to line, too: what is held does not know in which it came.
                let codec = Codec::ALL[dice.roll(2) as usize];
                let mut watcher = Watcher::resume_as(&house, &house.key, memory, codec).await.unwrap();
                watcher.subscribe(&topics).await;
                let lasts = dice.while_line_lasts();
                let _ = tokio::time::timeout(lasts, async { while watcher.step().await.is_some() {} }).await;
                assert_eq!(watcher.closed, None, "the house had no reason to close");
                assert_eq!(watcher.said.iter().find(|said| said["type"] == "error"), None);
                memory = cut(watcher, &mut dice, &mut half_open);
                cuts += 1;
            }
            (memory, cuts, 0)
        }));
    }
    for number in 3..6 {
        let (house, topics, stop) = (Arc::clone(&house), topics.clone(), Arc::clone(&stop_watching));
        watchers.push(tokio::spawn(async move {
            let topics = topics.each_ref().map(String::as_str);
            let (mut memory, mut last_id, mut dice, mut cuts) = (Memory::new(&house), None, Dice(number), 0);
            while !stop.load(Ordering::Relaxed) {
                // By the id as browsers do, or by the cursors in the URL.
                let by_id = if number == 3 { None } else { last_id.take() };
                let stream = EventSource::resume(&house, &house.key, &topics, memory, by_id).await;
                let mut stream = stream.unwrap_or_else(|refused| panic!("{} {}", refused.status, refused.text));
                let lasts = dice.while_line_lasts();
                let ended = tokio::time::timeout(lasts, async { while stream.step().await.is_some() {} }).await;
                assert!(ended.is_err(), "the house had no reason to end the stream: {:?}", stream.said);
                (memory, last_id, cuts) = (stream.memory, stream.last_id, cuts + 1);
            }
            (memory, cuts, 0)
        }));
    }
    {
        let (house, topics, stop) = (Arc::clone(&house), topics.clone(), Arc::clone(&stop_watching));
        watchers.push(tokio::spawn(async move {
            let mut poller = Poller::new(&house, &house.key, &topics.each_ref().map(String::as_str));
            let (mut dice, mut cuts) = (Dice(6), 0);
            while !stop.load(Ordering::Relaxed) {
                // Some answers come too late, and some are not waited for at all.
                let waits = dice.roll(3) > 0;
                let patience = if waits { Duration::from_millis(1 + dice.roll(40)) } else { Duration::ZERO };
                cuts += usize::from(tokio::time::timeout(patience, poller.poll(&house)).await.is_err());
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            (poller.memory, cuts, 0)
        }));
    }
    tokio::time::sleep(time).await;
    stop_publishing.store(true, Ordering::Relaxed);
    let last_ms = within(SOON, "the last ack", publisher).await.unwrap();
    stop_watching.store(true, Ordering::Relaxed);
    let topics = topics.each_ref().map(String::as_str);
    let mut reference = Watcher::open(&house, &house.key).await;
    reference.subscribe(&topics).await;
    reference.until("the last position", |memory| arrived(memory, &topics, last_ms)).await;
    for (number, watcher) in watchers.into_iter().enumerate() {
        let (memory, cuts, _) = within(SOON, "a watcher ends", watcher).await.unwrap();
        assert!(cuts >= 3, "watcher {number} was cut {cuts} times");
        let mut back = Watcher::resume(&house, &house.key, memory).await.unwrap();
        back.subscribe(&topics).await;
        back.until("the last position", |memory| arrived(memory, &topics, last_ms)).await;
        for topic in topics {
            assert_eq!(back.memory.state(topic), reference.memory.state(topic));
            assert_eq!(back.memory.cursor(topic), reference.memory.cursor(topic));
        }
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_in_the_middle_of_a_storm_holds_exactly_what_others_hold() {
    let house = Arc::new(House::start_with(SETTINGS).await);
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topics = [trip.ops.clone(), format!("driver:{}", driver.id)];
    let topics = topics.each_ref().map(String::as_str);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers = [publish(&house, &driver, &stop)];
    let mut first = Watcher::open(&house, &house.key).await;
    first.subscribe(&topics).await;
    let began = Instant::now();
    let mut joined = Vec::new();
    while began.elapsed() < Duration::from_secs(4) {
        let mut watcher = Watcher::open_as(&house, &house.key, Codec::ALL[joined.len() % 2]).await;
        // Twice the same topic, and once more a moment later: each answer is a snapshot at the tip.
        watcher.subscribe(&[topics[0], topics[1], topics[0]]).await;
        let _ = tokio::time::timeout(Duration::from_millis(30), async { while first.step().await.is_some() {} }).await;
        watcher.subscribe(&[topics[1]]).await;
        watcher.until("a state of each", |memory| topics.iter().all(|topic| !memory.state(topic).is_null())).await;
        joined.push(watcher);
    }
    stop.store(true, Ordering::Relaxed);
    let mut last_ms = 0;
    for publisher in publishers {
        last_ms = within(SOON, "the last ack", publisher).await.unwrap();
    }
    first.until("the last position", |memory| arrived(memory, &topics, last_ms)).await;
    assert!(first.memory.replica(topics[1]).deltas > 50, "it was a storm");
    assert!(joined.len() > 20);
    for mut watcher in joined {
        watcher.until("the last position", |memory| arrived(memory, &topics, last_ms)).await;
        for topic in topics {
            assert_eq!(watcher.memory.state(topic), first.memory.state(topic));
            assert_eq!(watcher.memory.cursor(topic), first.memory.cursor(topic));
        }
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_was_never_given_out_brings_a_snapshot() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let topic = &*format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[topic]).await;
    watcher.until("the state", |memory| !memory.state(topic).is_null()).await;
    let held = watcher.memory.cursor(topic).unwrap();
    let (epoch, seq) = (held.epoch, held.seq);
    let foreign = [
        format!("{epoch}.{}", seq + 1000),
        format!("{}.{seq}", epoch + 1),
        format!("{}.{seq}", epoch - 1),
        "0.0".to_owned(),
        format!("{0}.{0}", u64::MAX),
    ];
    for cursor in foreign {
        let wanted = serde_json::json!({ "type": "subscribe", "topics": [{ "topic": topic, "cursor": cursor }] });
        let mut other = Watcher::open(&house, &house.key).await;
        other.say(wanted).await;
        other.until("a snapshot", |memory| memory.state(topic)["driver"]["name"] == "Ana").await;
        let path = format!("/v1/watch/poll?topics={topic}&cursor={cursor}");
        let answer = house.call("GET", &path, Some(&house.key), None).await;
        assert!(answer.json()["topics"][0]["state"].is_object(), "{cursor}: {}", answer.text);
    }
    for nonsense in ["x", "1", "1.", ".1", "-1.1", "1.1.1", "1e3.1", "18446744073709551616.0"] {
        let path = format!("/v1/watch/poll?topics={topic}&cursor={nonsense}");
        let answer = house.call("GET", &path, Some(&house.key), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{nonsense}");
    }
    let current =
        house.call("GET", &format!("/v1/watch/poll?topics={topic}&cursor={held}"), Some(&house.key), None).await;
    assert_eq!(current.json()["topics"][0].get("state"), None::<&Value>, "what is current is not sent again");
    house.assert_clean_log();
}
