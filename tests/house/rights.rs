//! Who may do what: every route by every role, and what lies beyond the table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wayfare_api::PERMISSIONS;

use crate::drive::{App, Outbox};
use crate::harness::{House, SOON, now_ms, until};
use crate::rest::Answer;
use crate::ride::near_pickup;
use crate::watch::Watcher;

const ROLES: [&str; 7] = ["driver", "customer", "store", "share", "support", "admin", "service"];

/// Routes that need no token, all of them.
const OPEN: &[&str] = &[
    "/v1/streets",
    "/v1/web-config",
    "/openapi.json",
    "/.well-known/jwks.json",
    "/v1/images/{store}/{picture}/{file}",
];

/// Records of one operator, and a token of each role that has to do with them.
struct Cast {
    tokens: BTreeMap<&'static str, String>,
    ids: BTreeMap<&'static str, String>,
}

async fn cast(house: &House) -> Cast {
    let (driver, store) = (house.driver("Ana").await, house.store("Kitchen").await);
    let trip = house.trip(Some(&driver), Some(&store)).await;
    let mut tokens = BTreeMap::new();
    for role in ROLES {
        let sub = match role {
            "driver" => driver.id.clone(),
            "store" => store.clone(),
            "share" => trip.id.clone(),
            "customer" => "cus".to_owned(),
            other => other.to_owned(),
        };
        tokens.insert(role, house.token(role, &sub).await);
    }
    let token = house.issue("customer", "nobody", 60).await.0;
    let ids = BTreeMap::from([("stores", store), ("drivers", driver.id), ("trips", trip.id), ("tokens", token)]);
    Cast { tokens, ids }
}

#[tokio::test]
async fn every_route_answers_every_role_as_the_table_says() {
    let house = House::start().await;
    let cast = cast(&house).await;
    let document = house.call("GET", "/openapi.json", None, None).await.json();
    let mut seen = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let kind = path.split('/').nth(2).unwrap_or_default();
        let url = path.replace("{id}", cast.ids.get(kind).map_or("x", String::as_str));
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            // A body that no handler takes: whoever is let in is told 422 and nothing happens, for most routes.
            let body = json!({ "nobody_knows": 1 });
            let without = house.call(&method, &url, None, Some(&body)).await;
            if OPEN.contains(&path.as_str()) {
                assert!(![401, 403].contains(&without.status), "{method} {path}: {}", without.status);
                assert_eq!(operation.get("x-roles"), None);
                continue;
            }
            // Answers to HEAD have no body.
            let code = |answer: &Answer, code: &str| method == "HEAD" || answer.code() == code;
            assert_eq!(without.status, 401, "{method} {path} without a token");
            assert!(code(&without, "unauthorized"), "{method} {path}: {}", without.text);
            let row = PERMISSIONS.iter().find(|(known, route, _)| *known == method && route == path);
            let (_, _, roles) = row.unwrap_or_else(|| panic!("{method} {path} is not in the table"));
            assert_eq!(operation["x-roles"], json!(roles.iter().map(|role| role.name()).collect::<Vec<_>>()));
            seen.insert((method.clone(), path.clone()));
            for role in ROLES {
                // What cannot be undone is tried at an id that is not there: the table is asked before.
                let url = if path.ends_with("/revoke") || method == "DELETE" {
                    path.replace("{id}", "absent")
                } else {
                    url.clone()
                };
                let answer = house.call(&method, &url, Some(&cast.tokens[role]), Some(&body)).await;
                let allowed = roles.iter().any(|known| known.name() == role);
                assert_eq!(
                    answer.status != 403,
                    allowed,
                    "{role} at {method} {path}: {} {}",
                    answer.status,
                    answer.text
                );
                assert!(
                    answer.status < 500 && answer.status != 401,
                    "{role} at {method} {path}: {} {}",
                    answer.status,
                    answer.text
                );
                if !allowed {
                    assert!(code(&answer, "forbidden"), "{role} at {method} {path}: {}", answer.text);
                }
            }
        }
    }
    assert_eq!(seen.len(), PERMISSIONS.len(), "the document and the table name the same operations");
    house.assert_clean_log();
}

#[tokio::test]
async fn doors_for_live_data_let_in_their_roles_only() {
    let house = House::start().await;
    let cast = cast(&house).await;
    let absent = "trip:trp_00000000000000000000000000";
    for (method, path, allowed) in [
        ("POST", "/v1/fixes".to_owned(), &["driver"][..]),
        ("GET", "/metrics".to_owned(), &["support", "admin", "service"]),
    ] {
        assert_eq!(house.call(method, &path, None, None).await.status, 401);
        for role in ROLES {
            let answer = house.call(method, &path, Some(&cast.tokens[role]), Some(&json!({ "fixes": [] }))).await;
            assert_eq!(answer.status == 403, !allowed.contains(&role), "{role} at {path}: {}", answer.status);
        }
    }
    let (trip, store) = (format!("trip:{}", cast.ids["trips"]), format!("store:{}", cast.ids["stores"]));
    let driver = format!("driver:{}", cast.ids["drivers"]);
    let ops = format!("{trip}:ops");
    // PROTOCOL.md, "Topics".
    let table = [
        (&*trip, &["customer", "share", "store", "support", "admin", "service"][..]),
        (&*ops, &["store", "support", "admin", "service"]),
        (&*driver, &["support", "admin", "service"]),
        (&*store, &["store", "support", "admin", "service"]),
        (absent, &[]),
    ];
    for (topic, roles) in table {
        let url = format!("/v1/watch/poll?topics={topic}");
        assert_eq!(house.call("GET", &url, None, None).await.status, 401);
        for role in ROLES {
            let answer = house.call("GET", &url, Some(&cast.tokens[role]), None).await;
            let expected = if roles.contains(&role) { 200 } else { 404 };
            assert_eq!(answer.status, expected, "{role} at {topic}: {}", answer.text);
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(house.call("GET", path, None, None).await.status, 200);
    }
    assert_eq!(house.call("GET", "/v1/nowhere", None, None).await.code(), "not_found");
    let wrong = house.call("PUT", "/v1/drivers", Some(&house.key), None).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    house.assert_clean_log();
}

#[tokio::test]
async fn what_is_another_one_s_does_not_exist() {
    let house = House::start().await;
    let mine = cast(&house).await;
    let (driver, store) = (house.driver("Rui").await, house.store("Other").await);
    let trip = house.trip(Some(&driver), Some(&store)).await;
    let other = house.post("/v1/trips", json!({
        "customer": "someone", "store": store,
        "pickup": { "lat": 41.1, "lon": -8.6, "name": "A" }, "dropoff": { "lat": 41.2, "lon": -8.6, "name": "B" },
    })).await["id"].as_str().unwrap().to_owned();
    let link = house.issue("share", &trip.id, 3600).await.0;
    let cases = [
        ("driver", "GET", format!("/v1/drivers/{}", driver.id)),
        ("driver", "POST", format!("/v1/trips/{}/complete", trip.id)),
        ("driver", "POST", format!("/v1/trips/{}/fail", trip.id)),
        ("customer", "GET", format!("/v1/trips/{other}")),
        ("store", "GET", format!("/v1/stores/{store}")),
        ("store", "PATCH", format!("/v1/stores/{store}")),
        ("store", "GET", format!("/v1/trips/{}", trip.id)),
        ("store", "PATCH", format!("/v1/trips/{}", trip.id)),
        ("store", "POST", format!("/v1/trips/{}/cancel", trip.id)),
        ("store", "DELETE", format!("/v1/tokens/{link}")),
    ];
    for (role, method, path) in cases {
        let token = Some(&*mine.tokens[role]);
        let foreign = house.call(method, &path, token, None).await;
        let id = path.split('/').nth(3).unwrap();
        let (kind, digits) = id.split_once('_').unwrap();
        let absent =
            house.call(method, &path.replace(id, &format!("{kind}_{}", "0".repeat(digits.len()))), token, None).await;
        assert_eq!(
            (foreign.status, foreign.code().as_str()),
            (404, "not_found"),
            "{role} at {method} {path}: {}",
            foreign.text
        );
        assert_eq!((foreign.status, &foreign.text), (absent.status, &absent.text), "foreign and absent are the same");
    }
    let share = json!({ "role": "share", "sub": trip.id });
    let answer = house.call("POST", "/v1/tokens", Some(&mine.tokens["store"]), Some(&share)).await;
    assert_eq!(answer.status, 404, "a link to another store's trip: {}", answer.text);
    for role in ["driver", "customer", "store", "support", "admin", "service"] {
        let wanted = json!({ "role": role, "sub": mine.ids["stores"] });
        let answer = house.call("POST", "/v1/tokens", Some(&mine.tokens["store"]), Some(&wanted)).await;
        assert_eq!(answer.status, 403, "a store makes a token of {role}");
    }
    let service = json!({ "role": "service", "sub": "x" });
    assert_eq!(house.call("POST", "/v1/tokens", Some(&mine.tokens["admin"]), Some(&service)).await.status, 403);
    let listed = house.call("GET", &format!("/v1/trips?store={store}"), Some(&mine.tokens["store"]), None).await.json();
    assert!(listed["items"].as_array().unwrap().iter().all(|trip| trip["store"] == *mine.ids["stores"]), "{listed}");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    // A customer reads of its own trip what concerns it.
    let own = house
        .call("GET", &format!("/v1/trips/{}", mine.ids["trips"]), Some(&mine.tokens["customer"]), None)
        .await
        .json();
    for hidden in ["driver", "store"] {
        assert!(own[hidden].is_null(), "{own}");
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn members_that_do_not_belong_there_are_refused() {
    let house = House::start().await;
    let cast = cast(&house).await;
    let place = json!({ "lat": 41.1, "lon": -8.6, "name": "A" });
    let trip = json!({ "customer": "cus", "pickup": place, "dropoff": place });
    let cases = [
        ("POST", "/v1/drivers".to_owned(), json!({ "name": "A", "vehicle": "car" })),
        ("PATCH", format!("/v1/drivers/{}", cast.ids["drivers"]), json!({})),
        ("POST", "/v1/stores".to_owned(), json!({ "name": "A", "lat": 41, "lon": -8 })),
        ("PATCH", format!("/v1/stores/{}", cast.ids["stores"]), json!({})),
        ("POST", "/v1/trips".to_owned(), trip),
        ("PATCH", format!("/v1/trips/{}", cast.ids["trips"]), json!({})),
        ("POST", format!("/v1/trips/{}/assign", cast.ids["trips"]), json!({})),
        ("POST", format!("/v1/trips/{}/cancel", cast.ids["trips"]), json!({})),
        ("POST", format!("/v1/trips/{}/complete", cast.ids["trips"]), json!({})),
        ("POST", format!("/v1/trips/{}/fail", cast.ids["trips"]), json!({})),
        ("POST", "/v1/tokens".to_owned(), json!({ "role": "support", "sub": "x" })),
    ];
    for (method, path, good) in &cases {
        for (name, value) in [
            ("id", json!("drv_00000000000000000000000001")),
            ("version", json!(99)),
            ("phase", json!("delivered")),
            ("assignment", json!(7)),
            ("shares", json!(["tok_1"])),
            ("created_ms", json!(0)),
            ("revoked_ms", json!(0)),
            ("plan_version", json!(0)),
            ("is_admin", json!(true)),
            ("__proto__", json!({})),
        ] {
            let mut body = good.clone();
            body[name] = value;
            let answer = house.call(method, path, Some(&house.key), Some(&body)).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (422, "invalid"),
                "{method} {path} with {name}: {}",
                answer.text
            );
        }
        let request = house.http.request(method.parse().unwrap(), house.url(path)).bearer_auth(&house.key);
        let answer = House::answer(request.body("{")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{method} {path}");
    }
    let trip = house.call("GET", &format!("/v1/trips/{}", cast.ids["trips"]), Some(&house.key), None).await.json();
    assert_eq!(trip["phase"], "assigned");
    house.assert_clean_log();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_guessed_ids_hit_nothing_and_are_limited_after_a_hundred() {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let house = House::start().await;
    let cast = cast(&house).await;
    for number in 0..20 {
        house.post("/v1/trips", json!({
            "customer": format!("someone{number}"),
            "pickup": { "lat": 41.1, "lon": -8.6, "name": "A" }, "dropoff": { "lat": 41.2, "lon": -8.6, "name": "B" },
        })).await;
    }
    let real = &cast.ids["trips"];
    let guess = |number: usize| -> String {
        let last = |number: usize| -> String {
            [number / 1024 % 32, number / 32 % 32, number % 32].map(|digit| DIGITS[digit] as char).iter().collect()
        };
        match number % 3 {
            // Counting up from nothing, and beside a real one.
            0 => format!("trp_{number:026}"),
            1 => format!("{}{}", &real[..real.len() - 3], last(number)),
            _ => format!("trp_7{}{}", "z".repeat(22), last(number)),
        }
    };
    for (door, code) in [("/v1/trips/", 429), ("/v1/watch/poll?topics=trip:", 429)] {
        let token = house.token("customer", &format!("guesser{}", door.len())).await;
        let (mut before_limit, mut limited) = (0, 0);
        for number in 0..5_000 {
            let id = guess(number);
            let answer = house.call("GET", &format!("{door}{id}"), Some(&token), None).await;
            match answer.status {
                404 => before_limit += usize::from(limited == 0),
                status if status == code => limited += 1,
                other => panic!("{id} at {door}: {other} {}", answer.text),
            }
            assert_eq!(answer.code(), if answer.status == 404 { "not_found" } else { "rate_limited" });
            if limited == 1 {
                assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
            }
        }
        // While a hundred tries are made, a bucket regains half a try a second.
        assert!((100..=103).contains(&before_limit), "limited after {before_limit} tries at {door}");
        assert!(limited > 4_800, "{limited}");
        // What is the bearer's own is not limited by that.
        let own = house.call("GET", &format!("{door}{real}"), Some(&cast.tokens["customer"]), None).await;
        assert_eq!(own.status, 200);
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn guesses_over_a_websocket_are_limited_too() {
    let house = House::start().await;
    let token = house.token("customer", "guesser").await;
    let mut watcher = Watcher::open(&house, &token).await;
    let mut codes = Vec::new();
    for part in 0..15 {
        let topics: Vec<String> = (0..10).map(|number| format!("trip:trp_{:026}", part * 10 + number)).collect();
        watcher.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for _ in 0..10 {
            codes.push(watcher.said("error").await["code"].as_str().unwrap().to_owned());
        }
    }
    let missed = codes.iter().filter(|code| *code == "not_found").count();
    assert!((100..=103).contains(&missed), "{missed} of {}", codes.len());
    assert!(codes.iter().skip(103).any(|code| code == "rate_limited"));
    house.assert_clean_log();
}

#[tokio::test]
async fn a_driver_is_who_its_token_says_whatever_the_message_says() {
    let house = House::start().await;
    let (mine, other) = (house.driver("Ana").await, house.driver("Rui").await);
    let fix = near_pickup(0.0, now_ms() - 60_000);
    for name in ["driver", "driver_id", "id", "sub", "device"] {
        let body = json!({ name: other.id, "fixes": [fix] });
        let path = format!("/v1/fixes?driver={0}&id={0}", other.id);
        let answer = house.call("POST", &path, Some(&mine.token), Some(&body)).await;
        assert!([200, 422].contains(&answer.status), "{}", answer.text);
    }
    let mut app = App::open(&house, &mine).await;
    app.raw(
        &json!({ "type": "fixes", "seq": 1, "driver": other.id, "fixes": [near_pickup(1.0, now_ms() - 50_000)] })
            .to_string(),
    )
    .await;
    app.deliver(vec![near_pickup(2.0, now_ms() - 40_000)]).await;
    app.raw(&json!({ "type": "auth", "token": other.token }).to_string()).await;
    assert_eq!(app.said("error").await["code"], "forbidden", "a renewal must be of the same driver");
    app.raw(&json!({ "type": "auth", "token": mine.token }).to_string()).await;
    app.said("welcome").await;
    assert!(house.command(&["fixes", "--driver", &mine.id]).await.lines().count() > 1);
    assert_eq!(house.command(&["fixes", "--driver", &other.id]).await.lines().count(), 1);
    assert!(house.peek(&format!("driver:{}", other.id)).await.unwrap()["position"].is_null());
    house.assert_clean_log();
}

#[tokio::test]
async fn the_newer_of_two_connections_of_a_driver_wins() {
    let house = House::start().await;
    let driver = house.driver("Ana").await;
    let mut old = App::open(&house, &driver).await;
    old.deliver(vec![near_pickup(0.0, now_ms() - 60_000)]).await;
    let mut new = App::resume(&house, &driver, Outbox::new("2")).await.unwrap();
    assert_eq!(old.closed().await, 4200);
    assert_eq!(
        old.said.last().map(|bye| (&bye["type"], &bye["code"], &bye["reason"])),
        Some((&json!("bye"), &json!(4200), &json!("replaced")))
    );
    assert_eq!(new.deliver(vec![near_pickup(1.0, now_ms() - 50_000)]).await, ["accepted"]);
    assert_eq!(house.post_fixes(&driver, &[near_pickup(2.0, now_ms() - 40_000)]).await, ["accepted"]);
    assert_eq!(new.deliver(vec![near_pickup(3.0, now_ms() - 30_000)]).await, ["accepted"], "a POST ends no connection");
    house.assert_clean_log();
}

#[tokio::test]
async fn a_revoked_driver_and_a_revoked_store_are_out_within_two_seconds() {
    let house = House::start().await;
    let (driver, store) = (house.driver("Ana").await, house.store("Kitchen").await);
    let token = house.token("store", &store).await;
    let mut app = App::open(&house, &driver).await;
    let mut watcher = Watcher::open(&house, &token).await;
    watcher.subscribe(&[&format!("store:{store}")]).await;
    watcher.until("subscribed", |memory| !memory.log_cursors.is_empty()).await;
    let began = Instant::now();
    house.post(&format!("/v1/drivers/{}/revoke", driver.id), Value::Null).await;
    house.post(&format!("/v1/stores/{store}/revoke"), Value::Null).await;
    assert_eq!((app.closed().await, watcher.closed().await), (4201, 4201));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for (method, path, token) in [("POST", "/v1/fixes", &driver.token), ("GET", "/v1/trips", &token)] {
        assert_eq!(house.call(method, path, Some(token), None).await.status, 401);
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn positions_of_off_shift_are_not_kept() {
    let house = House::start().await;
    let id = house.post("/v1/drivers", json!({ "name": "Ana", "vehicle": "bicycle" })).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let driver = crate::rest::Driver { token: house.token("driver", &id).await, id };
    house.knows_driver(&driver.id, |_| true).await;
    assert_eq!(house.post_fixes(&driver, &[near_pickup(0.0, now_ms())]).await, ["off_shift"]);
    house.done("PATCH", &format!("/v1/drivers/{}", driver.id), json!({ "available": true })).await;
    house.knows_driver(&driver.id, |state| state["available"] == true).await;
    until(SOON, "on shift", async || {
        let verdicts = house.post_fixes(&driver, &[near_pickup(1.0, now_ms())]).await;
        (verdicts == ["accepted"]).then_some(())
    })
    .await;
    house.done("PATCH", &format!("/v1/drivers/{}", driver.id), json!({ "available": false })).await;
    let topic = format!("driver:{}", driver.id);
    until(SOON, "the position is gone", async || house.peek(&topic).await.filter(|state| state["position"].is_null()))
        .await;
    assert_eq!(house.command(&["fixes", "--driver", &driver.id]).await.lines().count(), 2);
    house.assert_clean_log();
}
