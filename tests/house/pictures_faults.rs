//! What may happen to whoever makes pictures: frozen, poisoned, fallen with the house. Every picture that was accepted comes to one end, and the menu gets it once.

use serde_json::json;

use crate::harness::{House, SOON, until};
use crate::kitchen::{Kitchen, signal};
use crate::picture::{Tus, jpeg, progressive, told};

#[tokio::test]
async fn a_worker_that_freezes_past_its_lease_changes_nothing_when_it_wakes() {
    let mut kitchen = Kitchen::open(1, &[]).await;
    // Large enough to be caught in the middle.
    let first = Tus::send(&kitchen.api, &kitchen.token, &progressive(5_600, 4_000), &[("item", "dish-1")]).await;
    until(SOON, "the worker has it", async || {
        let state = first.record().await["state"].clone();
        ["decoding", "encoding", "storing"].iter().any(|working| state == *working).then_some(())
    })
    .await;
    let first = first.id;
    signal(&kitchen.workers[0], "-STOP");
    kitchen.hire(1).await;
    let upload = Tus { house: &kitchen.api, token: kitchen.token.clone(), id: first };
    let record = upload.ended().await;
    assert_eq!(record["state"], "done");
    signal(&kitchen.workers[0], "-CONT");
    let second = kitchen.send(2).await;
    let uploads = [upload, second];
    kitchen.judge(&uploads).await;
    assert_eq!(uploads[0].record().await, record, "who woke up had nothing to say");
    kitchen.api.assert_clean_log();
}

#[tokio::test]
async fn a_picture_that_kills_its_child_is_set_aside_after_three_tries() {
    // Progressive pictures are held whole while they are decoded: this one needs more than the child may have.
    let settings = [("MEDIA_CHILD_MEMORY_MIB", "40"), ("MEDIA_WORKERS", "2")];
    let house = House::start_with(&settings).await;
    house.expect_log("a picture could not be made");
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let poison = Tus::send(&house, &token, &progressive(5_000, 4_000), &[("item", "a")]).await;
    let good = Tus::send(&house, &token, &jpeg(640, 480, 1), &[("item", "b")]).await;
    assert_eq!(good.ended().await["state"], "done");
    let record = poison.ended().await;
    assert_eq!((&record["state"], &record["error"]["code"]), (&json!("failed"), &json!("processing_failed")));
    let dead = house.call("GET", "/v1/pictures/dead", Some(&house.key), None).await.json();
    let dead = &dead["items"][0];
    assert_eq!((&dead["upload"], &dead["failures"]), (&json!(poison.id), &json!(3)));
    let reason = dead["reason"].as_str().unwrap();
    // Whichever allocation was the one too many, libjpeg's or ours.
    assert!(reason.contains("signal") || reason.contains("memory"), "{reason}");
    assert_eq!(house.call("GET", "/v1/pictures/dead", Some(&token), None).await.status, 403);
    // Tried again it fails again; then nothing is left of it.
    let job = dead["job"].as_str().unwrap();
    let retry = format!("/v1/pictures/dead/{job}/retry");
    assert_eq!(house.call("POST", &retry, Some(&house.key), None).await.status, 204);
    assert_eq!(house.call("POST", &retry, Some(&house.key), None).await.status, 404);
    assert_ne!(poison.record().await["state"], "failed");
    assert_eq!(poison.ended().await["state"], "failed");
    let path = format!("/v1/pictures/dead/{job}");
    assert_eq!(house.call("DELETE", &path, Some(&house.key), None).await.status, 204);
    let none = house.call("GET", "/v1/pictures/dead", Some(&house.key), None).await.json();
    assert_eq!(none, json!({ "items": [] }));
    // Two ends of one, and the other's.
    told(&house, &store, 3).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_house_that_falls_goes_on_with_every_upload_where_it_was() {
    let mut house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let bytes = jpeg(2400, 1800, 7);
    let half = bytes.len() / 2;
    let (begun, sent) = {
        let begun = Tus::begin(&house, &token, bytes.len(), &[("item", "a")]).await;
        assert_eq!(begun.patch(0, &bytes[..half]).await.status, 204);
        let mut sent = Vec::new();
        for seed in 0..4 {
            sent.push(Tus::send(&house, &token, &jpeg(2000, 1500, seed), &[("item", "b")]).await.id);
        }
        (begun.id, sent)
    };
    house.kill9();
    house.restart().await;
    let upload = |id: &str| Tus { house: &house, token: token.clone(), id: id.to_owned() };
    assert_eq!(upload(&begun).offset().await, half);
    assert_eq!(upload(&begun).patch(half, &bytes[half..]).await.status, 204);
    for id in sent.iter().chain([&begun]) {
        assert_eq!(upload(id).ended().await["state"], "done");
    }
    let menu = format!("/v1/stores/{store}/menu/b/images");
    let images = house.call("GET", &menu, Some(&token), None).await.json();
    assert_eq!(images["images"].as_array().unwrap().len(), 4);
    told(&house, &store, 5).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn rooms_alone_say_what_they_lack() {
    let said = House::refused(&[("BUS_URL", "redis://127.0.0.1:1")], &["media-worker"]).await;
    assert!(said.contains("files.bucket"), "{said}");
    let said = House::refused(&[("FILES_BUCKET", "b")], &["serve"]).await;
    assert!(said.contains("files.access_key"), "{said}");
    let keys = [("FILES_BUCKET", "b"), ("FILES_ACCESS_KEY", "k"), ("FILES_SECRET_KEY", "s")];
    let said = House::refused(&[&keys[..], &[("FILES_ENDPOINT", "http://s3.example")]].concat(), &["serve"]).await;
    assert!(said.contains("https://"), "{said}");
}
