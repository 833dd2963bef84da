//! Any sequence of fixes, plans, timeouts and restarts in a small town with roads: no panic, one verdict per fix, bounded size.
//!
//! `cargo fuzz run fix_sequences` in `crates/engine`.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use wayfare_engine::roads::{Extract, Network, OsmNode, OsmWay, Profile};
use wayfare_engine::{
    Batch, City, Effect, Fence, Knowledge, LimitsTable, Millis, OutageReason, Phase, PhoneReport, Plan, PlanStop, PlanTrip, Position,
    RawFix, Room, Said, StopKind, Tracker, TripId, Vehicle, World,
};

const ACROSS: i64 = 6;
const BYTES_MOST: usize = 8 * 1024;

static TOWN: LazyLock<Knowledge> = LazyLock::new(|| {
    let mut extract = Extract::new();
    for at in 0..ACROSS {
        let way = |id, nodes: Vec<i64>, extract: &mut Extract| {
            let oneway = if id % 3 == 0 { "yes" } else { "no" };
            extract.add_way(&OsmWay { id, nodes: &nodes, tags: &[("highway", "tertiary"), ("oneway", oneway)] });
        };
        way(at * 2, (0..ACROSS).map(|other| at * ACROSS + other).collect(), &mut extract);
        way(at * 2 + 1, (0..ACROSS).map(|other| other * ACROSS + at).collect(), &mut extract);
    }
    for id in 0..ACROSS * ACROSS {
        let (row, column) = ((id / ACROSS) as i32, (id % ACROSS) as i32);
        extract.add_node(&OsmNode { id, lat_e7: 411_500_000 + row * 9_000, lon_e7: -86_100_000 + column * 12_000, tags: &[] });
    }
    let cities = [Profile::Car, Profile::Foot].map(|profile| {
        let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
        City::new(Arc::new(Network::build(&extract, profile, "", 0, order).expect("a town").0))
    });
    Knowledge::new(cities.into(), Arc::default())
});

/// What happens, seconds later, metres east and north, and how.
type Step = (u8, u8, i8, i8, u8);

fuzz_target!(|steps: Vec<Step>| {
    let (limits, room) = (LimitsTable::default(), Room::default());
    let world = World::new(&limits, &TOWN, &room);
    let middle = Position::new(41.152, -8.607).expect("on the globe");
    let (mut now, mut east_m, mut north_m) = (Millis(1_800_000_000_000), 0.0, 0.0);
    let mut tracker = Tracker::new(now, Vehicle::Car);
    let mut version = 1;
    tracker.apply_plan(now, plan(version, middle, 3), &world, &mut Vec::new());
    let (mut effects, mut bytes) = (Vec::new(), Vec::new());
    for (seq, (kind, seconds, east, north, how)) in steps.into_iter().take(400).enumerate() {
        now = now + i64::from(seconds) * 500;
        (east_m, north_m) = (east_m + f64::from(east), north_m + f64::from(north));
        let place = middle.offset(east_m, north_m);
        effects.clear();
        match kind % 16 {
            0 => tracker.on_timeout(now, &world, &mut effects),
            1 => {
                version += 1;
                tracker.apply_plan(now, plan(version, place, how), &world, &mut effects);
            }
            2 => {
                let _ = tracker.route_change(&world);
            }
            3 => {
                bytes.clear();
                tracker.checkpoint(&mut bytes);
                assert!(bytes.len() <= BYTES_MOST, "{} bytes", bytes.len());
                // A byte of it is damaged at times.
                if how % 4 == 0 {
                    let at = usize::from(how) * usize::from(seconds) % bytes.len();
                    bytes[at] = east as u8;
                }
                tracker = Tracker::restore(&bytes).unwrap_or(tracker);
            }
            4 => {
                let said = match how % 9 {
                    0 => Said::Nothing,
                    1 => Said::Well,
                    how => Said::Outage(OutageReason::ALL[usize::from(how) - 2]),
                };
                let at = (how & 16 != 0).then_some(now + i64::from(east) * 1_000);
                let report = PhoneReport { at, battery: Some(f32::from(north) / 100.0), charging: Some(how > 200), said };
                tracker.hear_phone(now, u64::from(how >> 7), &report, &mut effects);
            }
            _ => {
                let fix = RawFix {
                    lat_deg: place.lat_deg(),
                    lon_deg: place.lon_deg(),
                    taken: now + i64::from(kind % 3) * -4_000,
                    accuracy_m: (how & 1 != 0).then_some(f32::from(how) / 4.0),
                    speed_mps: (how & 2 != 0).then_some(f32::from(how) / 8.0),
                    heading_deg: (how & 4 != 0).then_some(f32::from(how)),
                    altitude_m: None,
                    mock: how == 255,
                };
                let fixes = [fix, RawFix { taken: fix.taken + 1_000, ..fix }];
                let fixes = &fixes[..1 + usize::from(how & 8 != 0)];
                let batch = Batch { session: u64::from(how >> 7), seq: seq as u64 + 1, sent: None, fixes };
                tracker.observe(now, batch, &world, &mut effects);
                let judged = effects.iter().filter(|effect| matches!(effect, Effect::Judged { .. })).count();
                assert_eq!(judged, fixes.len());
            }
        }
    }
});

fn plan(version: u64, place: Position, how: u8) -> Plan {
    let vehicle = Vehicle::ALL[usize::from(how) % Vehicle::ALL.len()];
    let fence = Fence::for_vehicle(vehicle);
    let trips = 1 + u128::from(how >> 6);
    let stop = |trip, kind, east_m: f64| PlanStop {
        trip: TripId(trip),
        kind,
        position: place.offset(east_m, f64::from(how) - 128.0),
        fence,
        service_ms: 30_000,
    };
    Plan {
        version,
        available: how & 1 == 0,
        vehicle: if how & 2 == 0 { vehicle } else { Vehicle::Car },
        trips: (0..trips).map(|id| PlanTrip { id: TripId(id), assignment: 1, phase: Phase::Assigned, since: None, ready_at: None }).collect(),
        stops: (0..trips)
            .flat_map(|id| [stop(id, StopKind::Pickup, 40.0), stop(id, StopKind::Dropoff, f64::from(how) * 5.0)])
            .collect(),
    }
}
