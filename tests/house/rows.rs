//! Threats and faults that no other test tries: played again, clocks that are wrong, the edges of the globe, a disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until, within};
use crate::ride::near_pickup;
use crate::watch::{Memory, Watcher};

const DAY_MS: i64 = 86_400_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_hour_played_again_moves_nothing_on_any_screen() {
    let house = House::start_with(&[("INGEST_MESSAGES_BURST", "1000")]).await;
    let (driver, store) = (house.driver("Ana").await, house.store("Kitchen").await);
    let trip = house.trip(Some(&driver), Some(&store)).await;
    let start_ms = now_ms() - 3_600_000;
    let hour: Vec<Value> = (0..3600_i64)
        .map(|second| near_pickup(((second % 400) - 200).abs() as f64, start_ms + second * 1000))
        .collect();
    let mut app = App::open(&house, &driver).await;
    for piece in hour.chunks(100) {
        app.send(piece.to_vec()).await;
    }
    app.settle().await;
    let topics = [trip.topic.clone(), trip.ops.clone(), format!("driver:{}", driver.id), format!("store:{store}")];
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&names).await;
    watcher.until("all topics", |memory: &Memory| names[..3].iter().all(|name| memory.cursor(name).is_some())).await;
    // What follows from the hour itself is told.
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(12), watcher.step()).await {}
    let before: Vec<_> = names.iter().map(|name| watcher.memory.cursor(name)).collect();
    // Under the same session and numbers, under another, and by post.
    let played: Vec<String> = hour
        .chunks(100)
        .zip(1..)
        .map(|(piece, seq)| json!({ "type": "fixes", "seq": seq, "sent_ms": now_ms(), "fixes": piece }).to_string())
        .collect();
    for text in &played {
        app.raw(text).await;
    }
    drop(app);
    let mut other = App::resume(&house, &driver, Outbox::new("feed")).await.unwrap();
    for piece in hour.chunks(100) {
        other.send(piece.to_vec()).await;
    }
    other.settle().await;
    for piece in hour.chunks(100) {
        let verdicts = house.post_fixes(&driver, piece).await;
        assert!(verdicts.iter().all(|verdict| ["late", "duplicate"].contains(&verdict.as_str())), "{verdicts:?}");
    }
    // Longer than late fixes wait until they are concluded from.
    let told = tokio::time::timeout(Duration::from_secs(13), async {
        loop {
            let message = watcher.step().await.expect("the line holds");
            if ["snapshot", "delta", "event", "end"].contains(&message["type"].as_str().unwrap_or_default()) {
                return message;
            }
        }
    })
    .await;
    assert!(told.is_err(), "something was told: {told:?}");
    let after: Vec<_> = names.iter().map(|name| watcher.memory.cursor(name)).collect();
    assert_eq!(after, before);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_phone_whose_clock_is_a_day_off_or_set_back_is_where_it_is_now() {
    let house = House::start().await;
    for ahead_ms in [DAY_MS, -DAY_MS] {
        let driver = house.driver("Ana").await;
        let trip = house.trip(Some(&driver), None).await;
        let mut app = App::open(&house, &driver).await;
        let mut shown_ms = 0;
        for seq in 1..=20_i64 {
            // Half way the clock is set right.
            let offset_ms = if seq <= 10 { ahead_ms } else { 0 };
            let phone_ms = now_ms() + offset_ms;
            let fix = near_pickup(seq as f64 * -2.0 - 300.0, phone_ms);
            app.raw(&json!({ "type": "fixes", "seq": seq, "sent_ms": phone_ms, "fixes": [fix] }).to_string()).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            let state = house.peek(&trip.ops).await.unwrap();
            let Some(t_ms) = state["position"]["t_ms"].as_i64() else { continue };
            assert!((now_ms() - t_ms).abs() < 20_000, "{ahead_ms}, {seq}: the marker is of {t_ms}");
            assert!(t_ms >= shown_ms, "{ahead_ms}, {seq}: it went back");
            shown_ms = t_ms;
            if let Some(at_ms) = state["eta"]["at_ms"].as_i64() {
                assert!((now_ms()..now_ms() + 3_600_000).contains(&at_ms), "{ahead_ms}, {seq}: {state}");
            }
        }
        assert!(shown_ms > 0);
        // The phone's own time is kept beside it.
        let kept = house.command(&["fixes", "--driver", &driver.id]).await;
        let first: i64 = kept.lines().nth(1).unwrap().split(',').nth(3).unwrap().parse().unwrap();
        assert!((first - ahead_ms - now_ms()).abs() < 60_000, "{kept}");
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn the_edges_of_the_globe_are_places_like_others() {
    let house = House::start().await;
    // Poles, the antimeridian from both sides, the middle of a pentagon, and beside it.
    for (lat, lon, step_lat, step_lon) in [
        (90.0, 0.0, 0.0, 90.0),
        (-90.0, 180.0, 0.0, -360.0),
        (89.999_99, -179.999, 0.0, 90.0),
        (10.0, 180.0, 0.0, -360.0),
        (10.0, 179.999_95, 0.0, -359.999_9),
        (-16.5, -180.0, 0.0, 359.999_95),
        (64.700_000_1, 10.536_199_1, 0.000_02, 0.0),
        (58.657_705_9, 11.549_894_8, 0.0, 0.000_05),
    ] {
        let driver = house.driver("Amundsen").await;
        let place = |lat: f64, lon: f64| json!({ "lat": lat, "lon": lon, "name": "x" });
        let (next_lat, next_lon) = (lat + step_lat, lon + step_lon);
        let body = json!({
            "customer": "cus", "driver": driver.id, "pickup": place(next_lat, next_lon), "dropoff": place(lat - lat.signum() * 0.01, lon),
        });
        let id = house.post("/v1/trips", body).await["id"].as_str().unwrap().to_owned();
        house.knows_driver(&driver.id, |state| state["trips"].to_string().contains(&id)).await;
        let at = |lat: f64, lon: f64, ago_ms: i64| json!({ "lat": lat, "lon": lon, "t_ms": now_ms() - ago_ms, "accuracy_m": 5, "speed_mps": 1 });
        let verdicts = house.post_fixes(&driver, &[at(lat, lon, 12_000), at(next_lat, next_lon, 1_000)]).await;
        assert_eq!(verdicts, ["accepted", "accepted"], "{lat}, {lon}: no jump, wherever the numbers jump");
        let state = house.peek(&format!("trip:{id}:ops")).await.unwrap();
        assert!(state["position"]["lat"].is_number() && state["position"]["lon"].is_number(), "{lat}, {lon}: {state}");
        let metres = state["eta"]["distance_m"].as_f64();
        assert!(metres.is_none_or(|metres| metres < 20_000.0), "{lat}, {lon}: {state}");
        let path = format!("/v1/nearby?lat={lat}&lon={lon}&k=20");
        until(SOON, "the driver is nearby", async || {
            let answer = house.call("GET", &path, Some(&house.key), None).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.text.contains(&driver.id).then_some(())
        })
        .await;
    }
    house.assert_clean_log();
}

/// A disk of a few megabytes in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_acks_keeps_watchers_seeing_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("disk");
    std::fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, "16m") else {
        eprintln!("mounting is not permitted here: the disk that is full is tried by the bound of the fix log alone");
        return;
    };
    let mut house = House::start_with(&[("DATA_DIR", data.to_str().unwrap()), ("INGEST_MESSAGES_BURST", "1000")]).await;
    for text in ["disk is full", "durable acks wait", "No space left", "disk I/O error"] {
        house.expect_log(text);
    }
    let driver = house.driver("Ana").await;
    let topic = &*format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[topic]).await;
    let mut app = App::open(&house, &driver).await;
    let mut t_ms = now_ms() - 3_600_000;
    let mut message = || -> Vec<Value> {
        let step = |_| {
            t_ms += 1000;
            near_pickup(((t_ms / 1000 % 400) - 200).abs() as f64, t_ms)
        };
        (0..20).map(step).collect()
    };
    app.deliver(message()).await;
    // Somebody else fills the disk.
    let filler = data.join("filler");
    let mut rest = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut rest, &[7; 4096]).is_ok() {}
    while std::io::Write::write(&mut rest, &[7; 64]).is_ok_and(|count| count > 0) {}
    drop(rest);
    app.said.clear();
    // What the files have room for inside is still kept; then nothing more.
    let refused = within(2 * SOON, "an ack is refused", async {
        loop {
            if app.outbox.unacked.len() < 8 {
                let fixes = message();
                let newest = fixes[19]["t_ms"].clone();
                app.send(fixes).await;
                watcher.until("the newest position", |memory| memory.state(topic)["position"]["t_ms"] == newest).await;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), app.step()).await;
            if let Some(place) = app.said.iter().position(|said| said["type"] == "error") {
                return app.said.remove(place);
            }
        }
    })
    .await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("not_durable"), &json!(true)), "{refused}");
    let fixes = message();
    let newest = fixes[19]["t_ms"].clone();
    app.send(fixes).await;
    watcher.until("the car is still seen", |memory| memory.state(topic)["position"]["t_ms"] == newest).await;
    assert_eq!(house.call("GET", "/healthz", None, None).await.status, 200);
    // Room again: without a restart everything is acked, when the app sends it again.
    std::fs::remove_file(&filler).unwrap();
    let outbox = app.outbox.clone();
    drop(app);
    let mut app = within(SOON, "the house takes the app again", async {
        loop {
            if let Ok(app) = App::resume(&house, &driver, outbox.clone()).await {
                return app;
            }
        }
    })
    .await;
    within(2 * SOON, "all of it is acked", async {
        while !app.outbox.unacked.is_empty() {
            let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(2), app.step()).await else {
                app = App::resume(&house, &driver, app.outbox.clone()).await.unwrap();
                continue;
            };
        }
    })
    .await;
    let acked: usize = app.outbox.acked.values().map(|(fixes, _)| fixes.len()).sum();
    house.kill9();
    house.restart().await;
    let kept = house.command(&["fixes", "--driver", &driver.id]).await.lines().count() - 1;
    assert_eq!(kept, acked, "each acked fix once");
    assert!(!house.log().contains("set aside"), "no file is damaged");
    house.assert_clean_log();
    drop(house);
    drop(disk);
}
