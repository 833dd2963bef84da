//! Drivers that speak Protocol Buffers: the same house, the same acks, whichever codec and transport.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{Fix, Fixes, FromDriver, ToDriver};
use wayfare_wire::{DRIVE_PROTO_V1, ErrorCode};

use crate::drive::Outbox;
use crate::harness::{House, SOON, now_ms, within};
use crate::quic_app::{QUIC, QuicApp};
use crate::ride::PICKUP;
use crate::watch::{Watcher, open_port};

/// Some metres north of the kitchen.
fn fix(north_m: f64, t_ms: i64) -> Fix {
    let lat = PICKUP.0 + north_m / 111_195.0;
    Fix { lat, lon: PICKUP.1, t_ms: Some(t_ms), accuracy_m: Some(5.0), speed_mps: Some(3.0), ..Fix::default() }
}

fn bytes(message: &FromDriver) -> Vec<u8> {
    let mut bytes = Vec::new();
    DriveCodec::Proto.write_from_driver(&mut bytes, message);
    bytes
}

fn fixes(seq: u64, fixes: Vec<Fix>) -> Vec<u8> {
    bytes(&FromDriver::Fixes(Fixes { seq, sent_ms: Some(now_ms()), fixes, ..Fixes::default() }))
}

type Socket = WebSocketStream<TcpStream>;

async fn say(ws: &mut Socket, message: Vec<u8>) {
    ws.send(Message::binary(message)).await.unwrap();
}

/// The next message, or the close code.
async fn next(ws: &mut Socket) -> Result<ToDriver, u16> {
    within(SOON, "a message", async {
        loop {
            match ws.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(DriveCodec::Proto.read_to_driver(&bytes).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(Message::Text(text))) => panic!("text on a binary connection: {text}"),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await
}

/// The next ack; what else is said on the way is passed over.
async fn verdicts(ws: &mut Socket, seq: u64) -> Vec<String> {
    loop {
        match next(ws).await.unwrap() {
            ToDriver::Ack(ack) if ack.seq == seq => return ack.verdicts,
            ToDriver::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
}

/// The code with which it ends.
async fn ends(ws: &mut Socket) -> u16 {
    loop {
        if let Err(code) = next(ws).await {
            return code;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_speaks_protocol_buffers_on_a_websocket() {
    let mut house = House::start().await;
    let driver = house.driver("Ada").await;
    let topic = &*format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[topic]).await;
    // The token once in the first message, once in the header.
    for token in [None, Some(driver.token.as_str())] {
        let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, token, None).await.unwrap();
        let hello_token = token.is_none().then(|| driver.token.clone());
        let session = if token.is_none() { "9f3a61c0" } else { "ffffffffffffffff" };
        say(&mut ws, bytes(&FromDriver::Hello { token: hello_token, session: session.into() })).await;
        let welcome = next(&mut ws).await.unwrap();
        let ToDriver::Welcome { version: 1, driver: named, .. } = &welcome else { panic!("{welcome:?}") };
        assert_eq!(*named, driver.id);
        let t_ms = now_ms();
        let bad = Fix { lat: 0.0, lon: 0.0, ..fix(0.0, t_ms) };
        say(&mut ws, fixes(1, vec![fix(3.0, t_ms - 5), bad, fix(3.1, t_ms)])).await;
        assert_eq!(verdicts(&mut ws, 1).await, ["accepted", "invalid", "accepted"]);
        watcher.until("the newest position", |memory| memory.state(topic)["position"]["t_ms"] == t_ms).await;
        say(&mut ws, fixes(1, vec![fix(3.0, t_ms - 5), bad, fix(3.1, t_ms)])).await;
        assert_eq!(verdicts(&mut ws, 1).await, ["duplicate"; 3]);
        say(&mut ws, bytes(&FromDriver::Ping)).await;
        while next(&mut ws).await.unwrap() != ToDriver::Pong {}
    }
    // Unacked over a kill, sent again, there once.
    let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, Some(&driver.token), None).await.unwrap();
    let hello = bytes(&FromDriver::Hello { token: None, session: "7".into() });
    say(&mut ws, hello.clone()).await;
    let t_ms = now_ms();
    let message = fixes(1, vec![fix(8.0, t_ms)]);
    say(&mut ws, message.clone()).await;
    verdicts(&mut ws, 1).await;
    house.kill9();
    house.restart().await;
    let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, Some(&driver.token), None).await.unwrap();
    say(&mut ws, hello).await;
    say(&mut ws, message).await;
    assert_eq!(verdicts(&mut ws, 1).await, ["duplicate"]);
    let kept = house.command(&["fixes", "--driver", &driver.id]).await;
    assert_eq!(kept.lines().filter(|line| line.contains(&format!(",{t_ms},"))).count(), 1);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_answered_in_the_same_codec() {
    let house = House::start().await;
    let driver = house.driver("Bram").await;
    let open = async || {
        let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, Some(&driver.token), None).await.unwrap();
        say(&mut ws, bytes(&FromDriver::Hello { token: None, session: "a".into() })).await;
        assert!(matches!(next(&mut ws).await, Ok(ToDriver::Welcome { .. })));
        ws
    };
    let refused = async |ws: &mut Socket| match next(ws).await {
        Ok(ToDriver::Error(error)) => error.code,
        other => panic!("{other:?}"),
    };
    let mut ws = open().await;
    for nonsense in [&b"\xff\xff\xff"[..], b"", b"{\"type\":\"ping\"}", &[0x1a, 0x7f, 1]] {
        say(&mut ws, nonsense.to_vec()).await;
        assert_eq!(refused(&mut ws).await, ErrorCode::Malformed, "{nonsense:?}");
    }
    say(&mut ws, fixes(1, vec![fix(0.0, now_ms()); 101])).await;
    assert_eq!(refused(&mut ws).await, ErrorCode::TooMany);
    say(&mut ws, bytes(&FromDriver::Hello { token: None, session: "0".into() })).await;
    assert_eq!(refused(&mut ws).await, ErrorCode::Invalid);
    for _ in 0..16 {
        say(&mut ws, vec![0xff]).await;
    }
    assert_eq!(ends(&mut ws).await, 4202);
    let mut ws = open().await;
    ws.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(ends(&mut ws).await, 1003);
    let mut ws = open_port(house.port, "/v1/drive", DRIVE_PROTO_V1, None, None).await.unwrap();
    say(&mut ws, bytes(&FromDriver::Hello { token: Some("forged".into()), session: "a".into() })).await;
    assert_eq!(ends(&mut ws).await, 4101);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_speaks_protocol_buffers_on_quic() {
    let house = House::start_with(&QUIC).await;
    let driver = house.driver("Chidi").await;
    let mut app = QuicApp::silent(house.quic_port, &house.fingerprint, Outbox::new("a")).await.unwrap();
    app.control(DRIVE_PROTO_V1.as_bytes()).await;
    app.control(&bytes(&FromDriver::Hello { token: Some(driver.token.clone()), session: "a".into() })).await;
    let welcome = app.control_message().await;
    assert!(matches!(DriveCodec::Proto.read_to_driver(&welcome), Ok(ToDriver::Welcome { .. })));
    let t_ms = now_ms();
    app.message(&fixes(1, vec![fix(2.0, t_ms)])).await;
    let ack = loop {
        if let ToDriver::Ack(ack) = DriveCodec::Proto.read_to_driver(&app.control_message().await).unwrap() {
            break ack;
        }
    };
    assert_eq!((ack.seq, ack.verdicts), (1, vec!["accepted".to_owned()]));
    let state: Value = house.peek(&format!("driver:{}", driver.id)).await.unwrap();
    assert_eq!(state["position"]["t_ms"], t_ms);
    house.assert_clean_log();
}
