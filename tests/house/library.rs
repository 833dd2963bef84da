//! The driver's library against the real house: every way, the fall from one to the next, and a queue that outlives both ends.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use wayfare_driver::{DriveCodec, Driver, DriverConfig, Event, Fix, Phone, Trust, Way};

use crate::harness::{House, SOON, now_ms, within};
use crate::kill::kept;
use crate::quic_app::QUIC;
use crate::rest;
use crate::ride::PICKUP;

/// Every way in every codec that it knows.
pub const WAYS: [(Way, DriveCodec); 5] = [
    (Way::Quic, DriveCodec::Proto),
    (Way::Quic, DriveCodec::Json),
    (Way::WebSocket, DriveCodec::Proto),
    (Way::WebSocket, DriveCodec::Json),
    (Way::Http, DriveCodec::Json),
];

/// A driver that tries everything, and trusts this house.
pub fn config(house: &House, driver: &rest::Driver) -> DriverConfig {
    DriverConfig {
        quic: Some(format!("127.0.0.1:{}", house.quic_port)),
        trust: Trust::fingerprint(&house.fingerprint).unwrap(),
        ..DriverConfig::new(house.url(""), &*driver.token)
    }
}

fn fix(number: i64, start_ms: i64) -> Fix {
    // To and fro, a metre a second.
    let lat = PICKUP.0 + ((number % 100) - 50).abs() as f64 * 1e-5;
    Fix { lat, lon: PICKUP.1, t_ms: Some(start_ms + number * 1000), accuracy_m: Some(5.0), ..Fix::default() }
}

async fn connected(events: &mut Receiver<Event>) -> Way {
    within(2 * SOON, "a connection", async {
        loop {
            match events.recv().await.expect("the driver lives") {
                Event::Connected { way, .. } => return way,
                Event::Stopped { reason, .. } => panic!("stopped: {reason}"),
                _ => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_way_delivers_and_the_server_sets_the_rate() {
    let house = House::start_with(&QUIC).await;
    for (way, codec) in WAYS {
        let ana = house.driver("Ana").await;
        house.trip(Some(&ana), None).await;
        let config = DriverConfig { ways: vec![way], codec, ..config(&house, &ana) };
        let (driver, mut events) = Driver::connect(config).unwrap();
        assert_eq!(connected(&mut events).await, way);
        let start_ms = now_ms() - 300_000;
        for number in 0..250 {
            driver.send(fix(number, start_ms)).unwrap();
        }
        within(SOON, "all acks", driver.flush()).await.unwrap();
        let mut interval = driver.interval();
        within(SOON, "a rate", interval.wait_for(|ms| *ms != 15_000)).await.unwrap();
        let battery = 40 + way as u8;
        driver.phone(Phone { battery: Some(f32::from(battery) / 100.0), ..Phone::default() });
        house.knows_driver(&ana.id, |state| state["phone"]["battery_pct"] == battery).await;
        // A sensor that measures every 10 ms is thinned out.
        let offers = (0..50).filter(|step| driver.offer(fix(0, now_ms() + step * 10)).unwrap()).count();
        assert_eq!(offers, 1);
        within(SOON, "all acks", driver.flush()).await.unwrap();
        assert_eq!(driver.close().await, []);
        let kept = kept(&house, &ana).await;
        assert_eq!((kept.len(), kept.values().sum::<usize>()), (251, 251), "{way:?} {codec:?}");
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn a_network_without_udp_is_crossed_by_websocket_and_one_without_anything_else_by_requests() {
    let house = House::start_with(&QUIC).await;
    let ana = house.driver("Ana").await;
    // Nobody is at home there.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let quic = Some(nobody.local_addr().unwrap().to_string());
    let config = DriverConfig { quic, ..config(&house, &ana) };
    let (driver, mut events) = Driver::connect(config.clone()).unwrap();
    assert_eq!(connected(&mut events).await, Way::WebSocket);
    driver.send(fix(0, now_ms() - 2000)).unwrap();
    within(SOON, "its ack", driver.flush()).await.unwrap();
    driver.close().await;
    // A proxy that knows no WebSocket: the request arrives without its upgrade.
    let proxy = plain_proxy(house.port).await;
    let config = DriverConfig { url: format!("http://127.0.0.1:{proxy}"), ..config };
    let (driver, mut events) = Driver::connect(config).unwrap();
    driver.send(fix(1, now_ms() - 2000)).unwrap();
    assert_eq!(connected(&mut events).await, Way::Http);
    within(SOON, "its ack", driver.flush()).await.unwrap();
    driver.close().await;
    assert_eq!(kept(&house, &ana).await.len(), 2);
    house.assert_clean_log();
}

/// Forwards bytes, with the word that asks for an upgrade made unknown.
async fn plain_proxy(port: u16) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let ((mut from, mut to), (mut back_from, mut back_to)) = (client.into_split(), server.into_split());
                tokio::spawn(async move { drop(tokio::io::copy(&mut back_from, &mut to).await) });
                let mut buffer = vec![0; 65_536];
                while let Ok(count @ 1..) = from.read(&mut buffer).await {
                    let text =
                        String::from_utf8_lossy(&buffer[..count]).replace("Upgrade: websocket", "X-Upgrade: nothing");
                    if back_to.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn a_queue_on_the_disk_outlives_the_app_and_the_house() {
    let mut house = House::start_with(&QUIC).await;
    let ana = house.driver("Ana").await;
    let dir = tempfile::tempdir().unwrap();
    let config = DriverConfig { queue_dir: Some(dir.path().to_owned()), ..config(&house, &ana) };
    // What was sent in one codec and not acked is sent again in the other, and recognised.
    let config = |round: u64| {
        let codec = if round.is_multiple_of(2) { DriveCodec::Proto } else { DriveCodec::Json };
        DriverConfig { codec, ..config.clone() }
    };
    let start_ms = now_ms() - 3_600_000;
    let mut number = 0;
    for round in 0..6 {
        // The app is there for a moment: sometimes it reaches the house, sometimes the house is away, and it is never told that it ends.
        let (driver, mut events) = Driver::connect(config(round / 2)).unwrap();
        if round % 2 == 0 {
            connected(&mut events).await;
        } else {
            house.kill9();
        }
        for _ in 0..130 {
            driver.send(fix(number, start_ms)).unwrap();
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        drop((driver, events));
        // What a dropped task held is let go when the runtime comes to it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if round % 2 == 1 {
            house.restart().await;
        }
    }
    let (driver, _events) = Driver::connect(config(1)).unwrap();
    within(SOON, "all acks", driver.flush()).await.unwrap();
    driver.close().await;
    let kept = kept(&house, &ana).await;
    assert_eq!((kept.len() as i64, kept.values().sum::<usize>() as i64), (number, number));
    // The same session all along.
    let sessions: std::collections::HashSet<&String> = kept.keys().map(|(session, ..)| session).collect();
    assert_eq!(sessions.len(), 1);
    house.assert_clean_log();
}
