//! All drivers at once: who is nearest, and the map of the operator.

use serde_json::{Value, json};
use wayfare_wire::codec::Codec;

use crate::drive::App;
use crate::harness::{House, SOON, now_ms, until};
use crate::rest::Driver;
use crate::transports::{Eye, Way};
use crate::watch::{Memory, Watcher};

/// A place in a town, and metres in a degree of latitude.
const MIDDLE: (f64, f64) = (41.15, -8.61);
const DEGREE_M: f64 = 111_195.0;

fn fix(north_m: f64, t_ms: i64) -> Value {
    json!({ "lat": MIDDLE.0 + north_m / DEGREE_M, "lon": MIDDLE.1, "t_ms": t_ms, "accuracy_m": 5, "speed_mps": 0, "heading_deg": 0 })
}

/// A driver who stands so far north of the middle.
async fn standing(house: &House, record: Value, north_m: f64) -> Driver {
    let mut record = record;
    record["available_since_ms"] = json!(now_ms() - 600_000);
    let made = house.post("/v1/drivers", record).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let driver = Driver { token: house.token("driver", &id).await, id };
    assert_eq!(house.post_fixes(&driver, &[fix(north_m, now_ms() - 60_000)]).await, ["accepted"]);
    driver
}

/// Who is near, nearest first.
async fn near(house: &House, filter: &str) -> Vec<(String, i64)> {
    let path = format!("/v1/nearby?lat={}&lon={}{filter}", MIDDLE.0, MIDDLE.1);
    let answer = house.call("GET", &path, Some(&house.key), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let read = |near: &Value| {
        (near["driver"].as_str().unwrap().to_owned(), near["distance_m"].as_f64().unwrap().round() as i64)
    };
    answer.json()["drivers"].as_array().unwrap().iter().map(read).collect()
}

async fn until_near(house: &House, filter: &str, expected: &[(&Driver, i64)]) {
    let expected: Vec<(String, i64)> = expected.iter().map(|(driver, m)| (driver.id.clone(), *m)).collect();
    let mut last = Vec::new();
    let reached = tokio::time::timeout(SOON, async {
        loop {
            last = near(house, filter).await;
            if last == expected {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    assert!(reached.await.is_ok(), "{filter}: {last:?} in place of {expected:?}");
}

/// Some fine cell.
const FINE: &str = "area:872830828ffffff";

#[tokio::test]
async fn drivers_are_found_by_place_and_filter_until_they_go_off_duty_and_after_a_restart() {
    let mut house = House::start().await;
    let record = |vehicle: &str, capacity: Option<u16>| json!({ "name": "Ana", "vehicle": vehicle, "capacity": capacity, "available": true });
    let bike = standing(&house, record("bicycle", Some(2)), 100.0).await;
    let van = standing(&house, record("van", Some(40)), 200.0).await;
    let car = standing(&house, record("car", None), 300.0).await;
    until_near(&house, "", &[(&bike, 100), (&van, 200), (&car, 300)]).await;
    until_near(&house, "&k=1", &[(&bike, 100)]).await;
    until_near(&house, "&vehicle=car,van", &[(&van, 200), (&car, 300)]).await;
    until_near(&house, "&min_capacity=3", &[(&van, 200)]).await;
    until_near(&house, "&fresher_than_s=600", &[(&bike, 100), (&van, 200), (&car, 300)]).await;

    // A trip makes busy; the end of the shift with a trip on board makes one who only finishes.
    let trip = house.trip(Some(&bike), None).await;
    until_near(&house, "&status=busy", &[(&bike, 100)]).await;
    until_near(&house, "&status=available", &[(&van, 200), (&car, 300)]).await;
    house.done("PATCH", &format!("/v1/drivers/{}", bike.id), json!({ "available": false })).await;
    until_near(&house, "&status=finishing", &[(&bike, 100)]).await;
    house.done("PATCH", &format!("/v1/drivers/{}", van.id), json!({ "capacity": 0, "vehicle": "car" })).await;
    until_near(&house, "&vehicle=car", &[(&van, 200), (&car, 300)]).await;
    until_near(&house, "&min_capacity=3", &[]).await;

    // One who drives is found where it went: from 300 to 150 metres.
    let drive: Vec<Value> = (0..=15)
        .map(|second| {
            let mut fix = fix(300.0 - 10.0 * f64::from(second), now_ms() - 16_000 + i64::from(second) * 1000);
            (fix["speed_mps"], fix["heading_deg"]) = (json!(10.0), json!(180));
            fix
        })
        .collect();
    assert!(house.post_fixes(&car, &drive).await.iter().all(|verdict| verdict == "accepted"));
    let moved_to = until(SOON, "the car is nearer", async || {
        near(&house, "").await.into_iter().find(|(driver, m)| *driver == car.id && *m < 160).map(|(_, m)| m)
    })
    .await;
    house.done("PATCH", &format!("/v1/drivers/{}", van.id), json!({ "available": false })).await;
    until_near(&house, "", &[(&bike, 100), (&car, moved_to)]).await;

    house.kill9();
    house.restart().await;
    until_near(&house, "", &[(&bike, 100), (&car, moved_to)]).await;
    house.post(&format!("/v1/trips/{}/complete", trip.id), json!({})).await;
    until_near(&house, "", &[(&car, moved_to)]).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name_and_strangers_learn_nothing() {
    let house = House::start().await;
    let check = async |query: &str, status: u16, code: &str, field: &str| {
        let answer = house.call("GET", &format!("/v1/nearby?{query}"), Some(&house.key), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query}: {}", answer.text);
        assert_eq!(answer.json()["field"].as_str().unwrap_or(""), field, "{query}");
    };
    check("lat=91&lon=0", 422, "invalid", "lat").await;
    check("lat=0&lon=0&k=0", 422, "invalid", "k").await;
    check("lat=0&lon=0&k=101", 422, "invalid", "k").await;
    check("lat=0&lon=0&by=sea", 422, "invalid", "by").await;
    check("lat=0&lon=0&by=road", 422, "no_roads", "by").await;
    check("lat=0&lon=0&vehicle=rocket", 422, "invalid", "vehicle").await;
    check("lat=0&lon=0&status=asleep", 422, "invalid", "status").await;
    check("lat=0&lon=0&min_capacity=0", 422, "invalid", "min_capacity").await;
    check("lat=0&lon=0&fresher_than_s=5", 422, "invalid", "fresher_than_s").await;
    let store = house.store("Kitchen").await;
    for token in [house.token("customer", "cus").await, house.token("store", &store).await] {
        let answer = house.call("GET", "/v1/nearby?lat=0&lon=0", Some(&token), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"));
        let answer = house.call("GET", &format!("/v1/watch/poll?topics={FINE}"), Some(&token), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    }
    house.assert_clean_log();
}

/// Topics of the areas of a place, as the operator's map has them.
async fn areas(watcher: &mut Watcher, topics: &[String]) {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    watcher.subscribe(&names).await;
    watcher.until("all areas", |memory| topics.iter().all(|topic| memory.cursor(topic).is_some())).await;
}

fn markers<'a>(watcher: &'a Watcher, topics: &'a [String], driver: &'a str) -> Vec<(&'a str, &'a Value)> {
    let told = topics.iter().map(|topic| (topic.as_str(), &watcher.memory.state(topic)[driver]));
    told.filter(|(_, marker)| !marker.is_null()).collect()
}

#[tokio::test]
async fn the_map_shows_each_driver_once_and_counts_right_while_they_move_from_cell_to_cell() {
    let house = House::start().await;
    let support = house.token("support", "sup").await;
    let driver = house.driver("Ana").await;
    // From the middle north: 6 km are two cells or three.
    let cell = |north_m: f64| {
        let place = wayfare_engine::Position::new(MIDDLE.0 + north_m / DEGREE_M, MIDDLE.1).unwrap();
        wayfare_engine::MapCell::of_position(place).unwrap()
    };
    let mut fine: Vec<_> = (0..=60).map(|step| cell(f64::from(step) * 100.0)).collect();
    fine.dedup();
    let mut coarse: Vec<_> = fine.iter().map(|cell| cell.parent().unwrap()).collect();
    coarse.dedup();
    let fine: Vec<String> = fine.iter().map(|cell| format!("area:{cell}")).collect();
    let coarse: Vec<String> = coarse.iter().map(|cell| format!("area:{cell}")).collect();
    assert!(fine.len() >= 3, "{fine:?}");
    let mut watcher = Watcher::open(&house, &support).await;
    areas(&mut watcher, &fine).await;
    areas(&mut watcher, &coarse).await;
    assert!(fine.iter().all(|topic| watcher.memory.state(topic).as_object().unwrap().is_empty()), "nobody is there");

    let mut app = App::open(&house, &driver).await;
    let start_ms = now_ms() - 300_000;
    let mut seen = Vec::new();
    for second in 0..300 {
        let north_m = f64::from(second) * 20.0;
        let mut fix = fix(north_m, start_ms + i64::from(second) * 1000);
        fix["speed_mps"] = json!(20.0);
        app.deliver(vec![fix]).await;
        if second % 20 == 19 {
            // Somewhere near, and nowhere else.
            let is_there = |memory: &Memory| {
                let told: Vec<_> =
                    fine.iter().map(|topic| &memory.state(topic)[&driver.id]).filter(|told| !told.is_null()).collect();
                told.len() == 1
                    && (told[0]["lat"].as_f64().unwrap() - MIDDLE.0).mul_add(DEGREE_M, -north_m).abs() < 300.0
            };
            watcher.until("one marker, near the driver", is_there).await;
            let told = markers(&watcher, &fine, &driver.id);
            seen.push(told[0].0.to_owned());
            assert_eq!(
                (&told[0].1["vehicle"], &told[0].1["status"]),
                (&json!("bicycle"), &json!("available")),
                "{told:?}"
            );
        }
    }
    seen.dedup();
    assert_eq!(seen, fine, "every cell of the way, in its order");
    let total = |memory: &Memory| -> i64 {
        let numbers = coarse.iter().flat_map(|topic| memory.state(topic).as_object().unwrap().values());
        numbers.map(|number| number.as_i64().unwrap()).sum()
    };
    let last = fine[fine.len() - 1].trim_start_matches("area:").to_owned();
    let in_last = |memory: &Memory| {
        coarse.iter().any(|topic| memory.state(topic).as_object().unwrap().keys().any(|name| name.starts_with(&last)))
    };
    watcher.until("one courier, counted in the last cell", |memory| total(memory) == 1 && in_last(memory)).await;

    house.done("PATCH", &format!("/v1/drivers/{}", driver.id), json!({ "available": false })).await;
    let nobody = |memory: &Memory| {
        total(memory) == 0 && fine.iter().all(|topic| memory.state(topic).as_object().unwrap().is_empty())
    };
    watcher.until("nobody", nobody).await;
    until(SOON, "nobody near", async || near(&house, "").await.is_empty().then_some(())).await;
    house.assert_clean_log();
}

/// Cells side by side, from the middle to the north.
fn cells(count: usize) -> Vec<String> {
    let cell = |step: usize| {
        let place = wayfare_engine::Position::new(MIDDLE.0 + step as f64 * 1_500.0 / DEGREE_M, MIDDLE.1).unwrap();
        format!("area:{}", wayfare_engine::MapCell::of_position(place).unwrap())
    };
    let mut cells: Vec<String> = (0..count * 4).map(cell).collect();
    cells.dedup();
    cells.truncate(count);
    assert_eq!(cells.len(), count);
    cells
}

#[tokio::test]
async fn a_screen_costs_a_bounded_number_of_cells_and_moving_it_the_difference() {
    let house = House::start().await;
    let support = house.token("support", "sup").await;
    let driver = house.driver("Ana").await;
    for codec in Codec::ALL {
        let mut watcher = Watcher::open_as(&house, &support, codec).await;
        let most = watcher.said("welcome").await["max_areas"].as_u64().unwrap() as usize;
        let cells = cells(most + 10);
        let screen: Vec<&str> = cells[..20].iter().map(String::as_str).collect();
        watcher.subscribe(&screen).await;
        watcher.until("the screen", |memory| screen.iter().all(|topic| memory.cursor(topic).is_some())).await;
        // The map moves by five cells: they are told, the fifteen that stay are not told again.
        watcher.say(json!({ "type": "unsubscribe", "topics": &cells[..5] })).await;
        let news: Vec<&str> = cells[20..25].iter().map(String::as_str).collect();
        watcher.subscribe(&news).await;
        watcher.say(json!({ "type": "ping" })).await;
        watcher.said("pong").await;
        watcher.until("the news", |memory| news.iter().all(|topic| memory.cursor(topic).is_some())).await;
        for (place, topic) in cells[..25].iter().enumerate() {
            let replica = watcher.memory.replica(topic);
            assert_eq!((replica.snapshots, replica.deltas), (1, 0), "cell {place}");
        }
        let left: Vec<_> = watcher.said.iter().filter(|said| said["type"] == "unsubscribed").collect();
        assert_eq!(left.len(), 5);
        // One who comes into a cell that stayed is told there, and not in one that was left.
        let (lat, lon) = (MIDDLE.0 + 15_000.0 / DEGREE_M, MIDDLE.1);
        house.post_fixes(&driver, &[json!({ "lat": lat, "lon": lon, "t_ms": now_ms(), "accuracy_m": 5 })]).await;
        let is_there = |memory: &Memory| cells[5..25].iter().any(|topic| memory.state(topic)[&driver.id].is_object());
        watcher.until("a marker", is_there).await;
        // All that fit, and not one more.
        let rest: Vec<&str> = cells[25..].iter().map(String::as_str).collect();
        for part in rest.chunks(25) {
            watcher.subscribe(part).await;
        }
        let refused = watcher.said("error").await;
        assert_eq!((&refused["code"], &refused["topic"]), (&json!("too_many"), &json!(cells[most + 5])));
        assert!(refused["message"].as_str().unwrap().contains(&format!("the limit is {most}")), "{refused}");
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn the_map_of_all_is_for_operators_whichever_way_others_try() {
    let house = House::start().await;
    let (driver, store) = (house.driver("Ana").await, house.store("Kitchen").await);
    let trip = house.trip(Some(&driver), Some(&store)).await;
    let others = [("customer", "cus"), ("driver", &*driver.id), ("store", &*store), ("share", &*trip.id)];
    for (role, sub) in others {
        let token = house.token(role, sub).await;
        for way in Way::ALL {
            match Eye::open(&house, way, &token, &[FINE], Memory::new(&house)).await {
                Err((status, body)) => {
                    assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{role} {way:?}")
                }
                Ok(Eye::Socket(mut watcher)) => {
                    let error = watcher.said("error").await;
                    assert_eq!(
                        (&error["code"], &error["topic"]),
                        (&json!("not_found"), &json!(FINE)),
                        "{role} {way:?}"
                    );
                }
                Ok(_) => panic!("{role} sees the map by {way:?}"),
            }
        }
    }
    for way in Way::ALL {
        let mut eye = Eye::open(&house, way, &house.key, &[FINE], Memory::new(&house)).await.ok().unwrap();
        eye.until(&house, "the cell", |memory| memory.cursor(FINE).is_some()).await;
    }
    house.assert_clean_log();
}
