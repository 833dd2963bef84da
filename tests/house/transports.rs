//! One suite for every way to watch: the same states, the same events, the same cursor, the same end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wayfare_wire::codec::Codec;

use crate::drive::App;
use crate::harness::{House, SOON, now_ms, until, within};
use crate::raw::Raw;
use crate::ride::near_pickup;
use crate::watch::{EventSource, Memory, Poller, Watcher};

/// A way to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Json,
    Proto,
    Stream,
    Poll,
    LongPoll,
}

impl Way {
    pub const ALL: [Self; 5] = [Self::Json, Self::Proto, Self::Stream, Self::Poll, Self::LongPoll];
}

/// Somebody who watches, whichever way.
pub enum Eye {
    Socket(Box<Watcher>),
    Stream(Box<EventSource>),
    Poller(Box<Poller>),
}

impl Eye {
    /// Goes on from the memory; a refusal by status comes back as it is.
    pub async fn open(
        house: &House,
        way: Way,
        token: &str,
        topics: &[&str],
        memory: Memory,
    ) -> Result<Self, (u16, Value)> {
        match way {
            Way::Json | Way::Proto => {
                let codec = if way == Way::Json { Codec::Json } else { Codec::Proto };
                let mut watcher = Watcher::resume_as(house, token, memory, codec).await.unwrap();
                watcher.subscribe(topics).await;
                Ok(Self::Socket(Box::new(watcher)))
            }
            Way::Stream => match EventSource::resume(house, token, topics, memory, None).await {
                Ok(stream) => Ok(Self::Stream(Box::new(stream))),
                Err(answer) => Err((answer.status, answer.json())),
            },
            Way::Poll | Way::LongPoll => {
                let mut poller = Poller::resume(house, token, topics, memory);
                let answer = poller.poll(house).await.unwrap();
                poller.wait_s = if way == Way::LongPoll { 10 } else { 0 };
                if answer.status >= 400 {
                    Err((answer.status, answer.json()))
                } else {
                    Ok(Self::Poller(Box::new(poller)))
                }
            }
        }
    }

    pub fn memory(&self) -> &Memory {
        match self {
            Self::Socket(watcher) => &watcher.memory,
            Self::Stream(stream) => &stream.memory,
            Self::Poller(poller) => &poller.memory,
        }
    }

    pub fn into_memory(self) -> Memory {
        match self {
            Self::Socket(watcher) => watcher.memory,
            Self::Stream(stream) => stream.memory,
            Self::Poller(poller) => poller.memory,
        }
    }

    pub async fn until(&mut self, house: &House, what: &str, wanted: impl Fn(&Memory) -> bool) {
        match self {
            Self::Socket(watcher) => watcher.until(what, wanted).await,
            Self::Stream(stream) => stream.until(what, wanted).await,
            Self::Poller(poller) => poller.until(house, what, wanted).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cursor_serves_every_way_to_watch_one_after_the_other() {
    let house = House::start().await;
    let (driver, store) = (house.driver("Ana").await, house.store("Kitchen").await);
    let (topic, log) = (&*format!("driver:{}", driver.id), &*format!("store:{store}"));
    let topics = [topic, log];
    let mut app = App::open(&house, &driver).await;
    let start_ms = now_ms() - 90_000;
    let (mut memory, mut told) = (Memory::new(&house), 0);
    // Each after each other, forth and back.
    let ways =
        Way::ALL.into_iter().chain(Way::ALL.into_iter().rev()).chain([Way::Poll, Way::Json, Way::LongPoll, Way::Proto]);
    for (turn, way) in ways.enumerate() {
        let mut eye =
            Eye::open(&house, way, &house.key, &topics, memory).await.unwrap_or_else(|refused| panic!("{refused:?}"));
        // Where the log begins must be known before something is told in it.
        eye.until(&house, "both topics", |memory| {
            memory.log_cursors.contains_key(log) && memory.events.get(log).map_or(0, Vec::len) == told
        })
        .await;
        let t_ms = start_ms + turn as i64 * 2000;
        app.deliver(vec![near_pickup(turn as f64 * 5.0, t_ms)]).await;
        house.trip(None, Some(&store)).await;
        told += 1;
        eye.until(&house, "the news", |memory| {
            memory.state(topic)["position"]["t_ms"] == t_ms && memory.events.get(log).map_or(0, Vec::len) == told
        })
        .await;
        memory = eye.into_memory();
        // While nobody watches.
        app.deliver(vec![near_pickup(turn as f64 * 5.0 + 2.0, t_ms + 1000)]).await;
        house.trip(None, Some(&store)).await;
        told += 1;
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_answers_when_something_happens_and_not_before() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let (id, customer) = house.issue("customer", "cus", 3600).await;
    let get = async |token: &str, query: &str| {
        let url = house.url(&format!("/v1/watch/poll?topics={}{query}", trip.topic));
        House::answer(house.http.get(url).bearer_auth(token)).await
    };
    let first = get(&customer, "&wait=10").await;
    assert_eq!((first.status, &first.json()["retry_after_ms"]), (200, &json!(0)), "who has nothing does not wait");
    let at = format!("&cursor={}&wait=", first.json()["cursor"].as_str().unwrap());
    // Nothing happens: the answer comes when the time is over, and says so.
    let began = Instant::now();
    let quiet = get(&customer, &format!("{at}2")).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(quiet.json()["topics"][0].get("state"), None);
    // Something happens.
    let wait = format!("{at}20");
    let (answer, ()) = tokio::join!(get(&customer, &wait), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        house.post(&format!("/v1/trips/{}/cancel", trip.id), json!({ "reason": "rain" })).await;
    });
    assert_eq!((answer.status, answer.code().as_str()), (410, "ended"));
    assert_eq!(answer.json()["state"]["phase"], "cancelled");
    // A token that is revoked ends the wait.
    let other = house.trip(Some(&driver), None).await;
    let url = |cursor: &str| house.url(&format!("/v1/watch/poll?topics={}&wait=20{cursor}", other.topic));
    let first = House::answer(house.http.get(url("")).bearer_auth(&customer)).await;
    let cursor = format!("&cursor={}", first.json()["cursor"].as_str().unwrap());
    let began = Instant::now();
    let (answer, ()) = tokio::join!(House::answer(house.http.get(url(&cursor)).bearer_auth(&customer)), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        house.done("DELETE", &format!("/v1/tokens/{id}"), Value::Null).await;
    });
    assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{}", answer.text);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let refused = get(&house.key, "&wait=26").await;
    assert_eq!((refused.status, refused.json()["field"].as_str()), (422, Some("wait")));
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_answered_when_the_house_closes() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let topic = format!("driver:{}", driver.id);
    let first = house.call("GET", &format!("/v1/watch/poll?topics={topic}"), Some(&house.key), None).await;
    let cursor = first.json()["cursor"].as_str().unwrap().to_owned();
    let url = house.url(&format!("/v1/watch/poll?topics={topic}&cursor={cursor}&wait=25"));
    let waiting = tokio::spawn(House::answer(house.http.get(url).bearer_auth(&house.key)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let took = house.terminate().await;
    let answer = within(SOON, "the answer", waiting).await.unwrap();
    assert!(answer.status == 200 || answer.status == 503, "{}", answer.text);
    assert!(took < Duration::from_secs(15), "{took:?}");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_open_eyes_see_no_position_after_the_delivery_and_cannot_come_back() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let (topic, ops) = (&*trip.topic, &*trip.ops);
    let mut app = App::open(&house, &driver).await;
    let start_ms = now_ms() - 60_000;
    app.deliver(vec![near_pickup(0.0, start_ms)]).await;
    app.raw(&json!({ "type": "status", "trip": trip.id, "phase": "to_dropoff" }).to_string()).await;
    app.said("noted").await;
    app.deliver(vec![near_pickup(10.0, start_ms + 3000)]).await;
    // Customers, their friends, the shop's staff; each on every way.
    let (customer, support) = (house.token("customer", "cus").await, house.token("support", "sup").await);
    let share = house.token("share", &trip.id).await;
    let mut eyes = Vec::new();
    for number in 0..100 {
        let way = Way::ALL[number % 5];
        let (token, topic) = [(&customer, topic), (&share, topic), (&support, ops), (&support, topic)][number / 5 % 4];
        let memory = Memory::new(&house);
        let mut eye =
            Eye::open(&house, way, token, &[topic], memory).await.unwrap_or_else(|refused| panic!("{refused:?}"));
        eye.until(&house, "the position", |memory| memory.state(topic)["position"].is_object()).await;
        eyes.push((eye, way, token, topic));
    }
    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    let done = Instant::now();
    // The phone goes on sending.
    let (mut watched, ()) = tokio::join!(
        async {
            for (eye, _, _, topic) in &mut eyes {
                eye.until(&house, "the end", |memory| memory.ended(topic)).await;
                assert!(eye.memory().state(topic)["position"].is_null());
                assert_eq!(eye.memory().phase(topic), "delivered");
            }
            assert!(done.elapsed() < Duration::from_secs(2), "the last heard after {:?}", done.elapsed());
            eyes
        },
        async {
            for step in 2..12 {
                let _ = app.deliver(vec![near_pickup(10.0 * f64::from(step), start_ms + i64::from(step) * 3000)]).await;
            }
        }
    );
    // Nothing follows on lines that are still there: a replica that is told of a topic after its end complains.
    for (eye, ..) in &mut watched {
        if let Eye::Socket(watcher) = eye {
            watcher.say(json!({ "type": "ping" })).await;
            watcher.said("pong").await;
        }
    }
    for (eye, way, token, topic) in watched {
        let memory = eye.into_memory();
        let cursor = memory.cursor(topic);
        assert!(cursor.is_some());
        match way {
            // The last word once more, without a position, and nothing else.
            Way::Json | Way::Proto => {
                let codec = if way == Way::Json { Codec::Json } else { Codec::Proto };
                let mut again = Watcher::open_as(&house, token, codec).await;
                let wanted = json!([{ "topic": topic, "cursor": cursor.map(|cursor| cursor.to_string()) }]);
                again.say(json!({ "type": "subscribe", "topics": wanted })).await;
                again.until("the end", |memory| memory.ended(topic)).await;
                assert!(again.memory.state(topic)["position"].is_null());
                assert_eq!(again.memory.replica(topic).snapshots + again.memory.replica(topic).deltas, 0);
            }
            _ => {
                let refused = Eye::open(&house, way, token, &[topic], Memory::new(&house)).await;
                let (status, body) = refused.err().expect("no stream of a trip that is over");
                assert_eq!((status, &body["code"]), (410, &json!("ended")));
                assert!(body["state"]["position"].is_null());
            }
        }
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_never_agreed_to() {
    let house = House::start().await;
    for codec in Codec::ALL {
        let mut raw = Raw::connect(&house).await;
        let request = format!(
            "GET /v1/watch HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {}\r\nAuthorization: Bearer {}\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
            house.port,
            codec.subprotocol(),
            house.key
        );
        raw.send(request.as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-extensions"), "{head}");
        // A frame with the bit of a compressed message is a fault.
        raw.send(&crate::raw::frame(0xC2, &[0x22, 0x00])).await;
        assert_eq!(raw.close_code().await, Some(1002));
    }
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_when_to_come_back_is_kept_warm_and_goes_on_with_several_topics() {
    let house = House::start_with(&[("FANOUT_HEARTBEAT_S", "1")]).await;
    let (first, second) = (house.driver("Ana").await, house.driver("Rui").await);
    let topics = [format!("driver:{}", first.id), format!("driver:{}", second.id)];
    let topics = topics.each_ref().map(String::as_str);
    let mut raw = Raw::connect(&house).await;
    let request = format!(
        "GET /v1/watch/sse?topics={} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        topics.join(","),
        house.key
    );
    raw.send(request.as_bytes()).await;
    raw.head().await;
    let (bytes, _) = raw.rest(Duration::from_millis(700)).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("retry: 2000\n\n") && text.find("retry:") < text.find("event:"), "{text}");
    drop(raw);
    let mut stream = EventSource::open(&house, &house.key, &topics).await;
    stream.until("both", |memory| topics.iter().all(|topic| !memory.state(topic).is_null())).await;
    until(SOON, "a comment", async || {
        let _ = tokio::time::timeout(Duration::from_millis(500), stream.step()).await;
        (stream.comments >= 2).then_some(())
    })
    .await;
    let (memory, last_id) = (stream.memory.clone(), stream.last_id.clone());
    drop(stream);
    // One of them moves meanwhile: the other is told nothing it has.
    let t_ms = now_ms() - 1000;
    house.post_fixes(&second, &[near_pickup(0.0, t_ms)]).await;
    let mut stream = EventSource::resume(&house, &house.key, &topics, memory, last_id).await.ok().unwrap();
    stream.until("the news", |memory| memory.state(topics[1])["position"]["t_ms"] == t_ms).await;
    assert_eq!(stream.memory.replica(topics[0]).snapshots, 1, "the first, and none after its cursor");
    assert_eq!(stream.memory.replica(topics[1]).snapshots, 2);
    house.assert_clean_log();
}
