//! Streets near a place against a look at every segment there is.

use proptest::prelude::*;

use super::town::{Dice, Sketch, anywhere};
use crate::roads::geometry::angle_deg;
use crate::roads::segments::SHAPES_MOST;
use crate::roads::{Network, StreetId};
use crate::{LocalPlane, Position};

/// Distance of a place from a street, by all its segments.
fn distance_m(network: &Network, id: StreetId, place: Position) -> f64 {
    let plane = LocalPlane::at(place);
    let line = network.line(id);
    let to_segment = |pair: &[Position]| {
        let (a, b) = (plane.flat(pair[0]), plane.flat(pair[1]));
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length_2 = dx * dx + dy * dy;
        let share = if length_2 > 0.0 { (-(a.0 * dx + a.1 * dy) / length_2).clamp(0.0, 1.0) } else { 0.0 };
        (a.0 + share * dx).hypot(a.1 + share * dy)
    };
    line.windows(2).map(to_segment).fold(f64::INFINITY, f64::min)
}

fn all(network: &Network) -> impl Iterator<Item = StreetId> + '_ {
    (0..network.streets().len() as u32).map(StreetId)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_near_is_what_a_look_at_everything_finds(
        seed in any::<u64>(), across in 2_usize..6, east in -400.0..400.0, north in -400.0..400.0, radius_m in 5.0..300.0,
    ) {
        let mut dice = Dice::new(seed);
        let middle = anywhere(&mut dice);
        let Some(network) = Sketch::hard(middle, across, &mut dice).network(&mut dice) else { return Ok(()) };
        let place = middle.offset(east, north);
        let mut found = Vec::new();
        network.near(place, radius_m, &mut found);
        prop_assert!(found.is_sorted_by(|a, b| a.distance_m <= b.distance_m));
        prop_assert!(found.len() <= 2 * SHAPES_MOST);
        for candidate in &found {
            let street = network.street(candidate.street).unwrap();
            let slow_m = distance_m(&network, candidate.street, place);
            let told_m = f64::from(candidate.distance_m);
            prop_assert!((told_m - slow_m).abs() < 0.003 * slow_m + 0.05, "{} {}", told_m, slow_m);
            prop_assert!(told_m <= radius_m + 0.01);
            prop_assert!((candidate.place.distance_m(place) - told_m).abs() < 0.003 * told_m + 0.05);
            prop_assert!((0.0..=street.length_m).contains(&candidate.offset_m));
            let (there, bearing_deg) = network.place_on(candidate.street, candidate.offset_m);
            prop_assert!(there.distance_m(candidate.place) < 0.1, "{:?} {:?}", there, candidate);
            // Where two segments meet, either may say the direction.
            let near_end = [-0.5, 0.5].map(|off| network.place_on(candidate.street, candidate.offset_m + off).1);
            let fits = |deg: f32| angle_deg(deg, candidate.bearing_deg) < 0.5;
            prop_assert!(fits(bearing_deg) || near_end.into_iter().any(fits), "{} {:?}", bearing_deg, candidate);
            prop_assert!((0.0..360.0).contains(&candidate.bearing_deg));
        }
        let shapes = |found: &mut dyn Iterator<Item = StreetId>| {
            let mut shapes: Vec<u32> = found.map(|id| network.streets[id.0 as usize].shape).collect();
            shapes.sort_unstable();
            shapes.dedup();
            shapes.len()
        };
        let slow = |most_m: f64| -> Vec<StreetId> {
            all(&network).filter(|id| distance_m(&network, *id, place) < most_m).collect()
        };
        if shapes(&mut slow(radius_m * 1.01 + 0.1).into_iter()) <= SHAPES_MOST {
            for id in slow(radius_m * 0.99 - 0.1) {
                prop_assert!(found.iter().any(|candidate| candidate.street == id), "{:?} is near", id);
            }
        } else {
            prop_assert!(shapes(&mut found.iter().map(|candidate| candidate.street)) <= SHAPES_MOST);
        }
    }

    #[test]
    fn a_goal_is_on_the_nearest_street_one_can_reach_and_leave(
        seed in any::<u64>(), across in 2_usize..6, east in -3_500.0..3_500.0, north in -500.0..500.0,
    ) {
        let mut dice = Dice::new(seed);
        let middle = anywhere(&mut dice);
        let mut sketch = Sketch::hard(middle, across, &mut dice);
        // Many streets that lead away and never back.
        for _ in 0..dice.below(40) {
            let end = sketch.node(middle.offset(dice.between(250.0, 500.0), dice.between(-300.0, 300.0)));
            sketch.way(&[dice.below(across * across), end], (true, false));
        }
        let Some(network) = sketch.network(&mut dice) else { return Ok(()) };
        let place = middle.offset(east, north);
        let core = all(&network).filter(|id| network.street(*id).unwrap().core);
        let least_m = core.map(|id| distance_m(&network, id, place)).fold(f64::INFINITY, f64::min);
        match network.goal(place) {
            Some(goal) => {
                prop_assert!((f64::from(goal.access_m) - least_m).abs() < 0.003 * least_m + 0.05, "{} {}", goal.access_m, least_m);
                prop_assert!(goal.spots.iter().all(|(id, _)| network.street(*id).unwrap().core));
            }
            None => prop_assert!(least_m > 2_980.0, "{}", least_m),
        }
    }
}
