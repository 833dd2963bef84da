//! Watchers who speak Protocol Buffers: what is theirs alone. That they hold what everybody holds is checked wherever they watch beside others.

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wayfare_wire::codec::Codec;
use wayfare_wire::{WATCH_JSON_V1, WATCH_PROTO_V1};

use crate::harness::{House, SOON, now_ms, within};
use crate::raw::{Raw, handshake};
use crate::ride::near_pickup;
use crate::watch::{Memory, Watcher, next_json, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_both_codecs_offered_the_server_takes_protocol_buffers() {
    let house = House::start().await;
    for (offered, taken) in [
        (format!("{WATCH_JSON_V1}, {WATCH_PROTO_V1}"), WATCH_PROTO_V1),
        (WATCH_JSON_V1.to_owned(), WATCH_JSON_V1),
        (WATCH_PROTO_V1.to_owned(), WATCH_PROTO_V1),
    ] {
        let mut raw = Raw::connect(&house).await;
        raw.send(handshake(&house, "/v1/watch", &offered, Some(&house.key)).as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert!(head.contains(&format!("sec-websocket-protocol: {taken}\r\n")), "{head}");
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_answered_in_its_codec() {
    let house = House::start().await;
    let mut watcher = Watcher::open_as(&house, &house.key, Codec::Proto).await;
    let welcome = watcher.said("welcome").await;
    assert_eq!((&welcome["version"], &welcome["max_topics"]), (&json!(1), &json!(100)));
    for nonsense in [&b"\xff\xff\xff"[..], b"", b"{\"type\":\"ping\"}"] {
        watcher.ws.send(Message::binary(nonsense.to_vec())).await.unwrap();
        assert_eq!(watcher.said("error").await["code"], "malformed", "{nonsense:?}");
    }
    watcher.say(json!({ "type": "ping" })).await;
    watcher.said("pong").await;
    watcher.say(json!({ "type": "subscribe", "topics": [{ "topic": "trip:*" }] })).await;
    assert_eq!(watcher.said("error").await["code"], "invalid");
    watcher.subscribe(&["trip:trp_00000000000000000000000000"]).await;
    let error = watcher.said("error").await;
    assert_eq!((&error["code"], &error["topic"]), (&json!("not_found"), &json!("trip:trp_00000000000000000000000000")));
    watcher.ws.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(watcher.closed().await, 1003);
    assert_eq!(watcher.said.last().unwrap()["type"], "bye");
    let mut text = open(&house, "/v1/watch", WATCH_JSON_V1, Some(&house.key), None).await.unwrap();
    text.send(Message::binary(vec![0x22, 0])).await.unwrap();
    let code = within(SOON, "the close", async {
        loop {
            if let Err(code) = next_json(&mut text).await {
                return code;
            }
        }
    });
    assert_eq!(code.await, 1003);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_several_topics_tell_at_once_is_one_message_and_a_move_some_bytes() {
    // On one thread, what a fix tells two topics is heard in one turn.
    let house = House::start_with(&[("CORES_THREADS", "1")]).await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let topics = [trip.ops.clone(), format!("driver:{}", driver.id)];
    let topics = topics.each_ref().map(String::as_str);
    let mut watcher = Watcher::open_as(&house, &house.key, Codec::Proto).await;
    let mut other = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&topics).await;
    other.subscribe(&topics).await;
    let start_ms = now_ms() - 60_000;
    let (mut together, mut shortest) = (0, usize::MAX);
    for step in 0..20 {
        let t_ms = start_ms + step * 1000;
        house.post_fixes(&driver, &[near_pickup(-300.0 + 3.0 * step as f64, t_ms)]).await;
        let arrived = |memory: &Memory| topics.iter().all(|topic| memory.state(topic)["position"]["t_ms"] == t_ms);
        let messages = watcher.messages;
        watcher.until("the position", arrived).await;
        other.until("the position", arrived).await;
        together += usize::from(watcher.messages == messages + 1);
        shortest = shortest.min(watcher.message_bytes);
    }
    assert!(together > 10, "{together} of 20 fixes came in one message");
    // Two moves in one message: a head of two bytes and some ten for each.
    assert!(shortest <= 2 * 13, "the shortest message has {shortest} bytes");
    let position = |watcher: &Watcher| watcher.memory.state(topics[0])["position"].clone();
    assert_eq!(position(&watcher), position(&other));
    assert_ne!(position(&watcher), Value::Null);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_with_a_current_cursor_goes_on_with_moves() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let topic = &*format!("driver:{}", driver.id);
    let start_ms = now_ms() - 60_000;
    let mut memory = Memory::new(&house);
    for (turn, codec) in [Codec::Json, Codec::Proto, Codec::Proto, Codec::Json, Codec::Proto].into_iter().enumerate() {
        let mut watcher = Watcher::resume_as(&house, &house.key, memory, codec).await.unwrap();
        watcher.subscribe(&[topic]).await;
        within(SOON, "subscribed", async { while watcher.step().await.unwrap()["type"] != "subscribed" {} }).await;
        for step in 0..3 {
            let t_ms = start_ms + (turn as i64 * 3 + step) * 1000;
            house.post_fixes(&driver, &[near_pickup(3.0 * (turn as f64 * 3.0 + step as f64), t_ms)]).await;
            watcher.until("the position", |memory| memory.state(topic)["position"]["t_ms"] == t_ms).await;
        }
        memory = watcher.memory;
    }
    assert_eq!(memory.replica(topic).snapshots, 1, "the first, and none after a cursor that was current");
    house.assert_clean_log();
}
