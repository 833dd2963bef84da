//! A tracker as its caller sees it: messages in, effects out, time as told.

use super::*;
use crate::{
    Eta, Fence, Geofence, GeofenceId, GeofenceRules, Geofences, LimitsTable, OutageReason, PlanStop, PlanTrip,
    Position, Said, ServiceArea, TripId,
};
use proptest::prelude::*;

mod laws;
mod on_roads;

const NOON: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;
const TRIP: TripId = TripId(7);

/// A driver, the world, and a clock that the test turns.
struct Scene {
    tracker: Tracker,
    limits: LimitsTable,
    area: Option<ServiceArea>,
    knowledge: crate::Knowledge,
    room: crate::Room,
    fences: std::sync::Arc<Geofences>,
    seq: u64,
}

fn store() -> Position {
    Position::new(41.15, -8.61).unwrap()
}

/// East of the store.
fn away(east_m: f64) -> Position {
    store().offset(east_m, 0.0)
}

fn at(second: i64) -> Millis {
    Millis(NOON + second * 1000)
}

fn raw(position: Position, taken: Millis) -> RawFix {
    RawFix {
        lat_deg: position.lat_deg(),
        lon_deg: position.lon_deg(),
        taken,
        accuracy_m: Some(5.0),
        speed_mps: None,
        heading_deg: None,
        altitude_m: None,
        mock: false,
    }
}

/// One trip: pick-up at the store, drop-off 3 km east.
fn plan(version: u64, phase: Phase) -> Plan {
    let fence = Fence::for_vehicle(Vehicle::Car);
    let stop = |kind, position| PlanStop { trip: TRIP, kind, position, fence, service_ms: 60_000 };
    Plan {
        version,
        available: true,
        vehicle: Vehicle::Car,
        trips: vec![PlanTrip { id: TRIP, assignment: 1, phase, since: None, ready_at: None }],
        stops: vec![stop(StopKind::Pickup, store()), stop(StopKind::Dropoff, away(3_000.0))],
    }
}

impl Scene {
    fn idle() -> Self {
        Self::with(Plan { version: 1, available: true, ..Plan::default() })
    }

    fn with(plan: Plan) -> Self {
        let tracker = Tracker::new(at(-10), Vehicle::Car);
        let (limits, knowledge, room) = Default::default();
        let fences = Default::default();
        let mut scene = Self { tracker, limits, area: None, knowledge, room, fences, seq: 0 };
        scene.apply(-10, plan);
        scene
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Tracker, &World<'_>, &mut Vec<Effect>) -> T) -> Vec<Effect> {
        let mut effects = Vec::new();
        let fences = Some(&*self.fences);
        let world = World { area: self.area.as_ref(), fences, ..World::new(&self.limits, &self.knowledge, &self.room) };
        call(&mut self.tracker, &world, &mut effects);
        effects
    }

    fn apply(&mut self, second: i64, plan: Plan) -> Vec<Effect> {
        self.call(|tracker, world, effects| tracker.apply_plan(at(second), plan, world, effects))
    }

    /// The phone says this now, in the numbering of [`Self::send`].
    fn phone(&mut self, second: i64, said: Said) -> Vec<Effect> {
        let report = PhoneReport { said, ..PhoneReport::default() };
        self.call(|tracker, _, effects| tracker.hear_phone(at(second), 1, &report, effects))
    }

    fn timeout(&mut self, second: i64) -> Vec<Effect> {
        self.call(|tracker, world, effects| tracker.on_timeout(at(second), world, effects))
    }

    /// A new message of session 1, received at `second`.
    fn send(&mut self, second: i64, sent: Option<Millis>, fixes: &[RawFix]) -> Vec<Effect> {
        self.seq += 1;
        let batch = Batch { session: 1, seq: self.seq, sent, fixes };
        self.call(|tracker, world, effects| tracker.observe(at(second), batch, world, effects))
    }

    /// A fix taken and received at `second`.
    fn fix(&mut self, second: i64, position: Position) -> Vec<Effect> {
        self.send(second, None, &[raw(position, at(second))])
    }

    /// Drives at even speed, a fix a second, and gives everything that followed.
    fn drive(&mut self, seconds: std::ops::Range<i64>, from_m: f64, mps: f64) -> Vec<Effect> {
        seconds.clone().flat_map(|s| self.fix(s, away(from_m + mps * (s - seconds.start) as f64))).collect()
    }
}

fn codes(effects: &[Effect]) -> Vec<&'static str> {
    let code = |effect: &Effect| match effect {
        Effect::Judged { verdict, .. } => Some(verdict.code()),
        _ => None,
    };
    effects.iter().filter_map(code).collect()
}

fn phases(effects: &[Effect]) -> Vec<(Phase, i64, u32)> {
    let phase = |effect: &Effect| match effect {
        Effect::Phase { phase, at, ordinal, .. } => Some((*phase, (at.0 - NOON) / 1000, *ordinal)),
        _ => None,
    };
    effects.iter().filter_map(phase).collect()
}

fn etas(effects: &[Effect]) -> Vec<Option<Eta>> {
    effects.iter().filter_map(|e| if let Effect::Eta { eta, .. } = e { Some(*eta) } else { None }).collect()
}

#[track_caller]
fn check(scene: &mut Scene, second: i64, fix: RawFix, code: &str) {
    let effects = scene.send(second, None, &[fix]);
    assert_eq!(codes(&effects), [code]);
    let told = effects.iter().any(|e| matches!(e, Effect::Judged { fix: Some(_), .. }));
    assert_eq!(told, matches!(code, "accepted" | "late"), "only what is kept has coordinates");
}

#[test]
fn every_fix_gets_its_verdict() {
    let mut scene = Scene::idle();
    scene.area = Some(ServiceArea::new().with_box(store().offset(-9e4, -9e4), store().offset(9e4, 9e4)).unwrap());
    let good = raw(store(), at(0));
    check(&mut scene, 0, good, "accepted");
    check(&mut scene, 0, good, "duplicate");
    check(&mut scene, 0, RawFix { lat_deg: 0.0, lon_deg: 0.0, ..good }, "invalid");
    check(&mut scene, 0, RawFix { lat_deg: f64::NAN, ..good }, "invalid");
    check(&mut scene, 0, RawFix { taken: at(60), ..good }, "future");
    check(&mut scene, 0, RawFix { taken: Millis(i64::MAX), ..good }, "future");
    check(&mut scene, 0, RawFix { taken: Millis(4_102_444_800_000), ..good }, "future");
    check(&mut scene, 0, RawFix { taken: Millis(0), ..good }, "stale");
    check(&mut scene, 0, RawFix { taken: Millis(i64::MIN), ..good }, "stale");
    check(&mut scene, 0, RawFix { taken: at(-3), ..good }, "late");
    check(&mut scene, 0, RawFix { taken: at(-200), ..good }, "off_shift");
    check(&mut scene, 1, RawFix { taken: at(1), lat_deg: -8.61, lon_deg: 41.15, ..good }, "outside_area");
    check(&mut scene, 1, RawFix { taken: at(1), accuracy_m: Some(500.0), ..good }, "inaccurate");
    check(&mut scene, 1, RawFix { taken: at(1), accuracy_m: Some(f32::INFINITY), ..good }, "inaccurate");
    check(&mut scene, 1, raw(away(5_000.0), at(1)), "implausible_speed");
    check(&mut scene, 1, RawFix { taken: at(1), mock: true, ..good }, "mock");
    check(&mut scene, 2, RawFix { taken: at(2), ..good }, "accepted");
}

#[test]
fn a_swapped_position_is_said_to_be_swapped() {
    let mut scene = Scene::idle();
    scene.area = Some(ServiceArea::new().with_box(store().offset(-9e4, -9e4), store().offset(9e4, 9e4)).unwrap());
    let swapped = RawFix { lat_deg: -8.61, lon_deg: 41.15, ..raw(store(), at(0)) };
    let effects = scene.send(0, None, &[swapped]);
    let verdict = Verdict::Rejected(Reason::OutsideArea { swapped_would_fit: true });
    assert_eq!(effects, [Effect::Judged { index: 0, verdict, fix: None }]);
}

#[test]
fn a_resent_message_is_recognised_whole_and_does_nothing() {
    let mut scene = Scene::idle();
    scene.drive(0..10, 0.0, 10.0);
    assert!(scene.tracker.seen(1, 10) && !scene.tracker.seen(1, 11) && !scene.tracker.seen(2, 10));
    let fixes = [raw(away(90.0), at(9)), raw(away(990.0), at(10))];
    let again = Batch { session: 1, seq: 10, sent: None, fixes: &fixes };
    let effects = scene.call(|tracker, world, effects| tracker.observe(at(10), again, world, effects));
    assert_eq!(codes(&effects), ["duplicate"; 2]);
    assert_eq!(effects.len(), 2);
}

#[test]
fn an_hour_played_again_moves_nothing() {
    let mut scene = Scene::idle();
    scene.drive(0..3_600, 0.0, 10.0);
    for session in [1, 2, 0] {
        for second in 0..3_600 {
            let fixes = [raw(away(10.0 * second as f64), at(second))];
            let batch = Batch { session, seq: second as u64 + 1, sent: Some(at(second)), fixes: &fixes };
            let now = at(3_600 + second / 100);
            let effects = scene.call(|tracker, world, effects| tracker.observe(now, batch, world, effects));
            assert_eq!(effects.len(), 1, "{effects:?}");
            assert!(matches!(codes(&effects)[..], ["duplicate" | "late"]));
        }
    }
}

#[test]
fn off_duty_nothing_is_kept_and_nobody_is_shown() {
    let mut scene = Scene::idle();
    scene.drive(0..5, 0.0, 10.0);
    assert!(scene.tracker.marker().is_some());
    scene.apply(5, Plan { version: 2, ..Plan::default() });
    assert!(scene.tracker.marker().is_none() && !scene.tracker.on_duty());
    assert_eq!(codes(&scene.fix(130, away(60.0))), ["off_shift"]);
    scene.apply(400, Plan { version: 3, available: true, ..Plan::default() });
    assert_eq!(codes(&scene.fix(401, away(60.0))), ["accepted"]);
    assert_eq!(codes(&scene.send(402, None, &[raw(store(), at(200))])), ["off_shift"]);
    scene.tracker.extend_duty(at(200));
    assert_eq!(codes(&scene.send(403, None, &[raw(store(), at(200))])), ["late"]);
}

#[test]
fn a_teleport_is_refused_and_the_driver_is_not_locked_out() {
    let mut scene = Scene::idle();
    scene.drive(0..10, 0.0, 10.0);
    assert_eq!(codes(&scene.fix(70, away(200_000.0))), ["implausible_speed"]);
    assert_eq!(codes(&scene.fix(71, away(110.0))), ["accepted"]);
    let there: Vec<_> = (72..78).flat_map(|s| codes(&scene.fix(s, away(200_000.0 + s as f64)))).collect();
    assert_eq!(there[..4], ["implausible_speed"; 4]);
    assert_eq!(there[4..], ["accepted"; 2], "several consistent fixes are believed");
    let marker = scene.tracker.marker().unwrap();
    assert!(marker.position.distance_m(away(200_077.0)) < 10.0);
}

#[test]
fn a_teleport_in_a_long_queue_behind_the_newest_fix_is_refused_too() {
    let mut scene = Scene::idle();
    scene.fix(400, store());
    let queue: Vec<RawFix> = (0..200).map(|second| raw(store(), at(second))).collect();
    assert_eq!(codes(&scene.send(401, None, &queue)), vec!["late"; 200]);
    let jump = scene.send(402, None, &[raw(away(50_000.0), at(200)), raw(store(), at(201))]);
    assert_eq!(codes(&jump), ["implausible_speed", "late"]);
}

#[test]
fn made_up_positions_do_not_vouch_for_a_jump() {
    let mut scene = Scene::idle();
    scene.fix(0, store());
    for s in 1..20 {
        let mock = RawFix { mock: true, ..raw(away(50_000.0), at(s)) };
        assert_eq!(codes(&scene.send(s, None, &[mock])), ["implausible_speed"]);
    }
}

#[test]
fn a_clock_one_day_off_is_corrected_and_an_offline_batch_is_not() {
    for ahead_ms in [DAY_MS, -DAY_MS] {
        let mut scene = Scene::idle();
        let phone = at(0) + ahead_ms;
        scene.send(0, Some(phone), &[raw(store(), phone)]);
        assert_eq!(scene.tracker.marker().unwrap().taken, at(0));
    }
    let mut scene = Scene::idle();
    scene.send(7_200, Some(at(7_200)), &[raw(store(), at(0)), raw(away(60_000.0), at(7_000))]);
    assert_eq!(scene.tracker.marker().unwrap().taken, at(7_000));
}

#[test]
fn a_trip_runs_through_its_phases_once() {
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    let mut effects = scene.drive(0..60, -600.0, 10.0);
    effects.extend(scene.drive(60..180, 0.0, 0.0));
    effects.extend(scene.drive(180..480, 0.0, 10.0));
    effects.extend(scene.drive(480..600, 3_000.0, 0.0));
    let expected = [Phase::ToPickup, Phase::AtPickup, Phase::ToDropoff, Phase::Arriving, Phase::Arrived];
    let raised = phases(&effects);
    assert_eq!(raised.iter().map(|(phase, ..)| *phase).collect::<Vec<_>>(), expected, "{raised:?}");
    assert_eq!(raised.iter().map(|(.., ordinal)| *ordinal).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let seconds: Vec<_> = raised.iter().map(|(_, second, _)| *second).collect();
    assert_eq!(seconds[0], 0);
    assert!((50..62).contains(&seconds[1]) && (186..195).contains(&seconds[2]), "{seconds:?}");
    assert!((425..440).contains(&seconds[3]) && (468..482).contains(&seconds[4]), "{seconds:?}");
    assert_eq!(etas(&effects).last(), Some(&None), "arrived: nothing to wait for");
    assert!(etas(&effects).len() < 30, "told {} times in ten minutes", etas(&effects).len());
    let ended = scene.apply(601, Plan { version: 2, available: true, ..Plan::default() });
    assert_eq!(ended, []);
    assert_eq!(scene.tracker.trips().count(), 0);
}

#[test]
fn the_plan_may_run_ahead_but_never_back() {
    let mut scene = Scene::with(plan(5, Phase::ToDropoff));
    scene.apply(0, plan(6, Phase::Assigned));
    assert_eq!(scene.tracker.trips().next().unwrap().phase, Phase::ToDropoff);
    scene.apply(1, plan(4, Phase::Arrived));
    assert_eq!((scene.tracker.plan_version(), scene.tracker.trips().next().unwrap().phase), (6, Phase::ToDropoff));
    scene.apply(2, plan(7, Phase::Delivered));
    assert_eq!(scene.tracker.trips().count(), 0);
}

#[test]
fn silence_inside_a_fence_completes_the_dwell_and_is_told() {
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    scene.drive(0..5, 0.0, 0.0);
    let due = scene.tracker.next_timeout().unwrap();
    assert_eq!(due, at(20), "entered at 0, dwell 20 s");
    assert_eq!(scene.timeout(19), []);
    assert_eq!(phases(&scene.timeout(20)), [(Phase::AtPickup, 0, 2)]);
    assert_eq!(scene.tracker.next_timeout(), Some(at(64)));
    assert_eq!(scene.timeout(64), [Effect::Silent { since: at(4) }]);
    assert_eq!(scene.timeout(65), []);
    assert!(scene.fix(100, store()).contains(&Effect::Back));
}

#[test]
fn a_phone_that_says_why_it_is_silent_is_believed_until_it_speaks_again() {
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    scene.drive(0..5, -900.0, 10.0);
    assert_eq!(scene.phone(10, Said::Outage(OutageReason::Airplane)), [Effect::Phone]);
    // A word is no position: the silence goes on.
    assert_eq!(scene.tracker.next_timeout(), Some(at(64)));
    assert_eq!(scene.timeout(64), [Effect::Silent { since: at(4) }]);
    let outage = Some(Outage { reason: OutageReason::Airplane, since: at(10) });
    assert_eq!((scene.tracker.silent_since(), scene.tracker.outage()), (Some(at(4)), outage));
    let mut bytes = Vec::new();
    scene.tracker.checkpoint(&mut bytes);
    scene.tracker = Tracker::restore(&bytes).unwrap();
    assert_eq!((scene.tracker.silent_since(), scene.tracker.outage()), (Some(at(4)), outage));
    let effects = scene.fix(100, away(-500.0));
    assert!(effects.contains(&Effect::Back) && effects.contains(&Effect::Phone));
    assert_eq!((scene.tracker.silent_since(), scene.tracker.outage()), (None, None));
}

#[test]
fn of_a_driver_off_duty_nothing_is_known_of_the_phone() {
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    scene.phone(0, Said::Outage(OutageReason::Stopped));
    let effects = scene.apply(1, Plan { version: 2, available: false, ..Plan::default() });
    assert!(effects.contains(&Effect::Phone));
    assert_eq!(scene.phone(2, Said::Outage(OutageReason::Stopped)), []);
    assert_eq!(scene.tracker.phone(), &Phone::default());
}

#[test]
fn a_pickup_lost_in_a_gap_is_made_up_for() {
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    scene.drive(0..10, -2_000.0, 10.0);
    let effects = scene.drive(900..930, 3_000.0, 0.0);
    let raised = phases(&effects);
    let expected =
        [(Phase::AtPickup, 9, 2), (Phase::ToDropoff, 900, 3), (Phase::Arriving, 900, 4), (Phase::Arrived, 900, 5)];
    assert_eq!(raised, expected);
}

#[test]
fn late_fixes_raise_what_they_imply_once_and_move_nothing() {
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    scene.drive(0..10, -600.0, 10.0);
    scene.fix(1_000, away(1_500.0));
    let before = scene.tracker.marker();
    scene.timeout(1_000);
    let backlog: Vec<_> = (100..200)
        .map(|s| raw(store(), at(s)))
        .chain((200..230).map(|s| raw(away(20.0 * (s - 200) as f64), at(s))))
        .collect();
    let effects = scene.send(1_001, None, &backlog);
    assert_eq!(codes(&effects), vec!["late"; 130]);
    assert_eq!(phases(&effects), [], "more may come");
    assert_eq!(scene.tracker.next_timeout(), Some(at(1_011)));
    assert_eq!(scene.timeout(1_010), []);
    let raised = phases(&scene.timeout(1_011));
    assert_eq!(raised[0], (Phase::AtPickup, 100, 2));
    assert_eq!((raised[1].0, raised.len()), (Phase::ToDropoff, 2));
    assert!((204..208).contains(&raised[1].1));
    assert_eq!(scene.tracker.marker(), before);
    let again: Vec<_> = (100..200).map(|s| raw(away(1.0), at(s))).collect();
    assert_eq!(phases(&scene.send(1_012, None, &again)), []);
    assert_eq!(phases(&scene.timeout(1_030)), []);
}

/// A phone whose clock is two minutes slow and does not say when it sends, or whose line takes that long.
#[test]
fn a_stream_that_lags_is_concluded_from_as_it_goes() {
    let mut plan = plan(1, Phase::Assigned);
    plan.trips[0].since = Some(at(-20));
    let mut scene = Scene::with(plan);
    scene.call(|tracker, _, _| tracker.extend_duty(at(-20)));
    let mut effects = Vec::new();
    for second in 0..90 {
        let place = if second < 60 { away(10.0 * (second - 60) as f64) } else { store() };
        effects.extend(scene.send(second + 120, None, &[raw(place, at(second))]));
        effects.extend(scene.timeout(second + 120));
    }
    let raised: Vec<_> = phases(&effects).iter().map(|(phase, ..)| *phase).collect();
    assert_eq!(raised, [Phase::ToPickup, Phase::AtPickup]);
    // A second phone, whose clock is slow too, holds nothing up for ever.
    let mut second = 300;
    while phases(&effects).len() < 3 {
        second += 1;
        assert!(second < 1_500, "{:?}", phases(&effects));
        let place = away(10.0 * (second - 300) as f64);
        effects.extend(scene.send(second, None, &[raw(place, at(second)), raw(away(9.0), at(second - 200))]));
        effects.extend(scene.timeout(second));
    }
}

/// A whole ride that the server hears of two hours later.
#[test]
fn a_ride_told_late_in_any_order_raises_the_same_as_one_told_as_it_went() {
    let ride: Vec<RawFix> = (0..60)
        .map(|s| raw(away(10.0 * (s - 60) as f64), at(s)))
        .chain((60..180).map(|s| raw(store(), at(s))))
        .chain((180..480).map(|s| raw(away(10.0 * (s - 180) as f64), at(s))))
        .chain((480..600).map(|s| raw(away(3_000.0), at(s))))
        .collect();
    let given = || {
        let mut plan = plan(1, Phase::Assigned);
        plan.trips[0].since = Some(at(-20));
        Scene::with(plan)
    };
    let mut scene = given();
    let live: Vec<_> = ride.iter().flat_map(|fix| scene.send((fix.taken.0 - NOON) / 1000, None, &[*fix])).collect();
    let arrivals = |effects: &[Effect]| -> Vec<_> {
        let raised = phases(effects).into_iter().map(|(phase, at, _)| (phase, at));
        raised.filter(|(phase, _)| *phase != Phase::Arriving).collect()
    };
    let expected = arrivals(&live);
    assert_eq!(expected.len(), 4);
    let (one, two) = (ride.iter().step_by(2), ride.iter().skip(1).step_by(2));
    let orders: [(&str, Vec<RawFix>); 4] = [
        ("as it went", ride.clone()),
        ("the newest first", ride.iter().rev().copied().collect()),
        ("in pieces, the newest first", ride.rchunks(50).flatten().copied().collect()),
        ("two queues, and all of it twice", one.rev().chain(two.rev()).chain(&ride).copied().collect()),
    ];
    for (name, order) in orders {
        let mut scene = given();
        scene.call(|tracker, _, _| tracker.extend_duty(at(-20)));
        let (mut effects, mut second, mut newest) = (Vec::new(), 7_200, Millis(i64::MIN));
        for piece in order.chunks(7) {
            effects.extend(scene.send(second, None, piece));
            second += 1;
            // The clock of the shell ticks all the while.
            effects.extend(scene.timeout(second));
            let marker = scene.tracker.marker().unwrap();
            assert!(marker.taken >= newest, "{name}: the marker goes back");
            newest = marker.taken;
        }
        assert!(name == "as it went" || phases(&effects).is_empty(), "{name}: not before all is said");
        for _ in 0..20 {
            second += 1;
            effects.extend(scene.timeout(second));
        }
        assert_eq!(arrivals(&effects), expected, "{name}");
    }
}

#[test]
fn standing_freezes_the_marker_and_driving_off_frees_it() {
    let mut scene = Scene::idle();
    scene.drive(0..30, 0.0, 0.0);
    let parked = scene.tracker.marker().unwrap();
    assert!(parked.standing && parked.speed_mps == 0.0);
    let effects = (30..60).flat_map(|s| scene.fix(s, away((s % 7) as f64))).collect::<Vec<_>>();
    let moved = effects.iter().filter(|effect| matches!(effect, Effect::Moved(_))).count();
    assert!((2..=4).contains(&moved), "refreshed every ten seconds: {moved}");
    assert_eq!(scene.tracker.marker().unwrap().position, parked.position);
    scene.fix(60, away(60.0));
    assert!(scene.tracker.marker().unwrap().standing, "one fix may be an outlier");
    scene.fix(61, away(75.0));
    let moving = scene.tracker.marker().unwrap();
    assert!(!moving.standing && moving.position.distance_m(away(75.0)) < 10.0);
}

#[test]
fn an_eta_waits_for_the_kitchen() {
    let mut waiting = plan(1, Phase::Assigned);
    waiting.trips[0].ready_at = Some(at(1_800));
    let mut scene = Scene::with(waiting);
    let effects = scene.fix(0, away(-600.0));
    let eta = etas(&effects)[0].unwrap();
    assert_eq!(eta.stops_left, 1);
    assert!(eta.pickup_at.unwrap() < at(300) && eta.at > at(1_860 + 500) && eta.low <= eta.at && eta.at <= eta.high);
    assert!((eta.distance_m - 3_600.0 * 1.35).abs() < 20.0);
}

#[test]
fn a_server_clock_set_back_pins_nothing() {
    let mut scene = Scene::idle();
    scene.fix(7_200, store());
    assert_eq!(codes(&scene.fix(0, away(10.0))), ["accepted"]);
    assert_eq!(scene.tracker.marker().unwrap().taken, at(0));
}

#[test]
fn a_plan_with_nonsense_in_it_still_works_and_is_kept() {
    let mut odd = plan(1, Phase::Assigned);
    odd.stops[0].fence = Fence { radius_m: f32::NAN, dwell_ms: i64::MIN, arriving_m: f32::INFINITY };
    (odd.stops[0].service_ms, odd.stops[1].service_ms) = (i64::MAX, i64::MIN);
    odd.trips[0].ready_at = Some(Millis(i64::MAX));
    let mut scene = Scene::with(odd);
    let effects = scene.drive(0..30, 0.0, 0.0);
    assert_eq!(phases(&effects).last(), Some(&(Phase::AtPickup, 0, 2)));
    let mut bytes = Vec::new();
    scene.tracker.checkpoint(&mut bytes);
    assert!(Tracker::restore(&bytes).is_ok());
}

#[test]
fn two_trips_on_board_have_each_its_own_stops() {
    let mut both = plan(1, Phase::Assigned);
    let second = TripId(8);
    both.trips.push(PlanTrip { id: second, ..both.trips[0].clone() });
    let dropoff = PlanStop { trip: second, position: away(6_000.0), ..both.stops[1].clone() };
    both.stops.insert(1, PlanStop { trip: second, ..both.stops[0].clone() });
    both.stops.push(dropoff);
    let mut scene = Scene::with(both);
    let mut effects = scene.drive(0..30, 0.0, 0.0);
    effects.extend(scene.drive(30..330, 0.0, 10.0));
    effects.extend(scene.drive(330..360, 3_000.0, 0.0));
    let views: Vec<_> = scene.tracker.trips().map(|trip| (trip.id, trip.phase, trip.stops_left)).collect();
    assert_eq!(views, [(TRIP, Phase::Arrived, 0), (second, Phase::ToDropoff, 0)]);
    let wanted = |watch| {
        let limits = Limits::default();
        scene.tracker.wanted_interval_ms(&limits, Reach::Pushed, Watch::Nobody, |_, _| watch)
    };
    // At the first door, and far from the second.
    assert_eq!((wanted(Watch::Closely), wanted(Watch::Nobody)), (3_000, 20_000));
}

#[test]
fn a_feed_that_is_too_even_is_marked_and_nothing_of_it_refused() {
    let mut scene = Scene::with(plan(1, Phase::ToDropoff));
    let effects = scene.drive(0..100, 0.0, 12.0);
    assert!(codes(&effects).iter().all(|code| *code == "accepted"));
    assert_eq!(effects.iter().filter(|effect| **effect == Effect::Suspect).count(), 1);
    let since = scene.tracker.too_even_since();
    assert!(since.is_some_and(|since| since > at(50) && since < at(100)), "{since:?}");
    let mut bytes = Vec::new();
    scene.tracker.checkpoint(&mut bytes);
    assert_eq!(Tracker::restore(&bytes).unwrap().too_even_since(), since);
    // Off duty it is nobody's concern.
    assert!(scene.apply(101, Plan { version: 2, ..Plan::default() }).contains(&Effect::Suspect));
    assert_eq!(scene.tracker.too_even_since(), None);
}

#[test]
fn a_checkpoint_of_the_version_before_is_read() {
    let mut scene = Scene::idle();
    scene.fix(0, store());
    let (mut bytes, mut newest) = (Vec::new(), Vec::new());
    scene.tracker.checkpoint(&mut bytes);
    scene.tracker.evenness.save(&mut crate::bytes::Writer(&mut newest));
    bytes.truncate(bytes.len() - newest.len());
    bytes[0] = 5;
    let restored = Tracker::restore(&bytes).unwrap();
    assert_eq!((restored.newest, restored.evenness), (scene.tracker.newest, Evenness::default()));
}
