//! kill -9 in the middle of load: what was acked is there, once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until, within};
use crate::quic_app::{QUIC, QuicApp};
use crate::rest::Driver;
use crate::ride::near_pickup;
use crate::watch::{EventSource, Memory, Poller, Watcher};

const DRIVERS: usize = 10;
const ROUNDS: usize = 20;
const MESSAGES_PER_SECOND: u64 = 20;

/// One courier sends until told to stop, and comes back whenever the line breaks. At the end everything is acked.
pub async fn courier(port: u16, driver: Driver, mut outbox: Outbox, mut stop: watch::Receiver<bool>) -> Outbox {
    let mut t_ms = now_ms() - 3_600_000;
    let mut pace = tokio::time::interval(Duration::from_millis(1000 / MESSAGES_PER_SECOND));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let done = |outbox: &Outbox, stop: &watch::Receiver<bool>| *stop.borrow() && outbox.unacked.is_empty();
    while !done(&outbox, &stop) {
        let Ok(mut app) = App::reach(port, &driver, outbox.clone()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !done(&app.outbox, &stop) {
            let sends = !*stop.borrow() && app.outbox.unacked.len() < 60;
            tokio::select! {
                message = app.step() => if message.is_none() { break },
                _ = pace.tick(), if sends => {
                    // To and fro, a metre a second.
                    let north_m = ((t_ms / 1000 % 200) - 100).abs() as f64;
                    let fixes: Vec<Value> = (0..2).map(|step| near_pickup(north_m, t_ms + step * 500)).collect();
                    t_ms += 1000;
                    app.send(fixes).await;
                }
                _ = stop.changed() => {}
            }
        }
        outbox = app.outbox;
    }
    outbox
}

/// The same on QUIC. While the house is away nobody answers, so it is asked again and again.
pub async fn courier_on_quic(
    (port, fingerprint): (u16, String),
    driver: Driver,
    mut outbox: Outbox,
    mut stop: watch::Receiver<bool>,
) -> Outbox {
    let mut t_ms = now_ms() - 3_600_000;
    let mut pace = tokio::time::interval(Duration::from_millis(1000 / MESSAGES_PER_SECOND));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let done = |outbox: &Outbox, stop: &watch::Receiver<bool>| *stop.borrow() && outbox.unacked.is_empty();
    while !done(&outbox, &stop) {
        let reaching = QuicApp::reach(port, &fingerprint, &driver, outbox.clone());
        let Ok(Ok(mut app)) = tokio::time::timeout(Duration::from_millis(500), reaching).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !done(&app.outbox, &stop) {
            let sends = !*stop.borrow() && app.outbox.unacked.len() < 30;
            tokio::select! {
                message = app.step() => if message.is_none() { break },
                _ = pace.tick() => {
                    if sends {
                        let north_m = ((t_ms / 1000 % 200) - 100).abs() as f64;
                        let fixes: Vec<Value> = (0..2).map(|step| near_pickup(north_m, t_ms + step * 500)).collect();
                        t_ms += 1000;
                        app.send(fixes).await;
                    } else {
                        // Something to be answered: a house that has died and come back then says that it does not know us.
                        app.control(br#"{"type":"ping"}"#).await;
                    }
                }
                _ = stop.changed() => {}
            }
        }
        outbox = app.outbox;
    }
    outbox
}

/// (session, seq, t_ms) of every kept fix.
pub async fn kept(house: &House, driver: &Driver) -> HashMap<(String, u64, i64), usize> {
    let csv = house.command(&["fixes", "--driver", &driver.id]).await;
    let mut counts = HashMap::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let identity = (fields[1].to_owned(), fields[2].parse().unwrap(), fields[3].parse().unwrap());
        *counts.entry(identity).or_insert(0) += 1;
    }
    counts
}

/// Everything that a driver was told is kept is there, once; says how many fixes that are.
pub async fn acked_once(house: &House, driver: &Driver, outbox: &Outbox) -> usize {
    let kept = kept(house, driver).await;
    let twice: Vec<_> = kept.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "kept twice: {twice:?}");
    let mut acked = 0;
    for (seq, (fixes, verdicts)) in &outbox.acked {
        for (fix, verdict) in fixes.iter().zip(verdicts) {
            assert!(["accepted", "late", "duplicate"].contains(&verdict.as_str()), "{verdict}: {fix}");
            let identity = (outbox.session.clone(), *seq, fix["t_ms"].as_i64().unwrap());
            assert!(kept.contains_key(&identity), "acked as {verdict} and lost: {identity:?}");
            acked += 1;
        }
    }
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_under_load_loses_no_acked_fix_and_doubles_none() {
    let mut house = House::start_with(&QUIC).await;
    let (stop, stopped) = watch::channel(false);
    let (mut drivers, mut couriers) = (Vec::new(), Vec::new());
    for number in 0..DRIVERS {
        let driver = house.driver(&format!("Courier {number}")).await;
        let outbox = Outbox::new(&format!("{:x}", 0xab00 + number));
        couriers.push(if number % 2 == 0 {
            tokio::spawn(courier(house.port, driver.clone(), outbox, stopped.clone()))
        } else {
            let door = (house.quic_port, house.fingerprint.clone());
            tokio::spawn(courier_on_quic(door, driver.clone(), outbox, stopped.clone()))
        });
        drivers.push(driver);
    }
    let trip = house.trip(Some(&drivers[0]), None).await;
    let topics = [&*trip.ops, &*trip.topic, &format!("driver:{}", drivers[1].id)].map(str::to_owned);
    let topics = topics.each_ref().map(String::as_str);
    let mut sockets = Memory::new(&house);
    let mut streams = (Memory::new(&house), None);
    let mut polls = Poller::new(&house, &house.key, &topics);
    let mut epochs = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        // Watchers look on for a while; each round kills at another moment of the flush.
        let socket = Watcher::resume(&house, &house.key, sockets).await;
        let mut socket = socket.unwrap();
        socket.subscribe(&topics).await;
        let mut stream = EventSource::resume(&house, &house.key, &topics, streams.0, streams.1)
            .await
            .unwrap_or_else(|refused| panic!("{}", refused.text));
        let before = socket.memory.state(topics[2])["position"]["t_ms"].clone();
        let began = Instant::now();
        socket
            .until("a newer position", |memory| {
                let now = &memory.state(topics[2])["position"]["t_ms"];
                now.is_i64() && *now != before
            })
            .await;
        slowest = slowest.max(began.elapsed());
        stream.until("a state of each", |memory| topics.iter().all(|topic| !memory.state(topic).is_null())).await;
        polls.poll(&house).await;
        let look = Duration::from_millis(150 + 17 * round as u64);
        let _ = tokio::time::timeout(look, async { while socket.step().await.is_some() {} }).await;
        let _ = tokio::time::timeout(Duration::from_millis(5), async { while stream.step().await.is_some() {} }).await;
        epochs.push(socket.memory.cursor(topics[2]).unwrap().epoch);
        house.kill9();
        (sockets, streams) = (socket.memory, (stream.memory, stream.last_id));
        house.restart().await;
    }
    assert!(epochs.is_sorted_by(|earlier, later| earlier < later), "an epoch for each start: {epochs:?}");
    stop.send(true).unwrap();
    let mut outboxes = Vec::new();
    for courier in couriers {
        outboxes.push(within(SOON, "everything is acked", courier).await.unwrap());
    }
    let (mut acked, mut acked_on_quic) = (0, 0);
    for (number, (driver, outbox)) in drivers.iter().zip(&outboxes).enumerate() {
        let count = acked_once(&house, driver, outbox).await;
        acked += count;
        acked_on_quic += count * (number % 2);
    }
    assert!(acked > DRIVERS * ROUNDS * 4, "{acked} fixes are no load");
    assert!(acked_on_quic > DRIVERS * ROUNDS, "{acked_on_quic} fixes on QUIC are no load");

    // All watchers come to the state that stands.
    let mut socket = Watcher::resume(&house, &house.key, sockets).await.unwrap();
    socket.subscribe(&topics).await;
    let mut stream = EventSource::resume(&house, &house.key, &topics, streams.0, streams.1).await.ok().unwrap();
    let newest = outboxes[1].acked.values().flat_map(|(fixes, _)| fixes).map(|fix| fix["t_ms"].as_i64().unwrap()).max();
    until(SOON, "the newest position", async || {
        house.peek(topics[2]).await.filter(|state| state["position"]["t_ms"].as_i64() == newest)
    })
    .await;
    polls.poll(&house).await;
    for topic in topics {
        let cursor = polls.memory.cursor(topic);
        socket.until("the cursor of the poll", |memory| memory.cursor(topic) >= cursor).await;
        stream.until("the cursor of the poll", |memory| memory.cursor(topic) >= cursor).await;
    }
    // The ledger has compared the states wherever cursors met; here they all meet.
    polls.poll(&house).await;
    for topic in topics {
        let (cursor, state) = (polls.memory.cursor(topic), polls.memory.state(topic).clone());
        socket.until("the same", |memory| memory.cursor(topic) == cursor && *memory.state(topic) == state).await;
        stream.until("the same", |memory| memory.cursor(topic) == cursor && *memory.state(topic) == state).await;
    }
    eprintln!("{acked} fixes acked, {acked_on_quic} of them on QUIC, slowest return {slowest:?}");
    house.assert_clean_log();
}

#[tokio::test]
async fn messages_of_one_flush_are_recognised_after_a_crash() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let mut outbox = Outbox::new("ab");
    let start_ms = now_ms() - 600_000;
    for round in 0..3 {
        // The first messages of a tracker come all at once, and so into one record, which holds its checkpoint as well.
        let mut app = App::resume(&house, &driver, outbox).await.unwrap();
        for message in 0..8 {
            app.send(vec![near_pickup(message as f64, start_ms + (round * 8 + message) * 1000)]).await;
        }
        let before_any_ack = app.outbox.clone();
        app.settle().await;
        // The acks are lost with the line.
        outbox = before_any_ack;
        house.kill9();
        house.restart().await;
    }
    let mut app = App::resume(&house, &driver, outbox).await.unwrap();
    app.settle().await;
    let kept = kept(&house, &driver).await;
    assert_eq!((kept.len(), kept.values().sum::<usize>()), (24, 24));
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_on_over_crashes_without_a_hole() {
    let mut house = House::start().await;
    let store = house.store("Kitchen").await;
    let topic = &*format!("store:{store}");
    let mut memories = [Memory::new(&house), Memory::new(&house)];
    let mut last_id = None;
    let mut poller = Poller::new(&house, &house.key, &[topic]);
    poller.poll(&house).await;
    let mut trips = Vec::new();
    for round in 0..6 {
        let [first, second] = memories;
        let mut socket = Watcher::resume(&house, &house.key, first).await.unwrap();
        socket.subscribe(&[topic]).await;
        let mut stream = EventSource::resume(&house, &house.key, &[topic], second, last_id)
            .await
            .unwrap_or_else(|refused| panic!("{}", refused.text));
        let subscribed = |memory: &Memory| memory.log_cursors.contains_key(topic);
        socket.until("subscribed", subscribed).await;
        stream.until("subscribed", subscribed).await;
        for _ in 0..5 {
            trips.push(house.trip(None, Some(&store)).await.id);
        }
        if round % 2 == 0 {
            // Some of it is seen before the crash, the rest by cursor after it.
            let some = |memory: &Memory| memory.events.get(topic).is_some_and(|events| events.len() + 3 >= trips.len());
            socket.until("most events", some).await;
            stream.until("most events", some).await;
        }
        last_id = stream.last_id.clone();
        memories = [socket.memory, stream.memory];
        house.kill9();
        house.restart().await;
    }
    let [first, second] = memories;
    let mut socket = Watcher::resume(&house, &house.key, first).await.unwrap();
    socket.subscribe(&[topic]).await;
    let mut stream = EventSource::resume(&house, &house.key, &[topic], second, last_id).await.ok().unwrap();
    let all = |memory: &Memory| memory.events.get(topic).is_some_and(|events| events.len() >= trips.len());
    socket.until("all events", all).await;
    stream.until("all events", all).await;
    poller.until(&house, "all events", all).await;
    for memory in [&socket.memory, &stream.memory, &poller.memory] {
        let told: Vec<&str> = memory.events[topic].iter().map(|event| event["trip"].as_str().unwrap()).collect();
        assert_eq!(told, trips, "each once, in order");
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn a_log_cursor_that_cannot_be_continued_is_reset_aloud() {
    let house = House::start_with(&[("TRIPS_LOG_EVENTS_MAX", "100")]).await;
    let store = house.store("Kitchen").await;
    let topic = &*format!("store:{store}");
    let mut early = Watcher::open(&house, &house.key).await;
    early.subscribe(&[topic]).await;
    early.until("subscribed", |memory| memory.log_cursors.contains_key(topic)).await;
    let old = early.memory.log_cursors[topic].clone();
    drop(early);
    for _ in 0..130 {
        house.trip(None, Some(&store)).await;
    }
    // Old events are swept away now and then.
    until(SOON, "the oldest events are gone", async || {
        let path = format!("/v1/watch/poll?topics={topic}&cursor={old}");
        let answer = house.call("GET", &path, Some(&house.key), None).await;
        (answer.json()["topics"][0]["reset"] == true).then_some(())
    })
    .await;
    let (generation, _) = old.split_once('.').unwrap();
    let beyond = format!("{generation}.{}", u32::MAX);
    for cursor in [&*old, &beyond, "1.1"] {
        let wanted = json!({ "type": "subscribe", "topics": [{ "topic": topic, "cursor": cursor }] });
        let mut watcher = Watcher::open(&house, &house.key).await;
        watcher.say(wanted).await;
        let reset = within(SOON, "a reset", async {
            loop {
                let message = watcher.step().await.expect("the line holds");
                if message["type"] != "welcome" && message["type"] != "subscribed" {
                    return message;
                }
            }
        })
        .await;
        assert_eq!(reset["type"], "reset", "{cursor}: {reset}");
        house.trip(None, Some(&store)).await;
        watcher.until("what follows", |memory| memory.events.contains_key(topic)).await;
        let answer =
            house.call("GET", &format!("/v1/watch/poll?topics={topic}&cursor={cursor}"), Some(&house.key), None).await;
        assert_eq!(answer.json()["topics"][0]["reset"], true, "{cursor}: {}", answer.text);
    }
    house.assert_clean_log();
}
