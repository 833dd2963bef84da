//! A copy of a running house, and a house that starts on it.

use std::fs;

use serde_json::json;

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until};
use crate::kill::acked_once;
use crate::ride::near_pickup;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_house_starts_on_the_copy_of_a_running_one() {
    let mut house = House::start().await;
    let (driver, store) = (house.driver("Ada").await, house.store("Kitchen").await);
    let topic = format!("store:{store}");
    let poll = format!("/v1/watch/poll?topics={topic}");
    let cursor = async |house: &House| {
        let answer = house.call("GET", &poll, Some(&house.key), None).await;
        answer.json()["cursor"].as_str().unwrap().to_owned()
    };
    let trip = house.trip(Some(&driver), Some(&store)).await;
    let start_ms = now_ms() - 600_000;
    let fix = |number: u64| near_pickup(number as f64 % 50.0, start_ms + number as i64 * 1000);
    let mut app = App::open(&house, &driver).await;
    for number in 0..50 {
        app.send(vec![fix(number)]).await;
    }
    app.settle().await;
    let before = app.outbox.clone();

    // Copied while fixes come in.
    let into = house.data().parent().unwrap().join("backup");
    let into_name = into.to_str().unwrap();
    let copy = ["backup", into_name];
    let (said, ()) = tokio::join!(house.command(&copy), async {
        for number in 50..150 {
            app.deliver(vec![fix(number)]).await;
        }
    });
    assert!(said.contains("bytes, in "), "{said}");
    let refused = house.command_fails(&copy).await;
    assert!(refused.contains("is not empty"), "{refused}");

    // What came after the copy is lost with the disk.
    let known = cursor(&house).await;
    let lost = house.trip(None, Some(&store)).await;
    let beyond = until(SOON, "an event of the trip that will be lost", async || {
        Some(cursor(&house).await).filter(|cursor| *cursor != known)
    })
    .await;
    house.kill9();
    fs::remove_dir_all(house.data()).unwrap();
    fs::rename(&into, house.data()).unwrap();
    // The records' own reading of the log is reset like everybody's.
    house.expect_log("the log of phases does not reach back");
    house.restart().await;

    assert!(acked_once(&house, &driver, &before).await >= 50);
    house.command(&["audit", "verify"]).await;
    assert!(house.peek(&trip.topic).await.is_some());
    assert_eq!(house.call("GET", &format!("/v1/trips/{}", lost.id), Some(&house.key), None).await.status, 404);
    // Keys are those of before, and the driver goes on.
    let mut app = App::resume(&house, &driver, Outbox::new("77")).await.unwrap();
    let verdicts = app.deliver(vec![near_pickup(60.0, now_ms())]).await;
    assert_eq!(verdicts, ["accepted"]);
    // Whoever read on in the log that is gone is told so, and not left waiting for ids that were given out already.
    let answer = house.call("GET", &format!("{poll}&cursor={beyond}"), Some(&house.key), None).await;
    assert_eq!(answer.json()["topics"][0]["reset"], json!(true), "{}", answer.text);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_folder_without_a_house_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("backup");
    let said = House::refused(&[], &["backup", into.to_str().unwrap()]).await;
    assert!(said.contains("data.dir") && said.contains("holds no house"), "{said}");
    assert!(!into.exists());
}
