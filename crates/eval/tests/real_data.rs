//! The evaluations on real maps and real trips, where they are: with tolerances wide enough that only a defect breaks them.
//!
//! `WAYFARE_DATA` names the folder (default `../shared/data` beside the project). Where it is missing these tests say so and evaluate a
//! generated town, in which every answer is known.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::path::PathBuf;
use std::sync::Arc;

use wayfare_engine::roads::{Extract, Network, OsmNode, OsmWay, Profile};
use wayfare_engine::{Batch, Plan, Position, RawFix, Tracker, Vehicle, World};
use wayfare_eval::{
    Point, StaticRow, Trace, evaluate_arrivals, evaluate_match, evaluate_static, read_reference_ways, read_static,
    read_trips,
};

fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WAYFARE_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let file = folder.join(name);
    if file.exists() {
        return Some(file);
    }
    eprintln!("there is no {}: evaluating a generated town", file.display());
    None
}

fn built(extract: &str) -> Option<Arc<Network>> {
    let city = wayfare_atlas::build_city(&data(extract)?, &[Profile::Car], None, |_| ()).unwrap();
    Some(Arc::new(Network::decode(&city.bytes).unwrap()))
}

/// Avenues 400 m and streets 200 m apart, all at 50 km/h, in the country.
fn grid() -> Arc<Network> {
    let mut extract = Extract::new();
    let tags = [("highway", "tertiary"), ("maxspeed", "50")];
    let id = |x: i64, y: i64| 1_000 + x * 100 + y;
    for line in 0..20_i64 {
        let along: Vec<i64> = (0..20).map(|at| id(line, at)).collect();
        let across: Vec<i64> = (0..20).map(|at| id(at, line)).collect();
        extract.add_way(&OsmWay { id: 10 + line, nodes: &along, tags: &tags });
        extract.add_way(&OsmWay { id: 50 + line, nodes: &across, tags: &tags });
    }
    for x in 0..20 {
        for y in 0..20 {
            let place = place(x as f64 * 400.0, y as f64 * 200.0);
            extract.add_node(&OsmNode { id: id(x, y), lat_e7: place.lat_e7(), lon_e7: place.lon_e7(), tags: &[] });
        }
    }
    let order = wayfare_atlas::nested_dissection;
    Arc::new(Network::build(&extract, Profile::Car, "generated", 0, order).unwrap().0)
}

fn place(east_m: f64, north_m: f64) -> Position {
    Position::new(41.0, -8.0).unwrap().offset(east_m, north_m)
}

/// Vehicles that drive north along an avenue at 8 m/s, one every 40 s, with a point every 15 s.
fn drives() -> Vec<Trace> {
    let drive = |number: i64| {
        let point = |step: i64| Point {
            t_s: 1_400_000_000 + number * 40 + step * 15,
            place: place((number % 18) as f64 * 400.0 + 3.0, 100.0 + step as f64 * 120.0),
        };
        Trace { id: number.to_string(), points: (0..28).map(point).collect() }
    };
    (0..120).map(drive).collect()
}

#[track_caller]
fn check(what: &str, value: Option<f64>, range: std::ops::RangeInclusive<f64>) {
    let value = value.unwrap_or_else(|| panic!("{what}: there is no such row"));
    assert!(range.contains(&value), "{what} is {value}, not in {range:?}");
}

#[test]
fn free_flow_times_agree_with_the_reference() {
    for (city, worst_median, least_within) in [("monaco", 0.09, 0.84), ("porto", 0.08, 0.93)] {
        let (network, rows) = match (built(&format!("{city}.osm.pbf")), data(&format!("eta-reference-{city}.csv"))) {
            (Some(network), Some(file)) => (network, read_static(&std::fs::read_to_string(file).unwrap()).unwrap()),
            _ => {
                let row = |x: i32| StaticRow {
                    id: x.to_string(),
                    origin: place(f64::from(x) * 400.0, 30.0),
                    destination: place(f64::from(x) * 400.0, 3_030.0),
                    reference_m: 3_000.0,
                    // 50 km/h, and a crossing among equals every 200 m.
                    reference_s: 3_000.0 / 13.9 + 14.0 * 2.0,
                };
                (grid(), (1..18).map(row).collect())
            }
        };
        let (report, predictions) = evaluate_static(&network, &rows);
        println!("{}", report.markdown());
        assert_eq!(predictions.lines().count(), rows.len() + 1, "every pair has a way");
        check("median error", report.get("time", "median error"), 0.0..=worst_median);
        check("within 20 %", report.get("time", "within 20 %"), least_within..=1.0);
    }
}

#[test]
fn matches_and_arrivals_of_real_trips_are_good() {
    let real = (|| {
        let (network, trips) = (built("porto.osm.pbf")?, data("porto-taxi-trips.csv")?);
        let reference = std::fs::read_to_string(data("porto-taxi-matched-points.csv")?).unwrap();
        let traces = read_trips(&std::fs::read_to_string(trips).unwrap()).unwrap();
        Some((network, traces, read_reference_ways(&reference).unwrap()))
    })();
    let Some((network, traces, reference)) = real else {
        let network = grid();
        let (report, _) = evaluate_arrivals(Some(Arc::clone(&network)), &drives());
        println!("{}", report.markdown());
        check("MAPE", report.get("second half, at 25 %", "MAPE"), 0.0..=0.15);
        let ways = drives().into_iter().flat_map(|trace| {
            let way = 10 + trace.id.parse::<i64>().unwrap() % 18;
            (0..trace.points.len()).map(move |index| ((trace.id.clone(), index), way)).collect::<Vec<_>>()
        });
        let (report, _) = evaluate_match(&network, &drives(), &ways.collect());
        check("two fixes later", report.get("two fixes later", "agreement"), 0.95..=1.0);
        return;
    };
    let (report, _) = evaluate_match(&network, &traces[..150], &reference);
    println!("{}", report.markdown());
    check("newest fix", report.get("newest fix", "agreement"), 0.90..=1.0);
    check("two fixes later", report.get("two fixes later", "agreement"), 0.95..=1.0);
    // The first half of the night: enough to learn, and quick.
    let (report, predictions) = evaluate_arrivals(Some(network), &traces[..250]);
    println!("{}", report.markdown());
    assert!(predictions.starts_with("trace,fraction,at_t,remaining_s,low_s,high_s\n"));
    check("MAPE at the start", report.get("second half, at 0 %", "MAPE"), 0.0..=0.30);
    check("bias at the start", report.get("second half, at 0 %", "bias"), -0.20..=0.10);
    check("within 2 min at half way", report.get("second half, at 50 %", "within 2 min"), 0.70..=1.0);
    check("coverage", report.get("all, at 25 %", "coverage of 80 %"), 0.70..=0.90);
}

/// Seconds between a point and its arrival at the house.
const TRAVEL_S: i64 = 1;

/// Of so many points, told as they were measured, those that are taken for teleports: trip and place in it.
fn teleports(trips: &[Trace]) -> (usize, Vec<(usize, usize)>) {
    use wayfare_engine::{
        Batch, Effect, Knowledge, LimitsTable, Millis, Plan, RawFix, Reason, Room, Tracker, Vehicle, Verdict, World,
    };
    let (limits, knowledge, room) = (LimitsTable::default(), Knowledge::default(), Room::default());
    let world = World::new(&limits, &knowledge, &room);
    let (mut all, mut refused) = (0, Vec::new());
    for (number, trip) in trips.iter().enumerate() {
        let begin = Millis((trip.points[0].t_s - 60) * 1000);
        let mut tracker = Tracker::new(begin, Vehicle::Car);
        let mut effects = Vec::new();
        tracker.apply_plan(begin, Plan { version: 1, available: true, ..Plan::default() }, &world, &mut effects);
        for (seq, point) in trip.points.iter().enumerate() {
            let raw = RawFix {
                lat_deg: point.place.lat_deg(),
                lon_deg: point.place.lon_deg(),
                taken: point.taken(),
                accuracy_m: Some(5.0),
                speed_mps: None,
                heading_deg: None,
                altitude_m: None,
                mock: false,
            };
            let batch = Batch { session: 1, seq: seq as u64 + 1, sent: None, fixes: &[raw] };
            tracker.observe(Millis((point.t_s + TRAVEL_S) * 1000), batch, &world, &mut effects);
        }
        all += trip.points.len();
        let judged = effects.iter().filter(|effect| matches!(effect, Effect::Judged { .. }));
        refused.extend(judged.enumerate().filter_map(|(place, effect)| {
            let jump =
                matches!(effect, Effect::Judged { verdict: Verdict::Rejected(Reason::ImplausibleSpeed { .. }), .. });
            jump.then_some((number, place))
        }));
    }
    (all, refused)
}

#[test]
fn real_drives_are_never_taken_for_teleports_and_jumps_always_are() {
    let real = data("porto-taxi-trips.csv").map(|file| read_trips(&std::fs::read_to_string(file).unwrap()).unwrap());
    let trips = real.unwrap_or_else(drives);
    let (all, refused) = teleports(&trips);
    // Recordings hold glitches of their receivers: a point that no car can have come to from the one before, and left for the next.
    let limit_mps = f64::from(wayfare_engine::Limits::default().speed_mps);
    let way_mps = |from: &Point, to: &Point| from.place.distance_m(to.place) / (to.t_s - from.t_s).abs().max(1) as f64;
    let wrongly = refused.iter().filter(|(trip, place)| {
        let points = &trips[*trip].points;
        let drove = |from: usize, to: usize| way_mps(&points[from], &points[to]) <= limit_mps;
        (*place == 0 || drove(place - 1, *place)) && (place + 1 == points.len() || drove(*place, place + 1))
    });
    let wrongly = wrongly.count();
    println!("{} of {all} points of {} trips are refused, {wrongly} of them wrongly", refused.len(), trips.len());
    assert!(wrongly * 1000 <= all, "{wrongly} of {all}");
    // 200 km away within a minute, in the middle of each.
    let mut jumped: Vec<Trace> = trips.into_iter().filter(|trip| trip.points.len() > 8).take(200).collect();
    for trip in &mut jumped {
        let middle = trip.points.len() / 2;
        trip.points[middle].place = trip.points[middle].place.offset(140_000.0, 140_000.0);
    }
    let (_, found) = teleports(&jumped);
    let missed = (0..jumped.len()).filter(|trip| !found.contains(&(*trip, jumped[*trip].points.len() / 2))).count();
    assert_eq!(missed, 0, "of {}", jumped.len());
}

/// Plays points through a tracker as a phone with one accuracy would send them; whether its feed is ever marked as too even.
fn is_marked(points: &[Point]) -> bool {
    let (limits, knowledge, room) = Default::default();
    let world = World::new(&limits, &knowledge, &room);
    let mut effects = Vec::new();
    let start = points[0].taken();
    let mut tracker = Tracker::new(start, Vehicle::Car);
    let plan = Plan { version: 1, available: true, ..Plan::default() };
    tracker.apply_plan(start, plan, &world, &mut effects);
    let mut seq = 0;
    points.iter().any(|point| {
        let fix = RawFix {
            lat_deg: point.place.lat_deg(),
            lon_deg: point.place.lon_deg(),
            taken: point.taken(),
            accuracy_m: Some(5.0),
            speed_mps: None,
            heading_deg: None,
            altitude_m: None,
            mock: false,
        };
        seq += 1;
        let batch = Batch { session: 1, seq, sent: None, fixes: &[fix] };
        tracker.observe(point.taken(), batch, &world, &mut effects);
        tracker.too_even_since().is_some()
    })
}

/// The same way as an app would make it up: along straight lines from point to point, every three seconds.
fn made_up(points: &[Point]) -> Vec<Point> {
    let mut all = Vec::new();
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let mix = |a: f64, b: f64, share: f64| a + (b - a) * share;
        for t_s in (from.t_s..to.t_s).step_by(3) {
            let share = (t_s - from.t_s) as f64 / (to.t_s - from.t_s) as f64;
            let lat = mix(from.place.lat_deg(), to.place.lat_deg(), share);
            let lon = mix(from.place.lon_deg(), to.place.lon_deg(), share);
            all.push(Point { t_s, place: Position::new(lat, lon).unwrap() });
        }
    }
    all
}

#[test]
fn real_drives_are_never_marked_as_made_up_and_made_up_ones_are() {
    let Some(file) = data("porto-taxi-trips.csv") else { return };
    let traces = read_trips(&std::fs::read_to_string(file).unwrap()).unwrap();
    let real: Vec<&str> = traces.iter().filter(|trace| is_marked(&trace.points)).map(|trace| &*trace.id).collect();
    assert!(real.is_empty(), "{} of {} real drives: {real:?}", real.len(), traces.len());
    // Long enough to tell: three minutes, and seldom standing.
    let moves = |trace: &&Trace| {
        let far = |pair: &[Point]| pair[0].place.distance_m(pair[1].place) > 50.0;
        trace.points.windows(2).filter(|pair| far(pair)).count() > 16
    };
    let long: Vec<&Trace> = traces.iter().filter(moves).collect();
    let found = long.iter().filter(|trace| is_marked(&made_up(&trace.points))).count();
    eprintln!("{found} of {} made-up drives are marked, 0 of {} real ones", long.len(), traces.len());
    assert!(long.len() > 100 && found * 100 >= long.len() * 95, "{found} of {}", long.len());
}
