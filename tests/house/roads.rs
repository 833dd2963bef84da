//! The house with roads: matched positions, routes, traffic, arrivals that are remembered, and maps that are no maps.

use std::path::Path;

use serde_json::{Value, json};
use wayfare_engine::roads::{Extract, Network, OsmNode, OsmWay, Profile};
use wayfare_wire::polyline;

use crate::harness::{House, SOON, now_ms, until};
use crate::rest::Driver;
use crate::ride::{DROPOFF, PICKUP, Ride, fixes};
use crate::watch::Watcher;

/// Metres in a degree of latitude, and of longitude here.
const DEGREE_M: f64 = 111_195.0;
const LON_DEGREE_M: f64 = 83_730.0;

/// Streets in a grid around the ride, which runs along the middle one from south to north: 5 avenues 400 m apart, and cross streets every 200 m.
fn town() -> Network {
    let mut extract = Extract::new();
    let (avenues, crossings) = (-2..=2_i64, -4..=12_i64);
    let id = |avenue: i64, crossing: i64| 1_000 + avenue * 100 + crossing;
    let primary = [("highway", "primary"), ("maxspeed", "50")];
    for avenue in avenues.clone() {
        let nodes: Vec<i64> = crossings.clone().map(|crossing| id(avenue, crossing)).collect();
        let tags: &[(&str, &str)] = if avenue == 0 { &primary } else { &[("highway", "residential")] };
        extract.add_way(&OsmWay { id: 10 + avenue, nodes: &nodes, tags });
    }
    for crossing in crossings.clone() {
        let nodes: Vec<i64> = avenues.clone().map(|avenue| id(avenue, crossing)).collect();
        extract.add_way(&OsmWay { id: 50 + crossing, nodes: &nodes, tags: &[("highway", "residential")] });
    }
    for avenue in avenues {
        for crossing in crossings.clone() {
            let lat = PICKUP.0 + crossing as f64 * 200.0 / DEGREE_M;
            let lon = PICKUP.1 + avenue as f64 * 400.0 / LON_DEGREE_M;
            let (lat_e7, lon_e7) = ((lat * 1e7) as i32, (lon * 1e7) as i32);
            extract.add_node(&OsmNode { id: id(avenue, crossing), lat_e7, lon_e7, tags: &[] });
        }
    }
    let order = wayfare_atlas::nested_dissection;
    Network::build(&extract, Profile::Car, "© the test's own town", 0, order).unwrap().0
}

fn roads_setting(file: &Path) -> String {
    format!("[{:?}]", file.display().to_string())
}

async fn answer(house: &House, path: &str) -> Value {
    let answer = house.call("GET", path, Some(&house.key), None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// A car on shift, with a trip from the kitchen to the door of the ride.
async fn car(house: &House) -> (Driver, String) {
    let record =
        json!({ "name": "Rui", "vehicle": "car", "available": true, "available_since_ms": now_ms() - 3_600_000 });
    let made = house.post("/v1/drivers", record).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let driver = Driver { token: house.token("driver", &id).await, id };
    let trip = house.trip(Some(&driver), None).await;
    (driver, trip.id)
}

#[tokio::test]
async fn a_trip_on_roads_is_matched_routed_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("town.roads");
    std::fs::write(&file, town().encode()).unwrap();
    let mut house = House::start_with(&[("ROADS_FILES", &roads_setting(&file)), ("ROADS_RENEW_S", "5")]).await;
    let (driver, trip) = car(&house).await;
    let (customer, operator) = (format!("trip:{trip}"), format!("trip:{trip}:ops"));
    let mut watcher = Watcher::open(&house, &house.key).await;
    watcher.subscribe(&[&customer, &operator]).await;

    // To the kitchen, a wait, and on until 800 m before the door; the last fix is taken now.
    let ride = Ride::new();
    let way: Vec<_> = ride.to_pickup.iter().chain(&ride.to_dropoff).copied().collect();
    let until_m = (DROPOFF.0 - PICKUP.0) * DEGREE_M - 800.0;
    let seconds = ride.to_pickup.len() + (until_m / 8.0) as usize;
    let start_ms = now_ms() - seconds as i64 * 1000;
    for batch in fixes(&way[..seconds], start_ms).chunks(50) {
        assert!(house.post_fixes(&driver, batch).await.iter().all(|verdict| verdict == "accepted"));
    }
    watcher
        .until("the way to the door", |memory| {
            memory.state(&operator)["route"]["polyline6"].is_string() && memory.phase(&operator) == "to_dropoff"
        })
        .await;
    watcher
        .until("the customer's too", |memory| {
            memory.state(&customer)["route"]["length_m"].as_i64().is_some_and(|m| m < 900)
        })
        .await;
    let state = watcher.memory.state(&customer).clone();
    let line = polyline::decode(state["route"]["polyline6"].as_str().unwrap()).unwrap();
    let (first, last) = (line[0], line[line.len() - 1]);
    assert!((last.lat_deg() - DROPOFF.0).abs() * DEGREE_M < 5.0 && first.lat_deg() > PICKUP.0, "{first:?} to {last:?}");
    assert!(
        line.iter().all(|place| (place.lon_deg() - PICKUP.1).abs() * LON_DEGREE_M < 5.0),
        "straight along the avenue"
    );
    assert_eq!(state["eta"]["basis"].as_str().unwrap().split('_').next(), Some("roads"));
    let left_s = (state["eta"]["at_ms"].as_i64().unwrap() - now_ms()) / 1000;
    assert!((40..400).contains(&left_s), "{left_s} s for 800 m");

    // Roads are asked for by others too.
    let ask = format!("from={},{}&to={},{}", PICKUP.0, PICKUP.1, DROPOFF.0, DROPOFF.1);
    let route = answer(&house, &format!("/v1/route?{ask}&geometry=geojson")).await;
    assert!((route["distance_m"].as_f64().unwrap() - 1_334.0).abs() < 15.0, "{route}");
    assert_eq!(route["attribution"], "© the test's own town");
    assert_eq!(route["geojson"]["features"][0]["properties"]["class"], "primary");
    let near = answer(&house, &format!("/v1/nearby?lat={}&lon={}&by=road", PICKUP.0, PICKUP.1)).await;
    assert!(near["drivers"][0]["duration_s"].as_f64().unwrap() > 30.0, "{near}");
    let window = format!("{},{},{},{}", PICKUP.1 - 0.02, PICKUP.0 - 0.02, PICKUP.1 + 0.02, PICKUP.0 + 0.02);
    until(SOON, "the traffic shows what was driven", async || {
        let traffic = answer(&house, &format!("/v1/traffic?bbox={window}")).await;
        let streets = traffic["features"].as_array().unwrap();
        assert!(streets.len() > 100);
        // 8 m/s where 14 are free: slower than free.
        streets.iter().any(|street| street["properties"]["ratio"].as_f64().unwrap() < 0.97).then_some(())
    })
    .await;

    // 800 m in 16 s, and then silence at the door until the dwell is over.
    tokio::time::sleep(std::time::Duration::from_secs(16)).await;
    let door = json!({ "lat": DROPOFF.0, "lon": DROPOFF.1, "t_ms": now_ms(), "accuracy_m": 5, "speed_mps": 0.0 });
    assert_eq!(house.post_fixes(&driver, &[door]).await, ["accepted"]);
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    watcher.until("it arrived", |memory| memory.phase(&customer) == "arrived").await;
    assert!(watcher.memory.state(&customer)["route"].is_null());
    let arrival = until(SOON, "the arrival is remembered", async || {
        let arrivals = answer(&house, "/v1/arrivals").await;
        arrivals["items"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(arrival["trip"], trip.as_str());
    assert_eq!(arrival["driver"], driver.id.as_str());
    assert_eq!(arrival["forecasts"][0]["basis"].as_str().unwrap().split('_').next(), Some("roads"));
    let summary = answer(&house, "/v1/arrivals/summary").await;
    assert!(summary["trips"] == 1 && summary["quality"][0]["forecasts"].as_u64().unwrap() >= 1, "{summary}");
    assert!(house.metric("wayfare_forecasts_total", "basis=\"roads").await >= 1.0);

    // What was learned survives.
    house.terminate().await;
    house.restart().await;
    let traffic = answer(&house, &format!("/v1/traffic?bbox={window}")).await;
    let slow = |street: &Value| street["properties"]["ratio"].as_f64().unwrap() < 0.97;
    assert!(traffic["features"].as_array().unwrap().iter().any(slow), "a restart is warm");
    house.assert_clean_log();
}

#[tokio::test]
async fn what_roads_cannot_answer_is_said_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("town.roads");
    std::fs::write(&file, town().encode()).unwrap();
    let house = House::start_with(&[("ROADS_FILES", &roads_setting(&file))]).await;
    let check = async |path: &str, status: u16, code: &str, text: &str| {
        let answer = house.call("GET", path, Some(&house.key), None).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}: {}", answer.text);
        assert!(answer.text.contains(text), "{path}: {}", answer.text);
    };
    let here = format!("{},{}", PICKUP.0, PICKUP.1);
    check(&format!("/v1/route?from={here}&to=43.7,7.4"), 422, "no_roads", "that holds 43.7").await;
    check(&format!("/v1/route?from={here}&to={here}&vehicle=foot"), 422, "no_roads", "no file of roads for foot").await;
    check(&format!("/v1/route?from={here}&to=95,0"), 422, "invalid", "latitude 95").await;
    check(&format!("/v1/route?from=here&to={here}"), 422, "invalid", "is not latitude,longitude").await;
    check(&format!("/v1/route?from={here}&to={here}&geometry=svg"), 422, "invalid", "none of polyline6").await;
    check(&format!("/v1/route?from={here}&to={here}&heading_deg=400"), 422, "invalid", "400 is not 0 to 360").await;
    check("/v1/traffic?bbox=1,2,3", 422, "invalid", "west,south,east,north").await;
    check("/v1/traffic?bbox=0,5,1,4", 422, "invalid", "west,south,east,north").await;
    check("/v1/nearby?lat=43.7&lon=7.4&by=road", 422, "no_roads", "ask with by=air").await;
    check("/v1/arrivals/summary?from_ms=5&until_ms=4", 422, "invalid", "lies after").await;
    let bare = House::start().await;
    let answer = bare.call("GET", &format!("/v1/route?from={here}&to={here}"), Some(&bare.key), None).await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "no_roads"));
    let answer = bare.call("GET", "/v1/traffic?bbox=0,0,1,1", Some(&bare.key), None).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    house.assert_clean_log();
    bare.assert_clean_log();
}

#[tokio::test]
async fn a_map_that_is_no_map_stops_the_start_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |name: &str, bytes: &[u8], text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let said = House::refused(&[("ROADS_FILES", &roads_setting(&file))], &[]).await;
        assert!(said.contains(name) && said.contains(text), "{name}: {said}");
    };
    let good = town().encode();
    check("foreign.roads", b"GIF89a and so on", "this is not a roads file").await;
    check("short.roads", &good[..good.len() - 9], "cut off").await;
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    check("damaged.roads", &damaged, "checksum").await;
    let mut old = good.clone();
    old[8] = 99;
    check("other.roads", &old, "version 99").await;
    let said = House::refused(&[("ROADS_FILES", "[\"nowhere.roads\"]")], &[]).await;
    assert!(said.contains("roads.files: there is no file nowhere.roads"), "{said}");
    let said = House::refused(&[("ROADS_PROFILES", "[\"boat\"]")], &[]).await;
    assert!(said.contains("roads.profiles: \"boat\" is not car, bicycle or foot"), "{said}");
    let extract = folder.path().join("cut.osm.pbf");
    std::fs::write(&extract, b"\0\0\0\x0d\x0a\x09OSMHeader\x18\x7c").unwrap();
    let (extract, output) = (extract.display().to_string(), folder.path().join("x.roads").display().to_string());
    let said = House::refused(&[], &["roads", "build", &extract, "-o", &output]).await;
    assert!(said.contains("damaged") && said.contains("cut.osm.pbf"), "{said}");
}

/// The demo, ended when dropped.
struct Demo(std::process::Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Twice: the second time its file of roads is cut off, as by a start that was interrupted long ago.
#[tokio::test]
async fn the_demo_works_in_a_real_town() {
    let folder = tempfile::tempdir().unwrap();
    let town = the_demo_works(folder.path()).await;
    let files = std::fs::read_dir(folder.path().join("demo")).unwrap().map(|entry| entry.unwrap().path());
    let roads: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "roads")).collect();
    assert_eq!(roads.len(), usize::from(town == Town::Real), "{roads:?}");
    for file in &roads {
        let whole = std::fs::read(file).unwrap();
        std::fs::write(file, &whole[..whole.len() / 2]).unwrap();
    }
    the_demo_works(folder.path()).await;
    let said = House::refused(&[], &["demo", "--map", "nowhere.osm.pbf"]).await;
    assert!(said.contains("nowhere.osm.pbf"), "{said}");
}

#[derive(PartialEq)]
enum Town {
    Real,
    Generated,
}

async fn the_demo_works(folder: &Path) -> Town {
    let data = std::env::var_os("WAYFARE_DATA").map_or_else(|| "../shared/data".into(), std::path::PathBuf::from);
    let extract = data.join("monaco.osm.pbf");
    if !extract.exists() {
        eprintln!("there is no {}: the demo is tried in its generated town", extract.display());
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wayfare"));
    command.arg("demo").env("WAYFARE_DATA_DIR", folder).env("WAYFARE_HTTP_LISTEN", "127.0.0.1:0");
    if extract.exists() {
        command.arg("--map").arg(&extract);
    }
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let _demo = Demo(child);
    let reading = tokio::task::spawn_blocking(move || {
        let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("http://"))
                .map(|url| url.trim_end_matches('/').to_owned())
        });
        // What it prints later is read away: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        url.unwrap()
    });
    let url = tokio::time::timeout(std::time::Duration::from_secs(120), reading).await.unwrap().unwrap();
    let http = reqwest::Client::new();
    let get = async |path: &str| http.get(format!("{url}{path}")).send().await.ok()?.text().await.ok();
    let orders =
        until(SOON, "orders", async || get("/demo/orders.json").await.filter(|text| text.contains("\"url\""))).await;
    assert!(orders.contains("/track/#trip="), "{orders}");
    until(SOON, "couriers ride", async || {
        let metrics = get("/metrics").await?;
        let accepted =
            metrics.lines().find(|line| line.starts_with("wayfare_fixes_total") && line.contains("\"accepted\""))?;
        (accepted.rsplit(' ').next()?.parse::<f64>().ok()? > 10.0).then_some(())
    })
    .await;
    let streets: Value = serde_json::from_str(&get("/v1/streets").await.unwrap()).unwrap();
    let real = streets["attribution"] == "© OpenStreetMap contributors";
    assert_eq!(real, extract.exists(), "{}", streets["attribution"]);
    if real { Town::Real } else { Town::Generated }
}
