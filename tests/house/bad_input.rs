//! What strangers, broken phones and those who try send. After each, a good fix beside it still gets through.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::drive::{App, DRIVE};
use crate::forge;
use crate::harness::{House, now_ms};
use crate::raw::{self, Raw};
use crate::rest::{Driver, texts};
use crate::ride::near_pickup;
use crate::watch::{EventSource, Memory, WATCH, Watcher, next_json, open};

/// A courier whose fixes must get through whatever others send.
struct Witness {
    driver: Driver,
    t_ms: i64,
}

impl Witness {
    async fn new(house: &House) -> Self {
        Self { driver: house.driver("Witness").await, t_ms: now_ms() - 600_000 }
    }

    async fn passes(&mut self, house: &House, after: &str) {
        self.t_ms += 1000;
        assert_eq!(house.post_fixes(&self.driver, &[near_pickup(0.0, self.t_ms)]).await, ["accepted"], "after {after}");
    }
}

#[tokio::test]
async fn a_bad_fix_has_a_verdict_and_takes_nothing_with_it() {
    let house = House::start().await;
    let now_ms = now_ms();
    let (year_2100, day) = (4_102_444_800_000_i64, 86_400_000);
    let at = |t_ms: i64| format!(r#"{{"lat":41.1496,"lon":-8.611,"t_ms":{t_ms},"accuracy_m":5}}"#);
    let cases = [
        (r#"{"lat":1e999,"lon":-8.611}"#.to_owned(), "invalid"),
        (r#"{"lat":-1e999,"lon":-8.611}"#.to_owned(), "invalid"),
        (r#"{"lat":90.001,"lon":-8.611}"#.to_owned(), "invalid"),
        (r#"{"lat":41.1,"lon":-180.5}"#.to_owned(), "invalid"),
        (r#"{"lat":411496,"lon":-86110}"#.to_owned(), "invalid"),
        (r#"{"lat":0,"lon":0}"#.to_owned(), "invalid"),
        (r#"{"lat":0.0,"lon":-0.0}"#.to_owned(), "invalid"),
        (r#"{"lat":"41.1496","lon":-8.611}"#.to_owned(), "invalid"),
        (r#"{"lat":41.1496}"#.to_owned(), "invalid"),
        (r#"{"lat":null,"lon":null}"#.to_owned(), "invalid"),
        (r#"{"lat":[41.1496],"lon":-8.611}"#.to_owned(), "invalid"),
        (r#"{"lat":41.1496,"lon":-8.611,"t_ms":"soon"}"#.to_owned(), "invalid"),
        (r#"{"lat":41.1496,"lon":-8.611,"t_ms":1e30}"#.to_owned(), "invalid"),
        (r#"{"lat":41.1496,"lon":-8.611,"t_ms":1.5}"#.to_owned(), "invalid"),
        ("7".to_owned(), "invalid"),
        ("null".to_owned(), "invalid"),
        (r#""41.1496,-8.611""#.to_owned(), "invalid"),
        (at(0), "stale"),
        (at(i64::MIN), "stale"),
        (at(year_2100), "future"),
        (at(i64::MAX), "future"),
        (at(now_ms + day), "future"),
        (at(now_ms - 3 * 3_600_000), "off_shift"),
        (r#"{"lat":41.1496,"lon":-8.611,"accuracy_m":5000}"#.to_owned(), "inaccurate"),
        (r#"{"lat":41.1496,"lon":-8.611,"accuracy_m":5,"mock":true}"#.to_owned(), "mock"),
        (r#"{"lat":-33.9,"lon":151.2,"accuracy_m":5}"#.to_owned(), "implausible_speed"),
    ];
    for (turn, (bad, verdict)) in cases.iter().enumerate() {
        let driver = house.driver("Ana").await;
        let good = |step: i64| near_pickup(step as f64, now_ms - 60_000 + step * 1000).to_string();
        let fixes = format!("[{},{bad},{}]", good(0), good(1));
        // The same over both doors.
        let mut app = App::open(&house, &driver).await;
        app.raw(&format!(r#"{{"type":"fixes","seq":1,"fixes":{fixes}}}"#)).await;
        let ack = app.said_ack().await;
        assert_eq!(texts(&ack["verdicts"]), ["accepted", verdict, "accepted"], "{bad}");
        assert_eq!(ack["details"][0]["index"], 1, "{bad}: {ack}");
        assert!(ack["details"][0]["message"].as_str().is_some_and(|text| text.len() > 3), "{ack}");
        let other = house.driver("Rui").await;
        let request = house.http.post(house.url("/v1/fixes")).bearer_auth(&other.token);
        let body = format!(r#"{{"fixes":{fixes}}}"#);
        let answer = House::answer(request.header("content-type", "application/json").body(body)).await;
        assert_eq!(
            (answer.status, texts(&answer.json()["verdicts"])),
            (200, texts(&json!(["accepted", verdict, "accepted"]))),
            "{bad}"
        );
        if turn == 0 {
            let kept = house.command(&["fixes", "--driver", &driver.id]).await;
            assert_eq!(kept.lines().count(), 3, "{kept}");
        }
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn a_clock_a_little_ahead_is_borne_with() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    // PROTOCOL.md, "Verdicts": `future` is more than 10 s ahead.
    let verdicts = house.post_fixes(&driver, &[near_pickup(0.0, now_ms() + 8_000)]).await;
    assert_eq!(verdicts, ["accepted"]);
}

#[tokio::test]
async fn a_message_that_is_none_is_answered_and_the_connection_lives() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let mut app = App::open(&house, &driver).await;
    let many: Vec<Value> = (0..101).map(|step| near_pickup(0.0, now_ms() - 500_000 + step)).collect();
    let cases = [
        (String::new(), "malformed"),
        ("{".to_owned(), "malformed"),
        ("[]".to_owned(), "malformed"),
        ("\"fixes\"".to_owned(), "malformed"),
        (r#"{"type":"fly"}"#.to_owned(), "malformed"),
        (r#"{"seq":1,"fixes":[]}"#.to_owned(), "malformed"),
        (r#"{"type":"fixes","seq":1}"#.to_owned(), "malformed"),
        (r#"{"type":"fixes","seq":"1","fixes":[]}"#.to_owned(), "malformed"),
        (r#"{"type":"fixes","seq":1,"fixes":[{"lat":NaN,"lon":2}]}"#.to_owned(), "malformed"),
        (r#"{"type":"fixes","seq":1,"fixes":[{"lat":Infinity,"lon":2}]}"#.to_owned(), "malformed"),
        ("[".repeat(10_000), "malformed"),
        (r#"{"type":"hello","session":"0"}"#.to_owned(), "invalid"),
        (r#"{"type":"hello","session":"nonsense"}"#.to_owned(), "invalid"),
        (r#"{"type":"auth","token":"nonsense"}"#.to_owned(), "unauthorized"),
        (json!({ "type": "auth", "token": house.key }).to_string(), "forbidden"),
        (json!({ "type": "fixes", "seq": 1, "fixes": many }).to_string(), "too_many"),
    ];
    for (turn, (text, code)) in cases.iter().enumerate() {
        app.raw(text).await;
        let error = app.said("error").await;
        assert_eq!(
            (error["code"].as_str(), error["retry"].as_bool()),
            (Some(*code), Some(false)),
            "{text:.60}: {error}"
        );
        let verdicts = app.deliver(vec![near_pickup(0.0, now_ms() - 600_000 + turn as i64 * 1000)]).await;
        assert_eq!(verdicts, ["accepted"], "after {text:.60}");
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn a_post_that_is_none_is_refused_by_status() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    let driver = house.driver("Ana").await;
    let good = near_pickup(0.0, now_ms() - 60_000);
    let many: Vec<Value> = (0..101).map(|step| near_pickup(0.0, now_ms() - 500_000 + step)).collect();
    let big = format!(r#"{{"fixes":[{good}],"padding":"{}"}}"#, "x".repeat(256 * 1024));
    let cases = [
        (String::new(), 400, "malformed"),
        ("{".to_owned(), 400, "malformed"),
        ("[]".to_owned(), 400, "malformed"),
        (r#"{"fixes":[{"lat":NaN,"lon":2}]}"#.to_owned(), 400, "malformed"),
        (json!({ "fixes": many }).to_string(), 413, "too_many"),
        (big, 413, "too_large"),
        (json!({ "session": "1f", "fixes": [good] }).to_string(), 422, "invalid"),
        (json!({ "seq": 4, "fixes": [good] }).to_string(), 422, "invalid"),
        (json!({ "session": "xyz", "seq": 4, "fixes": [good] }).to_string(), 422, "invalid"),
    ];
    for (body, status, code) in cases {
        let told = format!("{body:.60}");
        let request = house.http.post(house.url("/v1/fixes")).bearer_auth(&driver.token);
        let answer = House::answer(request.header("content-type", "application/json").body(body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{told}");
        assert_eq!(answer.json()["retry"], false);
        witness.passes(&house, &told).await;
    }
    // Never unpacked, so that no bomb can go off. PROTOCOL.md, "Limits", names the status of the first.
    for (path, token, expected) in [("/v1/fixes", &driver.token, &[413][..]), ("/v1/drivers", &house.key, &[413])] {
        let request = house.http.post(house.url(path)).bearer_auth(token).header("content-encoding", "gzip");
        let answer = House::answer(request.body(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0])).await;
        assert!(expected.contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        witness.passes(&house, "gzip").await;
    }
    assert_eq!(house.command(&["fixes", "--driver", &driver.id]).await.lines().count(), 1);
    house.assert_clean_log();
}

#[tokio::test]
async fn framing_that_is_forbidden_or_too_big_ends_with_its_code() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    let driver = house.driver("Ana").await;
    let mut claim = vec![0x81, 0xFF];
    claim.extend_from_slice(&(64_u64 << 20).to_be_bytes());
    claim.extend_from_slice(&[0; 4]);
    let mut huge_claim = vec![0x81, 0xFF];
    huge_claim.extend_from_slice(&u64::MAX.to_be_bytes());
    huge_claim.extend_from_slice(&[0; 4]);
    let mut fragments = raw::frame(0x01, b"[");
    (0..100).for_each(|_| fragments.extend(raw::frame(0x00, b"1")));
    let mut growing = raw::frame(0x01, &[b'x'; 40_000]);
    growing.extend(raw::frame(0x80, &[b'x'; 40_000]));
    let cases: [(&str, Vec<u8>, u16); 15] = [
        ("a claim of 64 MiB", claim, 1009),
        ("a claim of 2^64", huge_claim, 1009),
        ("a whole message over 64 KiB", raw::frame(0x81, &[b' '; 65_537]), 1009),
        ("a flood of fragments", fragments, 1009),
        ("fragments that grow over 64 KiB", growing, 1009),
        ("a binary message", raw::frame(0x82, b"{}"), 1003),
        ("a frame without mask", b"\x81\x02{}".to_vec(), 1002),
        ("a reserved bit", raw::frame(0xC1, b"{}"), 1002),
        ("a reserved opcode", raw::frame(0x83, b"{}"), 1002),
        ("a continuation of nothing", raw::frame(0x80, b"{}"), 1002),
        ("a message inside another", [raw::frame(0x01, b"{"), raw::frame(0x81, b"}")].concat(), 1002),
        ("a ping in fragments", raw::frame(0x09, b""), 1002),
        ("a ping over 125 bytes", raw::frame(0x89, &[0; 126]), 1002),
        ("text that is not UTF-8", raw::frame(0x81, &[0xC3, 0x28]), 1007),
        ("a close code that may not be sent", raw::frame(0x88, &[0x03, 0xED]), 1002),
    ];
    for (name, bytes, code) in cases {
        for (path, subprotocol, token) in [("/v1/drive", DRIVE, &driver.token), ("/v1/watch", WATCH, &house.key)] {
            let mut socket = Raw::websocket(&house, path, subprotocol, Some(token)).await;
            socket.send(&bytes).await;
            assert_eq!(socket.close_code().await, Some(code), "{name} at {path}");
        }
        // Before any token is known, the door for drivers reads by another way.
        let mut socket = Raw::websocket(&house, "/v1/drive", DRIVE, None).await;
        socket.send(&bytes).await;
        assert_eq!(socket.close_code().await, Some(code), "{name} before hello");
        witness.passes(&house, name).await;
    }
    let mut socket = Raw::websocket(&house, "/v1/watch", WATCH, Some(&house.key)).await;
    socket.send(&raw::frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(socket.close_code().await, Some(1000), "a plain goodbye");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_message_in_pieces_is_read_whole() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let hello = json!({ "type": "hello", "token": driver.token, "session": "ab" }).to_string();
    let (first, last) = hello.as_bytes().split_at(hello.len() / 2);
    let pieces = [raw::frame(0x01, first), raw::frame(0x89, b"ping"), raw::frame(0x80, last)].concat();
    let mut socket = Raw::websocket(&house, "/v1/drive", DRIVE, None).await;
    for byte in pieces.chunks(29) {
        socket.send(byte).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let (opcode, payload) = socket.frame().await.expect("an answer");
        kinds.push((opcode, String::from_utf8(payload).unwrap()));
    }
    assert_eq!(kinds[0], (10, "ping".to_owned()), "the ping is answered");
    assert!(kinds[1].0 == 1 && kinds[1].1.contains("welcome"), "{kinds:?}");
    // In one piece with the handshake, as hasty clients do.
    let mut hasty = Raw::connect(&house).await;
    let mut bytes = raw::handshake(&house, "/v1/drive", DRIVE, None).into_bytes();
    bytes.extend(raw::text(&hello));
    hasty.send(&bytes).await;
    assert!(hasty.head().await.starts_with("HTTP/1.1 101 "));
    let (_, welcome) = hasty.frame().await.expect("an answer");
    assert!(String::from_utf8(welcome).unwrap().contains("welcome"));
    house.assert_clean_log();
}

#[tokio::test]
async fn nonsense_again_and_again_ends_with_4202_and_a_flood_with_4004() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    let driver = house.driver("Ana").await;
    let mut app = App::open(&house, &driver).await;
    for _ in 0..15 {
        app.raw("nonsense").await;
    }
    app.deliver(vec![near_pickup(0.0, now_ms() - 60_000)]).await;
    for _ in 0..16 {
        app.raw("nonsense").await;
    }
    assert_eq!(app.closed().await, 4202, "sixteen in a row, not before");
    assert_eq!(app.said.iter().filter(|said| said["type"] == "error").count(), 30);
    assert_eq!(app.said.last().map(|said| (&said["type"], &said["code"])), Some((&json!("bye"), &json!(4202))));
    witness.passes(&house, "nonsense").await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    for _ in 0..16 {
        watcher.say(json!({ "type": "fly" })).await;
    }
    assert_eq!(watcher.closed().await, 4202);

    let mut app = App::open(&house, &driver).await;
    for _ in 0..400 {
        app.raw(r#"{"type":"ping"}"#).await;
    }
    assert_eq!(app.closed().await, 4004);
    let bye = app.said.last().unwrap();
    assert!(bye["retry_after_ms"].as_u64().is_some_and(|after_ms| after_ms >= 1000), "{bye}");
    let mut watcher = Watcher::open(&house, &house.key).await;
    for _ in 0..400 {
        let _ = watcher.ws.feed(Message::Ping(Vec::new().into())).await;
    }
    let _ = watcher.ws.flush().await;
    assert_eq!(watcher.closed().await, 4004, "pings count like anything else");
    witness.passes(&house, "a flood").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn topics_that_are_not_for_the_bearer_do_not_exist() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let customer = house.token("customer", "cus").await;
    let foreign = house.token("customer", "other").await;
    let nobody = "trp_00000000000000000000000000";
    let internal = [format!("plan:{}", driver.id), format!("access:{}", trip.id)];
    let absent = [format!("trip:{nobody}"), format!("trip:{nobody}:ops"), format!("driver:drv_{}", &nobody[4..])];
    let hidden = [trip.ops.clone(), format!("driver:{}", driver.id), format!("store:sto_{}", &nobody[4..])];
    let wrong = [
        "*",
        "trip:*",
        "trip:",
        "",
        "trip",
        "trip:trp_*",
        "area:8928308280fffff",
        "keys",
        "revoked",
        "phases",
        "trip:trp_0\r\nid: 1",
    ];
    let mut cases: Vec<(&str, &str, &str)> = Vec::new();
    cases.extend(wrong.iter().map(|topic| (&*customer, *topic, "invalid")));
    cases.extend(wrong.iter().map(|topic| (&*house.key, *topic, "invalid")));
    cases.extend(absent.iter().map(|topic| (&*house.key, &**topic, "not_found")));
    cases.extend(internal.iter().map(|topic| (&*house.key, &**topic, "not_found")));
    cases.extend(absent.iter().chain(&internal).chain(&hidden).map(|topic| (&*customer, &**topic, "not_found")));
    cases.push((&foreign, &trip.topic, "not_found"));
    for (token, topic, code) in cases {
        let mut socket = Watcher::open(&house, token).await;
        socket.subscribe(&[topic]).await;
        let error = tokio::time::timeout(Duration::from_secs(5), socket.said("error")).await;
        let error = error.unwrap_or_else(|_| panic!("no answer to {topic:?}"));
        assert_eq!(error["code"], code, "{topic}: {error}");
        if topic.is_empty() || topic.contains('\r') {
            continue;
        }
        for door in ["sse", "poll"] {
            let answer = house.call("GET", &format!("/v1/watch/{door}?topics={topic}"), Some(token), None).await;
            assert_eq!(answer.code(), code, "{topic} at {door}: {}", answer.text);
        }
        // A good topic beside it is not harmed.
        socket.subscribe(&[&trip.topic]).await;
        if token != foreign {
            socket.until("the good topic", |memory| !memory.state(&trip.topic).is_null()).await;
        }
    }
    // Nothing tells the foreign from the absent, but for the name that was asked for.
    let mut answers = Vec::new();
    for topic in [&trip.topic, &absent[0]] {
        let answer = house.call("GET", &format!("/v1/watch/poll?topics={topic}"), Some(&foreign), None).await;
        answers.push((answer.status, answer.text.replace(topic, "…")));
    }
    assert_eq!(answers[0], answers[1]);
    witness.passes(&house, "all of it").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn more_topics_than_the_limit_are_refused_at_the_limit() {
    let house = House::start().await;
    let topics: Vec<String> = (0..101).map(|number| format!("store:sto_{number:026}")).collect();
    let mut watcher = Watcher::open(&house, &house.key).await;
    for part in topics.chunks(25) {
        watcher.subscribe(&part.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let error = watcher.said("error").await;
    assert_eq!((&error["code"], &error["topic"]), (&json!("too_many"), &json!(topics[100])));
    watcher.until("a hundred topics", |memory| memory.log_cursors.len() == 100).await;
    watcher.say(json!({ "type": "unsubscribe", "topics": [topics[0]] })).await;
    watcher.said("unsubscribed").await;
    watcher.subscribe(&[&topics[100]]).await;
    watcher.until("another in its place", |memory| memory.log_cursors.len() == 101).await;
    let nine = topics[..9].join(",");
    for door in ["sse", "poll"] {
        let answer = house.call("GET", &format!("/v1/watch/{door}?topics={nine}"), Some(&house.key), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "too_many"));
    }
    // One message with a million names is too big before it is too many.
    let names: Vec<Value> = (0..10_000).map(|_| json!({ "topic": topics[0] })).collect();
    watcher.say(json!({ "type": "subscribe", "topics": names })).await;
    assert_eq!(watcher.closed().await, 1009);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_ticket_opens_one_connection_and_nothing_else() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let customer = house.token("customer", "cus").await;
    let ticket = house.ticket(&customer).await;
    let path = format!("/v1/watch?ticket={ticket}");
    let mut watcher = Watcher::over(open(&house, &path, WATCH, None, None).await.unwrap(), Memory::new(&house));
    watcher.subscribe(&[&trip.topic]).await;
    watcher.until("the state", |memory| !memory.state(&trip.topic).is_null()).await;
    assert_eq!(refusal(open(&house, &path, WATCH, None, None).await), 401, "a second time");
    for door in ["sse", "poll"] {
        let used =
            house.call("GET", &format!("/v1/watch/{door}?topics={}&ticket={ticket}", trip.topic), None, None).await;
        assert_eq!((used.status, used.code().as_str()), (401, "unauthorized"), "a third time at {door}");
        let fresh = house.ticket(&customer).await;
        let url = format!("/v1/watch/poll?topics={}&ticket={fresh}", trip.topic);
        assert_eq!(house.call("GET", &url, None, None).await.status, 200);
        assert_eq!(house.call("GET", &url, None, None).await.status, 401);
    }
    // A ticket is no token, and a token no ticket.
    let fresh = house.ticket(&customer).await;
    let url = format!("/v1/watch/poll?topics={}", trip.topic);
    assert_eq!(house.call("GET", &url, Some(&fresh), None).await.status, 401);
    assert_eq!(house.call("GET", &format!("{url}&ticket={customer}"), None, None).await.status, 401);
    assert_eq!(house.call("POST", "/v1/tickets", Some(&fresh), None).await.status, 401);
    house.assert_clean_log();
}

/// The status with which a handshake was refused.
fn refusal<T>(opened: Result<T, tungstenite::Error>) -> u16 {
    match opened.map(drop) {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?} where a refusal was expected"),
    }
}

#[tokio::test]
async fn a_used_ticket_stays_used_over_a_crash() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let customer = house.token("customer", "cus").await;
    let url = format!("/v1/watch/poll?topics={}&ticket={}", trip.topic, house.ticket(&customer).await);
    assert_eq!(house.call("GET", &url, None, None).await.status, 200);
    house.kill9();
    // Tickets carry whole seconds: those of the second in which the house comes up are believed.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    house.restart().await;
    assert_eq!(house.call("GET", &url, None, None).await.status, 401);
    house.assert_clean_log();
}

#[tokio::test]
async fn forged_tokens_open_no_door() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    let jwks = house.call("GET", "/.well-known/jwks.json", None, None).await.json();
    let key = &jwks["keys"][0];
    let (kid, public) = (key["kid"].as_str().unwrap(), key["x"].as_str().unwrap());
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
    assert_eq!(key.get("d"), None, "the private key");
    let parts: Vec<&str> = house.key.split('.').collect();
    let claims = String::from_utf8(forge::from_base64url(parts[1])).unwrap();
    let header = String::from_utf8(forge::from_base64url(parts[0])).unwrap();
    let real_signature = forge::from_base64url(parts[2]);
    let none = |_: &[u8]| Vec::new();
    let keep = |_: &[u8]| real_signature.clone();
    let public_bytes = forge::from_base64url(public);
    let with_kid = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#);
    let pem = format!("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA{public}=\n-----END PUBLIC KEY-----\n");
    let mut forged = vec![
        String::new(),
        "nonsense".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.", house.key),
        format!("{}x", house.key),
        forge::token(&with_kid("HS256"), &claims, |body| forge::hmac_sha256(&public_bytes, body)),
        forge::token(&with_kid("HS256"), &claims, |body| forge::hmac_sha256(public.as_bytes(), body)),
        forge::token(&with_kid("HS256"), &claims, |body| forge::hmac_sha256(pem.as_bytes(), body)),
        forge::token(&with_kid("HS256"), &claims, |body| forge::hmac_sha256(b"", body)),
        forge::token(&with_kid("RS256"), &claims, keep),
        forge::token(&with_kid("ES256"), &claims, keep),
        forge::token(&with_kid("EdDSA"), &claims.replace(r#""first""#, r#""second""#), keep),
        forge::token(&with_kid("EdDSA"), &claims, |_| vec![0; 64]),
        forge::token(&header, &claims, |_| real_signature[..63].to_vec()),
        forge::token(r#"{"alg":"EdDSA","typ":"JWT"}"#, &claims, keep),
        forge::token(r#"{"alg":"EdDSA","kid":"","typ":"JWT"}"#, &claims, keep),
        forge::token(r#"{"alg":"EdDSA","kid":"../../dev/null","typ":"JWT"}"#, &claims, keep),
        forge::token(r#"{"alg":"EdDSA","kid":"key' OR 1=1 --","typ":"JWT"}"#, &claims, keep),
        forge::token(
            &format!(r#"{{"alg":"EdDSA","kid":"{kid}","jku":"http://127.0.0.1:9/jwks","typ":"JWT"}}"#),
            &claims,
            |_| vec![1; 64],
        ),
        forge::token(
            &format!(r#"{{"alg":"EdDSA","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{public}"}},"typ":"JWT"}}"#),
            &claims,
            keep,
        ),
        "x".repeat(3000),
    ];
    for alg in ["none", "None", "NONE", "nOnE"] {
        forged.push(forge::token(&with_kid(alg), &claims, none));
        forged.push(forge::token(&with_kid(alg), &claims, keep));
    }
    for token in &forged {
        let token = token.as_str();
        for (method, path) in [
            ("GET", "/v1/drivers"),
            ("POST", "/v1/fixes"),
            ("POST", "/v1/tickets"),
            ("GET", "/v1/watch/poll?topics=trip:trp_00000000000000000000000000"),
            ("GET", "/v1/watch/sse?topics=trip:trp_00000000000000000000000000"),
            ("GET", "/metrics"),
        ] {
            let answer = house.call(method, path, Some(token), None).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, "unauthorized"),
                "{path} {token}: {}",
                answer.text
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        let url = format!("/v1/watch?ticket={}", token.replace(' ', "%20"));
        if !token.is_empty() {
            assert_eq!(refusal(open(&house, &url, WATCH, None, None).await), 401, "{token}");
            assert_eq!(refusal(open(&house, "/v1/drive", DRIVE, Some(token), None).await), 401, "{token}");
        }
        let mut ws = open(&house, "/v1/drive", DRIVE, None, None).await.unwrap();
        ws.send(Message::text(json!({ "type": "hello", "token": token, "session": "1" }).to_string())).await.unwrap();
        assert_eq!(bye_and_close(&mut ws).await, (4101, 4101), "{token}");
    }
    let mut ws = open(&house, "/v1/watch", WATCH, None, None).await.unwrap();
    ws.send(Message::text(json!({ "type": "auth", "token": forged[8] }).to_string())).await.unwrap();
    assert_eq!(bye_and_close(&mut ws).await, (4101, 4101));
    // A good token beside a second one counts for nothing.
    let twice = house.http.get(house.url("/v1/drivers")).header("authorization", format!("Bearer {}", house.key));
    let answer = House::answer(twice.header("authorization", format!("Bearer {}", house.key))).await;
    assert_eq!(answer.status, 401);
    // Never in a URL.
    let answer = house.call("GET", &format!("/v1/drivers?token={0}&access_token={0}", house.key), None, None).await;
    assert_eq!(answer.status, 401);
    witness.passes(&house, "the forgeries").await;
    house.assert_clean_log();
}

/// The codes of the goodbye and of the close frame.
async fn bye_and_close(ws: &mut tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>) -> (u64, u16) {
    let mut bye = 0;
    loop {
        match next_json(ws).await {
            Ok(message) => bye = message["code"].as_u64().unwrap_or(0),
            Err(code) => return (bye, code),
        }
    }
}

#[tokio::test]
async fn who_does_not_say_who_it_is_must_leave() {
    let house = House::start_with(&[("INGEST_AUTH_TIMEOUT_S", "1"), ("FANOUT_AUTH_TIMEOUT_S", "1")]).await;
    let mut witness = Witness::new(&house).await;
    let driver = house.driver("Ana").await;
    for (path, subprotocol, token) in
        [("/v1/drive", DRIVE, None), ("/v1/drive", DRIVE, Some(&*driver.token)), ("/v1/watch", WATCH, None)]
    {
        let began = Instant::now();
        let mut ws = open(&house, path, subprotocol, token, None).await.unwrap();
        assert_eq!(bye_and_close(&mut ws).await, (4002, 4002), "{path}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    // Half a message is none.
    let mut socket = Raw::websocket(&house, "/v1/drive", DRIVE, None).await;
    socket.send(&raw::text(r#"{"type":"hello"}"#)[..9]).await;
    assert_eq!(socket.close_code().await, Some(4002));
    let mut watcher = Watcher::over(open(&house, "/v1/watch", WATCH, None, None).await.unwrap(), Memory::new(&house));
    watcher.subscribe(&["trip:trp_00000000000000000000000000"]).await;
    assert_eq!(watcher.said("error").await["code"], "unauthorized");
    watcher.say(json!({ "type": "auth", "token": house.key })).await;
    assert!(watcher.said("welcome").await["expires_at_ms"].as_i64().unwrap() > now_ms());
    witness.passes(&house, "silence").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_request_that_trickles_is_cut() {
    let house = House::start_with(&[("HTTP_HEAD_TIMEOUT_S", "1")]).await;
    let mut witness = Witness::new(&house).await;
    let mut slow = Raw::connect(&house).await;
    let began = Instant::now();
    slow.send(b"GET /v1/drivers HTTP/1.1\r\nHost: x\r\n").await;
    for _ in 0..40 {
        if slow.stream.write_all(b"X: y\r\n").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (_, ended) = slow.rest(Duration::from_secs(3)).await;
    assert!(ended && began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let mut silent = Raw::connect(&house).await;
    let (said, ended) = silent.rest(Duration::from_secs(4)).await;
    assert!(ended && said.is_empty(), "who says nothing is cut too: {}", String::from_utf8_lossy(&said));
    let mut large = Raw::connect(&house).await;
    large.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000)).as_bytes()).await;
    assert!(large.head().await.starts_with("HTTP/1.1 431 "));
    witness.passes(&house, "slow heads").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn requests_with_two_meanings_are_refused_and_nothing_is_smuggled() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    let auth = format!("Host: x\r\nAuthorization: Bearer {}\r\n", house.key);
    // The smuggled request would make a driver.
    let body = r#"{"name":"Smuggled","vehicle":"car"}"#;
    let smuggled = format!("POST /v1/drivers HTTP/1.1\r\n{auth}Content-Length: {}\r\n\r\n{body}", body.len());
    let post = "POST /v1/tickets HTTP/1.1\r\n";
    let length = smuggled.len();
    let cases = [
        (
            "both lengths",
            format!("{post}{auth}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "both lengths, the other way",
            format!("{post}{auth}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("two lengths", format!("{post}{auth}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}")),
        ("two lengths in one", format!("{post}{auth}Content-Length: 0, {length}\r\n\r\n{smuggled}")),
        ("a signed length", format!("{post}{auth}Content-Length: +0\r\n\r\n{smuggled}")),
        ("a negative length", format!("{post}{auth}Content-Length: -1\r\n\r\n{smuggled}")),
        ("a length in hexadecimal", format!("{post}{auth}Content-Length: 0x0\r\n\r\n{smuggled}")),
        ("a folded header", format!("{post}{auth}X: a\r\n b\r\nContent-Length:\r\n 0\r\n\r\n{smuggled}")),
        ("a space before the colon", format!("{post}{auth}Content-Length : 0\r\n\r\n{smuggled}")),
        ("a bare CR", format!("{post}{auth}X: a\rContent-Length: 9\r\n\r\n{smuggled}")),
        ("a NUL", format!("{post}{auth}X: a\0b\r\n\r\n{smuggled}")),
        (
            "chunked twice",
            format!("{post}{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("chunked in disguise", format!("{post}{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("chunked, then more", format!("{post}{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}")),
        ("a chunk of no size", format!("{post}{auth}Transfer-Encoding: chunked\r\n\r\n\r\n{smuggled}")),
        ("a chunk of bad size", format!("{post}{auth}Transfer-Encoding: chunked\r\n\r\nzz\r\n{smuggled}")),
        (
            "a chunk of huge size",
            format!("{post}{auth}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff0\r\n{smuggled}"),
        ),
        ("a chunk with a sign", format!("{post}{auth}Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n{smuggled}")),
        (
            "chunked in an old version",
            format!("POST /v1/tickets HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("no version", format!("GET /\r\n\r\n{smuggled}")),
        ("another version", format!("GET / HTTP/3.7\r\n\r\n{smuggled}")),
    ];
    for (name, request) in cases {
        let mut socket = Raw::connect(&house).await;
        socket.send(request.as_bytes()).await;
        let (said, _) = socket.rest(Duration::from_millis(300)).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("Smuggled"), "{name}: {said}");
        witness.passes(&house, name).await;
    }
    let drivers = house.call("GET", "/v1/drivers", Some(&house.key), None).await.json();
    assert_eq!(drivers["items"].as_array().unwrap().len(), 1, "the witness alone: {drivers}");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_page_of_another_host_opens_no_door() {
    let house = House::start_with(&[("HTTP_ORIGINS", r#"["https://track.example.com"]"#)]).await;
    let mut witness = Witness::new(&house).await;
    let driver = house.driver("Ana").await;
    let own = format!("http://127.0.0.1:{}", house.port);
    let (own_suffix, own_prefix) = (format!("{own}.evil.example"), format!("http://evil.example:{}", house.port));
    let doors = [
        ("GET", "/v1/drive", "websocket"),
        ("GET", "/v1/watch", "websocket"),
        ("GET", "/v1/watch/sse?topics=trip:trp_00000000000000000000000000", ""),
        ("GET", "/v1/watch/poll?topics=trip:trp_00000000000000000000000000", ""),
        ("POST", "/v1/fixes", ""),
        ("GET", "/v1/drivers", ""),
        ("POST", "/v1/tickets", ""),
    ];
    let foreign = [
        "https://evil.example",
        "null",
        "",
        "https://track.example.com.evil.example",
        "https://eviltrack.example.com",
        "http://track.example.com",
        "https://track.example.com:444",
        "file://",
        &own_suffix,
        &own_prefix,
    ];
    for (method, path, kind) in doors {
        for (origin, allowed) in
            foreign.iter().map(|origin| (*origin, false)).chain([("https://track.example.com", true), (&*own, true)])
        {
            let token = if path == "/v1/drive" || path == "/v1/fixes" { &driver.token } else { &house.key };
            let mut request = house
                .http
                .request(method.parse().unwrap(), house.url(path))
                .header("origin", origin)
                .bearer_auth(token);
            if kind == "websocket" {
                let (subprotocol, key) = (if path == "/v1/drive" { DRIVE } else { WATCH }, "dGhlIHNhbXBsZSBub25jZQ==");
                request = request
                    .header("connection", "upgrade")
                    .header("upgrade", "websocket")
                    .header("sec-websocket-version", "13");
                request = request.header("sec-websocket-key", key).header("sec-websocket-protocol", subprotocol);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status() != 403, allowed, "{origin:?} at {path}: {}", response.status());
            if !allowed {
                assert_eq!(response.headers().get("access-control-allow-origin"), None);
            }
        }
    }
    witness.passes(&house, "other pages").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let house = House::start().await;
    let mut witness = Witness::new(&house).await;
    for (path, right, wrong) in [("/v1/drive", DRIVE, WATCH), ("/v1/watch", WATCH, DRIVE)] {
        for subprotocol in [wrong, "graphql-ws", "wayfare.watch.v2.json"] {
            assert_eq!(refusal(open(&house, path, subprotocol, None, None).await), 400, "{subprotocol}");
        }
        let good = raw::handshake(&house, path, right, None);
        for (change, to) in [
            ("Upgrade: websocket\r\n", ""),
            ("Connection: Upgrade\r\n", ""),
            ("Version: 13", "Version: 8"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
            ("Sec-WebSocket-Protocol", "X-Protocol"),
        ] {
            let mut socket = Raw::connect(&house).await;
            socket.send(good.replace(change, to).as_bytes()).await;
            let head = socket.head().await;
            assert!(head.starts_with("HTTP/1.1 400 "), "without {change:?}: {head}");
        }
        let mut socket = Raw::connect(&house).await;
        socket.send(good.replace(right, &format!("other, {right}")).as_bytes()).await;
        assert!(socket.head().await.starts_with("HTTP/1.1 101 "), "one of several is enough");
    }
    witness.passes(&house, "bad handshakes").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn names_that_are_code_stay_text() {
    let house = House::start().await;
    let since_ms = now_ms() - 600_000;
    for name in ["a\r\nevent: end", "a\nb", "a\u{0}", "\u{1b}[31m", "", &"x".repeat(201)] {
        let body = json!({ "name": name, "vehicle": "car" });
        let answer = house.call("POST", "/v1/drivers", Some(&house.key), Some(&body)).await;
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some("name")), "{name:?}");
        let place = json!({ "lat": 41.0, "lon": -8.0, "name": name });
        let body = json!({ "customer": "cus", "pickup": place, "dropoff": place });
        assert_eq!(house.call("POST", "/v1/trips", Some(&house.key), Some(&body)).await.status, 422, "{name:?}");
    }
    let evil = r#"<script>alert(1)</script>\u2028","phase":"delivered"}"#.to_owned() + "\u{2028}data: x";
    let body = json!({ "name": evil, "vehicle": "car", "available": true, "available_since_ms": since_ms });
    let id = house.post("/v1/drivers", body).await["id"].as_str().unwrap().to_owned();
    let driver = Driver { token: house.token("driver", &id).await, id };
    house.knows_driver(&driver.id, |_| true).await;
    let trip = house.trip(Some(&driver), None).await;
    let mut stream = EventSource::open(&house, &house.key, &[&trip.topic]).await;
    stream.until("the name", |memory| memory.state(&trip.topic)["driver"]["name"] == *evil).await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[&trip.topic]).await;
    watcher.until("the name", |memory| memory.state(&trip.topic)["driver"]["name"] == *evil).await;
    assert_eq!(house.peek(&trip.topic).await.unwrap()["driver"]["name"], *evil);
    let reason = json!({ "reason": "a\r\nb" });
    assert_eq!(
        house.call("POST", &format!("/v1/trips/{}/cancel", trip.id), Some(&house.key), Some(&reason)).await.status,
        422
    );
    assert_eq!(house.log().lines().filter(|line| !line.starts_with("20")).count(), 0, "one event, one line");
    house.assert_clean_log();
}

impl App {
    /// The next ack, whether or not this app sent it.
    async fn said_ack(&mut self) -> Value {
        loop {
            let message = self.step().await.expect("the connection lives");
            if message["type"] == "ack" {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_driver_is_not_let_in_again() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    house.post(&format!("/v1/drivers/{}/revoke", driver.id), json!({})).await;
    crate::harness::until(Duration::from_secs(3), "the token opens nothing", async || {
        let answer = house.call("POST", "/v1/fixes", Some(&driver.token), Some(&json!({ "fixes": [] }))).await;
        (answer.status == 401).then_some(())
    })
    .await;
    let mut ws = open(&house, "/v1/drive", DRIVE, None, None).await.unwrap();
    ws.send(Message::text(json!({ "type": "hello", "token": driver.token, "session": "1" }).to_string()))
        .await
        .unwrap();
    assert_eq!(bye_and_close(&mut ws).await, (4201, 4201));
    house.assert_clean_log();
}
