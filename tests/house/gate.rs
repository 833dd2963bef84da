//! The gate: shares of addresses and their networks, proxies that are believed and strangers who are not, and a crowd that comes in
//! one behind the other.

use std::time::{Duration, Instant};

use wayfare_driver::{Driver, DriverConfig, Event, Way};

use serde_json::{Value, json};

use crate::drive::{App, DRIVE, Outbox};
use crate::harness::{House, SOON, now_ms, within};
use crate::quic_app::{QUIC, QuicApp};
use crate::raw::{self, Raw, handshake};
use crate::rest::Answer;
use crate::ride::near_pickup;

/// Asks for something that costs nothing, claiming to come from there.
async fn ask(house: &House, from: &str) -> Answer {
    House::answer(house.http.get(house.url("/healthz")).header("x-forwarded-for", from)).await
}

#[tokio::test]
async fn a_forged_address_has_no_effect() {
    let few = [("GATE_ADDRESS_REQUESTS_PER_SECOND", "0.1"), ("GATE_ADDRESS_REQUESTS_BURST", "20")];
    let house = House::start_with(&few).await;
    let mut answers = Vec::new();
    for number in 0..30 {
        answers.push(ask(&house, &format!("203.0.113.{number}")).await);
    }
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!((10..=12).contains(&refused.len()), "{} of 30 refused", refused.len());
    assert_eq!(refused[0].code(), "rate_limited");
    let seconds: u32 = refused[0].header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds} s");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_proxy_of_ours_says_who_asks() {
    let settings = [
        ("GATE_ADDRESS_REQUESTS_PER_SECOND", "0.1"),
        ("GATE_ADDRESS_REQUESTS_BURST", "20"),
        ("GATE_NETWORK_REQUESTS_PER_SECOND", "0.1"),
        ("GATE_NETWORK_REQUESTS_BURST", "50"),
        ("HTTP_TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#),
    ];
    let house = House::start_with(&settings).await;
    for number in 0..50 {
        assert_eq!(ask(&house, &format!("203.0.113.{number}, 127.0.0.9")).await.status, 200, "{number}");
    }
    // Each of them had its share; together they had that of their network.
    assert_eq!(ask(&house, "203.0.113.99").await.status, 429);
    let statuses = [ask(&house, "198.51.100.1").await.status, ask(&house, "203.0.113.1, 198.51.100.2").await.status];
    assert_eq!(statuses, [200, 200], "another network, whoever else is named before it");
    house.assert_clean_log();
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let house = House::start_with(&[("GATE_ADDRESS_CONNECTIONS_MAX", "10")]).await;
    let mut open = Vec::new();
    let closed = loop {
        let mut raw = Raw::connect(&house).await;
        let (bytes, ended) = raw.rest(Duration::from_millis(100)).await;
        assert!(bytes.is_empty());
        if ended {
            break raw;
        }
        open.push(raw);
        assert!(open.len() <= 10, "no end of connections");
    };
    drop(closed);
    assert!(open.len() >= 8, "only {} were open", open.len());
    open.truncate(2);
    // Room again, as soon as it is seen that they are gone.
    let answer = within(SOON, "an answer", async {
        loop {
            if let Ok(answer) = house.http.get(house.url("/healthz")).send().await {
                return answer.status();
            }
        }
    });
    assert_eq!(answer.await, 200);
    house.assert_clean_log();
}

#[tokio::test]
async fn two_hundred_connections_of_one_driver_have_one_share() {
    let few = [("INGEST_MESSAGES_PER_SECOND", "0.1"), ("INGEST_MESSAGES_BURST", "50")];
    let house = House::start_with(&few).await;
    let ana = house.driver("Ana").await;
    house.trip(Some(&ana), None).await;
    let start_ms = now_ms() - 600_000;
    let posts = (0..200).map(|number| {
        let (url, token) = (house.url("/v1/fixes"), ana.token.clone());
        async move {
            // A client of its own is a connection of its own.
            let body = near_pickup(number as f64, start_ms + number * 1000);
            let answer = House::answer(reqwest::Client::new().post(url).bearer_auth(token).json(&body)).await;
            (answer.status, answer.headers.contains_key("retry-after"))
        }
    });
    let answers = futures_util::future::join_all(posts).await;
    let taken = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!((50..=53).contains(&taken), "{taken} of 200 were taken");
    assert!(answers.iter().all(|(status, again)| *status == 200 || (*status == 429 && *again)), "{answers:?}");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_comes_in_one_behind_the_other() {
    let slow = [("GATE_ARRIVALS_PER_SECOND", "8"), ("GATE_ARRIVALS_BURST", "5")];
    let house = House::start_with(&slow).await;
    let mut drivers = Vec::new();
    for number in 0..60 {
        drivers.push(house.driver(&format!("Courier {number}")).await);
    }
    let began = Instant::now();
    let connecting = drivers.iter().map(|driver| async {
        let config = DriverConfig { ways: vec![Way::WebSocket], ..DriverConfig::new(house.url(""), &*driver.token) };
        let (driver, mut events) = Driver::connect(config).unwrap();
        let mut refused = 0;
        loop {
            match events.recv().await.expect("the driver lives") {
                Event::Connected { .. } => return (driver, refused, began.elapsed()),
                Event::Disconnected { .. } => refused += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    let connected = within(2 * SOON, "everybody is in", futures_util::future::join_all(connecting)).await;
    let told: u32 = connected.iter().map(|(_, refused, _)| refused).sum();
    let last = connected.iter().map(|(_, _, at)| *at).max().unwrap();
    // Beyond the five that may come at once, eight a second and no more.
    assert!(last > Duration::from_millis(6500), "all in after {last:?}");
    // However slowly they came for the first time, that was faster; and hardly anyone was put off again and again.
    assert!((5..=180).contains(&told), "told {told} times to come later");
    eprintln!("60 in after {last:?}, told {told} times to come later");
    // Somebody else, just then.
    let crowd = (0..40).map(|_| async {
        let mut raw = Raw::connect(&house).await;
        raw.send(handshake(&house, "/v1/drive", DRIVE, Some(&drivers[0].token)).as_bytes()).await;
        raw.head().await
    });
    let heads = futures_util::future::join_all(crowd).await;
    let refused: Vec<&String> = heads.iter().filter(|head| head.starts_with("HTTP/1.1 503 ")).collect();
    assert!(!refused.is_empty() && refused.iter().all(|head| head.contains("retry-after: ")), "{heads:?}");
    assert!(house.metric("wayfare_gate_refused_total", "arrivals").await >= refused.len() as f64);
    for (driver, _, _) in connected {
        driver.close().await;
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn strangers_and_one_wild_driver_put_nobody_off() {
    let slow = [("GATE_ARRIVALS_PER_SECOND", "1"), ("GATE_ARRIVALS_BURST", "60")];
    let house = House::start_with(&slow).await;
    let (ana, wild) = (house.driver("Ana").await, house.driver("Wild").await);
    let come = |token: Option<String>| {
        let head = handshake(&house, "/v1/drive", DRIVE, token.as_deref());
        let house = &house;
        async move {
            let mut raw = Raw::connect(house).await;
            raw.send(head.as_bytes()).await;
            raw.head().await
        }
    };
    // Three times as many as may come in at once, and none of them has a token, or a true one.
    let strangers = (0..180).map(|number| come((number % 2 == 0).then(|| "no.token".to_owned())));
    let heads = futures_util::future::join_all(strangers).await;
    assert!(
        heads.iter().all(|head| head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 401 ")),
        "{heads:?}"
    );
    assert!(come(Some(ana.token.clone())).await.starts_with("HTTP/1.1 101 "));
    // One who may come in, again and again.
    let heads = futures_util::future::join_all((0..80).map(|_| come(Some(wild.token.clone())))).await;
    let taken = heads.iter().filter(|head| head.starts_with("HTTP/1.1 101 ")).count();
    assert!((50..59).contains(&taken), "{taken} of 80 were taken");
    assert!(house.metric("wayfare_gate_refused_total", "bearer").await >= 20.0);
    assert!(come(Some(ana.token.clone())).await.starts_with("HTTP/1.1 101 "));
    house.assert_clean_log();
}

#[tokio::test]
async fn whoever_says_its_token_later_is_told_a_time_too() {
    let slow = [("GATE_ARRIVALS_PER_SECOND", "0.1"), ("GATE_ARRIVALS_BURST", "2")];
    let settings: Vec<_> = QUIC.iter().chain(&slow).copied().collect();
    let house = House::start_with(&settings).await;
    let (ana, ben) = (house.driver("Ana").await, house.driver("Ben").await);
    let trip = house.trip(Some(&ana), None).await;
    let vera = house.token("support", "vera").await;
    let open = [App::open(&house, &ana).await, App::open(&house, &ben).await];
    let is_a_time = |bye: &Value| {
        assert_eq!((&bye["type"], &bye["code"], &bye["reason"]), (&json!("bye"), &json!(4003), &json!("overloaded")));
        assert!((1000..=30_000).contains(&bye["retry_after_ms"].as_u64().unwrap()), "{bye}");
    };

    let mut driver = Raw::websocket(&house, "/v1/drive", DRIVE, None).await;
    let hello = json!({ "type": "hello", "token": ana.token, "session": "2" });
    driver.send(&raw::text(&hello.to_string())).await;
    is_a_time(&serde_json::from_slice(&driver.frame().await.unwrap().1).unwrap());
    assert_eq!(driver.close_code().await, Some(4003));

    let mut watcher = Raw::websocket(&house, "/v1/watch", crate::watch::WATCH, None).await;
    let auth = json!({ "type": "auth", "token": vera });
    watcher.send(&raw::text(&auth.to_string())).await;
    is_a_time(&serde_json::from_slice(&watcher.frame().await.unwrap().1).unwrap());
    assert_eq!(watcher.close_code().await, Some(4003));

    let mut quic = QuicApp::silent(house.quic_port, &house.fingerprint, Outbox::new("3")).await.unwrap();
    quic.control(DRIVE.as_bytes()).await;
    quic.control(hello.to_string().as_bytes()).await;
    let bye = within(SOON, "a goodbye", quic.step()).await.unwrap();
    is_a_time(&bye);
    assert_eq!(within(SOON, "the end", quic.step()).await, None);
    assert_eq!(quic.closed, Some(4003));

    let stream =
        House::answer(house.http.get(house.url(&format!("/v1/watch/sse?topics={}", trip.topic))).bearer_auth(&vera));
    let stream = stream.await;
    assert_eq!((stream.status, stream.code()), (503, "overloaded".into()));
    assert!(stream.header("retry-after").parse::<u32>().unwrap() >= 1);
    drop(open);
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_quic_comes_back_on_quic() {
    let slow = [("GATE_ARRIVALS_PER_SECOND", "8"), ("GATE_ARRIVALS_BURST", "5")];
    let settings: Vec<_> = QUIC.iter().chain(&slow).copied().collect();
    let house = House::start_with(&settings).await;
    let mut drivers = Vec::new();
    for number in 0..20 {
        drivers.push(house.driver(&format!("Courier {number}")).await);
    }
    let connecting = drivers.iter().map(|driver| async {
        let (driver, mut events) = Driver::connect(crate::library::config(&house, driver)).unwrap();
        let mut refused = 0;
        loop {
            match events.recv().await.expect("the driver lives") {
                Event::Connected { way, .. } => {
                    assert_eq!(way, Way::Quic);
                    return (driver, refused);
                }
                Event::Disconnected { code, retry_after, .. } => {
                    assert_eq!(code, Some(4003));
                    assert!(retry_after >= Duration::from_secs(1), "{retry_after:?}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let connected = within(2 * SOON, "everybody is in", futures_util::future::join_all(connecting)).await;
    assert!(connected.iter().map(|(_, refused)| refused).sum::<u32>() >= 10);
    for (driver, _) in connected {
        driver.close().await;
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn settings_of_the_gate_are_refused_by_name() {
    for (name, value, told) in [
        ("GATE_ARRIVALS_PER_SECOND", "0", "gate.arrivals_per_second"),
        ("GATE_ADDRESS_REQUESTS_BURST", "0.5", "gate.address_requests_burst"),
        ("GATE_NETWORK_CONNECTIONS_MAX", "0", "gate.network_connections_max"),
        ("HTTP_TRUSTED_PROXIES", r#"["10.0.0.0/33"]"#, "http.trusted_proxies"),
        ("HTTP_TRUSTED_PROXIES", r#"["proxy.example"]"#, "http.trusted_proxies"),
    ] {
        let said = House::refused(&[(name, value)], &[]).await;
        assert!(said.contains(told), "{name}={value}: {said}");
    }
}
