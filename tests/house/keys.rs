//! Signing keys that change under load: no valid token is refused, an unknown key costs nothing, and a withdrawn one ends what it opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::audit;
use crate::drive::{App, Outbox};
use crate::forge;
use crate::harness::{House, SOON, now_ms, until};
use crate::quic_app::{QUIC, QuicApp};
use crate::rest::Driver;
use crate::ride::near_pickup;
use crate::watch::Watcher;

/// Unknown keys that are tried.
const FORGED: usize = 10_000;

/// The gate is another test's matter.
const WIDE: [(&str, &str); 5] = [
    ("GATE_ADDRESS_REQUESTS_PER_SECOND", "1000000"),
    ("GATE_ADDRESS_REQUESTS_BURST", "1000000"),
    ("GATE_NETWORK_REQUESTS_PER_SECOND", "1000000"),
    ("GATE_NETWORK_REQUESTS_BURST", "1000000"),
    ("GATE_ARRIVALS_PER_SECOND", "1000000"),
];

/// Id of the key that signed a token.
fn key_of(token: &str) -> String {
    let header = forge::from_base64url(token.split('.').next().unwrap());
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// Ids in the public key set.
async fn published(house: &House) -> Vec<String> {
    let jwks = house.call("GET", "/.well-known/jwks.json", None, None).await.json();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Waits until this key signs.
async fn signs(house: &House, id: &str) {
    until(SOON, "the new key signs", async || {
        let keys = house.call("GET", "/v1/keys", Some(&house.key), None).await.json();
        keys["items"].as_array().unwrap().iter().any(|key| key["id"] == id && key["state"] == "current").then_some(())
    })
    .await;
}

/// Drivers who send by request, by old and by brand-new tokens, until told to stop. Counts what was refused.
async fn load(house: Arc<House>, driver: Driver, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) -> Vec<String> {
    let mut refused = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let wanted = json!({ "role": "driver", "sub": driver.id });
        let new = house.call("POST", "/v1/tokens", Some(&house.key), Some(&wanted)).await;
        let fresh = new.json()["token"].as_str().unwrap_or_default().to_owned();
        if new.status != 201 {
            refused.push(format!("{} {}", new.status, new.text));
        }
        // A token is used in the moment in which it was made.
        for token in [&fresh, &driver.token] {
            let body = json!({ "fixes": [near_pickup(1.0, now_ms())] });
            let answer = house.call("POST", "/v1/fixes", Some(token), Some(&body)).await;
            if answer.status != 200 {
                refused.push(format!("{} {}", answer.status, answer.text));
            }
            asked.fetch_add(1, Ordering::Relaxed);
        }
        let again = App::resume(&house, &Driver { token: fresh, ..driver.clone() }, Outbox::new("1")).await;
        if again.is_err() {
            refused.push("a connection".into());
        }
        // Of one bearer no more than ten connections a second are taken.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_under_load_without_a_refusal_and_end_what_they_signed_when_withdrawn() {
    let house = Arc::new(House::start_with(&[&QUIC[..], &WIDE].concat()).await);
    let first = key_of(&house.key);
    assert_eq!(published(&house).await, std::slice::from_ref(&first));
    let mine = house.call("DELETE", &format!("/v1/keys/{first}"), Some(&house.key), None).await;
    assert_eq!((mine.status, mine.code().as_str()), (409, "conflict"), "{}", mine.text);

    // Everybody comes in by the first key, on every way.
    let (ana, rui) = (house.driver("Ana").await, house.driver("Rui").await);
    let mut by_websocket = App::open(&house, &ana).await;
    let mut by_quic = QuicApp::open(&house, &rui).await;
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[&format!("driver:{}", ana.id)]).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut loads = Vec::new();
    for _ in 0..3 {
        let driver = house.driver("Load").await;
        loads.push(tokio::spawn(load(Arc::clone(&house), driver, Arc::clone(&stop), Arc::clone(&asked))));
    }

    let made = house.post("/v1/keys", json!({})).await;
    let second = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["state"], "next");
    let mut both = vec![first.clone(), second.clone()];
    assert_eq!(published(&house).await, both, "told before it signs");
    let hasty = house.call("POST", "/v1/keys", Some(&house.key), None).await;
    assert_eq!((hasty.status, hasty.code().as_str()), (409, "conflict"));
    assert!(hasty.json()["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 10_000), "{}", hasty.text);

    // Ten thousand tokens of keys that nobody has heard of: each is refused from memory.
    let parts: Vec<&str> = house.key.split('.').collect();
    let claims = String::from_utf8(forge::from_base64url(parts[1])).unwrap();
    for number in 0..FORGED {
        let header = format!(r#"{{"alg":"EdDSA","kid":"key_{number:026}","typ":"JWT"}}"#);
        let forged = forge::token(&header, &claims, |_| vec![7; 64]);
        let answer = house.call("GET", "/v1/stores", Some(&forged), None).await;
        assert_eq!(answer.status, 401);
    }
    signs(&house, &second).await;
    let (_, newer) = house.issue("service", "newer", 3600).await;
    assert_eq!(key_of(&newer), second);
    assert_eq!(published(&house).await, both);

    // The same from the command line, beside the house.
    let printed = house.command(&["key", "rotate"]).await;
    let third = printed.split_whitespace().next().unwrap().to_owned();
    assert!(printed.contains("next"), "{printed}");
    signs(&house, &third).await;
    both.push(third.clone());
    assert_eq!(published(&house).await, both);
    until(SOON, "the third key signs", async || (key_of(&house.token("support", "sue").await) == third).then_some(()))
        .await;
    let listed = house.command(&["key", "list"]).await;
    let states: Vec<&str> = listed.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(states, ["current", "retired", "retired"]);
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        assert_eq!(load.await.unwrap(), [""; 0]);
    }
    assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?}");
    // Who came by the first key has noticed nothing.
    by_websocket.deliver(vec![near_pickup(2.0, now_ms())]).await;
    by_quic.deliver(vec![near_pickup(2.0, now_ms())]).await;
    watcher.until("the position", |memory| !memory.state(&format!("driver:{}", ana.id))["position"].is_null()).await;

    // Withdrawn: what the first key signed is over, what others signed is not.
    let mut newcomer = App::open(&house, &house.driver("Eva").await).await;
    let own = house.call("DELETE", &format!("/v1/keys/{first}"), Some(&house.key), None).await;
    assert_eq!((own.status, own.code().as_str()), (409, "conflict"), "nobody saws off the branch");
    let present = house.call("DELETE", &format!("/v1/keys/{third}"), Some(&newer), None).await;
    assert_eq!((present.status, present.code().as_str()), (409, "conflict"), "the one that signs");
    let absent = house.call("DELETE", "/v1/keys/key_00", Some(&newer), None).await;
    assert_eq!(absent.status, 404);
    for _ in 0..2 {
        let gone = house.call("DELETE", &format!("/v1/keys/{first}"), Some(&newer), None).await;
        assert_eq!(gone.status, 204, "{}", gone.text);
    }
    assert_eq!((by_websocket.closed().await, by_quic.closed().await, watcher.closed().await), (4201, 4201, 4201));
    assert_eq!(house.call("GET", "/v1/stores", Some(&house.key), None).await.status, 401);
    assert_eq!(published(&house).await, [second.clone(), third.clone()]);
    assert_eq!(newcomer.deliver(vec![near_pickup(3.0, now_ms())]).await, ["accepted"]);
    // The second from the command line; the house hears of it.
    house.command(&["key", "withdraw", &second]).await;
    until(SOON, "the second is gone", async || {
        (house.call("GET", "/v1/stores", Some(&newer), None).await.status == 401).then_some(())
    })
    .await;
    assert!(house.command_fails(&["key", "withdraw", &third]).await.contains("signs"));

    // It is the same after a fall, and all of it stands in the trail.
    let mut house = Arc::into_inner(house).expect("the loads have ended");
    house.kill9();
    house.restart().await;
    assert_eq!(published(&house).await, [third]);
    for token in [&house.key, &newer] {
        assert_eq!(house.call("GET", "/v1/stores", Some(token), None).await.status, 401);
    }
    let key = house.command(&["key"]).await.trim().to_owned();
    house.note_token(&key);
    let trail = until(SOON, "the trail", async || {
        let all = audit::entries(&house, &key).await;
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        let mine = all.iter().filter(|entry| text(entry, "what").contains("/v1/keys") && entry["outcome"] == "done");
        let mine: Vec<String> =
            mine.map(|entry| ["who", "what", "object"].map(|name| text(entry, name)).join(" ")).collect();
        (mine.len() >= 5).then_some(mine)
    })
    .await;
    for (who, what, object) in [
        ("service:first", "POST /v1/keys", &second),
        ("service:newer", "DELETE /v1/keys/{id}", &first),
        ("command line", "DELETE /v1/keys/{id}", &second),
    ] {
        assert!(trail.contains(&format!("{who} {what} {object}")), "{trail:?}");
    }
    assert!(trail.iter().any(|line| line.starts_with("command line POST /v1/keys")), "{trail:?}");
    house.assert_clean_log();
}
