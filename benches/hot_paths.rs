//! The hot paths, one by one: decode a fix, observe it, encode a delta, publish it to watchers.
//!
//! `observe` walks the real taxi trips where `WAYFARE_DATA` has them (default `../shared/data`), otherwise a generated walk; it says which.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wayfare_bus::{Bus, EmbeddedConfig, Fence, Fields, FixLogLimits};
use wayfare_engine::{
    Batch, Effect, Fence as StopFence, Knowledge, LimitsTable, Millis, Phase, Plan, PlanStop, PlanTrip, Position,
    RawFix, Room, StopKind, Tracker, TripId, Vehicle, World,
};
use wayfare_wire::codec::{Codec, from_driver, moves};

const FIX: &[u8] = br#"{"type":"fixes","seq":1842,"fixes":[{"lat":41.141412,"lon":-8.618643,"t_ms":1763686800123,"accuracy_m":6,"speed_mps":8.2,"heading_deg":93}]}"#;

const POSITION: &str =
    r#"{"lat":41.141412,"lon":-8.618643,"heading_deg":93,"speed_mps":8.2,"accuracy_m":6,"t_ms":1763686800123}"#;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a message of one fix", |bencher| {
        bencher.iter(|| from_driver(black_box(FIX)).expect("a good message"));
    });
    group.finish();
}

fn observe(criterion: &mut Criterion) {
    let walks = walks();
    let (limits, knowledge, room) = (LimitsTable::default(), Knowledge::default(), Room::default());
    let world = World::new(&limits, &knowledge, &room);
    let fixes: usize = walks.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group("observe");
    group.throughput(Throughput::Elements(fixes as u64));
    group.sample_size(20);
    group.bench_function("all fixes of all walks, a trip on board", |bencher| {
        let mut effects: Vec<Effect> = Vec::new();
        bencher.iter_batched(
            || walks.iter().map(|walk| tracker(walk, &world)).collect::<Vec<_>>(),
            |mut trackers| {
                for (tracker, walk) in trackers.iter_mut().zip(&walks) {
                    for (seq, fix) in walk.iter().enumerate() {
                        let fixes = std::slice::from_ref(fix);
                        let batch = Batch { session: 1, seq: seq as u64 + 1, sent: Some(fix.taken), fixes };
                        effects.clear();
                        tracker.observe(fix.taken, batch, &world, &mut effects);
                        black_box(&effects);
                    }
                }
                trackers
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// A tracker on its way from the first to the last point of a walk.
fn tracker(walk: &[RawFix], world: &World<'_>) -> Tracker {
    let (first, last) = (walk[0], walk[walk.len() - 1]);
    let mut tracker = Tracker::new(first.taken, Vehicle::Car);
    let stop = |kind, fix: RawFix| PlanStop {
        trip: TripId(1),
        kind,
        position: Position::new(fix.lat_deg, fix.lon_deg).expect("a real place"),
        fence: StopFence::for_vehicle(Vehicle::Car),
        service_ms: 60_000,
    };
    let plan = Plan {
        version: 1,
        available: true,
        vehicle: Vehicle::Car,
        trips: vec![PlanTrip { id: TripId(1), assignment: 1, phase: Phase::Assigned, since: None, ready_at: None }],
        stops: vec![stop(StopKind::Pickup, first), stop(StopKind::Dropoff, last)],
    };
    tracker.apply_plan(first.taken, plan, world, &mut Vec::new());
    tracker
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
        eprintln!("no trips in {}: observing a generated walk", folder.display());
        let walk = |start: i64| (0..200).map(|step| fix(41.1 + step as f64 * 1e-4, -8.6, start + step * 15)).collect();
        return (0..100).map(walk).collect();
    };
    eprintln!("observing the taxi trips in {}", folder.display());
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

fn encode(criterion: &mut Criterion) {
    let members = format!("\"position\":{POSITION}");
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a delta with a position", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            Codec::Json.delta(&mut out, 7, 1842, black_box(members.as_bytes()));
            black_box(&out);
        });
    });
    // What a shard pays once for all watchers of Protocol Buffers: the same delta, read and written as a move.
    group.bench_function("the same as a move", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            let deltas = [(1842, black_box(members.as_bytes()))].into_iter();
            assert!(moves::write(&mut out, 7, Some(black_box(POSITION.as_bytes())), deltas));
            black_box(&out);
        });
    });
    group.finish();
}

fn publish(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let config = EmbeddedConfig {
        dir: folder.path().to_owned(),
        fix_log: FixLogLimits { keep_ms: 3_600_000, bytes_max: 1 << 20, fold_first: false },
        log_events_max: 1000,
        log_keep_ms: i64::MAX,
    };
    let bus = runtime.block_on(Bus::embedded(config)).expect("a bus");
    let mut group = criterion.benchmark_group("publish");
    for watchers in [0_usize, 1, 10, 1000] {
        let topic = format!("topic-{watchers}");
        let publisher = bus.topics.publisher(&topic);
        let mut fields = Fields::new();
        fields.set_json("position", POSITION);
        let fence = Fence::Record { version: 1, assignment: 0 };
        publisher.publish_now(&fields, fence).expect("the first publish makes the topic");
        let mut subscribers: Vec<_> = (0..watchers).map(|_| bus.topics.subscriber(16)).collect();
        let mut events = Vec::new();
        for subscriber in &mut subscribers {
            runtime.block_on(subscriber.subscribe(&topic, 1));
            subscriber.try_recv(&mut events);
        }
        group.throughput(Throughput::Elements(watchers.max(1) as u64));
        group.bench_function(format!("to {watchers} watchers, delivered"), |bencher| {
            bencher.iter(|| {
                publisher.publish_now(black_box(&fields), fence).expect("published");
                for subscriber in &mut subscribers {
                    events.clear();
                    subscriber.try_recv(&mut events);
                    black_box(&events);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(hot_paths, decode, observe, encode, publish);
criterion_main!(hot_paths);
