//! A new process takes the place of an old one: nobody is refused, nothing is lost, and what cannot be replaced says so and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until, within};
use crate::quic_app::{QUIC, QuicApp};
use crate::redis_server::Server;
use crate::ride::near_pickup;
use crate::watch::{Memory, WATCH, Watcher, next_json, open_port};

/// Watchers come all the time while the process behind the door changes twice: each gets its snapshot, or is told to come again, and none is
/// refused. Those who were there go on where they stood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_find_an_open_door() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let url = server.url();
    let house = House::start_with(&[("BUS_URL", &url)]).await;
    let mut fanout = House::start_role("fanout", &[("BUS_URL", &url), ("FANOUT_DRAIN_SPREAD_S", "1")]).await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let (key, port) = (house.key.clone(), fanout.port);
    fanout.key = key.clone();

    let (stop, served, sent_away) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
    let comers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, key, topic) = (Arc::clone(&stop), key.clone(), trip.ops.clone());
            let (served, sent_away): (Arc<AtomicUsize>, Arc<AtomicUsize>) =
                (Arc::clone(&served), Arc::clone(&sent_away));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                    let mut ws =
                        open_port(port, "/v1/watch", WATCH, Some(&key), None).await.expect("nobody is refused");
                    let subscribe = json!({ "type": "subscribe", "topics": [{ "topic": topic }] });
                    let _ = ws.send(Message::text(subscribe.to_string())).await;
                    loop {
                        match within(SOON, "a word", next_json(&mut ws)).await {
                            Ok(message) if message["type"] == "snapshot" => {
                                served.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            Ok(_) => {}
                            Err(code) => {
                                // Come back, or the socket ended while this one was writing.
                                assert!(matches!(code, 4000 | 1006), "closed with {code}");
                                sent_away.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                }
            })
        })
        .collect();

    let mut watcher = Watcher::open(&fanout, &key).await;
    watcher.subscribe(&[&trip.ops]).await;
    let mut app = App::open(&house, &driver).await;
    for turn in 0..3 {
        let t_ms = now_ms();
        assert_eq!(app.deliver(vec![near_pickup(f64::from(turn) * 40.0, t_ms)]).await, ["accepted"]);
        let at = |memory: &Memory| memory.state(&trip.ops)["position"]["t_ms"] == t_ms;
        watcher.until("a position", at).await;
        if turn == 2 {
            break;
        }
        fanout.hand_over().await;
        assert_eq!(watcher.closed().await, 4000, "told to come back");
        let memory = watcher.memory;
        watcher = until(SOON, "a way back", async || Watcher::resume(&fanout, &key, memory.clone()).await.ok()).await;
        watcher.subscribe(&[&trip.ops]).await;
        // As a car would, who needs a while from one place to the next.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for comer in comers {
        comer.await.unwrap();
    }
    let (served, sent_away) = (served.load(Ordering::Relaxed), sent_away.load(Ordering::Relaxed));
    assert!(served > 50, "{served} served, {sent_away} told to come again");
    fanout.assert_clean_log();
    house.assert_clean_log();
}

/// Drivers send by QUIC, WebSocket and requests while the process that takes them in changes: what was acked is kept, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_lose_nothing_when_their_process_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let url = server.url();
    let house = House::start_with(&[("BUS_URL", &url), ("BUS_NODE", "records")]).await;
    let settings = [&[("BUS_URL", &*url), ("BUS_NODE", "in"), ("INGEST_DRAIN_SPREAD_S", "1")], &QUIC[..]].concat();
    let mut ingest = House::start_role("ingest", &settings).await;
    ingest.key = house.key.clone();
    let drivers = [house.driver("Ana").await, house.driver("Rui").await, house.driver("Eva").await];
    let begin_ms = now_ms() - 600_000;
    let mut fixes = (0..).map(|place: i32| near_pickup(f64::from(place % 2) * 3.0, begin_ms + i64::from(place) * 1000));

    let (mut on_socket, mut on_quic) =
        (App::open(&ingest, &drivers[0]).await, QuicApp::open(&ingest, &drivers[1]).await);
    let mut by_request = Vec::new();
    for turn in 0..3 {
        for _ in 0..10 {
            let fix = fixes.next().unwrap();
            on_socket.deliver(vec![fix.clone()]).await;
            on_quic.deliver(vec![fix.clone()]).await;
            assert_eq!(ingest.post_fixes(&drivers[2], std::slice::from_ref(&fix)).await, ["accepted"]);
            by_request.push(fix["t_ms"].as_i64().unwrap());
        }
        if turn == 2 {
            break;
        }
        // Requests go on while the old process goes and the new one comes: each is answered.
        let (port, fix) = (ingest.port, fixes.next().unwrap());
        let (stop, token) = (Arc::new(AtomicBool::new(false)), drivers[2].token.clone());
        let asking = tokio::spawn({
            let (stop, mut fix) = (Arc::clone(&stop), fix.clone());
            async move {
                let (http, mut kept) =
                    (reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let at_ms = fix["t_ms"].as_i64().unwrap() + 1;
                    fix["t_ms"] = json!(at_ms);
                    let request = http.post(format!("http://127.0.0.1:{port}/v1/fixes")).bearer_auth(&token);
                    let answer = request.json(&json!({ "fixes": [fix] })).send().await.expect("nobody is refused");
                    match answer.status().as_u16() {
                        200 => kept.push(at_ms),
                        // The one process has let the driver go, or the other has just taken it.
                        503 => {}
                        status => panic!("{status}"),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                kept
            }
        });
        let unsent = fixes.next().unwrap();
        on_socket.send(vec![unsent.clone()]).await;
        on_quic.send(vec![unsent]).await;
        ingest.hand_over().await;
        // They are told to come back, and do; what was not acked they send again.
        assert_eq!(on_socket.closed().await, 4000);
        assert_eq!(on_quic.closed().await, 4000);
        let (driver, outbox) = (&drivers[0], on_socket.outbox);
        on_socket = until(SOON, "a way back", async || App::resume(&ingest, driver, outbox.clone()).await.ok()).await;
        let (driver, outbox): (_, Outbox) = (&drivers[1], on_quic.outbox);
        on_quic = until(SOON, "a way back", async || QuicApp::resume(&ingest, driver, outbox.clone()).await.ok()).await;
        on_socket.settle().await;
        on_quic.settle().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
        by_request.extend(asking.await.unwrap());
        assert!(by_request.len() > 20 * (turn + 1), "{}", by_request.len());
    }
    let listed = async |driver: &crate::rest::Driver| -> Vec<i64> {
        let csv = house.command(&["fixes", "--driver", &driver.id]).await;
        let mut times: Vec<i64> =
            csv.lines().skip(1).map(|line| line.split(',').nth(3).unwrap().parse().unwrap()).collect();
        times.sort_unstable();
        times
    };
    for (driver, outbox) in [(&drivers[0], &on_socket.outbox), (&drivers[1], &on_quic.outbox)] {
        let acked = outbox.acked.values().flat_map(|(fixes, _)| fixes.iter().map(|fix| fix["t_ms"].as_i64().unwrap()));
        let mut acked: Vec<i64> = acked.collect();
        acked.sort_unstable();
        assert_eq!(listed(driver).await, acked, "every acked fix once");
    }
    let (kept, mut acked) = (listed(&drivers[2]).await, by_request);
    acked.sort_unstable();
    assert!(acked.iter().all(|at_ms| kept.contains(at_ms)), "what was acked is kept");
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "and nothing twice");
    ingest.assert_clean_log();
    house.assert_clean_log();
}

/// One process for everything holds files that only one may have; it says so, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_replaced_says_so_and_goes_on() {
    let house = House::start().await;
    house.expect_log("restart it");
    house.signal_replace();
    until(SOON, "a word in the log", async || house.log().contains("restart it").then_some(())).await;
    house.driver("Ana").await;
    house.assert_clean_log();
}

/// A new process that cannot open changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_cannot_open_leaves_the_old_one_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let url = server.url();
    let house = House::start_with(&[("BUS_URL", &url)]).await;
    let streets = dir.path().join("streets.geojson");
    std::fs::write(&streets, "{}").unwrap();
    let settings = [("BUS_URL", &*url), ("PAGES_STREETS", streets.to_str().unwrap())];
    let mut fanout = House::start_role("fanout", &settings).await;
    std::fs::remove_file(&streets).unwrap();
    fanout.expect_log("goes on");
    fanout.signal_replace();
    until(SOON, "a word in the log", async || fanout.log().contains("goes on").then_some(())).await;
    assert_eq!(fanout.call("GET", "/healthz", None, None).await.status, 200);
    // With what was missing it works.
    std::fs::write(&streets, "{}").unwrap();
    fanout.hand_over().await;
    assert_eq!(fanout.call("GET", "/healthz", None, None).await.status, 200);
    fanout.assert_clean_log();
    house.assert_clean_log();
}

/// A socket that systemd holds is open while the house restarts: who asks meanwhile waits for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_while_a_house_restarts_behind_a_socket_it_was_given() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut house = House::with_socket(socket, &[("INGEST_DRAIN_SPREAD_S", "0"), ("FANOUT_DRAIN_SPREAD_S", "0")]);
    house.restart().await;
    let (port, stop) = (house.port, Arc::new(AtomicBool::new(false)));
    let asking = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let (http, mut answered) = (reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap(), 0);
            while !stop.load(Ordering::Relaxed) {
                let answer =
                    http.get(format!("http://127.0.0.1:{port}/healthz")).send().await.expect("nobody is refused");
                assert_eq!(answer.status(), 200);
                answered += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answered
        }
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        house.terminate().await;
        house.restart().await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(asking.await.unwrap() > 20);
    house.assert_clean_log();
}
