//! Roads: what a fix costs on the map of a city, and what it costs to open, re-weight and ask it.
//!
//! Porto is built from `porto.osm.pbf` in `WAYFARE_DATA` (default `../shared/data`) and kept as a roads file in `target/`; the taxi trips are driven on it.
//! Without them a generated grid and walks over it, and it says so.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wayfare_atlas::{build_city, nested_dissection};
use wayfare_engine::learn::{Learner, Lesson, Pace, RoadKind, SpeedField, cell_for_speeds};
use wayfare_engine::roads::{
    Climb, Extract, Label, MatchRoom, Matcher, Metric, Network, OsmNode, OsmWay, Profile, RoadClass, Sight, Start,
};
use wayfare_engine::{
    Batch, City, Effect, Fence, Knowledge, LimitsTable, Millis, Phase, Plan, PlanStop, PlanTrip, Position, RawFix,
    Room, StopKind, Tracker, TripId, Vehicle, World,
};

fn data(file: &str) -> PathBuf {
    let folder = std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    folder.join(file)
}

/// The roads file of Porto, for cars; of a generated grid where there is no extract.
fn roads() -> Vec<u8> {
    let (extract, kept) = (data("porto.osm.pbf"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-porto.roads"));
    if let Some(kept) = std::fs::read(&kept).ok().filter(|bytes| Network::decode(bytes).is_ok()) {
        return kept;
    }
    if !extract.is_file() {
        eprintln!("no {}: a generated grid of 150 by 150 crossings", extract.display());
        return grid();
    }
    let started = Instant::now();
    let built = build_city(&extract, &[Profile::Car], None, |_| {}).expect("Porto");
    eprintln!("Porto built cold for cars in {:.2} s: {:?}", started.elapsed().as_secs_f64(), built.networks[0].1);
    std::fs::write(&kept, &built.bytes).expect("target can be written");
    built.bytes
}

fn grid() -> Vec<u8> {
    const ACROSS: i64 = 150;
    let mut extract = Extract::new();
    let line = |id: i64, nodes: Vec<i64>, extract: &mut Extract| {
        extract.add_way(&OsmWay { id, nodes: &nodes, tags: &[("highway", "residential")] });
    };
    for at in 0..ACROSS {
        line(2 * at + 1, (0..ACROSS).map(|other| at * ACROSS + other).collect(), &mut extract);
        line(2 * at + 2, (0..ACROSS).map(|other| other * ACROSS + at).collect(), &mut extract);
    }
    for id in 0..ACROSS * ACROSS {
        let (lat_e7, lon_e7) = (411_000_000 + id / ACROSS * 9_000, -86_800_000 + id % ACROSS * 12_000);
        extract.add_node(&OsmNode { id, lat_e7: lat_e7 as i32, lon_e7: lon_e7 as i32, tags: &[] });
    }
    Network::build(&extract, Profile::Car, "made up", 0, nested_dissection).expect("a grid").0.encode()
}

fn city() -> City {
    City::new(Arc::new(Network::decode(&roads()).expect("just made")))
}

fn trips() -> Vec<Vec<RawFix>> {
    let fix = |lat_deg, lon_deg, t_s: i64| RawFix {
        lat_deg,
        lon_deg,
        taken: Millis(t_s * 1000),
        accuracy_m: None,
        speed_mps: None,
        heading_deg: None,
        altitude_m: None,
        mock: false,
    };
    let Ok(table) = std::fs::read_to_string(data("porto-taxi-trips.csv")) else {
        eprintln!("no trips: generated walks");
        let walk = |start: i64| {
            (0..60)
                .map(|step| fix(41.11 + step as f64 * 1e-3, -8.66 + start as f64 * 1e-3, start + step * 15))
                .collect()
        };
        return (0..100).map(walk).collect();
    };
    let mut trips: Vec<(String, Vec<RawFix>)> = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let [trace, t, lat, lon, ..] = columns[..] else { continue };
        let (Ok(t), Ok(lat), Ok(lon)) = (t.parse(), lat.parse(), lon.parse()) else { continue };
        if trips.last().is_none_or(|(last, _)| last != trace) {
            trips.push((trace.to_owned(), Vec::new()));
        }
        trips.last_mut().expect("just pushed").1.push(fix(lat, lon, t));
    }
    trips.into_iter().map(|(_, fixes)| fixes).collect()
}

fn place(fix: &RawFix) -> Position {
    Position::new(fix.lat_deg, fix.lon_deg).expect("on the globe")
}

/// A driver whose order is on board and goes to the end of the trip.
fn tracker(trip: &[RawFix], world: &World<'_>) -> Tracker {
    let (first, last) = (trip[0], trip[trip.len() - 1]);
    let mut tracker = Tracker::new(first.taken, Vehicle::Car);
    let fence = Fence::for_vehicle(Vehicle::Car);
    let id = TripId(1);
    let plan = Plan {
        version: 1,
        available: true,
        vehicle: Vehicle::Car,
        trips: vec![PlanTrip { id, assignment: 1, phase: Phase::ToDropoff, since: None, ready_at: None }],
        stops: vec![PlanStop { trip: id, kind: StopKind::Dropoff, position: place(&last), fence, service_ms: 60_000 }],
    };
    tracker.apply_plan(first.taken, plan, world, &mut Vec::new());
    tracker
}

fn observe(tracker: &mut Tracker, seq: usize, fix: &RawFix, world: &World<'_>, effects: &mut Vec<Effect>) {
    let batch = Batch { session: 1, seq: seq as u64 + 1, sent: Some(fix.taken), fixes: std::slice::from_ref(fix) };
    effects.clear();
    tracker.observe(fix.taken, batch, world, effects);
}

/// Every fix of every trip once, each measured alone; microseconds, sorted.
fn one_pass_us(trips: &[Vec<RawFix>], world: &World<'_>) -> Vec<f64> {
    let (mut effects, mut took) = (Vec::new(), Vec::new());
    for trip in trips {
        let mut tracker = tracker(trip, world);
        for (seq, fix) in trip.iter().enumerate() {
            let started = Instant::now();
            observe(&mut tracker, seq, fix, world, &mut effects);
            took.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    took.sort_by(f64::total_cmp);
    took
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn fix(criterion: &mut Criterion) {
    let trips = trips();
    let (limits, room) = (LimitsTable::default(), Room::default());
    let knowledge = Knowledge::new(vec![city()], Arc::default());
    let world = World::new(&limits, &knowledge, &room);
    let fixes: usize = trips.iter().map(Vec::len).sum();
    let mut passes: Vec<(f64, f64, f64)> = (0..3)
        .map(|_| {
            let took = one_pass_us(&trips, &world);
            (at(&took, 0.5), at(&took, 0.99), took[took.len() - 1])
        })
        .collect();
    passes.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (p50, p99, longest) = passes[1];
    eprintln!(
        "{fixes} single fixes with matching and arrival: p50 {p50:.1} us, p99 {p99:.1} us, longest {longest:.0} us (median of 3)"
    );
    let mut group = criterion.benchmark_group("roads");
    group.throughput(Throughput::Elements(fixes as u64));
    group.sample_size(20);
    group.bench_function("fix: all fixes of all trips, judged, matched, arrival computed", |bencher| {
        let mut effects = Vec::new();
        bencher.iter_batched(
            || trips.iter().map(|trip| tracker(trip, &world)).collect::<Vec<_>>(),
            |mut trackers| {
                for (tracker, trip) in trackers.iter_mut().zip(&trips) {
                    trip.iter().enumerate().for_each(|(seq, fix)| observe(tracker, seq, fix, &world, &mut effects));
                }
                trackers
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("match alone: all fixes of all trips", |bencher| {
        let (network, mut room) = (&knowledge.cities()[0].network, MatchRoom::default());
        bencher.iter(|| {
            for trip in &trips {
                let mut matcher = Matcher::default();
                for fix in trip {
                    let sight = Sight { place: place(fix), accuracy_m: None, heading_deg: None, taken: fix.taken };
                    black_box(matcher.step(network, &sight, &mut room));
                }
            }
        });
    });
    group.finish();
}

fn ask(criterion: &mut Criterion) {
    let City { network, metric, .. } = city();
    let places: Vec<Position> =
        trips().iter().map(|trip| place(&trip[0])).filter(|at| network.goal(*at).is_some()).collect();
    let goals: Vec<_> = places.iter().filter_map(|place| network.goal(*place)).collect();
    let labels: Vec<Label> = goals.iter().map(|goal| Label::new(&network, &metric, goal.clone())).collect();
    let starts: Vec<Start> = places.iter().filter_map(|place| network.starts(*place, None).first().copied()).collect();
    let mut group = criterion.benchmark_group("roads");
    let mut turn = 0;
    let mut next = move |most: usize| {
        turn += 1;
        (turn % most, turn * 7 % most)
    };
    group.bench_function("near: streets within 50 m", |bencher| {
        let mut found = Vec::new();
        bencher.iter(|| network.near(places[next(places.len()).0], 50.0, &mut found));
    });
    group.bench_function("label: a goal made ready", |bencher| {
        bencher.iter(|| Label::new(&network, &metric, goals[next(goals.len()).0].clone()));
    });
    group.bench_function("climb: from a street to a goal", |bencher| {
        let mut room = Climb::default();
        bencher.iter(|| {
            let (a, b) = next(starts.len().min(labels.len()));
            labels[a].from_end_of(&network, &metric, starts[b].street, &mut room)
        });
    });
    group.bench_function("route: with all its streets", |bencher| {
        bencher.iter(|| {
            let (a, b) = next(starts.len().min(goals.len()));
            network.route(&metric, starts[b], &goals[a])
        });
    });
    group.finish();
}

/// Speeds as after an hour of a hundred drivers.
fn learned(network: &Network) -> Learner {
    let mut learner = Learner::default();
    let bounds = network.bounds();
    for step in 0..20_000_i64 {
        let share = |prime: i64| (step * prime % 1_000) as f64 / 1_000.0;
        let lat = bounds.south + (bounds.north - bounds.south) * share(7);
        let lon = bounds.west + (bounds.east - bounds.west) * share(13);
        let cell = cell_for_speeds(Position::new(lat, lon).expect("in the box"));
        let kind = RoadKind::Street(RoadClass::ALL[step as usize % 9]);
        let pace = Pace { at: Millis(step * 180), kind, cell, log_ratio: share(31) as f32 - 0.3, weight_s: 20.0 };
        learner.learn(&Lesson::Pace(Profile::Car, pace));
    }
    learner
}

fn reweight(criterion: &mut Criterion) {
    let City { network, .. } = city();
    let learner = learned(&network);
    let speeds: &SpeedField = &learner.of(Profile::Car).speeds;
    let mut metric = Metric::free(&network);
    metric.reweight_live(&network, 1, speeds, Millis(3_600_000));
    let mut group = criterion.benchmark_group("roads");
    group.sample_size(20);
    group.bench_function("reweight: all streets and shortcuts", |bencher| {
        bencher.iter(|| metric.reweight_live(&network, black_box(2), speeds, Millis(3_600_000)));
    });
    group.finish();
    longest_while_reweighted(&network, &learner);
}

/// The longest single fix while another thread re-weights all the time. What the fix meets is a new metric, as after a swap.
fn longest_while_reweighted(network: &Arc<Network>, learner: &Learner) {
    let (trips, limits, room) = (trips(), LimitsTable::default(), Room::default());
    let knowledge = Knowledge::new(vec![City::new(Arc::clone(network))], Arc::default());
    let world = World::new(&limits, &knowledge, &room);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut metric = Metric::default();
            while !stop.load(Ordering::Relaxed) {
                metric.reweight_live(network, 1, &learner.of(Profile::Car).speeds, Millis(3_600_000));
            }
        });
        let mut passes: Vec<Vec<f64>> = (0..3).map(|_| one_pass_us(&trips, &world)).collect();
        stop.store(true, Ordering::Relaxed);
        passes.sort_by(|a, b| a[a.len() - 1].total_cmp(&b[b.len() - 1]));
        let took = &passes[1];
        let (p50, p99, longest) = (at(took, 0.5), at(took, 0.99), took[took.len() - 1]);
        eprintln!(
            "while re-weighted in a loop: p50 {p50:.1} us, p99 {p99:.1} us, longest single fix {longest:.0} us (median of 3)"
        );
    });
}

fn open(criterion: &mut Criterion) {
    let bytes = roads();
    let before = resident_kib();
    let city = City::new(Arc::new(Network::decode(&bytes).expect("just made")));
    let own_mib = (city.network.memory_bytes() + city.metric.memory_bytes()) as f64 / 1_048_576.0;
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        let grown = (after - before) as f64 / 1024.0;
        eprintln!(
            "one network and its metric: {own_mib:.1} MiB counted, {grown:.1} MiB more resident; file {} bytes",
            bytes.len()
        );
    }
    let mut group = criterion.benchmark_group("roads");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("open: a roads file decoded", |bencher| {
        bencher.iter_with_large_drop(|| Network::decode(black_box(&bytes)).expect("just made"));
    });
    let extract = data("porto.osm.pbf");
    if extract.is_file() {
        group.bench_function("build: an extract read and built", |bencher| {
            bencher.iter_with_large_drop(|| build_city(&extract, &[Profile::Car], None, |_| {}).expect("Porto"));
        });
    }
    group.finish();
}

/// Memory of this process, where the system tells it.
fn resident_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

// `open` first: what it says of memory is true while nothing was freed.
criterion_group!(road_benches, open, fix, ask, reweight);
criterion_main!(road_benches);
