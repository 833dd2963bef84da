//! The audit trail: every refusal is in it, deeds are, and a changed byte is found.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::drive::DRIVE;
use crate::harness::{House, SOON, until};
use crate::watch::{WATCH, next_json, open_port};

/// All entries, page by page, for this token.
pub async fn entries(house: &House, token: &str) -> Vec<Value> {
    let (mut all, mut query) = (Vec::new(), "limit=37".to_owned());
    loop {
        let answer = house.call("GET", &format!("/v1/audit?{query}"), Some(token), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let page = answer.json();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        query = format!("limit=37&cursor={next}");
    }
}

/// How many refusals of each kind the trail holds.
fn refusals(entries: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        let outcome = entry["outcome"].as_str().unwrap().to_owned();
        if ["401", "403", "unauthorized"].contains(&outcome.as_str()) {
            let kind = (entry["what"].as_str().unwrap().to_owned(), outcome);
            *counts.entry(kind).or_default() += entry["count"].as_u64().unwrap();
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_and_every_deed_is_in_the_trail_and_a_changed_byte_is_found() {
    let mut house = House::start().await;
    let driver = house.driver("Ana").await;
    let customer = house.token("customer", "cus").await;
    let support = house.token("support", "sue").await;
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut expect = |what: &str, outcome: &str, count: u64| {
        *expected.entry((what.to_owned(), outcome.to_owned())).or_default() += count;
    };
    // A flood without a token, and some refusals of each door.
    for _ in 0..600 {
        assert_eq!(house.call("GET", "/v1/drivers", None, None).await.status, 401);
    }
    expect("GET /v1/drivers", "401", 600);
    for (method, path, route, token, status) in [
        ("GET", "/v1/drivers", "/v1/drivers", Some(&customer), 403),
        ("GET", "/v1/audit", "/v1/audit", Some(&support), 403),
        ("DELETE", "/v1/drivers/drv_x", "/v1/drivers/{id}", Some(&support), 403),
        ("POST", "/v1/fixes", "/v1/fixes", None, 401),
        ("POST", "/v1/fixes", "/v1/fixes", Some(&customer), 403),
        ("GET", "/v1/watch/poll?topics=trip:x", "/v1/watch/poll", None, 401),
        ("GET", "/metrics", "/metrics", Some(&customer), 403),
    ] {
        let token = token.map(String::as_str);
        let answer = house.call(method, path, token, Some(&json!({ "fixes": [] }))).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        expect(&format!("{method} {route}"), &status.to_string(), 1);
    }
    for (path, protocol, what) in
        [("/v1/drive", DRIVE, "connection of a driver"), ("/v1/watch", WATCH, "connection of a watcher")]
    {
        use futures_util::SinkExt as _;
        let mut ws = open_port(house.port, path, protocol, None, None).await.unwrap();
        let hello = json!({ "type": if path == "/v1/drive" { "hello" } else { "auth" }, "token": "no.such.token", "session": "1" });
        ws.send(tokio_tungstenite::tungstenite::Message::text(hello.to_string())).await.unwrap();
        loop {
            if let Err(code) = next_json(&mut ws).await {
                assert_eq!(code, 4101, "{path}");
                break;
            }
        }
        expect(what, "unauthorized", 1);
    }
    // Deeds.
    let (token, _) = house.issue("store", &house.store("Kitchen").await, 600).await;
    house.done("DELETE", &format!("/v1/tokens/{token}"), Value::Null).await;
    house.address(&driver, json!({})).await;
    let erasure = house.done("DELETE", &format!("/v1/drivers/{}", driver.id), Value::Null).await;
    let all = until(SOON, "all refusals are in the trail", async || {
        let all = entries(&house, &house.key).await;
        let done = all.iter().any(|entry| entry["what"] == "erasure");
        (done && refusals(&all).values().sum::<u64>() >= expected.values().sum()).then_some(all)
    })
    .await;
    assert_eq!(refusals(&all), expected);
    assert!(all.len() < 100, "a flood is counted, not written one by one: {}", all.len());
    for (place, entry) in all.iter().enumerate() {
        assert_eq!(entry["n"], place + 1);
        assert!(entry["at"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{entry}");
    }
    let told = serde_json::to_string(&all).unwrap();
    for deed in
        ["POST /v1/tokens", "DELETE /v1/tokens/{id}", "POST /v1/drivers/{id}/device-keys", "DELETE /v1/drivers/{id}"]
    {
        assert!(told.contains(deed), "{deed}: {told}");
    }
    assert!(told.contains(&token) && told.contains(erasure["id"].as_str().unwrap()));
    for secret in [driver.id.as_str(), "cus\"", driver.token.as_str(), house.key.as_str()] {
        assert!(!told.contains(secret), "{secret} is in the trail");
    }

    // The chain is whole, also over falls; then one byte is changed.
    let verified = house.command(&["audit", "verify"]).await;
    assert!(verified.contains("are as they were written"), "{verified}");
    house.kill9();
    house.restart().await;
    assert_eq!(house.call("GET", "/v1/stores", None, None).await.status, 401);
    house.terminate().await;
    house.command(&["audit", "verify"]).await;
    // The folder holds the lock of the process that writes, too.
    let files = std::fs::read_dir(house.data().join("audit")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "log")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let line = 1 + bytes[..bytes.len() / 2].iter().filter(|byte| **byte == b'\n').count();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let said = house.command_fails(&["audit", "verify"]).await;
    let (this, next) = (format!("line {line}:"), format!("line {}:", line + 1));
    assert!(said.contains("0000000000000001.log") && (said.contains(&this) || said.contains(&next)), "{said}");
    house.assert_clean_log();
}
