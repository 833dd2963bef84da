//! Real trips as their customers watch them: how many positions are told, and in how many bytes.

use std::sync::Arc;

use wayfare_engine::roads::{Metric, Network};
use wayfare_engine::{
    City, Effect, Knowledge, LimitsTable, Line, Pace, Position, Room, RouteChange, Shown, Told, World, is_unforeseen,
};
use wayfare_wire::codec::{Codec, moves};
use wayfare_wire::state::write_shown;

use crate::arrivals::Ride;
use crate::report::Report;
use crate::trips::{Point, Trace};

/// A fix in JSON as a driver app sends it, in bytes: what the deltas are compared with.
const FIX_BYTES: f64 = 115.0;
/// Noise that is laid over fixes between recorded points: standard deviation north and east, metres. The median of a phone in town.
const NOISE_M: f64 = 3.0;
/// A way between two points that is so much longer than the straight line was not driven.
const DETOUR_MOST: f64 = 1.8;
const DETOUR_M: f64 = 60.0;

/// What the watchers of one row were told.
#[derive(Default)]
struct Sum {
    fixes: usize,
    moved: usize,
    told: usize,
    json: Vec<usize>,
    proto: Vec<usize>,
    /// Worst error of a position that was not told, metres.
    worst_m: f64,
}

/// The table: positions told where each move is, and where those within `tolerance_m` of what watchers foresee are not, by fixes as they were
/// recorded and by fixes every second on the way between. With a network, on roads and with the line to the end.
#[must_use]
pub fn evaluate_watched(network: Option<&Arc<Network>>, traces: &[Trace], tolerance_m: f32) -> Report {
    let columns = [
        "fixes",
        "positions told, all",
        "told",
        "saved",
        "JSON bytes, mean",
        "protobuf bytes, mean",
        "median",
        "most",
        "a JSON fix / protobuf",
        "worst untold, m",
    ];
    let basis = if network.is_some() { "on roads" } else { "without roads" };
    let mut report = Report::new(format!("Positions that watchers of real trips are told, {basis}"), &columns);
    let every_second: Vec<Trace> = traces.iter().map(|trace| refined(network.map(Arc::as_ref), trace)).collect();
    for (name, traces) in [("as recorded, every 15 s", traces), ("every second", &every_second[..])] {
        for tolerance_m in [0.0, tolerance_m] {
            let pace = Pace { tolerance_m, longest_silence_ms: 10_000 };
            let sum = watch(network, traces, &pace);
            let mean = |bytes: &[usize]| bytes.iter().sum::<usize>() as f64 / bytes.len() as f64;
            let mut sorted = sum.proto.clone();
            sorted.sort_unstable();
            let values = [
                sum.fixes as f64,
                sum.moved as f64,
                sum.told as f64,
                1.0 - sum.told as f64 / sum.moved as f64,
                mean(&sum.json),
                mean(&sum.proto),
                sorted.get(sorted.len() / 2).map_or(f64::NAN, |bytes| *bytes as f64),
                sorted.last().map_or(f64::NAN, |bytes| *bytes as f64),
                FIX_BYTES / mean(&sum.proto),
                sum.worst_m,
            ];
            report.row(format!("{name}, tolerance {tolerance_m} m"), &values);
        }
    }
    report.note("Bytes are payloads of WebSocket messages that tell one position (alias below 128), heads of 2 to 4 bytes not counted.");
    report.note(format!(
        "Every second: between recorded points along the street where there is one, at even speed, with noise of {NOISE_M} m laid over."
    ));
    report
}

fn watch(network: Option<&Arc<Network>>, traces: &[Trace], pace: &Pace) -> Sum {
    let (limits, room) = (LimitsTable::default(), Room::default());
    let cities = network.into_iter().map(|network| City::new(Arc::clone(network))).collect();
    let knowledge = Knowledge::new(cities, Arc::default());
    let world = World::new(&limits, &knowledge, &room);
    let (mut sum, mut effects) = (Sum::default(), Vec::new());
    for trace in traces.iter().filter(|trace| trace.points.len() >= 2) {
        let mut ride = Ride::new(trace);
        let (mut told, mut line, mut seq) = (None::<Told>, None::<Line>, 0);
        for index in 0..trace.points.len() {
            effects.clear();
            ride.drive(index, &world, &mut effects);
            sum.fixes += 1;
            let changed = match ride.tracker.route_change(&world) {
                RouteChange::Same => None,
                RouteChange::Drawn(drawn) => Some(Some(Line::of(&drawn.points))),
                RouteChange::Gone => Some(None),
            };
            if let Some(another) = changed {
                line = another;
                if let Some(told) = &mut told {
                    told.place_on(line.as_ref());
                }
            }
            let moved = effects.iter().find_map(|effect| match effect {
                Effect::Moved(marker) => Some(*marker),
                _ => None,
            });
            let Some(marker) = moved else { continue };
            sum.moved += 1;
            let shown = Shown::of(&marker);
            if !is_unforeseen(told.as_ref(), line.as_ref(), &marker, &shown, pace) {
                let error_m = told.as_ref().map_or(0.0, |told| told.error_m(line.as_ref(), &shown));
                sum.worst_m = sum.worst_m.max(error_m);
                continue;
            }
            sum.told += 1;
            seq += 1;
            if let Some(before) = &told {
                sum.weigh(seq, &before.shown, &shown);
            }
            told = Some(Told::new(&marker, line.as_ref()));
        }
    }
    sum
}

impl Sum {
    /// One delta in both codecs.
    fn weigh(&mut self, seq: u64, before: &Shown, shown: &Shown) {
        let (mut held, mut patch) = (Vec::new(), b"\"position\":".to_vec());
        write_shown(&mut held, before);
        write_shown(&mut patch, shown);
        let (mut json, mut proto) = (Vec::new(), Vec::new());
        Codec::Json.delta(&mut json, 7, seq, &patch);
        if !moves::write(&mut proto, 7, Some(&held), [(seq, &patch[..])].into_iter()) {
            Codec::Proto.delta(&mut proto, 7, seq, &patch);
        }
        self.json.push(json.len());
        self.proto.push(proto.len());
    }
}

/// The same trip with a point every second.
fn refined(network: Option<&Network>, trace: &Trace) -> Trace {
    let metric = network.map(Metric::free);
    let mut dice = 1_u64;
    let mut noise = || {
        // The sum of twelve even numbers is as good as normal.
        let even = |_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 11) as f64 / (1_u64 << 53) as f64
        };
        ((0..12).map(even).sum::<f64>() - 6.0) * NOISE_M
    };
    let mut points = Vec::new();
    for pair in trace.points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let way = network.zip(metric.as_ref()).and_then(|(network, metric)| street_way(network, metric, from, to));
        let way = way.unwrap_or_else(|| vec![from.place, to.place]);
        let lengths: Vec<f64> = way.windows(2).map(|leg| leg[0].distance_m(leg[1])).collect();
        let length_m: f64 = lengths.iter().sum();
        let lasts_s = (to.t_s - from.t_s).max(1);
        for second in 0..lasts_s {
            let place = along(&way, &lengths, length_m * second as f64 / lasts_s as f64);
            let place = place.offset(noise(), noise());
            points.push(Point { t_s: from.t_s + second, place });
        }
    }
    Trace { id: trace.id.clone(), points }
}

/// The way by street, unless it is one that nobody would have driven.
fn street_way(network: &Network, metric: &Metric, from: Point, to: Point) -> Option<Vec<Position>> {
    let goal = network.goal(to.place)?;
    let straight_m = from.place.distance_m(to.place);
    let start = network.starts(from.place, Some(from.place.bearing_deg(to.place) as f32)).into_iter().next()?;
    let route = network.route(metric, start, &goal)?;
    let (line, _) = network.route_line(&route);
    let length_m: f64 = line.windows(2).map(|leg| leg[0].distance_m(leg[1])).sum();
    (line.len() >= 2 && length_m <= straight_m * DETOUR_MOST + DETOUR_M).then_some(line)
}

fn along(way: &[Position], lengths: &[f64], mut left_m: f64) -> Position {
    for (leg, length_m) in lengths.iter().enumerate() {
        if left_m <= *length_m && *length_m > 0.0 {
            let share = left_m / length_m;
            let (from, to) = (way[leg], way[leg + 1]);
            let between = |a: f64, b: f64| a + (b - a) * share;
            let place = Position::new(between(from.lat_deg(), to.lat_deg()), between(from.lon_deg(), to.lon_deg()));
            return place.unwrap_or(from);
        }
        left_m -= length_m;
    }
    way[way.len() - 1]
}
