//! A tracker in a town whose roads are known.

use std::sync::Arc;

use super::*;
use crate::learn::Lesson;
use crate::roads::tests::town::{Dice, Sketch, plain_town};
use crate::{City, EtaBasis, Knowledge, RouteChange};

/// The order is on board and goes to a place in the town.
fn on_board(version: u64, to: Position) -> Plan {
    let mut plan = plan(version, Phase::ToDropoff);
    plan.stops.remove(0);
    plan.stops[0].position = to;
    plan
}

fn town() -> Knowledge {
    Knowledge::new(vec![City::new(Arc::new(plain_town(store())))], Arc::default())
}

fn scene(plan: Plan) -> Scene {
    let mut scene = Scene { knowledge: town(), ..Scene::idle() };
    scene.apply(-9, plan);
    scene
}

fn bases(effects: &[Effect]) -> Vec<EtaBasis> {
    etas(effects).into_iter().flatten().map(|eta| eta.basis).collect()
}

fn route_change(scene: &mut Scene) -> RouteChange {
    let mut change = RouteChange::Same;
    scene.call(|tracker, world, _| change = tracker.route_change(world));
    change
}

/// The place so many metres along a line.
fn along(points: &[Position], mut metres: f64) -> Position {
    for pair in points.windows(2) {
        let length_m = pair[0].distance_m(pair[1]);
        if metres <= length_m {
            let plane = crate::LocalPlane::at(pair[0]);
            let (east_m, north_m) = plane.flat(pair[1]);
            return plane.position(east_m * metres / length_m, north_m * metres / length_m);
        }
        metres -= length_m;
    }
    points[points.len() - 1]
}

fn restored(scene: &Scene) -> Tracker {
    let mut bytes = Vec::new();
    scene.tracker.checkpoint(&mut bytes);
    Tracker::restore(&bytes).unwrap()
}

#[test]
fn an_arrival_is_on_roads_in_the_town_and_on_a_straight_line_beyond() {
    let mut inside = scene(on_board(2, away(600.0)));
    assert_eq!(bases(&inside.drive(0..5, -700.0, 8.0)), [EtaBasis::Roads]);
    assert!(inside.tracker.marker().unwrap().road.is_some());
    let mut leads_out = scene(on_board(2, away(3_000.0)));
    assert_eq!(bases(&leads_out.drive(0..5, -700.0, 8.0)), [EtaBasis::StraightLine]);
    assert_eq!(route_change(&mut leads_out), RouteChange::Same, "no line to where there is no road");
    let mut outside = scene(on_board(2, away(600.0)));
    assert_eq!(bases(&outside.drive(0..5, -9_000.0, 8.0)), [EtaBasis::StraightLine]);
    assert!(outside.tracker.marker().unwrap().road.is_none());
}

#[test]
fn from_a_street_without_a_way_back_the_arrival_is_on_a_straight_line() {
    let mut dice = Dice::new(1);
    let mut sketch = Sketch::grid(store(), 4, 110.0, 0.0, &mut dice);
    let end = sketch.node(store().offset(1_200.0, -165.0));
    sketch.way(&[3, end], (true, false));
    let network = sketch.network(&mut Dice::new(2)).unwrap();
    let mut scene = Scene::idle();
    scene.knowledge = Knowledge::new(vec![City::new(Arc::new(network))], Arc::default());
    scene.apply(-9, on_board(2, store()));
    for second in 0..6 {
        scene.fix(second, store().offset(600.0 + 8.0 * second as f64, -165.0));
    }
    let marker = scene.tracker.marker().unwrap();
    assert!(marker.road.is_some(), "it is on a road");
    assert_eq!(scene.tracker.trips().next().unwrap().eta.unwrap().basis, EtaBasis::StraightLine);
}

#[test]
fn a_stop_reached_teaches_and_says_what_had_been_foreseen() {
    let mut scene = scene(on_board(2, away(600.0)));
    let mut effects = scene.drive(0..162, -700.0, 8.0);
    effects.extend(scene.drive(162..240, 600.0, 0.0));
    assert_eq!(phases(&effects).last().map(|(phase, ..)| *phase), Some(Phase::Arrived));
    let lessons = |arrival: bool| {
        let is = |effect: &&Effect| match effect {
            Effect::Lesson(Lesson::Arrival(_, lesson)) => arrival && lesson.on_roads && lesson.real_s > 0.0,
            Effect::Lesson(Lesson::Pace(..)) => !arrival,
            _ => false,
        };
        effects.iter().filter(is).count()
    };
    assert!((4..20).contains(&lessons(false)), "{} pieces of way", lessons(false));
    assert!((3..=10).contains(&lessons(true)), "{} arrivals", lessons(true));
    let outcomes: Vec<_> = effects
        .iter()
        .filter_map(
            |e| if let Effect::Outcome { trip, forecasts, .. } = e { Some((*trip, forecasts.len())) } else { None },
        )
        .collect();
    assert!(matches!(outcomes[..], [(TRIP, 1..)]), "{outcomes:?}");
}

#[test]
fn a_parked_phone_does_not_walk_along_the_street() {
    let (mut scene, mut dice) = (scene(on_board(2, away(600.0))), Dice::new(5));
    scene.drive(0..30, -300.0, 8.0);
    scene.drive(30..60, -60.0, 0.0);
    let parked = scene.tracker.marker().unwrap();
    assert!(parked.standing);
    for second in 60..400 {
        scene.fix(second, away(-60.0).offset(dice.noise_m(5.0), dice.noise_m(5.0)));
        assert_eq!(scene.tracker.marker().unwrap().road, parked.road);
    }
}

#[test]
fn the_line_is_drawn_once_and_again_when_the_driver_left_it_and_is_gone_at_the_stop() {
    let to = away(600.0).offset(0.0, 0.0);
    let mut scene = scene(on_board(2, to));
    assert_eq!(route_change(&mut scene), RouteChange::Same, "nobody knows where the driver is");
    scene.drive(0..5, -700.0, 8.0);
    let RouteChange::Drawn(line) = route_change(&mut scene) else { panic!("no line") };
    assert!(line.points[0].distance_m(away(-668.0)) < 30.0 && line.points[line.points.len() - 1].distance_m(to) < 30.0);
    assert!((1_200.0..1_600.0).contains(&line.length_m), "{}", line.length_m);
    for step in 5..40 {
        scene.fix(step, along(&line.points, 8.0 * (step - 4) as f64));
        assert_eq!(route_change(&mut scene), RouteChange::Same);
    }
    // North at a crossing, for three blocks.
    let mut drawn = 0;
    for step in 0..45 {
        scene.fix(40 + step, away(-330.0).offset(0.0, 8.0 * step as f64));
        drawn += i32::from(matches!(route_change(&mut scene), RouteChange::Drawn(_)));
    }
    assert!((1..=8).contains(&drawn), "{drawn}");
    let restarted = restored(&scene);
    scene.tracker = restarted;
    assert!(matches!(route_change(&mut scene), RouteChange::Drawn(_)), "nobody has it after a restart");
    scene.drive(200..260, 600.0, 0.0);
    assert_eq!(route_change(&mut scene), RouteChange::Gone);
    assert_eq!(route_change(&mut scene), RouteChange::Same);
}

#[test]
fn after_a_restart_the_driver_is_still_on_its_road() {
    let mut scene = scene(on_board(2, away(600.0)));
    scene.drive(0..30, -700.0, 8.0);
    let marker = scene.tracker.marker();
    scene.tracker = restored(&scene);
    assert_eq!(scene.tracker.marker(), marker);
    scene.apply(30, on_board(3, away(600.0)));
    assert_eq!(scene.tracker.trips().next().unwrap().newest_eta.map(|eta| eta.basis), Some(EtaBasis::Roads));
    // On other roads the number of its street means another street.
    let elsewhere = plain_town(store().offset(30.0, 30.0));
    scene.tracker = restored(&scene);
    scene.knowledge = Knowledge::new(vec![City::new(Arc::new(elsewhere))], Arc::default());
    scene.apply(31, on_board(4, away(601.0)));
    assert_eq!(scene.tracker.trips().next().unwrap().newest_eta.map(|eta| eta.basis), Some(EtaBasis::StraightLine));
    scene.fix(32, away(-450.0));
    assert!(scene.tracker.marker().unwrap().road.is_some());
}

#[test]
fn who_changes_the_vehicle_is_not_on_the_other_ones_roads() {
    let mut scene = scene(on_board(2, away(600.0)));
    scene.drive(0..30, -700.0, 8.0);
    scene.apply(30, Plan { vehicle: Vehicle::Bicycle, ..on_board(3, away(600.0)) });
    assert_eq!(scene.tracker.trips().next().unwrap().newest_eta.map(|eta| eta.basis), Some(EtaBasis::StraightLine));
    assert_eq!(route_change(&mut scene), RouteChange::Same);
    scene.fix(31, away(-440.0));
    assert_eq!(scene.tracker.marker().unwrap().road, None);
}

type Step = (i64, f64, f64, u8);

fn life() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((1_i64..40, -60.0..140.0, -70.0..70.0, 0_u8..20), 1..80)
}

fn live(scene: &mut Scene, steps: &[Step], clock: &mut (i64, f64)) -> Vec<Vec<Effect>> {
    let mut all = Vec::new();
    for &(seconds, metres, north_m, event) in steps {
        *clock = (clock.0 + seconds, clock.1 + metres);
        let (second, place) = (clock.0, away(clock.1).offset(0.0, if event < 12 { north_m / 8.0 } else { north_m }));
        all.push(match event {
            0 => scene.timeout(second),
            1 => scene.apply(second, on_board(2, away(600.0))),
            2 => scene.send(second, None, &[raw(place, at(second - 50)), raw(place, at(second - 45))]),
            3 => scene.send(
                second,
                None,
                &[RawFix { heading_deg: Some(90.0), speed_mps: Some(9.0), ..raw(place, at(second)) }],
            ),
            _ => scene.fix(second, place),
        });
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_restored_tracker_drives_on_as_if_nothing_had_happened(before in life(), after in life()) {
        let mut scene = scene(plan(2, Phase::Assigned));
        let mut clock = (0, -800.0);
        live(&mut scene, &before, &mut clock);
        let mut bytes = Vec::new();
        scene.tracker.checkpoint(&mut bytes);
        prop_assert!(bytes.len() < 3_072, "{} bytes", bytes.len());
        let tracker = Tracker::restore(&bytes).unwrap();
        let mut again = Vec::new();
        tracker.checkpoint(&mut again);
        prop_assert_eq!(&bytes, &again);
        prop_assert_eq!(tracker.marker(), scene.tracker.marker());
        let (knowledge, seq) = (scene.knowledge.clone(), scene.seq);
        let mut restored = Scene { tracker, knowledge, seq, ..Scene::idle() };
        let (mut clock_a, mut clock_b) = (clock, clock);
        prop_assert_eq!(live(&mut scene, &after, &mut clock_a), live(&mut restored, &after, &mut clock_b));
    }

    #[test]
    fn no_bytes_make_a_tracker_with_roads_panic(
        steps in life(), spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut scene = scene(plan(2, Phase::Assigned));
        let mut clock = (0, -800.0);
        live(&mut scene, &steps, &mut clock);
        let mut bytes = Vec::new();
        scene.tracker.checkpoint(&mut bytes);
        for (index, byte) in spoil {
            let index = index.index(bytes.len() - 1) + 1;
            bytes[index] = byte;
        }
        if let Ok(tracker) = Tracker::restore(&bytes) {
            scene.tracker = tracker;
            let _ = route_change(&mut scene);
            live(&mut scene, &steps, &mut clock);
            let _ = route_change(&mut scene);
            bytes.clear();
            scene.tracker.checkpoint(&mut bytes);
            prop_assert!(Tracker::restore(&bytes).is_ok(), "what was written can be read");
        }
    }
}
