//! Drivers on QUIC: delivered, acked when durable, moved from network to network, and refused by the right code.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drive::{App, DRIVE, Outbox};
use crate::harness::{House, SOON, fault_time, now_ms, until, within};
use crate::kill::kept;
use crate::lossy::{Lossy, Weather};
use crate::quic_app::{QUIC, QuicApp, code_of, endpoint, framed};
use crate::ride::near_pickup;

/// Fixes that are a second apart.
fn fixes(start_ms: i64, count: i64) -> Vec<Value> {
    (0..count).map(|step| near_pickup((step % 50) as f64, start_ms + step * 1000)).collect()
}

#[tokio::test]
async fn a_driver_on_quic_is_seen_and_acked_when_durable() {
    let mut house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let mut app = QuicApp::open(&house, &driver).await;
    let verdicts = app.deliver(fixes(now_ms() - 20_000, 10)).await;
    assert_eq!(verdicts, ["accepted"; 10]);
    // On the control stream as well, for apps that open no others.
    app.outbox.seq += 1;
    let message = json!({ "type": "fixes", "seq": app.outbox.seq, "fixes": fixes(now_ms() - 5000, 2) }).to_string();
    app.control(message.as_bytes()).await;
    within(SOON, "its ack", async { while app.step().await.unwrap()["seq"] != app.outbox.seq {} }).await;
    until(SOON, "a position", async || house.peek(&trip.ops).await.filter(|state| state["position"].is_object())).await;
    app.control(br#"{"type":"ping"}"#).await;
    app.said("pong").await;
    // What is acked is on the disk.
    house.kill9();
    let kept = kept(&house, &driver).await;
    assert_eq!(kept.len(), 12);
    house.restart().await;
    // The house that is back says that it knows nothing of the old connection: nobody waits for a timeout.
    app.message(b"{}").await;
    let began = std::time::Instant::now();
    assert_eq!(app.closed().await, 0);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let app = QuicApp::resume(&house, &driver, app.outbox).await;
    drop(app.unwrap());
    house.assert_clean_log();
}

#[tokio::test]
async fn the_newest_connection_wins_whatever_it_speaks() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let phone = |session: &str| Outbox::new(session);
    let mut first = QuicApp::resume(&house, &driver, phone("1")).await.unwrap();
    let mut second = QuicApp::resume(&house, &driver, phone("2")).await.unwrap();
    assert_eq!(first.closed().await, 4200);
    assert_eq!(first.said("bye").await["code"], 4200);
    let mut third = App::resume(&house, &driver, phone("3")).await.unwrap();
    assert_eq!(second.closed().await, 4200);
    let mut fourth = QuicApp::resume(&house, &driver, phone("4")).await.unwrap();
    assert_eq!(third.closed().await, 4200);
    assert_eq!(fourth.deliver(fixes(now_ms() - 3000, 1)).await.len(), 1);
    // The same app on another connection: whichever of them is told so must not stay away, for it may be the one that lives.
    let mut fifth = App::resume(&house, &driver, phone("4")).await.unwrap();
    assert_eq!(fourth.closed().await, 4005);
    assert_eq!(fourth.said("bye").await["reason"], "superseded");
    let sixth = QuicApp::resume(&house, &driver, fourth.outbox).await.unwrap();
    assert_eq!(fifth.closed().await, 4005);
    drop(sixth);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_token_ends_the_connection_by_its_code() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let hello = |token: &str| json!({ "type": "hello", "token": token, "session": "1" }).to_string();
    let check = async |first: Option<(&str, String)>, code: u64| {
        let mut app = QuicApp::silent(house.quic_port, &house.fingerprint, Outbox::new("1")).await.unwrap();
        if let Some((codec, hello)) = first {
            app.control(codec.as_bytes()).await;
            app.control(hello.as_bytes()).await;
        }
        assert_eq!(app.closed().await, code);
    };
    check(None, 4002).await;
    check(Some((DRIVE, hello("nonsense"))), 4101).await;
    check(Some((DRIVE, hello(&house.key))), 4101).await;
    check(Some((DRIVE, r#"{"type":"ping"}"#.into())), 4101).await;
    check(Some(("wayfare.drive.v1.cbor", hello(&driver.token))), 1003).await;
    // One that is revoked.
    let mut app = QuicApp::open(&house, &driver).await;
    house.post(&format!("/v1/drivers/{}/revoke", driver.id), Value::Null).await;
    assert_eq!(app.closed().await, 4201);
    house.assert_clean_log();
}

#[tokio::test]
async fn nonsense_and_what_is_too_big_are_answered_by_their_codes() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let big = vec![b' '; 64 * 1024 + 1];
    // On a stream of its own.
    let mut app = QuicApp::open(&house, &driver).await;
    app.message(b"not JSON").await;
    assert_eq!(app.said("error").await["code"], "malformed");
    app.message(b"").await;
    assert_eq!(app.said("error").await["code"], "malformed");
    assert_eq!(app.deliver(fixes(now_ms() - 3000, 1)).await.len(), 1);
    app.message(&big).await;
    assert_eq!(app.closed().await, 1009);
    // On the control stream.
    let mut app = QuicApp::open(&house, &driver).await;
    let _ = app.send.write_all(&65_537_u32.to_be_bytes()).await;
    assert_eq!(app.closed().await, 1009);
    // Again and again.
    let mut app = QuicApp::open(&house, &driver).await;
    for _ in 0..16 {
        app.control(b"\xff\xfe").await;
    }
    assert_eq!(app.closed().await, 4202);
    // Half a message, then the end.
    let mut app = QuicApp::open(&house, &driver).await;
    let _ = app.send.write_all(&framed(b"{\"type\":\"ping\"}")[..9]).await;
    app.send.finish().unwrap();
    assert_eq!(app.closed().await, 1002);
    // A stream that is taken back is no fault.
    let mut app = QuicApp::open(&house, &driver).await;
    let mut stream = app.connection.open_uni().await.unwrap();
    stream.write_all(b"{").await.unwrap();
    stream.reset(7_u8.into()).unwrap();
    let many = fixes(now_ms() - 200_000, 101);
    app.message(json!({ "type": "fixes", "seq": 99, "fixes": many }).to_string().as_bytes()).await;
    assert_eq!(app.said("error").await["code"], "too_many");
    // A second control stream is not for having: the client waits for leave that never comes.
    assert!(tokio::time::timeout(Duration::from_millis(300), app.connection.open_bi()).await.is_err());
    // More than fifty a second.
    for _ in 0..400 {
        app.message(br#"{"type":"ping"}"#).await;
    }
    assert_eq!(app.closed().await, 4004);
    house.assert_clean_log();
}

#[tokio::test]
async fn another_protocol_is_refused_in_the_handshake() {
    let house = House::start_with(&QUIC).await;
    let endpoint = endpoint(&house.fingerprint, "h3");
    let connecting = endpoint.connect(([127, 0, 0, 1], house.quic_port).into(), "localhost").unwrap();
    let error = within(SOON, "an answer", connecting).await.unwrap_err();
    assert!(error.to_string().contains("no_application_protocol") || code_of(&error) == 0, "{error}");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_draining_house_says_when_to_come_back() {
    let mut house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let mut app = QuicApp::open(&house, &driver).await;
    app.deliver(fixes(now_ms() - 10_000, 5)).await;
    house.signal_term();
    assert_eq!(app.closed().await, 4000);
    assert!(app.said("bye").await["retry_after_ms"].is_u64());
    assert!(house.ended(Duration::from_secs(35)).await.success());
    house.assert_clean_log();
}

#[tokio::test]
async fn a_change_of_address_loses_and_repeats_nothing() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let mut app = QuicApp::open(&house, &driver).await;
    let start_ms = now_ms() - 600_000;
    for round in 0..5 {
        for message in 0..4 {
            app.send(fixes(start_ms + (round * 4 + message) * 10_000, 10)).await;
        }
        app.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        app.settle().await;
    }
    let kept = kept(&house, &driver).await;
    assert_eq!((kept.len(), kept.values().sum::<usize>()), (200, 200));
    assert_eq!(house.metric("wayfare_fix_messages_resent_total", "").await, 0.0);
    assert_eq!(house.metric("wayfare_quic_arrivals_total", "accepted").await, 1.0);
    house.assert_clean_log();
}

/// Another library, in another language: an address proved by Retry, ports, ids and keys that change on the way.
#[tokio::test]
async fn a_driver_of_another_library_is_understood() {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python/bin/python");
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let first_ms = now_ms() - 600_000;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/house/aioquic_driver.py");
    let running = tokio::process::Command::new(python)
        .arg(script)
        .args([&house.quic_port.to_string(), &house.fingerprint, "9f3a61c0", &first_ms.to_string(), "20"])
        .env("TOKEN", &driver.token)
        .kill_on_drop(true)
        .output();
    let output = within(3 * SOON, "the driver in Python", running).await;
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}; `cargo xtask test` installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["driver"], &said["code"]), (&json!(driver.id), &json!(1000)));
    let verdicts = said["verdicts"].as_object().unwrap();
    assert_eq!(verdicts.len(), 20);
    assert!(verdicts.values().flat_map(|of| of.as_array().unwrap()).all(|verdict| verdict == "accepted"), "{said}");
    let kept = kept(&house, &driver).await;
    assert_eq!((kept.len(), kept.values().sum::<usize>()), (200, 200));
    assert_eq!(house.metric("wayfare_quic_arrivals_total", "retry").await, 1.0);
    assert_eq!(house.metric("wayfare_quic_arrivals_total", "accepted").await, 1.0);
    assert_eq!(house.metric("wayfare_quic_moves_total", "").await, 5.0);
    assert_eq!(house.metric("wayfare_fix_messages_resent_total", "").await, 0.0);
    house.assert_clean_log();
}

#[tokio::test]
async fn one_who_changes_its_address_with_every_packet_is_sent_away() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let mut app = QuicApp::open(&house, &driver).await;
    let began_ms = now_ms() - 600_000;
    for turn in 0..60 {
        if app.connection.close_reason().is_some() {
            break;
        }
        app.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        app.send(fixes(began_ms + turn * 1000, 1)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(app.closed().await, 4004);
    assert_eq!(app.said("bye").await["retry_after_ms"], 10_000);
    let moves = house.metric("wayfare_quic_moves_total", "").await;
    assert!((20.0..=30.0).contains(&moves), "{moves} moves");
    // What was acked is kept, and what was not is taken from the next connection.
    let mut app = QuicApp::resume(&house, &driver, app.outbox).await.unwrap();
    app.settle().await;
    let kept = kept(&house, &driver).await;
    assert!(kept.values().all(|times| *times == 1), "{kept:?}");
    assert_eq!(kept.len(), app.outbox.acked.len());
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_loses_and_doubles_nothing() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Ana").await;
    let weather = Weather {
        delay: Duration::from_millis(100),
        jitter: Duration::from_millis(60),
        loss: 0.05,
        rebind: Some(Duration::from_secs(2)),
    };
    let lossy = Lossy::start(house.quic_port, weather).await;
    let outbox = Outbox::new("9f3a61c0");
    let app = QuicApp::reach(lossy.port, &house.fingerprint, &driver, outbox).await;
    let mut app = app.unwrap();
    let (start_ms, until) = (now_ms() - 900_000, std::time::Instant::now() + fault_time(Duration::from_secs(8)));
    let mut sent = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while std::time::Instant::now() < until {
        tokio::select! {
            message = app.step() => assert!(message.is_some(), "closed with {:?}", app.closed),
            _ = pace.tick(), if app.outbox.unacked.len() < 60 => {
                app.send(fixes(start_ms + sent * 1000, 1)).await;
                sent += 1;
            }
        }
    }
    app.settle().await;
    let kept = kept(&house, &driver).await;
    assert_eq!((kept.len() as i64, kept.values().sum::<usize>() as i64), (sent, sent));
    assert_eq!(app.outbox.acked.len() as i64, sent);
    assert!(lossy.rebound.load(std::sync::atomic::Ordering::Relaxed) >= 2);
    // One connection all along.
    assert_eq!(house.metric("wayfare_quic_arrivals_total", "accepted").await, 1.0);
    house.assert_clean_log();
}

/// First packets of a client, caught before they reach anybody.
async fn first_packets(house: &House, count: usize) -> Vec<Vec<u8>> {
    let mut caught = Vec::new();
    for _ in 0..count {
        // A trap each: the one before may still be told that its client has given up.
        let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(&house.fingerprint, "wayfare/1");
        let connecting = endpoint.connect(trap.local_addr().unwrap(), "localhost").unwrap();
        let mut buffer = vec![0; 2048];
        let (length, _) = within(SOON, "a first packet", trap.recv_from(&mut buffer)).await.unwrap();
        buffer.truncate(length);
        caught.push(buffer);
        drop(connecting);
    }
    caught
}

#[tokio::test]
async fn an_address_that_never_answers_gets_at_most_three_times_what_it_sent() {
    let house = House::start_with(&QUIC).await;
    let mut sockets = Vec::new();
    for packet in first_packets(&house, 5).await {
        // Somebody else's address: it hears what comes, and says nothing more.
        let victim = UdpSocket::bind("127.0.0.1:0").unwrap();
        victim.set_nonblocking(true).unwrap();
        victim.send_to(&packet, ("127.0.0.1", house.quic_port)).unwrap();
        sockets.push((victim, packet.len()));
    }
    // Long enough for retransmissions, if there were any.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (victim, sent) in &sockets {
        let (mut got, mut buffer) = (0, vec![0; 2048]);
        while let Ok(count) = victim.recv(&mut buffer) {
            got += count;
        }
        assert!(got > 0 && got <= 3 * sent, "{got} bytes for {sent}");
    }
    assert_eq!(house.metric("wayfare_quic_arrivals_total", "retry").await, 5.0);
    // Honest clients prove themselves and are let in.
    let driver = house.driver("Ana").await;
    let mut app = QuicApp::open(&house, &driver).await;
    assert_eq!(app.deliver(fixes(now_ms() - 3000, 1)).await.len(), 1);
    house.assert_clean_log();
}
