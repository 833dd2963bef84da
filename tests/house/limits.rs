//! Slow readers, full disks, ends and new beginnings, and settings that are refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use wayfare_wire::WATCH_PROTO_V1;
use wayfare_wire::codec::Codec;

use crate::drive::{App, DRIVE, Outbox};
use crate::harness::{House, SOON, now_ms, until, within};
use crate::quic_app::{QUIC, QuicApp};
use crate::raw::{self, Raw};
use crate::rest::{Driver, Trip};
use crate::ride::{Ride, fixes, near_pickup};
use crate::watch::{EventSource, Memory, Poller, WATCH, Watcher, open};

const STORM: &[(&str, &str)] =
    &[("INGEST_MESSAGES_PER_SECOND", "5000"), ("INGEST_MESSAGES_BURST", "5000"), ("FANOUT_SLOW_TIMEOUT_S", "2")];

/// A driver who sends as fast as it is acked, until told to stop. Returns when the last fix was taken.
fn storm(house: &Arc<House>, driver: &Driver, stop: &Arc<AtomicBool>) -> JoinHandle<i64> {
    let (house, driver, stop) = (Arc::clone(house), driver.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut app = App::resume(&house, &driver, Outbox::new("570a1")).await.unwrap();
        let mut t_ms = now_ms() - 7_000_000;
        while !stop.load(Ordering::Relaxed) {
            while app.outbox.unacked.len() < 32 {
                t_ms += 200;
                let north_m = ((t_ms / 200 % 400) - 200).abs() as f64;
                app.send(vec![near_pickup(north_m, t_ms)]).await;
            }
            assert!(app.step().await.is_some(), "the driver's own line holds");
        }
        app.settle().await;
        t_ms
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_is_cut_and_harms_nobody() {
    let house = Arc::new(House::start_with(STORM).await);
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topics = [trip.ops.clone(), trip.topic.clone(), format!("driver:{}", driver.id)];
    let topics = topics.each_ref().map(String::as_str);
    let mut stuck = Watcher::over(
        open(&house, "/v1/watch", WATCH, Some(&house.key), Some(4096)).await.unwrap(),
        Memory::new(&house),
    );
    stuck.subscribe(&topics).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck_stream = socket.connect(([127, 0, 0, 1], house.port).into()).await.unwrap();
    let request = format!(
        "GET /v1/watch/sse?topics={} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        topics.join(","),
        house.key
    );
    stuck_stream.write_all(request.as_bytes()).await.unwrap();
    let mut healthy = Watcher::open(&house, &house.key).await;
    healthy.subscribe(&topics).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = storm(&house, &driver, &stop);
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    let mut heard = Instant::now();
    let mut asked = Instant::now();
    loop {
        within(Duration::from_secs(5), "the next frame", healthy.step()).await.expect("the healthy line holds");
        longest = longest.max(heard.elapsed());
        heard = Instant::now();
        if asked.elapsed() > Duration::from_millis(500) {
            if house.metric("wayfare_watch_closed_total", "slow").await >= 2.0 {
                break;
            }
            (asked, heard) = (Instant::now(), Instant::now());
            assert!(began.elapsed() < SOON, "not cut in time");
        }
    }
    assert!(began.elapsed() > Duration::from_secs(2), "cut before its time: {:?}", began.elapsed());
    assert!(house.metric("wayfare_frames_covered_total", "").await > 10.0, "conflated before that");
    stop.store(true, Ordering::Relaxed);
    let last_ms = within(SOON, "the last ack", publisher).await.unwrap();
    healthy.until("the last position", |memory| memory.state(topics[2])["position"]["t_ms"] == last_ms).await;
    assert!(longest < Duration::from_secs(1), "the others waited {longest:?}");
    // What the system had for it may still be read, then the line is over.
    within(SOON, "the end of the stuck line", async { while stuck.step().await.is_some() {} }).await;
    eprintln!("cut after {:?}, others waited at most {longest:?}", began.elapsed());
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_pauses_is_conflated_and_exact_again() {
    let settings: Vec<(&str, &str)> = STORM.iter().copied().filter(|(name, _)| !name.starts_with("FANOUT")).collect();
    let house = Arc::new(House::start_with(&settings).await);
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topics = [trip.ops.clone(), format!("driver:{}", driver.id)];
    let topics = topics.each_ref().map(String::as_str);
    let ws = open(&house, "/v1/watch", WATCH, Some(&house.key), Some(4096)).await.unwrap();
    let mut slow = Watcher::over(ws, Memory::new(&house));
    slow.subscribe(&topics).await;
    let ws = open(&house, "/v1/watch", WATCH_PROTO_V1, Some(&house.key), Some(4096)).await.unwrap();
    let mut slow_binary = Watcher::over_as(ws, Memory::new(&house), Codec::Proto);
    slow_binary.subscribe(&topics).await;
    let mut steady = Watcher::open(&house, &house.key).await;
    steady.subscribe(&topics).await;
    let mut stream = EventSource::open(&house, &house.key, &topics).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = storm(&house, &driver, &stop);
    for _ in 0..4 {
        let steady = async { while steady.step().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_millis(1000), steady).await;
        for slow in [&mut slow, &mut slow_binary] {
            let reads = async { while slow.step().await.is_some() {} };
            let _ = tokio::time::timeout(Duration::from_millis(200), reads).await;
        }
        let _ =
            tokio::time::timeout(Duration::from_millis(200), async { while stream.step().await.is_some() {} }).await;
    }
    stop.store(true, Ordering::Relaxed);
    let last_ms = within(SOON, "the last ack", publisher).await.unwrap();
    let arrived = |memory: &Memory| topics.iter().all(|topic| memory.state(topic)["position"]["t_ms"] == last_ms);
    slow.until("the last position", arrived).await;
    slow_binary.until("the last position", arrived).await;
    steady.until("the last position", arrived).await;
    stream.until("the last position", arrived).await;
    for topic in topics {
        assert_eq!(slow.memory.state(topic), steady.memory.state(topic));
        assert_eq!(slow.memory.cursor(topic), steady.memory.cursor(topic));
        assert_eq!(slow_binary.memory.state(topic), steady.memory.state(topic));
        assert_eq!(slow_binary.memory.cursor(topic), steady.memory.cursor(topic));
        assert_eq!(stream.memory.cursor(topic), steady.memory.cursor(topic));
    }
    // Moves are so small that the system's own buffers may hold all of a pause: how often this one was conflated is for luck to say.
    eprintln!("{} snapshots in Protocol Buffers", slow_binary.memory.replica(topics[0]).snapshots);
    assert!(slow.memory.replica(topics[0]).snapshots >= 3, "{} snapshots", slow.memory.replica(topics[0]).snapshots);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_tells_everyone_when_to_come_back_and_ends_cleanly() {
    let mut house = House::start().await;
    let (mut apps, mut watchers, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..8 {
        let driver = house.driver(&format!("Courier {number}")).await;
        let topic = format!("driver:{}", driver.id);
        let mut watcher = Watcher::open(&house, &house.key).await;
        watcher.subscribe(&[&topic]).await;
        watcher.until("the state", |memory| !memory.state(&topic).is_null()).await;
        let mut stream = EventSource::open(&house, &house.key, &[&topic]).await;
        stream.until("the state", |memory| !memory.state(&topic).is_null()).await;
        apps.push(App::open(&house, &driver).await);
        watchers.push(watcher);
        streams.push(stream);
    }
    for app in &mut apps {
        app.deliver(vec![near_pickup(0.0, now_ms() - 60_000)]).await;
    }
    let began = Instant::now();
    house.signal_term();
    let mut byes: [Vec<Value>; 3] = Default::default();
    for app in &mut apps {
        assert_eq!(app.closed().await, 4000);
        byes[0].push(app.said.last().unwrap().clone());
    }
    for watcher in &mut watchers {
        assert_eq!(watcher.closed().await, 4000);
        byes[1].push(watcher.said.last().unwrap().clone());
    }
    for stream in &mut streams {
        stream.ended().await;
        let (name, bye) = stream.said.last().expect("a goodbye");
        assert_eq!(name, "bye");
        byes[2].push(bye.clone());
    }
    for byes in &byes {
        let times: BTreeSet<u64> = byes
            .iter()
            .map(|bye| {
                assert_eq!((&bye["code"], &bye["reason"]), (&json!(4000), &json!("draining")), "{bye}");
                bye["retry_after_ms"].as_u64().unwrap()
            })
            .collect();
        let (first, last) = (times.first().unwrap(), times.last().unwrap());
        // Two shards spread their own: at the worst each has half of the clients.
        assert!(times.len() >= 4 && last - first >= 4_000 && *last <= 11_000, "{times:?}");
    }
    let status = house.ended(Duration::from_secs(30)).await;
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_house_ends_at_once() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    house.post_fixes(&driver, &[near_pickup(0.0, now_ms())]).await;
    let took = house.terminate().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_acks_what_was_taken_before_it_says_goodbye() {
    // Flushes are a second apart, so that SIGTERM finds messages judged and not yet durable.
    let mut house = House::start_with(&[("INGEST_FLUSH_INTERVAL_MS", "1000")]).await;
    let driver = house.driver("Ana").await;
    let mut socket = Raw::websocket(&house, "/v1/drive", DRIVE, Some(&driver.token)).await;
    socket.send(&raw::text(r#"{"type":"hello","session":"d1"}"#)).await;
    let start_ms = now_ms() - 600_000;
    let message = |seq: i64| {
        raw::text(
            &json!({ "type": "fixes", "seq": seq, "fixes": [near_pickup(seq as f64, start_ms + seq * 1000)] })
                .to_string(),
        )
    };
    let mut acked = Vec::new();
    // The first is flushed at once; the others wait for the next flush.
    socket.send(&message(1)).await;
    while acked.is_empty() {
        acked.extend(seq_of(&socket.frame().await.expect("an ack").1));
    }
    for seq in 2..=20 {
        socket.send(&message(seq)).await;
    }
    // A ping is answered behind them: they are judged.
    socket.send(&raw::text(r#"{"type":"ping"}"#)).await;
    let mut after_close = Vec::new();
    let (mut ponged, mut closed) = (false, false);
    while let Some((opcode, payload)) = within(SOON, "the end", socket.frame()).await {
        let text = String::from_utf8_lossy(&payload).into_owned();
        if !ponged && text.contains("pong") {
            ponged = true;
            house.signal_term();
        }
        if closed {
            after_close.push(text.clone());
        }
        if opcode == 8 {
            closed = true;
            // The client's own close frame; the line stays open to hear whatever comes.
            socket.send(&raw::frame(0x88, &payload[..2])).await;
        }
        acked.extend(seq_of(&payload));
    }
    assert!(ponged && closed);
    assert!(after_close.is_empty(), "after the close frame: {after_close:?}");
    assert_eq!(acked, (1..=20).collect::<Vec<u64>>(), "taken and durable, so acked before the goodbye");
    assert!(house.ended(Duration::from_secs(30)).await.success());
    let kept = house.command(&["fixes", "--driver", &driver.id]).await;
    assert_eq!(kept.lines().count(), 21, "{kept}");
    house.assert_clean_log();
}

fn seq_of(payload: &[u8]) -> Option<u64> {
    let message: Value = serde_json::from_slice(payload).ok()?;
    (message["type"] == "ack").then(|| message["seq"].as_u64())?
}

/// A trip whose order is on board.
async fn on_board(house: &House, driver: &Driver) -> (Trip, i64) {
    let trip = house.trip(Some(driver), None).await;
    let ride = Ride::new();
    let start_ms = now_ms() - ride.seconds() * 1000;
    house.post_fixes(driver, &fixes(&ride.to_pickup, start_ms)).await;
    let start_ms = start_ms + ride.to_pickup.len() as i64 * 1000;
    let away = fixes(&ride.to_dropoff[..40], start_ms);
    house.post_fixes(driver, &away).await;
    (trip, start_ms + 39_000)
}

#[tokio::test]
async fn a_restart_keeps_the_courier_on_the_map() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let (trip, last_ms) = on_board(&house, &driver).await;
    let customer = house.token("customer", "cus").await;
    let mut poller = Poller::new(&house, &customer, &[&trip.topic]);
    poller.until(&house, "the position", |memory| memory.state(&trip.topic)["position"]["t_ms"] == last_ms).await;
    let record = || async {
        house.call("GET", &format!("/v1/trips/{}", trip.id), Some(&house.key), None).await.json()["phase"].clone()
    };
    until(SOON, "the record follows", async || (record().await == "to_dropoff").then_some(())).await;
    let before = poller.memory.state(&trip.topic).clone();
    for clean in [false, true, false] {
        if clean {
            house.terminate().await;
        } else {
            house.kill9();
        }
        house.restart().await;
        let epoch = poller.memory.cursor(&trip.topic).unwrap().epoch;
        let answer = poller.poll(&house).await.expect("an answer");
        assert_eq!(answer.status, 200, "nobody hears 404 or waits: {}", answer.text);
        let after = poller.memory.state(&trip.topic);
        for name in ["phase", "phase_since_ms", "position", "pickup", "dropoff", "driver", "reference", "stops_left"] {
            assert_eq!(after[name], before[name], "{name} after the restart");
        }
        assert!(poller.memory.cursor(&trip.topic).unwrap().epoch > epoch);
    }
    house.post_fixes(&driver, &[near_pickup(300.0 + 20.0, last_ms + 1000)]).await;
    poller
        .until(&house, "the next position", |memory| memory.state(&trip.topic)["position"]["t_ms"] == last_ms + 1000)
        .await;
    house.assert_clean_log();
}

#[tokio::test]
async fn an_ended_trip_stays_ended_over_a_restart() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let (trip, _) = on_board(&house, &driver).await;
    let customer = house.token("customer", "cus").await;
    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    let path = format!("/v1/watch/poll?topics={}", trip.topic);
    let ended = until(SOON, "the end", async || {
        let answer = house.call("GET", &path, Some(&customer), None).await;
        (answer.status == 410).then_some(answer)
    })
    .await;
    assert!(ended.json()["state"]["position"].is_null());
    house.kill9();
    house.restart().await;
    let again = house.call("GET", &path, Some(&customer), None).await;
    assert_eq!((again.status, again.json()["state"].clone()), (410, ended.json()["state"].clone()));
    let conflict = house.call("POST", &format!("/v1/trips/{}/complete", trip.id), Some(&house.key), None).await;
    assert_eq!((conflict.status, conflict.code().as_str()), (409, "conflict"));
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_fix_log_refuses_acks_while_watchers_go_on_seeing() {
    let mut house = House::start_with(&[("FIX_LOG_MIB_MAX", "1"), ("INGEST_MESSAGES_BURST", "1000")]).await;
    house.expect_log("durable acks are refused");
    let driver = house.driver("Ana").await;
    let topic = &*format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[topic]).await;
    let mut app = App::open(&house, &driver).await;
    let mut t_ms = now_ms() - 7_000_000;
    let mut message = || -> Vec<Value> {
        (0..100)
            .map(|_| {
                t_ms += 100;
                near_pickup(((t_ms / 100 % 400) - 200).abs() as f64 * 0.2, t_ms)
            })
            .collect()
    };
    let refused = within(SOON, "the log is full", async {
        loop {
            app.send(message()).await;
            while !app.outbox.unacked.is_empty() && app.said.is_empty() {
                app.step().await.expect("the line holds");
            }
            if let Some(error) = app.said.iter().position(|said| said["type"] == "error") {
                return app.said.remove(error);
            }
            app.said.clear();
        }
    })
    .await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("not_durable"), &json!(true)), "{refused}");
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|after_ms| after_ms >= 100));
    let acked: usize = app.outbox.acked.values().map(|(fixes, _)| fixes.len()).sum();
    assert!(acked > 5_000, "{acked} fixes in a mebibyte");
    // The customer goes on seeing the car.
    for _ in 0..3 {
        let fixes = message();
        let newest = fixes[99]["t_ms"].clone();
        app.send(fixes).await;
        watcher.until("the newest position", |memory| memory.state(topic)["position"]["t_ms"] == newest).await;
    }
    let answer = house.call("POST", "/v1/fixes", Some(&driver.token), Some(&json!({ "fixes": message() }))).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "not_durable"), "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    assert_eq!(app.outbox.unacked.len(), 4, "nothing of it is acked");
    assert_eq!(house.call("GET", "/healthz", None, None).await.status, 200);
    drop((app.outbox, watcher));
    let took = house.terminate().await;
    assert!(took < Duration::from_secs(30), "{took:?}");
    let kept = house.command(&["fixes", "--driver", &driver.id]).await.lines().count() - 1;
    assert_eq!(kept, acked, "what was acked is there, and what was not is not");
    house.assert_clean_log();
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused_by_name() {
    let cases = [
        ("HTTP_LISTEN", "0.0.0.0:0", "behind_tls_proxy"),
        ("HTTP_LISTEN", "[::]:0", "behind_tls_proxy"),
        ("HTTP_LISTEN", "nowhere", "http.listen"),
        ("HTTP_LISEN", "127.0.0.1:0", "WAYFARE_HTTP_LISEN"),
        ("HTTP_ORIGINS", r#"["*"]"#, "http.origins"),
        ("INGEST_FLUSH_INTERVAL_MS", "1001", "ingest.flush_interval_ms"),
        ("INGEST_MOCK", "perhaps", "ingest.mock"),
        ("FIX_LOG_MIB_MAX", "0", "fix_log.mib_max"),
        ("CORES_THREADS", "many", "cores.threads"),
    ];
    for (name, value, told) in cases {
        let said = House::refused(&[("HTTP_LISTEN", "127.0.0.1:0"), (name, value)], &[]).await;
        assert!(said.contains(told), "{name}={value} should name {told}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wayfare.toml");
    for (text, told) in [
        ("[http]\nlisen = \"x\"\n", "lisen"),
        ("[htp]\n", "htp"),
        ("nonsense", "wayfare.toml"),
        ("[ingest]\nmessages_per_second = nan\n", "ingest.messages_per_second"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = House::refused(&[], &["--config", file.to_str().unwrap()]).await;
        assert!(said.contains(told), "{text:?} should name {told}: {said}");
    }
    let said = House::refused(&[], &["--config", "/nowhere/wayfare.toml"]).await;
    assert!(said.contains("/nowhere/wayfare.toml"), "{said}");
}

#[tokio::test]
async fn a_second_house_on_the_same_port_says_so() {
    let house = House::start().await;
    let address = format!("127.0.0.1:{}", house.port);
    let said = House::refused(&[("HTTP_LISTEN", &address)], &[]).await;
    assert!(said.contains(&address), "{said}");
    assert_eq!(house.call("GET", "/readyz", None, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_kept_warm_and_one_that_says_nothing_is_taken_for_dead() {
    let house = House::start_with(&[("INGEST_HEARTBEAT_S", "1"), ("FANOUT_HEARTBEAT_S", "1")]).await;
    let driver = house.driver("Ana").await;
    house.trip(Some(&driver), None).await;
    let topic = format!("driver:{}", driver.id);
    let hello = raw::text(r#"{"type":"hello","session":"1"}"#);
    let subscribe = raw::text(&json!({ "type": "subscribe", "topics": [{ "topic": topic }] }).to_string());
    for (path, subprotocol, token, first) in
        [("/v1/drive", DRIVE, &driver.token, hello), ("/v1/watch", WATCH, &house.key, subscribe)]
    {
        // Hears everything and answers nothing, not even pings.
        let mut deaf = Raw::websocket(&house, path, subprotocol, Some(token)).await;
        deaf.send(&first).await;
        let began = Instant::now();
        let (mut pings, mut beats, mut code) = (0, 0, None);
        while let Some((opcode, payload)) = within(SOON, "the end", deaf.frame()).await {
            pings += usize::from(opcode == 9);
            beats += usize::from(payload == br#"{"type":"heartbeat"}"#);
            if opcode == 8 {
                code = Some(u16::from_be_bytes([payload[0], payload[1]]));
                break;
            }
        }
        assert_eq!(code, Some(4002), "{path}");
        assert!(pings >= 1 && beats >= 1, "{pings} pings, {beats} heartbeats at {path}");
        assert!(
            (Duration::from_millis(1500)..Duration::from_secs(6)).contains(&began.elapsed()),
            "{:?}",
            began.elapsed()
        );
    }
    // Who answers pings, as every library does, stays; and a stream is kept warm by comments.
    let mut watcher = Watcher::open(&house, &house.key).await;
    let mut app = App::open(&house, &driver).await;
    let mut stream = EventSource::open(&house, &house.key, &[&topic]).await;
    let _ = tokio::join!(
        tokio::time::timeout(Duration::from_secs(5), async { while watcher.step().await.is_some() {} }),
        tokio::time::timeout(Duration::from_secs(5), async { while app.step().await.is_some() {} }),
        tokio::time::timeout(Duration::from_secs(5), async { while stream.step().await.is_some() {} }),
    );
    for said in [&watcher.said, &app.said] {
        assert!(said.iter().filter(|said| said["type"] == "heartbeat").count() >= 3, "{said:?}");
    }
    assert!(stream.comments >= 3, "{} comments", stream.comments);
    watcher.say(json!({ "type": "ping" })).await;
    watcher.said("pong").await;
    app.raw(r#"{"type":"ping"}"#).await;
    app.said("pong").await;
    stream.until("the stream lives", |memory| !memory.state(&topic).is_null()).await;
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_trip_the_line_is_kept_warm_half_as_often_and_both_ends_know() {
    let house = House::start_with(&[&QUIC[..], &[("INGEST_HEARTBEAT_S", "2")]].concat()).await;
    let driver = house.driver("Ana").await;
    // Answers nothing, not even pings.
    let mut deaf = Raw::websocket(&house, "/v1/drive", DRIVE, Some(&driver.token)).await;
    deaf.send(&raw::text(r#"{"type":"hello","session":"1"}"#)).await;
    let mut heard = async |kind: &str| {
        loop {
            let (opcode, payload) = within(SOON, kind, deaf.frame()).await.expect("the line is open");
            if opcode == 8 {
                return json!({ "type": "close", "code": u16::from_be_bytes([payload[0], payload[1]]) });
            }
            if opcode == 1 {
                let message: Value = serde_json::from_slice(&payload).unwrap();
                if message["type"] == kind {
                    return message;
                }
            }
        }
    };
    assert_eq!(heard("welcome").await["heartbeat_ms"], 4000);
    heard("heartbeat").await;
    // Silent for longer than a driver with a trip may be, and not for as long as one without.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let trip = house.trip(Some(&driver), None).await;
    assert_eq!(heard("config").await["heartbeat_ms"], 2000);
    // It counts from here on: a heartbeat before the end.
    assert_eq!(heard("heartbeat").await["type"], "heartbeat");
    assert_eq!(heard("nothing more").await["code"], 4002);
    let mut app = App::open(&house, &driver).await;
    house.post(&format!("/v1/trips/{}/cancel", trip.id), json!({})).await;
    let heartbeat_ms = loop {
        // Another rate is told in the same message, or in one of its own.
        if let told @ Value::Number(_) = &app.said("config").await["heartbeat_ms"] {
            break told.clone();
        }
    };
    assert_eq!(heartbeat_ms, 4000);
    let mut quic = QuicApp::silent(house.quic_port, &house.fingerprint, Outbox::new("2")).await.unwrap();
    quic.control(DRIVE.as_bytes()).await;
    quic.control(json!({ "type": "hello", "token": driver.token, "session": "2" }).to_string().as_bytes()).await;
    assert_eq!(quic.said("welcome").await["heartbeat_ms"], 2000, "UDP is forgotten sooner");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_begun_and_not_finished_ends_the_line() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let mut sockets = Vec::new();
    for (path, subprotocol, token) in [("/v1/drive", DRIVE, &driver.token), ("/v1/watch", WATCH, &house.key)] {
        let mut socket = Raw::websocket(&house, path, subprotocol, Some(token)).await;
        if path == "/v1/drive" {
            socket.send(&raw::text(r#"{"type":"hello","session":"1"}"#)).await;
        }
        socket.send(&raw::text(r#"{"type":"ping"}"#)[..9]).await;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        assert_eq!(socket.close_code().await, Some(4002));
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_listens_to_a_busy_topic_is_asked_for_a_sign_of_life_and_stays() {
    let house = House::start_with(&[("FANOUT_HEARTBEAT_S", "1")]).await;
    let driver = house.driver("Ana").await;
    let topic = format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[&topic]).await;
    // Something is sent all the time, so no heartbeat is due; only pings make the watcher's library say anything.
    let mut app = App::open(&house, &driver).await;
    let began = Instant::now();
    let mut north_m = 0.0;
    while began.elapsed() < Duration::from_secs(5) {
        north_m += 2.0;
        app.deliver(vec![near_pickup(north_m, now_ms())]).await;
        let heard = tokio::time::timeout(Duration::from_millis(200), watcher.step()).await;
        assert_ne!(heard, Ok(None), "closed with {:?}", watcher.closed);
    }
    house.assert_clean_log();
}
