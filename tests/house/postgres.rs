//! Several processes with the same records, in PostgreSQL: what one writes the others know, one of them does what one has to, and each may
//! fall at any time.

use std::time::Duration;

use serde_json::json;

use crate::harness::{House, SOON, now_ms, until};
use crate::postgres_server::Postgres;
use crate::redis_server::Server;
use crate::ride::near_pickup;
use crate::roles;
use crate::watch::Watcher;

/// Two processes for records, one for everything else.
struct Street {
    apis: [House; 2],
    /// Each of the two with everything else, as if it were a house.
    fronts: [House; 2],
    ingest: House,
    fanout: House,
    database: Postgres,
    _bus: Server,
    _dir: tempfile::TempDir,
}

impl Street {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (bus, database) = (Server::start(dir.path(), &[]), Postgres::start());
        let (bus_url, database_url) = (bus.url(), database.url());
        let on = |node: &'static str| [("BUS_URL", &*bus_url), ("BUS_NODE", node), ("DATABASE_URL", &*database_url)];
        let (a, b) = (on("a"), on("b"));
        // Both at once, on a database that has no tables: one of them makes these, and the first key.
        let (one, other, ingest, fanout) = tokio::join!(
            House::start_role("api", &a),
            House::start_role("api", &b),
            House::start_role("ingest", &a),
            House::start_role("fanout", &a),
        );
        let keys: Vec<String> =
            [&one, &other].iter().map(|house| house.key.clone()).filter(|key| !key.is_empty()).collect();
        assert_eq!(keys.len(), 1, "the first key is told once");
        let known = |house| House::front_of(house, &keys[0]);
        let mut fronts = Vec::new();
        for api in [&one, &other] {
            let port = roles::proxy(api.port, ingest.port, [fanout.port; 2]).await;
            fronts.push(House::front(port, &keys[0]));
        }
        let Ok(fronts) = <[House; 2]>::try_from(fronts) else { unreachable!("two of them") };
        Self {
            fronts,
            apis: [known(one), known(other)],
            ingest: known(ingest),
            fanout: known(fanout),
            database,
            _bus: bus,
            _dir: dir,
        }
    }

    fn assert_clean_logs(&self) {
        for house in self.apis.iter().chain([&self.ingest, &self.fanout]) {
            house.assert_clean_log();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_writes_the_other_knows_and_either_may_fall() {
    let mut street = Street::open().await;
    let [one, other] = &street.fronts;
    let store = one.store("Tasca").await;
    let driver = other.driver("Ana").await;
    let trip = one.trip(Some(&driver), Some(&store)).await;
    let mut watcher = Watcher::open(&street.fronts[0], &one.key).await;
    let log = format!("store:{store}");
    watcher.subscribe(&[&trip.ops, &log]).await;

    // A change here and a change there: each is told at once, in order, and nothing is told twice.
    for change in 0..20 {
        let api = &street.fronts[change % 2];
        let reference = format!("A {change}");
        api.done("PATCH", &format!("/v1/trips/{}", trip.id), json!({ "reference": reference })).await;
        watcher.until("the change", |memory| memory.state(&trip.ops)["reference"] == *reference).await;
    }
    // Many at once, at both.
    let made =
        futures_util::future::join_all((0..40).map(|place| street.fronts[place % 2].trip(None, Some(&store)))).await;
    let page = one.call("GET", &format!("/v1/trips?store={store}&limit=100"), Some(&one.key), None).await.json();
    let listed: Vec<&str> = page["items"].as_array().unwrap().iter().filter_map(|trip| trip["id"].as_str()).collect();
    assert_eq!(listed.len(), made.len() + 1);
    assert!(made.iter().all(|trip| listed.contains(&&*trip.id)));
    let (mut events, mut cursor) = (0, "start".to_owned());
    until(SOON, "all events", async || {
        let path = format!("/v1/watch/poll?topics={log}&cursor={cursor}");
        let answer = one.call("GET", &path, Some(&one.key), None).await.json();
        cursor = answer["cursor"].as_str().unwrap().to_owned();
        events += answer["topics"][0]["events"].as_array().map_or(0, Vec::len);
        (events >= 1 + 20 + 40).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = one.call("GET", &format!("/v1/watch/poll?topics={log}&cursor={cursor}"), Some(&one.key), None).await;
    events += answer.json()["topics"][0]["events"].as_array().map_or(0, Vec::len);
    assert_eq!(events, 1 + 20 + 40, "each change is an event, once");

    // What trackers find is folded in by one of them; when that falls, by the other.
    for place in [0, 1] {
        let phase_of = async |api: &House, id: &str| {
            let answer = api.call("GET", &format!("/v1/trips/{id}"), Some(&api.key), None).await;
            answer.json()["phase"].as_str().unwrap().to_owned()
        };
        let courier = street.fronts[0].driver("Rui").await;
        let own = street.fronts[0].trip(Some(&courier), None).await;
        until(SOON, "the plan", async || {
            let verdicts = street.ingest.post_fixes(&courier, &[near_pickup(0.0, now_ms())]).await;
            (verdicts == ["accepted"]).then_some(())
        })
        .await;
        let stands = async || {
            let _ = street.ingest.post_fixes(&courier, &[near_pickup(0.0, now_ms())]).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            (phase_of(&street.apis[1], &own.id).await == "at_pickup").then_some(())
        };
        until(SOON * 3, "the phase in the records", stands).await;
        if place == 0 {
            // Whether it led is not known: either way the records go on.
            street.apis[0].kill9();
            street.fronts[1].trip(None, Some(&store)).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            street.apis[0].restart().await;
        }
    }
    street.assert_clean_logs();
}

/// A signing key that one process makes signs at the other too, and is believed everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_here_signs_there() {
    let street = Street::open().await;
    let [one, other] = &street.fronts;
    let driver = one.driver("Ana").await;
    let made = one.post("/v1/keys", json!({})).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let kid = |token: &str| -> String {
        let header = crate::forge::from_base64url(token.split('.').next().unwrap());
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let token = until(SOON, "a token signed by the new key", async || {
        let token = other.token("support", "sup").await;
        (kid(&token) == id).then_some(token)
    })
    .await;
    for house in [one, other] {
        until(SOON, "the key is believed", async || {
            let (list, watch) = ("/v1/drivers", format!("/v1/watch/poll?topics=driver:{}", driver.id));
            for path in [list, &watch] {
                if house.call("GET", path, Some(&token), None).await.status == 401 {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
    street.assert_clean_logs();
}

/// While PostgreSQL is away, rides go on, and whoever asks for records is told to come again; then everything is as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_back_with_their_server() {
    let mut street = Street::open().await;
    for api in &street.apis {
        for text in ["trying again", "told to try again", "sqlx_core::pool"] {
            api.expect_log(text);
        }
    }
    let driver = street.fronts[0].driver("Ana").await;
    let trip = street.fronts[0].trip(Some(&driver), None).await;
    let mut watcher = Watcher::open(&street.fronts[0], &street.fanout.key).await;
    watcher.subscribe(&[&trip.ops]).await;
    street.database.kill();
    let body = json!({ "name": "Rui", "vehicle": "car" });
    for api in &street.apis {
        let answer = api.call("POST", "/v1/drivers", Some(&api.key), Some(&body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "not_ready"), "{}", answer.text);
        assert!(answer.json()["retry_after_ms"].is_i64(), "{}", answer.text);
        let ready = api.call("GET", "/readyz", None, None).await;
        assert_eq!(ready.status, 503);
    }
    let t_ms = now_ms();
    assert_eq!(street.ingest.post_fixes(&driver, &[near_pickup(0.0, t_ms)]).await, ["accepted"]);
    watcher.until("a position", |memory| memory.state(&trip.ops)["position"]["t_ms"] == t_ms).await;
    street.database.up();
    for api in &street.apis {
        until(SOON, "it answers", async || {
            let answer = api.call("POST", "/v1/drivers", Some(&api.key), Some(&body)).await;
            (answer.status == 201).then_some(())
        })
        .await;
    }
    let path = format!("/v1/trips/{}", trip.id);
    street.apis[1].done("PATCH", &path, json!({ "reference": "afterwards" })).await;
    watcher.until("the change", |memory| memory.state(&trip.ops)["reference"] == "afterwards").await;
    street.assert_clean_logs();
}
