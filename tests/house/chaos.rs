//! Everything at once, on Redis: watchers of every transport are cut again and again, the processes that serve them are killed, and Redis itself
//! falls. Nothing is missed silently, nothing comes twice, nothing goes back, and in the end all hold the same, bit by bit.
//!
//! `LONG_TESTS=1`: 64 watchers for a minute. Otherwise fewer, and briefly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::drive::App;
use crate::harness::{House, SOON, fault_rounds, fault_time, now_ms, until, within};
use crate::redis_server::{Cluster, Server};
use crate::rest::Driver;
use crate::ride::near_pickup;
use crate::watch::{EventSource, Memory, Poller, Watcher};

/// Between two fixes.
const PACE: Duration = Duration::from_millis(40);

/// A process that serves watchers is killed this often.
const KILLED_EVERY: Duration = Duration::from_secs(5);

/// Nobody is refused for coming too often: what is tried is something else.
const SETTINGS: &[(&str, &str)] = &[
    ("INGEST_MESSAGES_PER_SECOND", "1000"),
    ("INGEST_MESSAGES_BURST", "1000"),
    ("GATE_ARRIVALS_PER_SECOND", "10000"),
    ("GATE_ARRIVALS_BURST", "10000"),
];

/// A house, and two processes that serve its watchers.
struct Street {
    house: Arc<House>,
    fanouts: [House; 2],
    /// The same two as watchers know them: by their ports.
    doors: Arc<[House; 2]>,
}

impl Street {
    async fn open(bus_url: &str) -> Self {
        let on = |node: &'static str| [SETTINGS, &[("BUS_URL", bus_url), ("BUS_NODE", node)]].concat();
        let house = House::start_with(&on("all")).await;
        let (one, other) = (on("one"), on("other"));
        let (one, other) = tokio::join!(House::start_role("fanout", &one), House::start_role("fanout", &other));
        for process in [&house, &one, &other] {
            for text in ["Redis is away", "Redis started anew", "trying again", "does not reach back", "acks wait"] {
                process.expect_log(text);
            }
        }
        let doors = Arc::new([House::front(one.port, &house.key), House::front(other.port, &house.key)]);
        Self { house: Arc::new(house), fanouts: [one, other], doors }
    }
}

/// Numbers that are the same in every run: which cut comes when shall not change.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// 0.7 s on average.
    fn while_line_lasts(&mut self) -> Duration {
        Duration::from_millis(100 + self.roll(1200))
    }
}

/// How often a watcher was cut, and how often it came in vain.
#[derive(Default, Clone, Copy)]
struct Count {
    cuts: usize,
    in_vain: usize,
}

/// Sends fixes until told to stop, and again what could not be kept; returns when the last one is.
fn publish(house: &Arc<House>, driver: &Driver, stop: &Arc<AtomicBool>) -> JoinHandle<i64> {
    let (house, driver, stop) = (Arc::clone(house), driver.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut app = App::open(&house, &driver).await;
        let mut t_ms = now_ms() - 3_600_000;
        let (mut pace, mut retry) = (tokio::time::interval(PACE), tokio::time::interval(Duration::from_secs(1)));
        // What was not asked for while all was well is not made up for.
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopped = stop.load(Ordering::Relaxed);
            let waits = app.said.iter().any(|said| said["code"] == "not_durable");
            if stopped && app.outbox.unacked.is_empty() {
                return t_ms;
            }
            tokio::select! {
                message = app.step() => assert!(message.is_some(), "the driver's own line holds: {:?}", app.closed),
                _ = pace.tick(), if !stopped && !waits && app.outbox.unacked.len() < 60 => {
                    t_ms += 1000;
                    let north_m = ((t_ms / 1000 % 400) - 200).abs() as f64 * 3.0;
                    app.send(vec![near_pickup(north_m, t_ms)]).await;
                }
                _ = retry.tick(), if waits => {
                    app.said.clear();
                    for (_, _, text) in app.outbox.unacked.clone() {
                        app.raw(&text).await;
                    }
                }
            }
        }
    })
}

/// One that watches by a WebSocket, by turns at either door, and is cut in one of four ways.
async fn by_socket(
    doors: &[House; 2],
    topics: &[&str],
    mut memory: Memory,
    stop: &AtomicBool,
    seed: u64,
) -> (Memory, Count) {
    let (mut dice, mut count, mut stalled) = (Dice(seed), Count::default(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let door = &doors[dice.roll(2) as usize];
        let Ok(mut watcher) = Watcher::resume(door, &door.key, memory.clone()).await else {
            count.in_vain += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        watcher.subscribe(topics).await;
        let lasts = dice.while_line_lasts();
        let _ = tokio::time::timeout(lasts, async { while watcher.step().await.is_some() {} }).await;
        assert!(matches!(watcher.closed, None | Some(1006 | 4000)), "closed with {:?}", watcher.closed);
        memory = watcher.memory.clone();
        match dice.roll(4) {
            // FIN.
            0 => drop(watcher),
            // RST.
            1 => {
                watcher.ws.get_ref().set_zero_linger().unwrap();
                drop(watcher);
            }
            // A close of the WebSocket.
            2 => {
                let _ = watcher.ws.close(None).await;
            }
            // It stops reading, and is forgotten.
            _ => stalled.push(watcher),
        }
        stalled.drain(..stalled.len().saturating_sub(4));
        count.cuts += 1;
    }
    (memory, count)
}

/// The same by server-sent events; every other time by the id of the last one.
async fn by_events(
    doors: &[House; 2],
    topics: &[&str],
    mut memory: Memory,
    stop: &AtomicBool,
    seed: u64,
) -> (Memory, Count) {
    let (mut dice, mut count, mut last_id) = (Dice(seed), Count::default(), None);
    while !stop.load(Ordering::Relaxed) {
        let door = &doors[dice.roll(2) as usize];
        let id = last_id.clone().filter(|_| seed.is_multiple_of(2));
        let stream = match EventSource::resume(door, &door.key, topics, memory.clone(), id).await {
            Ok(stream) => Some(stream),
            Err(refused) => {
                assert!(matches!(refused.status, 0 | 503), "{} {}", refused.status, refused.text);
                None
            }
        };
        let Some(mut stream) = stream else {
            count.in_vain += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let lasts = dice.while_line_lasts();
        let _ = tokio::time::timeout(lasts, async { while stream.step().await.is_some() {} }).await;
        (memory, last_id) = (stream.memory, stream.last_id);
        count.cuts += 1;
    }
    (memory, count)
}

/// The same by asking; some answers are not waited for.
async fn by_polling(
    doors: &[House; 2],
    topics: &[&str],
    memory: Memory,
    stop: &AtomicBool,
    seed: u64,
) -> (Memory, Count) {
    let (mut dice, mut count) = (Dice(seed), Count::default());
    let mut poller = Poller::new(&doors[0], &doors[0].key, topics);
    poller.memory = memory;
    while !stop.load(Ordering::Relaxed) {
        let door = &doors[dice.roll(2) as usize];
        let patience = Duration::from_millis(if dice.roll(3) > 0 { 500 } else { 1 + dice.roll(20) });
        match tokio::time::timeout(patience, poller.poll(door)).await {
            Err(_) => count.cuts += 1,
            Ok(None) => count.in_vain += 1,
            Ok(Some(answer)) => assert!(matches!(answer.status, 200 | 304 | 503), "{} {}", answer.status, answer.text),
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    (poller.memory, count)
}

/// Runs watchers while `faults` does what it does to the street, then compares what all of them hold.
async fn storm(mut street: Street, faults: impl AsyncFnOnce(&mut [House; 2], Instant)) {
    let driver = street.house.driver("Ana").await;
    let trip = street.house.trip(Some(&driver), None).await;
    let topics: Arc<[String; 2]> = Arc::new([trip.ops.clone(), format!("driver:{}", driver.id)]);
    let (stop_publishing, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let publisher = publish(&street.house, &driver, &stop_publishing);
    let shared = Memory::new(&street.house);
    let watchers: Vec<JoinHandle<(Memory, Count)>> = (0..fault_rounds(12).min(64) as u64)
        .map(|number| {
            let (doors, topics, stop, memory) =
                (Arc::clone(&street.doors), Arc::clone(&topics), Arc::clone(&stop), shared.clone());
            tokio::spawn(async move {
                let topics = topics.each_ref().map(String::as_str);
                match number % 3 {
                    0 => by_socket(&doors, &topics, memory, &stop, number).await,
                    1 => by_events(&doors, &topics, memory, &stop, number).await,
                    _ => by_polling(&doors, &topics, memory, &stop, number).await,
                }
            })
        })
        .collect();
    let deadline = Instant::now() + fault_time(Duration::from_secs(12));
    faults(&mut street.fanouts, deadline).await;

    stop_publishing.store(true, Ordering::Relaxed);
    let last_ms = within(SOON * 2, "the last ack", publisher).await.unwrap();
    let topics = topics.each_ref().map(String::as_str);
    let arrived =
        |memory: &Memory| topics.iter().all(|topic| memory.state(topic)["position"]["t_ms"].as_i64() == Some(last_ms));
    stop.store(true, Ordering::Relaxed);
    let mut ended = Vec::new();
    for watcher in watchers {
        ended.push(within(SOON, "a watcher ends", watcher).await.unwrap());
    }
    let mut reference = Watcher::open(&street.doors[0], &street.house.key).await;
    reference.subscribe(&topics).await;
    reference.until("the last position", arrived).await;
    let mut all = Count::default();
    for (number, (memory, count)) in ended.into_iter().enumerate() {
        assert!(count.cuts >= 3, "watcher {number} was cut {} times", count.cuts);
        (all.cuts, all.in_vain) = (all.cuts + count.cuts, all.in_vain + count.in_vain);
        let door = &street.doors[number % 2];
        let mut back =
            until(SOON, "a way back", async || Watcher::resume(door, &door.key, memory.clone()).await.ok()).await;
        back.subscribe(&topics).await;
        back.until("the last position", arrived).await;
        for topic in topics {
            assert_eq!(back.memory.state(topic), reference.memory.state(topic));
            assert_eq!(back.memory.cursor(topic), reference.memory.cursor(topic));
        }
    }
    println!("{} cuts, {} came in vain", all.cuts, all.in_vain);
    for process in street.fanouts.iter().chain([&*street.house]) {
        process.assert_clean_log();
    }
}

/// Kills one process and the other in turn, as long as there is time.
async fn kill_in_turn(fanouts: &mut [House; 2], deadline: Instant) {
    let mut turn = 0;
    while Instant::now() < deadline {
        tokio::time::sleep(KILLED_EVERY.min(deadline.saturating_duration_since(Instant::now()))).await;
        fanouts[turn % 2].kill9();
        tokio::time::sleep(Duration::from_millis(200)).await;
        fanouts[turn % 2].restart().await;
        turn += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_cut_processes_killed_and_redis_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), &[]);
    let street = Street::open(&server.url()).await;
    storm(street, async |fanouts, deadline| {
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        kill_in_turn(fanouts, half).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.up();
        kill_in_turn(fanouts, deadline).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_on_a_cluster_whose_master_dies_and_whose_slots_move() {
    let mut cluster = Cluster::start();
    let street = Street::open(&cluster.url()).await;
    storm(street, async |fanouts, deadline| {
        let third = deadline.saturating_duration_since(Instant::now()) / 3;
        kill_in_turn(fanouts, Instant::now() + third).await;
        // Some keys of every kind are in each master's slots: one slot moves, then a master dies.
        let keys = cluster.nodes[0].ask(&["KEYS", "wayfare:*"]);
        let key = keys.lines().next().expect("the first master holds something").to_owned();
        cluster.migrate(&key, 1);
        kill_in_turn(fanouts, Instant::now() + third).await;
        cluster.nodes[2].kill();
        kill_in_turn(fanouts, deadline).await;
    })
    .await;
}
