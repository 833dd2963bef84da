//! The rooms as processes of their own, on one Redis, behind a proxy that knows which path leads where.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::corridor;
use crate::drive::App;
use crate::harness::{House, SOON, now_ms, until};
use crate::redis_server::Server;
use crate::ride::near_pickup;
use crate::watch::Watcher;

/// All parts of a house.
struct Street {
    api: House,
    ingest: House,
    fanouts: [House; 2],
    /// What phones and pages see.
    front: House,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Street {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), &[]);
        let url = server.url();
        let on = [("BUS_URL", &*url)];
        // In the wrong order: whoever needs the records waits for them.
        let (ingest, api, one, other) = tokio::join!(
            House::start_role("ingest", &on),
            House::start_role("api", &on),
            House::start_role("fanout", &on),
            House::start_role("fanout", &on),
        );
        let port = proxy(api.port, ingest.port, [one.port, other.port]).await;
        let front = House::front(port, &api.key);
        Self { api, ingest, fanouts: [one, other], front, server, _dir: dir }
    }

    fn assert_clean_logs(&self) {
        for part in [&self.api, &self.ingest].into_iter().chain(&self.fanouts) {
            part.assert_clean_log();
        }
    }
}

/// By path, watchers by turns; a connection per request, so that none leads to the wrong part.
pub async fn proxy(api: u16, ingest: u16, fanouts: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let turn = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let turn = Arc::clone(&turn);
            tokio::spawn(async move {
                let choose = |path: &str| match path {
                    path if path.starts_with("/v1/watch") => fanouts[turn.fetch_add(1, Ordering::Relaxed) % 2],
                    path if ["/v1/drive", "/v1/fixes", "/v1/phone", "/in/"].iter().any(|own| leads(path, own)) => {
                        ingest
                    }
                    _ => api,
                };
                // A client that goes away is its own affair.
                let _ = pass(client, choose).await;
            });
        }
    });
    port
}

/// `/v1/drive` is one of ingest's, `/v1/drivers` is not.
fn leads(path: &str, own: &str) -> bool {
    path.strip_prefix(own).is_some_and(|rest| own.ends_with('/') || rest.is_empty() || rest.starts_with(['?', '/']))
}

async fn pass(mut client: TcpStream, choose: impl Fn(&str) -> u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let mut house = TcpStream::connect(("127.0.0.1", choose(path))).await?;
    house.write_all(&head[..end]).await?;
    if !text.to_ascii_lowercase().contains("upgrade:") {
        house.write_all(b"\r\nconnection: close").await?;
    }
    house.write_all(&head[end..]).await?;
    copy_bidirectional(&mut client, &mut house).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ride_through_rooms_of_their_own() {
    let street = Street::open().await;
    let front = House::front(street.front.port, &street.front.key);
    corridor::a_ride_is_seen_the_same(front).await;
    street.assert_clean_logs();
}

/// Each part is killed and comes back while the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_room_may_fall_and_come_back() {
    let mut street = Street::open().await;
    for part in [&street.api, &street.ingest].into_iter().chain(&street.fanouts) {
        part.expect_log("trying again");
    }
    let front = House::front(street.front.port, &street.front.key);
    let driver = front.driver("Ana").await;
    let trip = front.trip(Some(&driver), None).await;
    let support = front.token("support", "sup").await;
    let mut operator = Watcher::open(&front, &support).await;
    operator.subscribe(&[&trip.ops]).await;
    let mut app = App::open(&front, &driver).await;
    let mut metres = 0.0;
    let mut t_ms = now_ms();
    assert_eq!(app.deliver(vec![near_pickup(metres, t_ms)]).await, ["accepted"]);
    let at = |memory: &crate::watch::Memory, t_ms: i64| memory.state(&trip.ops)["position"]["t_ms"] == t_ms;
    operator.until("the first position", |memory| at(memory, t_ms)).await;

    // The records: the ride goes on without them.
    street.api.kill9();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    (metres, t_ms) = (metres + 40.0, now_ms());
    assert_eq!(app.deliver(vec![near_pickup(metres, t_ms)]).await, ["accepted"]);
    operator.until("a position without the records", |memory| at(memory, t_ms)).await;
    street.api.restart().await;

    // Who takes the drivers in: what was acked is known, on whatever node.
    street.ingest.kill9();
    street.ingest.restart().await;
    let mut app = App::resume(&front, &driver, app.outbox.clone()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    (metres, t_ms) = (metres + 40.0, now_ms());
    assert_eq!(app.deliver(vec![near_pickup(metres, t_ms)]).await, ["accepted"]);
    operator.until("a position after the fall", |memory| at(memory, t_ms)).await;

    // Who serves the watchers: they go on at the other one, from where they stand.
    for fanout in &mut street.fanouts {
        fanout.kill9();
        fanout.restart().await;
    }
    let memory = operator.memory;
    let mut operator =
        until(SOON, "a way back", async || Watcher::resume(&front, &support, memory.clone()).await.ok()).await;
    operator.subscribe(&[&trip.ops]).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    (metres, t_ms) = (metres + 40.0, now_ms());
    assert_eq!(app.deliver(vec![near_pickup(metres, t_ms)]).await, ["accepted"]);
    operator.until("a position at another node", |memory| at(memory, t_ms)).await;
    front.post(&format!("/v1/trips/{}/complete", trip.id), serde_json::json!({})).await;
    operator.until("the end", |memory| memory.ended(&trip.ops)).await;
    assert!(street.server.ask(&["PING"]) == "PONG");
    street.assert_clean_logs();
}

/// A driver comes in here and there: the newest place wins, what was acked anywhere is known everywhere, and what a place judged that had lost the driver
/// is not acked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_goes_from_node_to_node() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let url = server.url();
    let house = House::start_with(&[("BUS_URL", &url)]).await;
    let other = House::start_role("ingest", &[("BUS_URL", &url), ("BUS_NODE", "node-2")]).await;
    let other = House::front_of(other, &house.key);
    let driver = house.driver("Ana").await;
    let topic = format!("driver:{}", driver.id);
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[&topic]).await;
    let (mut kept, mut refused) = (Vec::new(), 0);
    for step in 0..12_i64 {
        let node = if step % 4 < 2 { &house } else { &other };
        let t_ms = now_ms();
        // To and fro, so that every position is news.
        let body = serde_json::json!({ "fixes": [near_pickup((step % 2) as f64 * 35.0, t_ms)] });
        // Sent again until it is acked, as an app does.
        until(SOON, "an ack", async || {
            let answer = node.call("POST", "/v1/fixes", Some(&driver.token), Some(&body)).await;
            match answer.status {
                200 => {
                    assert_eq!(answer.json()["verdicts"][0], "accepted", "{step}");
                    Some(())
                }
                503 => {
                    refused += 1;
                    None
                }
                status => panic!("{status}: {}", answer.text),
            }
        })
        .await;
        kept.push(t_ms);
        watcher.until("the position", |memory| memory.state(&topic)["position"]["t_ms"] == t_ms).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    }
    assert!(refused > 0, "the first message to a node that has lost the driver is not acked");
    let csv = house.command(&["fixes", "--driver", &driver.id]).await;
    let listed: Vec<i64> = csv.lines().skip(1).map(|line| line.split(',').nth(3).unwrap().parse().unwrap()).collect();
    assert_eq!(listed, kept, "every acked fix once, in order");
    house.assert_clean_log();
    other.assert_clean_log();
}

#[tokio::test]
async fn a_room_alone_needs_redis() {
    let said = House::refused(&[], &["fanout"]).await;
    assert!(said.contains("bus.url"), "{said}");
    let said = House::refused(&[("BUS_URL", "redis://127.0.0.1:1")], &["fanout"]).await;
    assert!(said.contains("bus.url") && said.contains("127.0.0.1:1"), "{said}");
}
