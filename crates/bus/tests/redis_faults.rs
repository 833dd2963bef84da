//! What may happen to Redis, done to real servers while topics are written and watched: afterwards every watcher has exactly what was written last,
//! and on the way nobody saw a gap, a number twice, or a step back.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod replica;
mod servers;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use replica::Replica;
use tokio::task::JoinHandle;
use wayfare_bus::{
    Append, Appended, Bus, Checkpoint, Entry, Fence, Fields, FixLogLimits, Flush, LeaseError, LogStart, PublishError,
    RedisConfig,
};

/// Nothing takes longer than this on a busy machine.
const SOON: Duration = Duration::from_secs(60);

const TOPICS: u64 = 12;

async fn bus(url: &str) -> Bus {
    let config = RedisConfig {
        url: url.into(),
        namespace: "w:".into(),
        log_events_max: 1_000_000,
        log_keep_ms: i64::MAX / 2,
        fix_log: FixLogLimits { keep_ms: 3_600_000, bytes_max: 1 << 30, fold_first: false },
    };
    Bus::redis(&config).await.unwrap()
}

fn name(topic: u64) -> String {
    format!("trip:{topic}")
}

fn whole(topic: u64, value: u64) -> Fields {
    let mut fields = Fields::new();
    fields.set_json("constant", &topic.to_string()).set_json("n", &value.to_string());
    fields
}

/// One node writes each topic as fast as it may, as trackers do; another watches all of them.
struct Town {
    writer: Bus,
    /// The newest value of each topic.
    values: Arc<Vec<AtomicU64>>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Replica>>>,
    watching: JoinHandle<()>,
}

impl Town {
    async fn start(url: &str) -> Self {
        let (writer, watcher) = (bus(url).await, bus(url).await);
        let values: Arc<Vec<AtomicU64>> = Arc::new((0..TOPICS).map(|_| AtomicU64::new(1)).collect());
        let (stop, mut writers) = (Arc::new(AtomicBool::new(false)), Vec::new());
        for topic in 0..TOPICS {
            let (values, stop, topics) = (Arc::clone(&values), Arc::clone(&stop), writer.topics.clone());
            let publisher = topics.publisher(&name(topic));
            publisher.publish(&whole(topic, 1), Fence::Record { version: 1, assignment: 1 }).await.unwrap();
            let mut losses = topics.losses();
            writers.push(tokio::spawn(async move {
                let tracker = Fence::Tracker { assignment: 1, lease: 1 };
                while !stop.load(Ordering::Relaxed) {
                    let value = values[topic as usize].fetch_add(1, Ordering::Relaxed) + 1;
                    let mut fields = Fields::new();
                    fields.set_json("n", &value.to_string());
                    publisher.publish_now(&fields, tracker).unwrap();
                    if losses.has_changed().unwrap() {
                        losses.mark_unchanged();
                        // As owners of topics do: all of it, whoever heard it before.
                        let record = Fence::Record { version: 1, assignment: 1 };
                        publisher.publish_now(&whole(topic, value), record).unwrap();
                    }
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }));
        }
        let seen: Arc<Mutex<Vec<Replica>>> = Arc::new(Mutex::new((0..TOPICS).map(|_| Replica::default()).collect()));
        let applied = Arc::clone(&seen);
        let watching = tokio::spawn(async move {
            let mut subscriber = watcher.topics.subscriber(10_000);
            for topic in 0..TOPICS {
                subscriber.subscribe(&name(topic), topic).await;
            }
            let mut events = Vec::new();
            loop {
                subscriber.recv(&mut events).await;
                let mut seen = applied.lock().unwrap();
                for event in events.drain(..) {
                    let replica = &mut seen[event.tag as usize];
                    let before = value_of(replica);
                    replica.apply(event);
                    assert!(value_of(replica) >= before, "a step back, from {before} to {}", value_of(replica));
                }
            }
        });
        let town = Self { writer, values, stop, writers, seen, watching };
        town.flows().await;
        town
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[Replica]) -> bool) {
        let started = Instant::now();
        loop {
            assert!(!self.watching.is_finished(), "the watcher has seen what may not be");
            {
                let seen = self.seen.lock().unwrap();
                if is_so(&seen) {
                    return;
                }
                assert!(started.elapsed() < SOON, "{what}: {:?}", seen.iter().map(describe).collect::<Vec<_>>());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every topic's watchers get what is written from now on.
    async fn flows(&self) {
        let now: Vec<u64> = self.values.iter().map(|value| value.load(Ordering::Relaxed)).collect();
        self.until("news reach the watchers", |seen| seen.iter().zip(&now).all(|(seen, now)| value_of(seen) > *now))
            .await;
    }

    /// Stops writing, and compares all ends.
    async fn end(mut self) -> Vec<Replica> {
        self.flows().await;
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.await.unwrap();
        }
        let last: Vec<u64> = self.values.iter().map(|value| value.load(Ordering::Relaxed)).collect();
        self.until("the last value", |seen| seen.iter().zip(&last).all(|(seen, last)| value_of(seen) == *last)).await;
        let kept = {
            let mut kept = Vec::new();
            for topic in 0..TOPICS {
                kept.push(self.writer.topics.read(&name(topic)).await.unwrap().unwrap());
            }
            kept
        };
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        self.watching.abort();
        for (topic, (seen, kept)) in seen.iter().zip(&kept).enumerate() {
            assert_eq!(seen.members, kept.members, "topic {topic}");
            assert_eq!((seen.epoch, seen.seq), (kept.epoch, kept.seq), "topic {topic}");
            assert_eq!(seen.members.get("constant").map(|value| &value[..]), Some(topic.to_string().as_bytes()));
            assert!(!seen.is_stale);
        }
        seen
    }
}

fn value_of(replica: &Replica) -> u64 {
    let value = replica.members.get("n");
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}

fn describe(replica: &Replica) -> String {
    format!("{}.{} n={} stale={}", replica.epoch, replica.seq, value_of(replica), replica.is_stale)
}

fn all_stale(seen: &[Replica]) -> bool {
    seen.iter().all(|replica| replica.is_stale)
}

fn server() -> (servers::Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (servers::Server::start(dir.path(), &[]), dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_with_its_data() {
    let (mut server, _dir) = server();
    let town = Town::start(&server.url()).await;
    for _ in 0..2 {
        server.kill();
        town.until("everybody hears that it is away", all_stale).await;
        town.until("the writer knows too", |_| !town.writer.topics.is_ready(&[])).await; // an absent topic proves nothing now
        assert!(town.writer.topics.read("trip:1").await.is_err());
        server.up();
        town.flows().await;
    }
    for seen in town.end().await {
        assert!(seen.stales >= 2 && seen.snapshots >= 3, "{}", describe(&seen));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_lost_everything() {
    let (mut server, _dir) = server();
    let town = Town::start(&server.url()).await;
    town.writer.topics.set_ready("api").await;
    server.kill();
    town.until("everybody hears that it is away", all_stale).await;
    server.wipe();
    server.up();
    town.flows().await;
    assert!(!town.writer.topics.is_ready(&["api"]), "until the owner has told everything again");
    town.writer.topics.set_ready("api").await;
    assert!(town.writer.topics.is_ready(&["api"]));
    town.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_no_more_without_closing_anything() {
    let (server, _dir) = server();
    let town = Town::start(&server.url()).await;
    server.freeze();
    town.until("everybody hears that it is away", all_stale).await;
    server.thaw();
    town.flows().await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_again_and_again() {
    let (server, _dir) = server();
    let town = Town::start(&server.url()).await;
    for round in 0..20 {
        server.ask(&["CLIENT", "KILL", "TYPE", if round % 2 == 0 { "pubsub" } else { "normal" }]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    town.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_are_lost_on_the_way_are_missed() {
    let (server, _dir) = server();
    let town = Town::start(&server.url()).await;
    // Behind the back of everybody: the connection stays, the subscription goes. Written by hand, since no client does this.
    for topic in 0..TOPICS {
        let key = format!("w:{{{}}}", name(topic));
        server.ask(&["HINCRBY", &key, "s", "5"]);
    }
    town.flows().await;
    town.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_log_has_taken_it_has() {
    let (mut server, _dir) = server();
    let (writer, reader) = (bus(&server.url()).await, bus(&server.url()).await);
    let lease = writer.leases.take_over("relay", "a", 600_000).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut tail = reader.logs.tail("store:1").await;
        let (mut start, mut read, mut resets) = (LogStart::Oldest, Vec::<u64>::new(), 0);
        while read.last() != Some(&500) {
            let Ok(page) = reader.logs.read("store:1", start, 50).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if page.reset {
                // Another epoch; what was read is known, the rest is read from the start.
                (start, resets) = (LogStart::Oldest, resets + 1);
                continue;
            }
            let number = |event: &wayfare_bus::LogEvent| event.event_id.parse::<u64>().unwrap();
            read.extend(
                page.events
                    .iter()
                    .map(number)
                    .filter(|number| read.last().is_none_or(|last| number > last))
                    .collect::<Vec<_>>(),
            );
            start = LogStart::After { generation: page.generation, id: page.next };
            if !page.more {
                let _ = tokio::time::timeout(Duration::from_secs(5), tail.changed()).await;
            }
        }
        (read, resets)
    });
    let mut taken = Vec::new();
    for number in 1..=500_u64 {
        if number % 200 == 0 {
            server.kill();
            let event_id = "never";
            let event = Append { entity: "x", number, event_id, payload: b"{}" };
            writer.logs.append("store:1", event).await.expect_err("nothing is taken that is not kept");
            assert!(matches!(writer.leases.renew("relay", lease, 600_000).await, Err(LeaseError::Away(_))));
            server.up();
        }
        let event_id = number.to_string();
        let event = Append { entity: "x", number, event_id: &event_id, payload: b"{}" };
        let started = Instant::now();
        loop {
            match writer.logs.append("store:1", event).await {
                Ok(Appended::At(id)) => break taken.push(id),
                Ok(Appended::Repeated) => break, // it was taken, and the answer lost
                Err(error) => assert!(started.elapsed() < SOON, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(taken.is_sorted(), "in order");
    let (read, resets) = tokio::time::timeout(SOON, reading).await.unwrap().unwrap();
    assert_eq!(read, (1..=500).collect::<Vec<_>>(), "every event once, in order");
    assert!(resets > 0, "an epoch begins with a reset");
    assert_eq!(writer.leases.renew("relay", lease, 600_000).await, Ok(()), "what was ours is ours");
    assert!(writer.leases.take_over("relay", "b", 1_000).await.unwrap().number > lease.number);
}

/// As `docs/redis.md` sets it up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_only_what_the_bus_needs() {
    let (server, _dir) = server();
    let rights = "~w:* &w:* +@all -@dangerous +info +bgrewriteaof +cluster|slots";
    let user: Vec<&str> = ["ACL", "SETUSER", "wayfare", "on", ">secret"].into_iter().chain(rights.split(' ')).collect();
    server.ask(&user);
    server.ask(&["ACL", "SETUSER", "default", "off"]);
    let url = server.url().replace("redis://", "redis://wayfare:secret@");
    let town = Town::start(&url).await;
    let bus = town.writer.clone();
    let event = Append { entity: "x", number: 1, event_id: "x/1", payload: b"{}" };
    assert_eq!(bus.logs.append("store:1", event).await.unwrap(), Appended::At(1));
    assert_eq!(bus.logs.erase("x/1", None).await.unwrap().deleted, 1);
    bus.leases.take_over("relay", "a", 1_000).await.unwrap();
    assert!(bus.leases.once("ticket", wayfare_bus::now_ms() + 1_000, 1_000).await);
    bus.fixes.append(&flush_of(7, 1)).await.unwrap();
    bus.fixes.scrub().await.unwrap();
    assert!(bus.topics.interest(&name(1)).await);
    bus.sweep().await;
    bus.topics.set_ready("api").await;
    bus.topics.end("trip:99", &whole(99, 1), 1, 1_000).await.unwrap();
    bus.topics.erase("trip:99").await;
    town.end().await;
}

/// One driver's flush, told from all others by its number.
fn flush_of(driver: u128, number: u64) -> Flush {
    let entries = vec![Entry { driver, lease: 0, bytes: number.to_string().into_bytes().into() }];
    let checkpoints = vec![Checkpoint { driver, lease: 0, bytes: number.to_string().into_bytes().into() }];
    Flush { at_ms: wayfare_bus::now_ms(), entries, checkpoints }
}

/// Every number that the fix log has of a driver, in the log's order.
async fn kept_of(bus: &Bus, driver: u128) -> Vec<u64> {
    let (partition, mut after, mut kept) = (bus.fixes.partition_of(driver), 0, Vec::new());
    loop {
        let page = bus.fixes.read(partition, after, 100).await.unwrap();
        if page.records.is_empty() {
            return kept;
        }
        after = page.next;
        for entry in page.records.into_iter().flat_map(|record| record.entries.unwrap()) {
            kept.push(std::str::from_utf8(&entry.bytes).unwrap().parse().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_was_answered_is_kept_once() {
    let (mut server, _dir) = server();
    let (writer, reader) = (bus(&server.url()).await, bus(&server.url()).await);
    let mut newest = 0;
    for number in 1..=300_u64 {
        match number % 100 {
            0 => {
                server.kill();
                writer.fixes.append(&flush_of(7, 999)).await.expect_err("nothing is acked that is not kept");
                server.up();
            }
            // The answer may be lost, and what was asked done.
            30 | 60 => drop(server.ask(&["CLIENT", "KILL", "TYPE", "normal"])),
            _ => {}
        }
        let (flush, started) = (flush_of(7, number), Instant::now());
        let receipt = loop {
            match writer.fixes.append(&flush).await {
                Ok(receipt) => break receipt,
                Err(error) => assert!(started.elapsed() < SOON, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(receipt.number > newest && receipt.refused.is_empty());
        newest = receipt.number;
    }
    assert_eq!(kept_of(&reader, 7).await, (1..=300).collect::<Vec<_>>());
    assert_eq!(reader.fixes.checkpoint(7).await.unwrap(), Some((newest, (&b"300"[..]).into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_while_it_is_away_is_merged_and_an_end_waits() {
    let (mut server, _dir) = server();
    let (writer, reader) = (bus(&server.url()).await, bus(&server.url()).await);
    let record = Fence::Record { version: 1, assignment: 1 };
    writer.topics.publish("trip:1", &whole(1, 1), record).await.unwrap();
    server.kill();
    let publisher = writer.topics.publisher("trip:1");
    for value in 2..=10_000 {
        publisher.publish_now(&whole(1, value), record).unwrap();
    }
    let ending = {
        let topics = writer.topics.clone();
        tokio::spawn(async move { topics.end("trip:2", &whole(2, 9), 5, 60_000).await })
    };
    server.up();
    ending.await.unwrap().unwrap();
    let started = Instant::now();
    loop {
        let now = reader.topics.read("trip:1").await.ok().flatten();
        if let Some(now) = now.filter(|now| now.members.get("n").is_some_and(|n| &n[..] == b"10000")) {
            assert!(now.seq <= 4, "ten thousand became few: {}", now.seq);
            break;
        }
        assert!(started.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(reader.topics.read("trip:2").await.unwrap().unwrap().ended);
    assert_eq!(writer.topics.publish("trip:2", &whole(2, 1), record).await, Err(PublishError::Ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_it_is_dropped_and_asked_for_again() {
    let (server, _dir) = server();
    let writer = bus(&server.url()).await;
    let record = Fence::Record { version: 1, assignment: 1 };
    let publishers: Vec<_> = (0..100).map(|topic| writer.topics.publisher(&name(topic))).collect();
    for publisher in &publishers {
        publisher.publish(&whole(1, 1), record).await.unwrap();
    }
    let mut losses = writer.topics.losses();
    server.freeze();
    let mut large = Fields::new();
    large.set("large", |out| {
        out.push(b'"');
        out.resize(1 << 20, b'x');
        out.push(b'"');
    });
    for publisher in &publishers {
        publisher.publish_now(&large, record).unwrap();
    }
    server.thaw();
    tokio::time::timeout(SOON, losses.changed()).await.expect("owners are asked to tell everything again").unwrap();
    let mut told = 0;
    for topic in 0..100 {
        let now = writer.topics.read(&name(topic)).await.unwrap().unwrap();
        told += usize::from(now.members.get("large").is_some());
    }
    let most = wayfare_bus::redis::OUT_BYTES_MAX >> 20;
    assert!((1..=most).contains(&told), "{told} of 100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_the_cluster_is_killed_and_a_replica_takes_over() {
    let mut cluster = servers::Cluster::start();
    let town = Town::start(&cluster.url()).await;
    let key = format!("w:{{{}}}", name(0));
    let master = cluster.master_of(&key, &[0, 1, 2]);
    // Somebody who counts what was answered, to tell what a failover loses.
    let driver =
        (0..64_u128).find(|driver| cluster.master_of(&format!("w:{{drivers:{driver}}}:index"), &[0, 1, 2]) == master);
    let driver = driver.expect("every master has some partitions");
    let answered = Arc::new(Mutex::new(Vec::new()));
    let counting = {
        let (bus, answered) = (town.writer.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            for number in 1.. {
                let flush = flush_of(driver, number);
                while bus.fixes.append(&flush).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answered.lock().unwrap().push(number);
            }
        })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.nodes[master].kill();
    let before = answered.lock().unwrap().len();
    let running: Vec<usize> = (0..6).filter(|node| *node != master).collect();
    let killed = Instant::now();
    town.flows().await;
    let flows = killed.elapsed();
    assert_ne!(cluster.master_of(&key, &running), master);
    while answered.lock().unwrap().len() < before + 100 {
        assert!(killed.elapsed() < SOON, "flushes are kept again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    counting.abort();
    let _ = counting.await;
    let answered = answered.lock().unwrap().clone();
    let kept = kept_of(&town.writer, driver).await;
    assert!(kept.is_sorted_by(|one, other| one < other), "in order, and nothing twice");
    let lost = answered.iter().filter(|number| !kept.contains(number)).count();
    println!(
        "the master was killed after {before} answered flushes, {lost} of them are lost; news flow again after {flows:?}"
    );
    // Replication is not waited for: whatever was under way to the replica may be gone, but no more than that.
    assert!(lost < 200, "{lost} answered flushes are lost");
    let seen = town.end().await;
    assert!(seen.iter().any(|seen| seen.stales > 0), "whoever watched the dead master heard of it");
}

/// A key that a script takes away and writes again is, while its slot moves, one that has gone to the other server: the script would end half done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_are_done_whole_while_their_slot_is_about_to_move() {
    let cluster = servers::Cluster::start();
    let bus = bus(&cluster.url()).await;
    let lease = bus.leases.acquire(&wayfare_bus::Leases::driver_key(7), "here", 60_000).await.unwrap();
    for number in [1, 2] {
        let mut flush = flush_of(7, number);
        (flush.entries[0].lease, flush.checkpoints[0].lease) = (lease.number, lease.number);
        bus.fixes.append(&flush).await.unwrap();
    }
    let publisher = bus.topics.publisher("trip:1");
    publisher.publish(&whole(1, 1), Fence::Record { version: 1, assignment: 1 }).await.unwrap();
    for key in [format!("w:{{drivers:{}}}:records", bus.fixes.partition_of(7)), "w:{trip:1}".to_owned()] {
        let from = cluster.master_of(&key, &[0]);
        cluster.begin_migration(&key, (from + 1) % 3);
    }
    let mut flush = flush_of(7, 3);
    (flush.entries[0].lease, flush.checkpoints[0].lease) = (lease.number, lease.number);
    bus.fixes.append(&flush).await.unwrap();
    assert_eq!(kept_of(&bus, 7).await, [1, 2, 3]);
    let mut last = Fields::new();
    last.set_json("constant", "1").set_null("n");
    let ended = bus.topics.end("trip:1", &last, 2, 60_000);
    tokio::time::timeout(SOON, ended).await.expect("in time").unwrap();
    let kept = bus.topics.read("trip:1").await.unwrap().unwrap();
    assert!(kept.ended && kept.members.get("n").is_none() && kept.members.get("constant").is_some());
    assert_eq!(kept.seq, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_to_another_master_under_load() {
    let cluster = servers::Cluster::start();
    let town = Town::start(&cluster.url()).await;
    for topic in 0..3 {
        let key = format!("w:{{{}}}", name(topic));
        let from = cluster.master_of(&key, &[0]);
        cluster.migrate(&key, (from + 1) % 3);
        town.flows().await;
        assert_eq!(cluster.master_of(&key, &[0]), (from + 1) % 3);
    }
    town.end().await;
}
