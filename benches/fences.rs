//! The operator's fences: what they cost per fix along real trips, and what it costs when they change.
//!
//! The taxi trips are read from `WAYFARE_DATA` where it has them (default `../shared/data`); otherwise a generated walk, and it says so. The cost of
//! fences is the difference between `observe` with and without them.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wayfare_engine::{
    Batch, Effect, Geofence, GeofenceId, GeofenceRules, Geofences, Knowledge, LimitsTable, Millis, Plan, Position,
    RawFix, Room, Tracker, Vehicle, World,
};

const CORNERS: usize = 24;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (self.0 >> 11) as f64 / (1_u64 << 53) as f64 * (high - low)
    }
}

/// Stars of 24 corners all over Porto, some 11 by 13 km, with corners this far from their middles.
fn fences(count: usize, radii_m: std::ops::Range<f64>) -> Vec<Arc<Geofence>> {
    let mut dice = Dice(7);
    let star = |id| {
        let middle = Position::new(dice.between(41.10, 41.20), dice.between(-8.70, -8.55)).expect("in Porto");
        let corner = |index: usize| {
            let (sin, cos) = (index as f64 / CORNERS as f64 * std::f64::consts::TAU).sin_cos();
            let radius_m = dice.between(radii_m.start, radii_m.end);
            middle.offset(radius_m * sin, radius_m * cos)
        };
        let mut ring: Vec<Position> = (0..CORNERS).map(corner).collect();
        ring.push(ring[0]);
        let rules = GeofenceRules { dwell_ms: Some(60_000), ..GeofenceRules::default() };
        Arc::new(Geofence::polygons(GeofenceId(id), Millis(1), rules, &[vec![ring]]).expect("a star"))
    };
    (0..count as u128).map(star).collect()
}

fn observe(criterion: &mut Criterion) {
    let walks = walks();
    let (limits, knowledge, room) = (LimitsTable::default(), Knowledge::default(), Room::default());
    let fixes: usize = walks.iter().map(Vec::len).sum();
    // Of 40 to 160 m each place is inside of two; of 20 to 80 m every second place of one.
    let wide = Geofences::new(1, fences(10_000, 40.0..160.0));
    let small = Geofences::new(2, fences(10_000, 20.0..80.0));
    let few = Geofences::new(3, fences(100, 40.0..160.0));
    let mut group = criterion.benchmark_group("fences");
    group.throughput(Throughput::Elements(fixes as u64));
    group.sample_size(20);
    let scenes = [
        ("no fences", None),
        ("10,000 of 40 to 160 m", Some(&wide)),
        ("10,000 of 20 to 80 m", Some(&small)),
        ("100 of 40 to 160 m", Some(&few)),
    ];
    for (name, fences) in scenes {
        let world = World { fences, ..World::new(&limits, &knowledge, &room) };
        let mut told = 0;
        group.bench_function(format!("observe all fixes of all walks, {name}"), |bencher| {
            let mut effects: Vec<Effect> = Vec::new();
            bencher.iter_batched(
                || walks.iter().map(|walk| tracker(walk, &world)).collect::<Vec<_>>(),
                |mut trackers| {
                    told = 0;
                    for (tracker, walk) in trackers.iter_mut().zip(&walks) {
                        for (seq, fix) in walk.iter().enumerate() {
                            let fixes = std::slice::from_ref(fix);
                            let batch = Batch { session: 1, seq: seq as u64 + 1, sent: Some(fix.taken), fixes };
                            effects.clear();
                            tracker.observe(fix.taken, batch, &world, &mut effects);
                            told += effects.iter().filter(|effect| matches!(effect, Effect::Fence { .. })).count();
                        }
                    }
                    trackers
                },
                BatchSize::LargeInput,
            );
        });
        eprintln!("{fixes} fixes, {told} fence events");
    }
    group.finish();
}

fn tracker(walk: &[RawFix], world: &World<'_>) -> Tracker {
    let mut tracker = Tracker::new(walk[0].taken, Vehicle::Car);
    let plan = Plan { version: 1, available: true, vehicle: Vehicle::Car, ..Plan::default() };
    tracker.apply_plan(walk[0].taken, plan, world, &mut Vec::new());
    tracker
}

fn rebuild(criterion: &mut Criterion) {
    let before = resident_kib();
    let all = fences(100_000, 40.0..160.0);
    let index = Geofences::new(1, all.iter().cloned());
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        eprintln!("100,000 fences of 24 corners with their index: {} MiB", (after - before) / 1024);
    }
    let mut group = criterion.benchmark_group("fences");
    group.sample_size(20);
    group.bench_function("prepare one of 24 corners", |bencher| {
        bencher.iter(|| fences(black_box(1), 40.0..160.0));
    });
    group.bench_function("index 100,000 anew", |bencher| {
        bencher.iter_with_large_drop(|| Geofences::new(1, black_box(&all).iter().cloned()));
    });
    group.bench_function("the fences around a place, of 100,000", |bencher| {
        let place = Position::new(41.15, -8.61).expect("in Porto");
        bencher.iter(|| index.containing(black_box(place)));
    });
    group.finish();
}

/// Memory of this process, where the system tells it.
fn resident_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn walks() -> Vec<Vec<RawFix>> {
    let folder = std::env::var_os("WAYFARE_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
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
    let Ok(trips) = std::fs::read_to_string(folder.join("porto-taxi-trips.csv")) else {
        eprintln!("no trips in {}: a generated walk", folder.display());
        let walk = |start: i64| (0..200).map(|step| fix(41.1 + step as f64 * 5e-4, -8.6, start + step * 15)).collect();
        return (0..100).map(walk).collect();
    };
    let mut walks: Vec<(String, Vec<RawFix>)> = Vec::new();
    for line in trips.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let [trace, t, lat, lon, ..] = columns[..] else { continue };
        let (Ok(t), Ok(lat), Ok(lon)) = (t.parse(), lat.parse(), lon.parse()) else { continue };
        if walks.last().is_none_or(|(last, _)| last != trace) {
            walks.push((trace.to_owned(), Vec::new()));
        }
        walks.last_mut().expect("just pushed").1.push(fix(lat, lon, t));
    }
    walks.into_iter().map(|(_, walk)| walk).collect()
}

criterion_group!(fence_benches, observe, rebuild);
criterion_main!(fence_benches);
