//! One suite for every implementation of the bus. Each test gets a fresh bus from the implementation's `Fixture`, which can also
//! stop and reopen it as a restart of the house would.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod jobs;
mod replica;
mod servers;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wayfare_bus::{
    Append, Appended, Bus, Checkpoint, EmbeddedConfig, Entry, Event, EventKind, Fate, Fence, Fields, FixLogError,
    FixLogLimits, Flush, Folded, LeaseError, Leases, LogStart, PublishError, RedisConfig, Subscriber,
};

use jobs::*;
use replica::Replica;

/// What an implementation must bring.
trait Fixture: Sized {
    async fn start() -> Self;
    /// A reader with room hears every delta. Beyond a network a busy machine may cut it short: then it hears a snapshot.
    const CERTAIN: bool;
    /// With a fix log that drops nothing before it was folded.
    async fn start_folding() -> Self;
    fn bus(&self) -> &Bus;
    /// Without a chance to say goodbye, as after kill -9.
    async fn restart(self) -> Self;
}

struct Embedded {
    dir: tempfile::TempDir,
    bus: Bus,
}

const FIX_LOG: FixLogLimits = FixLogLimits { keep_ms: 3_600_000, bytes_max: 64 * 1024, fold_first: false };

fn local(dir: &tempfile::TempDir) -> EmbeddedConfig {
    EmbeddedConfig { dir: dir.path().to_owned(), fix_log: FIX_LOG, log_events_max: 10, log_keep_ms: i64::MAX }
}

impl Embedded {
    async fn open(dir: tempfile::TempDir) -> Self {
        let bus = Bus::embedded(local(&dir)).await.expect("a fresh folder opens");
        Self { dir, bus }
    }
}

impl Fixture for Embedded {
    const CERTAIN: bool = true;
    async fn start() -> Self {
        Self::open(tempfile::tempdir().expect("a temporary folder")).await
    }
    async fn start_folding() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = EmbeddedConfig { fix_log: FixLogLimits { fold_first: true, ..FIX_LOG }, ..local(&dir) };
        let bus = Bus::embedded(config).await.expect("a fresh folder opens");
        Self { dir, bus }
    }
    fn bus(&self) -> &Bus {
        &self.bus
    }
    async fn restart(self) -> Self {
        drop(self.bus);
        Self::open(self.dir).await
    }
}

/// A server of its own for each test.
struct Redis {
    server: servers::Server,
    dir: tempfile::TempDir,
    bus: Bus,
}

async fn on_redis(url: String, namespace: &str, fix_log: FixLogLimits) -> Bus {
    let config =
        RedisConfig { url, namespace: namespace.into(), log_events_max: 10, log_keep_ms: i64::MAX / 2, fix_log };
    Bus::redis(&config).await.expect("Redis answers")
}

impl Fixture for Redis {
    const CERTAIN: bool = false;
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let server = servers::Server::start(dir.path(), &["--appendfsync", "everysec"]);
        let bus = on_redis(server.url(), "wayfare:", FIX_LOG).await;
        Self { server, dir, bus }
    }
    async fn start_folding() -> Self {
        let Self { server, dir, bus } = Self::start().await;
        drop(bus);
        let bus = on_redis(server.url(), "wayfare:", FixLogLimits { fold_first: true, ..FIX_LOG }).await;
        Self { server, dir, bus }
    }
    fn bus(&self) -> &Bus {
        &self.bus
    }
    async fn restart(self) -> Self {
        let Self { server, dir, bus } = self;
        drop(bus);
        let bus = on_redis(server.url(), "wayfare:", FIX_LOG).await;
        Self { server, dir, bus }
    }
}

/// A house of its own for each test, all on one Cluster.
struct OnCluster {
    house: u32,
    bus: Bus,
}

static CLUSTER: OnceLock<String> = OnceLock::new();
static HOUSES: AtomicU32 = AtomicU32::new(0);

impl OnCluster {
    async fn open(house: u32, fix_log: FixLogLimits) -> Self {
        let url = CLUSTER.get().expect("the cluster was started").clone();
        Self { house, bus: on_redis(url, &format!("house-{house}:"), fix_log).await }
    }
}

impl Fixture for OnCluster {
    const CERTAIN: bool = false;
    async fn start() -> Self {
        Self::open(HOUSES.fetch_add(1, Ordering::Relaxed), FIX_LOG).await
    }
    async fn start_folding() -> Self {
        let fix_log = FixLogLimits { fold_first: true, ..FIX_LOG };
        Self::open(HOUSES.fetch_add(1, Ordering::Relaxed), fix_log).await
    }
    fn bus(&self) -> &Bus {
        &self.bus
    }
    async fn restart(self) -> Self {
        let Self { house, bus } = self;
        drop(bus);
        Self::open(house, FIX_LOG).await
    }
}

/// Stamps every test over each implementation. Starting a Cluster takes seconds, so its tests are one, in order.
macro_rules! bus_contract {
    ($($test:ident),* $(,)?) => {
        bus_contract!(one by one: embedded, Embedded: $($test),*);
        bus_contract!(one by one: redis, Redis: $($test),*);

        mod cluster {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn keeps_the_whole_contract() {
                let cluster = super::servers::Cluster::start();
                super::CLUSTER.set(cluster.url()).expect("there is one");
                $(
                    println!("{}", stringify!($test));
                    // On the heap: all of them together are more than a stack holds.
                    Box::pin(super::in_time(super::$test::<super::OnCluster>())).await;
                )*
            }
        }
    };
    (one by one: $name:ident, $fixture:ident: $($test:ident),*) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::in_time(super::$test::<super::$fixture>()).await;
            })*
        }
    };
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test ends in time");
}

bus_contract!(
    a_field_belongs_to_its_newest_writer,
    a_late_reader_starts_with_a_snapshot_and_misses_nothing,
    a_reader_that_joins_in_a_storm_is_exact,
    a_slow_reader_is_conflated_to_the_newest_state,
    an_absent_topic_says_so_and_comes_into_being,
    a_tracker_creates_no_topic,
    lower_fences_are_refused,
    an_ended_topic_refuses_and_answers,
    an_end_is_never_conflated,
    a_tombstone_expires,
    interest_follows_subscribers,
    unsubscribing_ends_the_events,
    numbers_only_grow_over_restarts,
    readiness_needs_every_owner,
    a_log_keeps_order_and_ignores_repetitions,
    a_log_takes_several_events_at_once,
    a_log_resets_honestly,
    a_log_survives_a_restart,
    a_tail_wakes,
    leases_exclude_and_fence,
    lease_numbers_grow_over_restarts,
    once_is_once,
    a_flush_is_kept_over_a_restart,
    a_stale_entry_is_refused_alone,
    the_newest_checkpoint_wins,
    a_full_fix_log_refuses,
    what_is_erased_is_gone_from_the_fix_log,
    what_is_erased_is_gone_from_the_logs,
    nothing_is_dropped_before_it_was_folded,
    a_job_is_claimed_once_and_ends_once,
    a_job_enqueued_twice_is_one,
    jobs_are_taken_in_order_and_know_their_place,
    a_lost_claim_goes_to_another_and_the_first_is_refused,
    a_renewed_claim_is_kept,
    failures_are_tried_again_and_then_dead,
    a_job_that_loses_its_workers_is_dead,
    a_cancelled_job_is_not_worked_on,
    an_end_is_told_until_it_is_collected_and_the_dead_are_kept,
    jobs_survive_a_restart,
    a_tail_of_jobs_wakes,
    careless_workers_lose_nothing,
);

const RECORD: Fence = Fence::Record { version: 1, assignment: 0 };

fn one(name: &'static str, value: u64) -> Fields {
    let mut fields = Fields::new();
    fields.set_json(name, &value.to_string());
    fields
}

async fn next(subscriber: &mut Subscriber) -> Vec<Event> {
    let mut events = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), subscriber.recv(&mut events)).await.expect("an event comes");
    events
}

async fn silence(subscriber: &mut Subscriber) {
    let mut events = Vec::new();
    let heard = tokio::time::timeout(Duration::from_millis(50), subscriber.recv(&mut events)).await;
    assert!(heard.is_err(), "{events:?}");
}

async fn a_late_reader_starts_with_a_snapshot_and_misses_nothing<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    topics.publish("t", &one("a", 1), RECORD).await.unwrap();
    topics.publish("t", &one("b", 2), RECORD).await.unwrap();
    let mut subscriber = topics.subscriber(16);
    subscriber.subscribe("t", 7).await;
    topics.publish("t", &one("a", 3), RECORD).await.unwrap();
    let (mut replica, mut heard) = (Replica::default(), Vec::new());
    while replica.seq < 3 {
        for event in next(&mut subscriber).await {
            assert_eq!(event.tag, 7);
            heard.push(event.clone());
            replica.apply(event);
        }
    }
    assert!(matches!(heard[0].kind, EventKind::Snapshot(_)));
    assert_eq!(Some(replica.members), topics.read("t").await.unwrap().map(|snapshot| snapshot.members));
}

async fn a_reader_that_joins_in_a_storm_is_exact<F: Fixture>() {
    let house = F::start().await;
    let topics = house.bus().topics.clone();
    topics.publish("t", &one("n", 0), RECORD).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let topics = topics.clone();
            tokio::spawn(async move {
                let names = ["a", "b", "c", "d"];
                for value in 0..2_000 {
                    topics.publish("t", &one(names[writer], value), RECORD).await.unwrap();
                }
            })
        })
        .collect();
    let mut readers = Vec::new();
    for reader in 0..8_u64 {
        let topics = topics.clone();
        readers.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(300 * reader)).await;
            // Some have room for the whole storm, some for next to nothing.
            let mut subscriber = topics.subscriber(if reader % 2 == 0 { 100_000 } else { 4 });
            subscriber.subscribe("t", reader).await;
            let mut replica = Replica::default();
            while replica.seq < 8_001 {
                next(&mut subscriber).await.into_iter().for_each(|event| replica.apply(event));
            }
            (reader, replica)
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let end = topics.read("t").await.unwrap().unwrap();
    for reader in readers {
        let (reader, replica) = reader.await.unwrap();
        assert_eq!((replica.epoch, replica.seq), (end.epoch, end.seq));
        assert_eq!(replica.members, end.members);
        if reader % 2 == 0 && F::CERTAIN {
            assert_eq!(replica.snapshots, 1, "a reader with room hears every delta");
        }
    }
}

async fn a_slow_reader_is_conflated_to_the_newest_state<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    topics.publish("t", &one("n", 0), RECORD).await.unwrap();
    let mut subscriber = topics.subscriber(4);
    subscriber.subscribe("t", 1).await;
    for value in 1..=1_000 {
        topics.publish("t", &one("n", value), RECORD).await.unwrap();
    }
    let mut replica = Replica::default();
    let mut events = 0;
    while replica.seq < 1_001 {
        for event in next(&mut subscriber).await {
            events += 1;
            replica.apply(event);
        }
    }
    assert!(events < 20, "{events} events in a queue of 4");
    assert_eq!(replica.members.get("n").unwrap().as_ref(), b"1000");
    topics.publish("t", &one("n", 1_001), RECORD).await.unwrap();
    next(&mut subscriber).await.into_iter().for_each(|event| replica.apply(event));
    assert!(replica.deltas > 0, "deltas go on after the snapshot");
}

async fn an_absent_topic_says_so_and_comes_into_being<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    assert_eq!(topics.read("t").await, Ok(None));
    let mut subscriber = topics.subscriber(4);
    subscriber.subscribe("t", 1).await;
    assert_eq!(next(&mut subscriber).await[0].kind, EventKind::Absent);
    topics.publish("t", &one("a", 1), RECORD).await.unwrap();
    assert!(matches!(&next(&mut subscriber).await[0].kind, EventKind::Snapshot(snapshot) if snapshot.seq == 1));
}

async fn a_tracker_creates_no_topic<F: Fixture>() {
    let house = F::start().await;
    let fence = Fence::Tracker { assignment: 1, lease: 1 };
    assert_eq!(house.bus().topics.publish("t", &one("a", 1), fence).await, Err(PublishError::Absent));
    assert_eq!(house.bus().topics.read("t").await, Ok(None));
}

async fn lower_fences_are_refused<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    let tracker = |assignment, lease| Fence::Tracker { assignment, lease };
    topics.publish("t", &one("a", 1), Fence::Record { version: 5, assignment: 0 }).await.unwrap();
    topics.publish("t", &one("a", 2), tracker(2, 10)).await.unwrap();
    for fence in [Fence::Record { version: 4, assignment: 0 }, tracker(1, 11), tracker(2, 9)] {
        assert_eq!(topics.publish("t", &one("a", 9), fence).await, Err(PublishError::Fenced), "{fence:?}");
    }
    topics.publish("t", &one("a", 3), tracker(2, 10)).await.unwrap();
    topics.publish("t", &one("a", 4), tracker(3, 1)).await.unwrap();
    topics.publish("t", &one("a", 5), Fence::Record { version: 5, assignment: 0 }).await.unwrap();
    assert_eq!(topics.read("t").await.unwrap().unwrap().seq, 5, "what was refused took no number");
    topics.publish("t", &one("a", 6), Fence::Record { version: 6, assignment: 4 }).await.unwrap();
    assert_eq!(topics.publish("t", &one("a", 9), tracker(3, 99)).await, Err(PublishError::Fenced), "reassigned");
    topics.publish("t", &one("a", 7), tracker(4, 1)).await.unwrap();
}

async fn an_ended_topic_refuses_and_answers<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    topics.publish("t", &one("secret", 1), Fence::Record { version: 3, assignment: 0 }).await.unwrap();
    assert_eq!(topics.end("t", &one("phase", 9), 2, 60_000).await, Err(PublishError::Fenced));
    topics.end("t", &one("phase", 9), 4, 60_000).await.unwrap();
    topics.end("t", &one("phase", 8), 5, 60_000).await.unwrap();
    let refused = topics.publish("t", &one("secret", 2), Fence::Tracker { assignment: 9, lease: 9 }).await;
    assert_eq!(refused, Err(PublishError::Ended));
    assert_eq!(
        topics.publish("t", &one("a", 2), Fence::Record { version: 9, assignment: 0 }).await,
        Err(PublishError::Ended)
    );
    let mut late = topics.subscriber(4);
    late.subscribe("t", 1).await;
    let events = next(&mut late).await;
    let EventKind::End(last) = &events[0].kind else { panic!("{events:?}") };
    assert!(last.ended);
    assert_eq!(last.members.get("phase").unwrap().as_ref(), b"9");
    assert_eq!(last.members.get("secret"), None, "the final state replaces, it does not merge");
    silence(&mut late).await;
}

async fn an_end_is_never_conflated<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    let mut subscriber = topics.subscriber(1);
    for name in ["t", "u", "v"] {
        topics.publish(name, &one("n", 0), RECORD).await.unwrap();
        subscriber.subscribe(name, name.len() as u64).await;
        topics.publish(name, &one("n", 1), RECORD).await.unwrap();
    }
    for name in ["t", "u", "v"] {
        topics.end(name, &one("phase", 9), 1, 60_000).await.unwrap();
    }
    let mut ends = 0;
    while ends < 3 {
        let events = next(&mut subscriber).await;
        ends += events.iter().filter(|event| matches!(event.kind, EventKind::End(_))).count();
    }
    silence(&mut subscriber).await;
}

async fn a_tombstone_expires<F: Fixture>() {
    let house = F::start().await;
    let bus = house.bus();
    bus.topics.publish("t", &one("a", 1), RECORD).await.unwrap();
    bus.topics.end("t", &one("a", 2), 2, 0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    bus.sweep().await;
    assert_eq!(bus.topics.read("t").await, Ok(None));
}

async fn interest_follows_subscribers<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    let publisher = topics.publisher("t");
    assert!(!topics.interest("t").await && !publisher.interest());
    let mut subscriber = topics.subscriber(4);
    subscriber.subscribe("t", 1).await;
    assert!(topics.interest("t").await && publisher.interest());
    drop(subscriber);
    // Other nodes learn of it in their own time.
    while topics.interest("t").await || publisher.interest() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn unsubscribing_ends_the_events<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    topics.publish("t", &one("a", 1), RECORD).await.unwrap();
    let mut subscriber = topics.subscriber(4);
    subscriber.subscribe("t", 1).await;
    next(&mut subscriber).await;
    subscriber.unsubscribe("t").await;
    topics.publish("t", &one("a", 2), RECORD).await.unwrap();
    silence(&mut subscriber).await;
    subscriber.subscribe("t", 2).await;
    assert_eq!(next(&mut subscriber).await[0].tag, 2);
}

async fn numbers_only_grow_over_restarts<F: Fixture>() {
    let mut house = F::start().await;
    let mut last = (0, 0);
    for _ in 0..3 {
        house.bus().topics.publish("t", &one("a", 1), RECORD).await.unwrap();
        let now = house.bus().topics.read("t").await.unwrap().unwrap();
        assert!((now.epoch, now.seq) > last, "{now:?} after {last:?}");
        last = (now.epoch, now.seq);
        house = house.restart().await;
    }
}

async fn readiness_needs_every_owner<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    topics.set_ready("api").await;
    assert!(topics.is_ready(&["api"]) && !topics.is_ready(&["api", "ingest"]));
    topics.set_ready("ingest").await;
    assert!(topics.is_ready(&["api", "ingest"]));
}

async fn append(bus: &Bus, topic: &str, entity: &str, number: u64) -> Appended {
    let event_id = format!("{entity}/{number}");
    let payload = format!("{{\"n\":{number}}}");
    let event = Append { entity, number, event_id: &event_id, payload: payload.as_bytes() };
    bus.logs.append(topic, event).await.unwrap()
}

async fn a_log_keeps_order_and_ignores_repetitions<F: Fixture>() {
    let house = F::start().await;
    let bus = house.bus();
    assert_eq!(append(bus, "l", "x", 1).await, Appended::At(1));
    assert_eq!(append(bus, "l", "y", 1).await, Appended::At(2));
    assert_eq!(append(bus, "l", "x", 3).await, Appended::At(3));
    for number in [1, 2, 3] {
        assert_eq!(append(bus, "l", "x", number).await, Appended::Repeated);
    }
    let page = bus.logs.read("l", LogStart::Oldest, 2).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(), ["x/1", "y/1"]);
    assert!(page.more && !page.reset);
    let rest = bus.logs.read("l", LogStart::After { generation: page.generation, id: page.next }, 9).await.unwrap();
    assert_eq!((rest.events.len(), rest.next, rest.more), (1, 3, false));
    assert_eq!(bus.logs.read("l", LogStart::Now, 9).await.unwrap().next, 3);
    assert_eq!(bus.logs.read("other", LogStart::Oldest, 9).await.unwrap().next, 0, "topics do not mix");
}

async fn a_log_takes_several_events_at_once<F: Fixture>() {
    let house = F::start().await;
    let bus = house.bus();
    let mut tail = bus.logs.tail("l").await;
    append(bus, "l", "x", 2).await;
    tail.mark_unchanged();
    let event = |entity, number, event_id| Append { entity, number, event_id, payload: b"{}" };
    let events = [event("x", 1, "x/1"), event("y", 1, "y/1"), event("x", 3, "x/3"), event("y", 1, "y/1")];
    assert_eq!(bus.logs.append_all("l", &events).await.unwrap(), 2, "without those it has");
    assert!(tail.has_changed().unwrap());
    assert_eq!(bus.logs.append_all("l", &events).await.unwrap(), 0);
    assert_eq!(bus.logs.append_all("l", &[]).await.unwrap(), 0);
    let page = bus.logs.read("l", LogStart::Oldest, 9).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(), ["x/2", "y/1", "x/3"]);
}

async fn a_log_resets_honestly<F: Fixture>() {
    let house = F::start().await;
    let bus = house.bus();
    for number in 1..=25 {
        append(bus, "l", "x", number).await;
    }
    bus.sweep().await;
    let generation = bus.logs.read("l", LogStart::Now, 1).await.unwrap().generation;
    for (generation, id) in [(generation, 3), (generation, 26), (generation + 1, 20), (0, 0)] {
        let page = bus.logs.read("l", LogStart::After { generation, id }, 99).await.unwrap();
        assert!(page.reset && page.events.is_empty(), "{generation} {id}");
        assert_eq!(page.next, 25);
    }
    let kept = bus.logs.read("l", LogStart::Oldest, 99).await.unwrap();
    assert_eq!(kept.events.first().map(|event| event.id), Some(16), "ten are kept");
    let oldest = bus.logs.read("l", LogStart::After { generation, id: 15 }, 99).await.unwrap();
    assert_eq!((oldest.reset, oldest.events.len()), (false, 10));
}

async fn a_log_survives_a_restart<F: Fixture>() {
    let house = F::start().await;
    append(house.bus(), "l", "x", 1).await;
    let before = house.bus().logs.read("l", LogStart::Oldest, 9).await.unwrap();
    let house = house.restart().await;
    assert_eq!(house.bus().logs.read("l", LogStart::Oldest, 9).await.unwrap(), before);
    assert_eq!(append(house.bus(), "l", "x", 1).await, Appended::Repeated);
    assert_eq!(append(house.bus(), "l", "x", 2).await, Appended::At(2));
}

async fn a_tail_wakes<F: Fixture>() {
    let house = F::start().await;
    let mut tail = house.bus().logs.tail("l").await;
    tail.mark_unchanged();
    let bus = house.bus().clone();
    let writer = tokio::spawn(async move { append(&bus, "l", "x", 1).await });
    tail.changed().await.unwrap();
    writer.await.unwrap();
    assert_eq!(house.bus().logs.read("l", LogStart::Oldest, 9).await.unwrap().events.len(), 1);
}

async fn leases_exclude_and_fence<F: Fixture>() {
    let house = F::start().await;
    let leases = &house.bus().leases;
    let first = leases.acquire("k", "a", 60_000).await.unwrap();
    assert_eq!(leases.acquire("k", "b", 60_000).await, Err(LeaseError::Held));
    assert_eq!(leases.acquire("k", "a", 60_000).await, Ok(first));
    let second = leases.take_over("k", "b", 60_000).await.unwrap();
    assert!(second.number > first.number);
    assert_eq!(leases.renew("k", first, 60_000).await, Err(LeaseError::Held));
    leases.release("k", first).await;
    assert_eq!(leases.renew("k", second, 1).await, Ok(()));
    tokio::time::sleep(Duration::from_millis(30)).await;
    let third = leases.acquire("k", "c", 60_000).await.unwrap();
    assert!(third.number > second.number);
    leases.release("k", third).await;
    assert!(leases.acquire("k", "d", 60_000).await.is_ok());
}

async fn lease_numbers_grow_over_restarts<F: Fixture>() {
    let house = F::start().await;
    let before = house.bus().leases.take_over("k", "a", 60_000).await.unwrap();
    let house = house.restart().await;
    assert!(house.bus().leases.take_over("k", "b", 60_000).await.unwrap().number > before.number);
}

async fn once_is_once<F: Fixture>() {
    let house = F::start().await;
    let now = wayfare_bus::now_ms() + 1_000;
    assert!(house.bus().leases.once("ticket", now, 60_000).await);
    assert!(!house.bus().leases.once("ticket", now, 60_000).await);
    let house = house.restart().await;
    assert!(!house.bus().leases.once("ticket", now - 60_000, 60_000).await, "issued before anyone remembers");
}

fn fixes_partition(bus: &Bus) -> u32 {
    bus.fixes.partition_of(1)
}

/// A driver in the same partition as driver 1, however many there are.
fn second(bus: &Bus) -> u128 {
    1 + u128::from(bus.fixes.partitions())
}

fn entry(driver: u128, lease: u64, bytes: &'static [u8]) -> Entry {
    Entry { driver, lease, bytes: bytes.into() }
}

async fn a_flush_is_kept_over_a_restart<F: Fixture>() {
    let house = F::start().await;
    let two = second(house.bus());
    let entries = vec![entry(1, 0, b"one"), entry(two, 0, b"two"), entry(1, 0, b"")];
    let receipt = house.bus().fixes.append(&Flush { at_ms: wayfare_bus::now_ms(), entries, checkpoints: vec![] }).await;
    let receipt = receipt.unwrap();
    assert!(receipt.refused.is_empty());
    let house = house.restart().await;
    let page = house.bus().fixes.read(fixes_partition(house.bus()), 0, 9).await.unwrap();
    assert_eq!((page.records.len(), page.next), (1, receipt.number));
    let kept = page.records[0].entries.as_ref().unwrap();
    assert_eq!(
        kept.iter().map(|kept| (kept.driver, &kept.bytes[..])).collect::<Vec<_>>(),
        [(1, &b"one"[..]), (two, b"two"), (1, b"")]
    );
    assert!(house.bus().fixes.read(fixes_partition(house.bus()), page.next, 9).await.unwrap().records.is_empty());
}

async fn a_stale_entry_is_refused_alone<F: Fixture>() {
    let house = F::start().await;
    let bus = house.bus();
    let old = bus.leases.take_over(&Leases::driver_key(1), "a", 60_000).await.unwrap().number;
    let new = bus.leases.take_over(&Leases::driver_key(1), "b", 60_000).await.unwrap().number;
    let entries = vec![entry(1, old, b"old"), entry(second(bus), 0, b"other"), entry(1, new, b"new")];
    let checkpoints = vec![Checkpoint { driver: 1, lease: old, bytes: (&b"old"[..]).into() }];
    let receipt = bus.fixes.append(&Flush { at_ms: wayfare_bus::now_ms(), entries, checkpoints }).await.unwrap();
    assert_eq!(receipt.refused, [0]);
    let kept = bus.fixes.read(fixes_partition(house.bus()), 0, 9).await.unwrap().records.remove(0).entries.unwrap();
    assert_eq!(kept.iter().map(|kept| &kept.bytes[..]).collect::<Vec<_>>(), [&b"other"[..], b"new"]);
    assert_eq!(bus.fixes.checkpoint(1).await.unwrap(), None);
}

async fn the_newest_checkpoint_wins<F: Fixture>() {
    let house = F::start().await;
    let mut numbers = Vec::new();
    for body in [&b"first"[..], b"second"] {
        let checkpoints = vec![Checkpoint { driver: 7, lease: 0, bytes: body.into() }];
        let flush = Flush { at_ms: wayfare_bus::now_ms(), entries: vec![], checkpoints };
        numbers.push(house.bus().fixes.append(&flush).await.unwrap().number);
    }
    let house = house.restart().await;
    let (number, body) = house.bus().fixes.checkpoint(7).await.unwrap().unwrap();
    assert_eq!((number, &body[..]), (numbers[1], &b"second"[..]));
    assert_eq!(house.bus().fixes.checkpoints().await.unwrap().len(), 1);
}

async fn a_full_fix_log_refuses<F: Fixture>() {
    let house = F::start().await;
    let fixes = &house.bus().fixes;
    let flush = |at_ms| Flush { at_ms, entries: vec![entry(1, 0, &[7; 32 * 1024])], checkpoints: vec![] };
    let old = wayfare_bus::now_ms() - 2 * 3_600_000;
    fixes.append(&flush(old)).await.unwrap();
    fixes.append(&flush(old)).await.unwrap();
    assert!(matches!(fixes.append(&flush(old)).await, Err(FixLogError::Full { .. })));
    house.bus().sweep().await;
    fixes.append(&flush(wayfare_bus::now_ms())).await.expect("what was too old has made room");
}

async fn what_is_erased_is_gone_from_the_fix_log<F: Fixture>() {
    let house = F::start().await;
    let fixes = &house.bus().fixes;
    let two = second(house.bus());
    for round in 0..3 {
        let entries = vec![entry(1, 0, b"stays"), entry(two, 0, b"two"), entry(1, 0, b"goes"), entry(1, 0, b"changes")];
        let checkpoints =
            [1, two].map(|driver| Checkpoint { driver, lease: 0, bytes: (&b"state"[..]).into() }).to_vec();
        fixes.append(&Flush { at_ms: wayfare_bus::now_ms() + round, entries, checkpoints }).await.unwrap();
    }
    let fate = |bytes: &bytes::Bytes| match &bytes[..] {
        b"goes" => Fate::Goes,
        b"changes" => Fate::Becomes((&b"changed"[..]).into()),
        _ => Fate::Stays,
    };
    let erased = fixes.erase(1, true, fate).await.unwrap();
    assert_eq!((erased.entries, erased.checkpoints, erased.damaged), (6, 1, 0));
    fixes.scrub().await.unwrap();
    let page = fixes.read(fixes_partition(house.bus()), 0, 9).await.unwrap();
    assert_eq!(page.records.len(), 3);
    for record in page.records {
        let left: Vec<_> = record.entries.unwrap().into_iter().map(|kept| (kept.driver, kept.bytes)).collect();
        let expected = [(1, &b"stays"[..]), (two, b"two"), (1, b"changed")];
        assert_eq!(left, expected.map(|(driver, bytes)| (driver, bytes::Bytes::from_static(bytes))));
    }
    assert_eq!(fixes.checkpoint(1).await.unwrap(), None);
    assert!(fixes.checkpoint(two).await.unwrap().is_some());
}

async fn what_is_erased_is_gone_from_the_logs<F: Fixture>() {
    let house = F::start().await;
    let logs = &house.bus().logs;
    let write = async |topic: &str, number: u64, payload: &str| {
        let event_id = format!("{topic}/{number}");
        let event = Append { entity: "drv_1", number, event_id: &event_id, payload: payload.as_bytes() };
        logs.append(topic, event).await.unwrap();
    };
    for topic in ["store:1", "phases"] {
        write(topic, 1, r#"{"driver":"drv_1"}"#).await;
        write(topic, 2, r#"{"driver":"drv_2"}"#).await;
    }
    let erased = logs.erase("drv_1", Some("store:")).await.unwrap();
    assert_eq!((erased.redacted, erased.deleted), (1, 1));
    logs.scrub().await.unwrap();
    let read = async |topic: &str| {
        let page = logs.read(topic, LogStart::Oldest, 9).await.unwrap();
        page.events.into_iter().map(|event| (event.id, event.payload)).collect::<Vec<_>>()
    };
    assert_eq!(read("store:1").await, [(1, r#"{"driver":null}"#.into()), (2, r#"{"driver":"drv_2"}"#.into())]);
    assert_eq!(read("phases").await, [(2, r#"{"driver":"drv_2"}"#.into())]);
    // The number that the entity had is forgotten with it; ids go on.
    write("phases", 1, "{}").await;
    assert_eq!(read("phases").await.last().map(|(id, _)| *id), Some(3));
}

async fn nothing_is_dropped_before_it_was_folded<F: Fixture>() {
    let house = F::start_folding().await;
    let (fixes, partition) = (&house.bus().fixes, fixes_partition(house.bus()));
    let old = wayfare_bus::now_ms() - 2 * 3_600_000;
    let mut numbers = Vec::new();
    for round in 0..3 {
        let flush = Flush { at_ms: old + round, entries: vec![entry(1, 0, b"old")], checkpoints: vec![] };
        numbers.push(fixes.append(&flush).await.unwrap().number);
    }
    house.bus().sweep().await;
    let left = async || fixes.read(partition, 0, 9).await.unwrap().records.len();
    assert_eq!(left().await, 3);
    fixes.folded(partition, Folded { generation: fixes.generation() + 1, number: numbers[2] });
    house.bus().sweep().await;
    assert_eq!(left().await, 3, "that was another log");
    fixes.folded(partition, Folded { generation: fixes.generation(), number: numbers[1] });
    house.bus().sweep().await;
    assert_eq!(left().await, 1);
}

async fn a_field_belongs_to_its_newest_writer<F: Fixture>() {
    let house = F::start().await;
    let topics = &house.bus().topics;
    let write = async |name: &'static str, json: &str, lease| {
        let mut fields = Fields::new();
        fields.set_json(name, json);
        topics.publish("many", &fields, Fence::Member { lease }).await
    };
    assert_eq!(write("a", "1", 5).await, Ok(1), "whoever comes first makes the topic");
    assert_eq!(write("b", "2", 3).await, Ok(2), "numbers of different fields have nothing to do with each other");
    assert_eq!(write("a", "3", 4).await, Err(PublishError::Fenced));
    assert_eq!(write("a", "null", 4).await, Err(PublishError::Fenced));
    assert_eq!(write("a", "4", 6).await, Ok(3));
    assert_eq!(write("a", "null", 6).await, Ok(4));
    house.bus().sweep().await;
    assert_eq!(write("a", "5", 5).await, Err(PublishError::Fenced), "an old owner does not bring it back");
    assert_eq!(write("a", "6", 7).await, Ok(5));
    let now = topics.read("many").await.unwrap().unwrap();
    let mut members: Vec<_> = now.members.iter().map(|(name, value)| (&**name, &value[..])).collect();
    members.sort_unstable();
    assert_eq!(members, [("a", &b"6"[..]), ("b", b"2")]);
}
