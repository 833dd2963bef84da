//! What makes a generated town one that couriers can work in.

use super::*;

/// Whether the segment from `a` to `b` crosses the one from `c` to `d`.
fn cross(a: Flat, b: Flat, c: Flat, d: Flat) -> bool {
    let side = |p: Flat, q: Flat, r: Flat| {
        (q.east_m - p.east_m) * (r.north_m - p.north_m) - (q.north_m - p.north_m) * (r.east_m - p.east_m)
    };
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

#[test]
fn the_same_seed_gives_the_same_town() {
    assert_eq!(Town::generate(5).geojson(), Town::generate(5).geojson());
    assert_ne!(Town::generate(5).geojson(), Town::generate(6).geojson());
}

#[test]
fn exactly_two_bridges_cross_the_river() {
    for seed in 0..20 {
        let town = Town::generate(seed);
        let water = &town.areas[0];
        assert_eq!(water.kind, AreaKind::Water);
        let crosses = |street: &&Street| {
            let (from, to) = (town.junctions[street.from], town.junctions[street.to]);
            let next = water.ring.iter().cycle().skip(1);
            water.ring.iter().zip(next).any(|(a, b)| cross(from, to, *a, *b))
        };
        let crossing: Vec<_> = town.streets.iter().filter(crosses).collect();
        assert_eq!(crossing.len(), 2, "seed {seed}");
        assert!(crossing.iter().all(|street| street.kind == StreetKind::Bridge));
    }
}

#[test]
fn every_home_can_be_reached_from_every_store() {
    for seed in 0..5 {
        let town = Town::generate(seed);
        assert_eq!((town.stores.len(), town.homes.len()), (10, 120));
        for store in &town.stores {
            for home in &town.homes {
                let route = town.route(store, home, Vehicle::Bicycle);
                let (start, end) = (town.spot(store), town.spot(home));
                assert_eq!(route.points.first(), Some(&start));
                assert_eq!(route.points.last(), Some(&end));
                let crow_m = start.distance_m(end);
                assert!(route.length_m >= crow_m - 1e-6 && route.length_m < crow_m * 3.0 + 800.0);
            }
        }
    }
}

#[test]
fn routes_stay_on_streets() {
    let town = Town::generate(1);
    let route = town.route(&town.stores[0], &town.homes[0], Vehicle::Bicycle);
    let inner = &route.points[1..route.points.len() - 1];
    for step in inner.windows(2) {
        let joined = town.streets.iter().any(|street| {
            let ends = [town.junctions[street.from], town.junctions[street.to]];
            ends == [step[0], step[1]] || ends == [step[1], step[0]]
        });
        assert!(joined, "{step:?}");
    }
}

#[test]
fn the_map_says_that_the_town_is_not_real() {
    let map: serde_json::Value = serde_json::from_str(&Town::generate(3).geojson()).unwrap();
    assert_eq!(map["attribution"], "Generated town, not a real place");
    let features = map["features"].as_array().unwrap();
    let count = |kind: &str| {
        let is = |feature: &&serde_json::Value| feature["properties"]["kind"] == kind;
        features.iter().filter(is).count()
    };
    assert_eq!((count("water"), count("park"), count("bridge")), (1, 1, 2));
    assert!(count("street") > 20 && count("main") >= 6 && count("block") > 100);
    for feature in features {
        let geometry = &feature["geometry"];
        if geometry["type"] == "LineString" {
            assert!(geometry["coordinates"].as_array().unwrap().len() >= 2);
            assert!(feature["properties"]["name"].is_string());
        } else {
            let ring = geometry["coordinates"][0].as_array().unwrap();
            assert_eq!(ring.first(), ring.last(), "a ring is closed");
        }
    }
}
