//! What holds for every history.

use super::*;
use crate::cell::cell_of;

/// Any message at all, extremes included.
fn any_raw() -> impl Strategy<Value = RawFix> {
    let number = prop_oneof![any::<f64>(), -90.0..90.0, Just(0.0), Just(180.0), Just(f64::INFINITY)];
    let short = || prop::option::of(any::<f32>());
    let time = prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(0), NOON - 100_000..NOON + 100_000];
    (number.clone(), number, time, short(), short(), short(), any::<bool>()).prop_map(
        |(lat_deg, lon_deg, taken, accuracy_m, speed_mps, heading_deg, mock)| {
            let (taken, altitude_m) = (Millis(taken), accuracy_m);
            RawFix { lat_deg, lon_deg, taken, accuracy_m, speed_mps, heading_deg, altitude_m, mock }
        },
    )
}

/// A step of a plausible life: seconds passed, metres gone, jitter, and what else happens.
type Step = (i64, f64, f64, u8);

fn life() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((1_i64..40, -60.0..120.0, -15.0..15.0, 0_u8..30), 1..150)
}

/// A trip among fences, two of them overlapping, with short dwells.
fn fenced() -> Scene {
    let rules = GeofenceRules { dwell_ms: Some(20_000), ..GeofenceRules::default() };
    let fence = |(id, (east_m, radius_m)): (usize, (f64, f64))| {
        let fence = Geofence::circle(GeofenceId(id as u128), at(-100), rules, away(east_m), radius_m);
        std::sync::Arc::new(fence.unwrap())
    };
    let fences = [(-1_400.0, 100.0), (0.0, 200.0), (100.0, 150.0), (900.0, 20.0)].into_iter().enumerate().map(fence);
    let mut scene = Scene::with(plan(1, Phase::Assigned));
    scene.fences = std::sync::Arc::new(Geofences::new(1, fences));
    scene
}

/// Lives the steps from `start` on; gives the effects of each.
fn live(scene: &mut Scene, steps: &[Step], clock: &mut (i64, f64)) -> Vec<Vec<Effect>> {
    let mut all = Vec::new();
    for &(seconds, metres, jitter_m, event) in steps {
        clock.0 += seconds;
        clock.1 += metres;
        let (second, place) = (clock.0, away(clock.1).offset(0.0, jitter_m));
        all.push(match event {
            0 => scene.timeout(second),
            1 => scene.apply(second, plan(2, Phase::Assigned)),
            2 => scene.send(second, None, &[raw(place, at(second - 50)), raw(place, at(second - 45))]),
            3 => scene.send(second, Some(at(second)), &[raw(place.offset(0.0, 40_000.0), at(second))]),
            4 => scene.send(second, None, &[]),
            _ => scene.fix(second, place),
        });
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_input_panics(
        batches in prop::collection::vec((any::<i64>(), 0_u64..3, any::<u64>(), any::<Option<i64>>(), prop::collection::vec(any_raw(), 0..6)), 0..40),
        near in any::<bool>(),
    ) {
        let mut scene = fenced();
        for (now, session, seq, sent, fixes) in batches {
            let now = if near { Millis(NOON + now % 100_000) } else { Millis(now) };
            let batch = Batch { session, seq, sent: sent.map(Millis), fixes: &fixes };
            let effects = scene.call(|tracker, world, effects| {
                tracker.observe(now, batch, world, effects);
                tracker.on_timeout(now, world, effects);
            });
            prop_assert_eq!(codes(&effects).len(), fixes.len());
            let mut bytes = Vec::new();
            scene.tracker.checkpoint(&mut bytes);
            prop_assert!(Tracker::restore(&bytes).is_ok());
        }
    }

    #[test]
    fn time_and_phases_only_go_forward(steps in life()) {
        let mut scene = Scene::with(plan(1, Phase::Assigned));
        let (mut taken, mut phase, mut since) = (Millis(i64::MIN), Phase::Assigned, Millis(i64::MIN));
        for effect in live(&mut scene, &steps, &mut (0, -1_500.0)).into_iter().flatten() {
            match effect {
                Effect::Moved(marker) => {
                    prop_assert!(marker.taken >= taken);
                    prop_assert_eq!(marker.cell, cell_of(marker.position));
                    taken = marker.taken;
                }
                Effect::Phase { phase: next, at, ordinal, .. } => {
                    prop_assert!(next > phase && at >= since);
                    prop_assert_eq!(u32::from(next.rank()), ordinal);
                    (phase, since) = (next, at);
                }
                Effect::Eta { eta: Some(eta), .. } => prop_assert!(eta.low <= eta.at && eta.at <= eta.high),
                _ => {}
            }
        }
    }

    #[test]
    fn a_restored_tracker_lives_on_as_if_nothing_had_happened(before in life(), after in life()) {
        let mut scene = fenced();
        let mut clock = (0, -1_500.0);
        live(&mut scene, &before, &mut clock);
        let mut bytes = Vec::new();
        scene.tracker.checkpoint(&mut bytes);
        prop_assert!(bytes.len() < 2_048, "{} bytes", bytes.len());
        let tracker = Tracker::restore(&bytes).unwrap();
        let mut again = Vec::new();
        tracker.checkpoint(&mut again);
        prop_assert_eq!(&bytes, &again);
        prop_assert_eq!(tracker.next_timeout(), scene.tracker.next_timeout());
        let fences = scene.fences.clone();
        let (limits, knowledge, room) = (scene.limits.clone(), Default::default(), Default::default());
        let mut restored = Scene { tracker, limits, area: None, knowledge, room, fences, seq: scene.seq };
        let (mut clock_a, mut clock_b) = (clock, clock);
        prop_assert_eq!(live(&mut scene, &after, &mut clock_a), live(&mut restored, &after, &mut clock_b));
    }

    #[test]
    fn the_same_history_has_the_same_effects(steps in life()) {
        let run = || live(&mut fenced(), &steps, &mut (0, -1_500.0));
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn no_bytes_make_restore_panic(
        steps in life(), noise in prop::collection::vec(any::<u8>(), 0..300), spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let _ = Tracker::restore(&noise);
        let mut scene = fenced();
        let mut clock = (0, -1_500.0);
        live(&mut scene, &steps, &mut clock);
        let mut bytes = Vec::new();
        scene.tracker.checkpoint(&mut bytes);
        prop_assert!(Tracker::restore(&bytes[..bytes.len() - 1]).is_err());
        for (index, byte) in spoil {
            let index = index.index(bytes.len() - 1) + 1;
            bytes[index] = byte;
        }
        if let Ok(tracker) = Tracker::restore(&bytes) {
            scene.tracker = tracker;
            live(&mut scene, &steps, &mut clock);
        }
        bytes[0] = 99;
        let refused = Tracker::restore(&bytes).unwrap_err().to_string();
        prop_assert_eq!(refused, "checkpoint version 99 is unknown; this build reads version 6");
    }

    #[test]
    fn a_smooth_fast_drive_is_never_refused(
        mps in 5.0..50.0, step_s in 1_i64..10, accuracy in prop::option::of(3.0_f32..30.0), jitters in prop::collection::vec(-8.0..8.0, 200),
    ) {
        let (mut scene, mut place) = (Scene::idle(), store());
        for (index, jitter_m) in jitters.into_iter().enumerate() {
            let second = index as i64 * step_s;
            place = place.offset(mps * step_s as f64, 0.0);
            let fix = RawFix { accuracy_m: accuracy, ..raw(place.offset(0.0, jitter_m), at(second)) };
            prop_assert_eq!(codes(&scene.send(second, None, &[fix])), ["accepted"]);
        }
        prop_assert!(!scene.tracker.marker().unwrap().standing);
    }

    #[test]
    fn a_parked_phone_never_leaves_the_store(noise in prop::collection::vec((0.0..1.0_f64, 0.0..std::f64::consts::TAU), 300)) {
        let mut scene = Scene::with(plan(1, Phase::Assigned));
        let mut raised = Vec::new();
        for (index, (share, turn)) in noise.into_iter().enumerate() {
            // A heavy tail: 4 m at the median, 36 m at the 99th percentile.
            let error_m = (4.0 * (share / (1.0 - share)).powf(0.48)).min(162.0);
            let place = store().offset(error_m * turn.cos(), error_m * turn.sin());
            let fix = RawFix { accuracy_m: Some(10.0), ..raw(place, at(index as i64)) };
            raised.extend(phases(&scene.send(index as i64, None, &[fix])).iter().map(|(phase, ..)| *phase));
        }
        prop_assert_eq!(raised, [Phase::ToPickup, Phase::AtPickup]);
    }
}
