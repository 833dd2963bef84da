//! The whole generator, in front of a server that the test plays.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

mod fake;

use std::time::Duration;

use fake::{Fake, Faults};
use tokio::sync::watch;
use wayfare_loadtest::demo::{DemoOptions, run_demo};
use wayfare_loadtest::load::{self, Crowd, IdleOptions, LoadOptions, Speaks};
use wayfare_loadtest::rate::{RateOptions, rate};
use wayfare_loadtest::replay::{Grouping, ReplayOptions, ReplayReport, replay};
use wayfare_loadtest::town::Town;
use wayfare_loadtest::transport::Transport;
use wayfare_wire::codec::DriveCodec;

fn options(fake: &Fake, drivers: usize, watchers: usize) -> LoadOptions {
    LoadOptions {
        base_url: fake.url.clone(),
        service_token: "service".into(),
        drivers,
        watchers,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(1),
        pid: Some(std::process::id()),
        threads: 2,
        progress: false,
        codec: DriveCodec::Json,
        speaks: Speaks::Wayfare,
        crowd: Crowd::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newest_first_leaves_nothing_out_where_there_is_room_and_tells_how_old_positions_are() {
    let fake = Fake::start(Faults::default()).await;
    let report = load::newest(&options(&fake, 5, 2), 20.0).await.unwrap();
    assert!(report.sent > 50 && report.sent + report.skipped >= 95, "{report}");
    let age = report.age.expect("watchers had positions");
    // Between two fixes a position gets 50 ms old.
    assert!(age.p50_ms > 1.0, "{report}");
    assert!(report.trace.iter().any(|sample| sample.deliveries_per_s > 0.0 && sample.p99_ms.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_counts_every_fix_of_its_window() {
    let fake = Fake::start(Faults::default()).await;
    let report = load::run(&options(&fake, 5, 3), 20.0).await.unwrap();
    assert!((95..=105).contains(&report.sent), "{report}");
    assert_eq!((report.acked, report.accepted), (report.sent, report.sent), "{report}");
    assert_eq!(report.delivered, 3 * report.sent, "{report}");
    assert_eq!((report.lost, report.duplicated, report.connections_closed), (0, 0, 0));
    assert!(report.bytes_per_delivery > 100.0);
    assert!(report.delivery.unwrap().p50_ms < 500.0);
    assert!(report.server.unwrap().cpu_us_per_fix > 0.0);
    let cancels = fake.requests().iter().filter(|request| request.ends_with("/cancel")).count();
    assert_eq!(cancels, 5, "records are tidied away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_waits_for_deliveries_and_keeps_below_its_rate() {
    let fake = Fake::start(Faults::default()).await;
    let free = load::closed(&options(&fake, 2, 2), 1, 0.0).await.unwrap();
    assert!(free.fixes_per_s > 100.0, "{free}");
    assert_eq!((free.lost, free.stalled), (0, 0), "{free}");
    let held = load::closed(&options(&fake, 2, 1), 1, 25.0).await.unwrap();
    assert!((30..=52).contains(&held.sent), "{held}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_goes_on_when_acks_come_late() {
    // Sixty is where a driver stops sending: by then every delivery has come, and only the acks can wake it.
    let fake = Fake::start(Faults { acks_owed: 60, ..Faults::default() }).await;
    let report = load::closed(&options(&fake, 2, 1), 1, 0.0).await.unwrap();
    assert!(report.sent > 120, "{report}");
    assert_eq!((report.lost, report.stalled), (0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_has_one_driver() {
    let fake = Fake::start(Faults::default()).await;
    let report = load::fan(&options(&fake, 9, 20), 4, 0.0).await.unwrap();
    assert_eq!((report.drivers, report.lost), (1, 0), "{report}");
    assert_eq!(report.delivered, 20 * report.sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_held() {
    let fake = Fake::start(Faults::default()).await;
    let options = IdleOptions {
        base_url: fake.url.clone(),
        service_token: "service".into(),
        watchers: 30,
        topics: 1,
        drivers: 10,
        hold: Duration::from_secs(1),
        pid: std::process::id(),
        progress: false,
    };
    let report = load::idle(&options).await.unwrap();
    assert_eq!(report.connections_closed, 0, "{report}");
    assert!(report.rss_before > 0);
}

async fn play(faults: Faults, by: Grouping) -> (ReplayReport, Fake) {
    let fake = Fake::start(faults).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trips.csv");
    let mut text = String::from("trace,t,lat,lon,taxi\n");
    for (trace, begin, taxi) in [("a", 0, "x"), ("b", 100, "y"), ("c", 400, "x")] {
        for point in 0..20 {
            let (t, lat) = (1_372_636_858 + begin + 15 * point, 41.1 + f64::from(point) * 1e-3);
            text.push_str(&format!("{trace},{t},{lat},-8.6,{taxi}\n"));
        }
    }
    std::fs::write(&file, text).unwrap();
    let options = ReplayOptions {
        transport: Transport::default(),
        file,
        speed: 300.0,
        grouping: by,
        connections_max: 2,
        traces_max: 0,
        base_url: fake.url.clone(),
        service_token: "service".into(),
    };
    (replay(options).await.unwrap(), fake)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_played_whole() {
    let (report, fake) = play(Faults::default(), Grouping::Taxi).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.traces, report.trips_watched), (3, 3));
    assert_eq!((report.sent, report.acked, report.accepted), (60, 60, 60), "{report}");
    assert!(report.positions >= 57 && report.eta_messages >= 57, "{report}");
    let drivers = fake.requests().iter().filter(|request| *request == "post /v1/drivers").count();
    assert_eq!(drivers, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_break_lose_nothing() {
    let faults = Faults { cut_after: 4, ..Faults::default() };
    let (report, _) = play(faults, Grouping::Trace).await;
    assert_eq!((report.sent, report.acked), (60, 60), "{report}");
    assert!(report.reconnects >= 3, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_that_goes_back_is_noticed() {
    let faults = Faults { backwards: true, ..Faults::default() };
    let (report, _) = play(faults, Grouping::Trace).await;
    assert!(report.faults > 10 && !report.is_clean(), "{report}");
    assert!(report.to_string().contains("the position went back"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_has_orders_within_seconds_and_calls_them_off_at_the_end() {
    let fake = Fake::start(Faults::default()).await;
    let orders = watch::Sender::new(String::new());
    let mut list = orders.subscribe();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.json");
    let options =
        DemoOptions { couriers: 3, orders: Some(orders), orders_file: Some(file.clone()), ..DemoOptions::default() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let url = fake.url.clone();
    let demo = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        run_demo(&url, "service", Town::generate(1), options, shutdown).await
    });
    let four = |json: &String| {
        let orders: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
        let assigned = orders.iter().filter(|order| order["phase"] == "assigned").count();
        orders.len() >= 4 && assigned >= 3
    };
    let json = tokio::time::timeout(Duration::from_secs(10), list.wait_for(four)).await;
    let json = json.unwrap().unwrap().clone();
    let orders: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let first = &orders[0];
    assert!(first["title"].as_str().unwrap().starts_with("Order 1: "), "{json}");
    let trip = first["trip"].as_str().unwrap();
    assert_eq!(first["url"], format!("/track/#trip={trip}&token={trip}"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(std::fs::read_to_string(&file).unwrap().contains(trip));
    stop.send(()).unwrap();
    demo.await.unwrap().unwrap();
    let cancels = fake.requests().iter().filter(|request| request.ends_with("/cancel")).count();
    assert!(cancels >= 4);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "[]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_obeys_is_counted_beside_one_that_does_not() {
    let fake = Fake::start(Faults { on_the_way: true, ..Faults::default() }).await;
    let options = RateOptions {
        base_url: fake.url.clone(),
        service_token: "service".into(),
        transport: Transport::default(),
        couriers: 1,
        watched_of: 1,
        fixed: Duration::from_millis(50),
        warm_up: Duration::from_secs(2),
        duration: Duration::from_secs(2),
        seed: 1,
    };
    // The fake asks for five fixes a second of all of them.
    let report = rate(&options).await.unwrap();
    assert!((30..=41).contains(&report.fixed.uploads) && (8..=11).contains(&report.policy.uploads), "{report}");
    assert!((0.6..0.85).contains(&report.saved), "{report}");
    assert!(report.fixed.samples > 4 && report.policy.age_p95_s < 0.5, "{report}");
    let cancels = fake.requests().iter().filter(|request| request.ends_with("/cancel")).count();
    assert!(cancels >= 2, "records are tidied away");
}
