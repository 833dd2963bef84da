//! The house whose bus is on Redis: the same rides, the same guarantees, and what happens when Redis is gone for a while.

use std::time::Duration;

use crate::corridor;
use crate::drive::App;
use crate::harness::{House, now_ms};
use crate::redis_server::{Cluster, Server};
use crate::ride::near_pickup;
use crate::watch::{Memory, Watcher};

async fn house_on(url: &str) -> House {
    House::start_with(&[("BUS_URL", url)]).await
}

fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Server::start(dir.path(), &[]), dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ride_over_one_redis() {
    let (server, _dir) = server();
    corridor::a_ride_is_seen_the_same(house_on(&server.url()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ride_over_a_cluster() {
    let cluster = Cluster::start();
    corridor::a_ride_is_seen_the_same(house_on(&cluster.url()).await).await;
}

/// Redis is killed and comes back, once with its data and once without: watchers hear that what they see may be old, drivers are judged all the
/// time, and in the end everybody sees the newest position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_goes_and_comes_back() {
    let (mut server, _dir) = server();
    let house = house_on(&server.url()).await;
    for text in ["Redis is away", "Redis started anew", "trying again", "does not reach back"] {
        house.expect_log(text);
    }
    let driver = house.driver("Ana").await;
    let trip = house.trip(Some(&driver), None).await;
    let support = house.token("support", "sup").await;
    let mut operator = Watcher::open(&house, &support).await;
    operator.subscribe(&[&trip.ops]).await;
    let mut app = App::open(&house, &driver).await;
    let at = |memory: &Memory, t_ms: i64| memory.state(&trip.ops)["position"]["t_ms"] == t_ms;
    let mut metres = 0.0;
    for wiped in [false, true] {
        // As a car would, who needs a while from one place to the next.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before_ms = now_ms();
        app.deliver(vec![near_pickup(metres, before_ms)]).await;
        operator.until("a position", |memory| at(memory, before_ms)).await;
        server.kill();
        if wiped {
            server.wipe();
        }
        operator.said("stale").await;
        // Not found would be a lie, and a position from before too.
        let poll = format!("/v1/watch/poll?topics={}", trip.ops);
        let answer = house.call("GET", &poll, Some(&house.key), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "not_ready"));
        metres += 40.0;
        let away_ms = now_ms();
        let seq = app.send(vec![near_pickup(metres, away_ms)]).await;
        server.up();
        operator.until("the position from when it was away", |memory| at(memory, away_ms)).await;
        app.settle().await;
        assert_eq!(app.outbox.acked[&seq].1, ["accepted"], "judged while it was away, acked when it is kept");
        metres += 40.0;
    }
    let state = operator.memory.state(&trip.ops);
    assert_eq!(state["driver"]["id"], *driver.id, "all of it was told again");
    house.assert_clean_log();
}
