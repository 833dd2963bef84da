//! Tokens that expire on open connections of drivers, on each transport: the end, and the renewal in time.

use std::time::Duration;

use serde_json::{Value, json};
use wayfare_driver::{DriverConfig, Event, TokenSource, Way};
use wayfare_net::tokens::Signer;
use wayfare_wire::claims::ISSUER;
use wayfare_wire::{Claims, Role, TokenKind};

use crate::drive::{App, Outbox};
use crate::forge;
use crate::harness::{House, SOON, now_ms, within};
use crate::library::{self, WAYS};
use crate::quic_app::{QUIC, QuicApp};
use crate::rest::Driver;
use crate::ride::near_pickup;

/// Signs with the house's own key, out of its file: the API makes no tokens that live for seconds.
async fn signer(house: &House) -> Signer {
    let (id, pkcs8) = forge::signing_key(&house.data().join("records.sqlite")).await;
    Signer::from_pkcs8(id, &pkcs8).unwrap()
}

/// The same driver with a token for so many seconds, and its `exp` in ms.
fn short(signer: &Signer, driver: &Driver, ttl_s: i64) -> (Driver, i64) {
    let iat = now_ms() / 1000;
    let claims = Claims {
        iss: ISSUER.into(),
        aud: ISSUER.into(),
        sub: driver.id.clone(),
        role: Role::Driver,
        kind: TokenKind::Access,
        jti: format!("tok_{iat}"),
        parent: None,
        iat,
        exp: iat + ttl_s,
        until: None,
        kid: signer.kid().into(),
    };
    (Driver { token: signer.sign(&claims), ..driver.clone() }, claims.exp * 1000)
}

/// A driver's connection, whichever it is.
enum Line {
    WebSocket(Box<App>),
    Quic(Box<QuicApp>),
}

impl Line {
    async fn open(house: &House, driver: &Driver, quic: bool) -> Self {
        // A numbering of its own.
        let outbox = Outbox::new(&format!("{:x}", now_ms()));
        if quic {
            Self::Quic(Box::new(QuicApp::resume(house, driver, outbox).await.unwrap()))
        } else {
            Self::WebSocket(Box::new(App::resume(house, driver, outbox).await.unwrap()))
        }
    }

    async fn say(&mut self, message: &Value) {
        match self {
            Self::WebSocket(app) => app.raw(&message.to_string()).await,
            Self::Quic(app) => app.control(message.to_string().as_bytes()).await,
        }
    }

    async fn deliver(&mut self, fix: Value) -> Vec<String> {
        match self {
            Self::WebSocket(app) => app.deliver(vec![fix]).await,
            Self::Quic(app) => app.deliver(vec![fix]).await,
        }
    }

    async fn said(&mut self, kind: &str) -> Value {
        match self {
            Self::WebSocket(app) => app.said(kind).await,
            Self::Quic(app) => app.said(kind).await,
        }
    }

    async fn closed(&mut self) -> u64 {
        match self {
            Self::WebSocket(app) => app.closed().await.into(),
            Self::Quic(app) => app.closed().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_token_unless_that_is_renewed() {
    let house = House::start_with(&QUIC).await;
    let (driver, other) = (house.driver("Ana").await, house.driver("Rui").await);
    let signer = signer(&house).await;
    let drivers = [(true, &driver, &other), (false, &other, &driver)];
    let lines = drivers.map(async |(quic, driver, other)| {
        let (brief, end_ms) = short(&signer, driver, 4);
        let mut line = Line::open(&house, &brief, quic).await;
        assert_eq!(line.deliver(near_pickup(1.0, now_ms())).await, ["accepted"]);
        assert_eq!(line.said("bye").await["code"], 4100, "quic: {quic}");
        assert!(now_ms() >= end_ms, "not before its time");
        assert_eq!(line.closed().await, 4100, "quic: {quic}");

        // What names somebody else renews nothing; the driver's own does, as often as it likes.
        let (brief, end_ms) = short(&signer, driver, 4);
        let mut line = Line::open(&house, &brief, quic).await;
        line.say(&json!({ "type": "auth", "token": short(&signer, other, 60).0.token })).await;
        assert_eq!(line.said("error").await["code"], "forbidden");
        line.say(&json!({ "type": "auth", "token": "nonsense" })).await;
        assert_eq!(line.said("error").await["code"], "unauthorized");
        let (renewed, later_ms) = short(&signer, driver, 10);
        line.say(&json!({ "type": "auth", "token": renewed.token })).await;
        assert_eq!(line.said("welcome").await["expires_at_ms"], later_ms);
        while now_ms() < end_ms + 2500 {
            assert_eq!(line.deliver(near_pickup(2.0, now_ms())).await, ["accepted"]);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(line.closed().await, 4100, "quic: {quic}");
        assert!(now_ms() >= later_ms);
    });
    futures_util::future::join_all(lines).await;
    // A token that is over opens nothing.
    let (late, _) = short(&signer, &driver, -1);
    let refused = QuicApp::resume(&house, &late, Outbox::new("1")).await.err();
    assert_eq!(refused, Some(4100));
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_renews_in_time_and_stops_when_it_cannot() {
    let house = House::start_with(&QUIC).await;
    let signer = std::sync::Arc::new(signer(&house).await);
    let rides = WAYS.map(async |(way, codec)| {
        let driver = house.driver("Ana").await;
        let (signer, named) = (std::sync::Arc::clone(&signer), driver.clone());
        let source = TokenSource::provider(move || {
            let token = short(&signer, &named, 4).0.token;
            async move { Ok(token) }
        });
        let config = DriverConfig { ways: vec![way], codec, token: source, ..library::config(&house, &driver) };
        let (phone, mut events) = wayfare_driver::Driver::connect(config).unwrap();
        let until_ms = now_ms() + 9_000;
        let mut sent = 0;
        while now_ms() < until_ms {
            phone.send(wayfare_driver::Fix { lat: 41.14, lon: -8.61, ..Default::default() }).unwrap();
            within(SOON, "its ack", phone.flush()).await.unwrap();
            sent += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        phone.close().await;
        let (mut acked, mut connected) = (0, 0);
        while let Some(event) = events.recv().await {
            match event {
                Event::Acked(_) => acked += 1,
                Event::Connected { .. } => connected += 1,
                // A request that is refused is made again with a new token: there is no connection to renew.
                Event::Disconnected { .. } if way == Way::Http => {}
                Event::Disconnected { reason, .. } | Event::Stopped { reason, .. } => panic!("{way:?}: {reason}"),
                _ => {}
            }
        }
        assert_eq!(acked, sent, "{way:?} {codec:?}");
        assert!(connected == 1 || way == Way::Http, "{way:?} {codec:?}: {connected} connections");
    });
    futures_util::future::join_all(rides).await;
    // With one token for ever, its end is the end.
    let driver = house.driver("Rui").await;
    for (way, codec) in WAYS.into_iter().filter(|(way, _)| *way != Way::Http) {
        let (brief, _) = short(&signer, &driver, 3);
        let config = DriverConfig { ways: vec![way], codec, ..library::config(&house, &brief) };
        let (_phone, mut events) = wayfare_driver::Driver::connect(config).unwrap();
        let code = within(SOON, "the end", async {
            loop {
                if let Event::Stopped { code, .. } = events.recv().await.unwrap() {
                    return code;
                }
            }
        })
        .await;
        assert_eq!(code, Some(4100), "{way:?} {codec:?}");
    }
    house.assert_clean_log();
}
