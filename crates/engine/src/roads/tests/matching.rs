//! The matcher on drives along known routes, with a phone's noise.

use proptest::prelude::*;

use super::town::{Dice, plain_town};
use crate::bytes::{Reader, Writer};
use crate::roads::{MatchRoom, Matcher, Metric, Network, Sight, Start, StreetId};
use crate::{Millis, Position};

/// A fix, and the street it was made on.
#[derive(Clone, Copy)]
struct Made {
    sight: Sight,
    street: StreetId,
}

fn middle() -> Position {
    Position::new(41.15, -8.61).unwrap()
}

/// A drive at 8 m/s over a route between two places, a fix every `step_s`; `skipped`: seconds in a tunnel.
fn drive(
    network: &Network,
    (from, to): (Position, Position),
    step_s: i64,
    skipped: std::ops::Range<i64>,
    dice: &mut Dice,
) -> Vec<Made> {
    const MPS: f64 = 8.0;
    let (start, goal) = (network.starts(from, None)[0], network.goal(to).unwrap());
    let Some(route) = network.route(&Metric::free(network), start, &goal) else { return Vec::new() };
    let (mut made, mut second, mut begin_m) = (Vec::new(), 0_i64, 0.0);
    let last = route.streets.len() - 1;
    for (index, id) in route.streets.iter().enumerate() {
        let length_m = f64::from(network.street(*id).unwrap().length_m);
        let from_m = if index == 0 { f64::from(route.from_m) } else { 0.0 };
        let end_m = begin_m + if index == last { f64::from(route.to_m) } else { length_m } - from_m;
        while (second as f64) * MPS < end_m {
            let offset_m = from_m + second as f64 * MPS - begin_m;
            let place = network.place(*id, offset_m as f32).offset(dice.noise_m(5.0), dice.noise_m(5.0));
            let taken = Millis(1_800_000_000_000 + second * 1000);
            if !skipped.contains(&second) {
                made.push(Made { sight: Sight { place, accuracy_m: None, heading_deg: None, taken }, street: *id });
            }
            second += step_s;
        }
        begin_m = end_m;
    }
    made
}

/// Share of fixes whose street is right at once, and two later; u-turn twins count as wrong.
fn score(network: &Network, made: &[Made]) -> (f64, f64) {
    let (mut matcher, mut room) = (Matcher::default(), MatchRoom::default());
    let (mut newest, mut later) = (0, 0);
    let mut confirmed = 0;
    for one in made {
        let (matched, sure) = matcher.step(network, &one.sight, &mut room);
        newest += usize::from(matched.is_some_and(|matched| matched.street == one.street));
        if let Some(sure) = sure {
            let real = made.iter().find(|one| one.sight.taken == sure.taken).unwrap();
            confirmed += 1;
            later += usize::from(real.street == sure.street);
        }
        let mut bytes = Vec::new();
        matcher.save(&mut Writer(&mut bytes));
        assert!(bytes.len() < 1_200, "{} bytes", bytes.len());
    }
    (newest as f64 / made.len() as f64, later as f64 / f64::from(confirmed.max(1)))
}

/// Mean scores of 40 drives across the town.
fn mean(step_s: i64, skipped: std::ops::Range<i64>) -> (f64, f64) {
    let (network, mut dice) = (plain_town(middle()), Dice::new(11));
    let mut sums = (0.0, 0.0);
    for _ in 0..40 {
        let from = middle().offset(dice.between(-800.0, -400.0), dice.between(-800.0, 800.0));
        let to = middle().offset(dice.between(400.0, 800.0), dice.between(-800.0, 800.0));
        let made = drive(&network, (from, to), step_s, skipped.clone(), &mut dice);
        let (newest, later) = score(&network, &made);
        sums = (sums.0 + newest / 40.0, sums.1 + later / 40.0);
    }
    sums
}

#[track_caller]
fn check(step_s: i64, skipped: std::ops::Range<i64>, newest_least: f64, later_least: f64) {
    let (newest, later) = mean(step_s, skipped);
    assert!(newest >= newest_least && later >= later_least, "{newest} {later}");
}

#[test]
fn a_driver_is_on_the_right_street_mostly_at_once_and_nearly_always_two_fixes_later() {
    check(1, 0..0, 0.90, 0.95);
    check(15, 0..0, 0.87, 0.94);
    check(1, 60..100, 0.88, 0.94);
    check(15, 60..120, 0.82, 0.90);
}

fn sight(place: Position, second: i64) -> Sight {
    Sight { place, accuracy_m: None, heading_deg: None, taken: Millis(1_800_000_000_000 + second * 1000) }
}

#[test]
fn a_driver_that_turns_back_is_believed_after_some_fixes_and_a_jump_begins_afresh() {
    let network = plain_town(middle());
    let (mut matcher, mut room) = (Matcher::default(), MatchRoom::default());
    let street = network.goal(middle().offset(55.0, 0.0)).unwrap().spots[0].0;
    let line = network.line(street);
    let (a, b) = (line[0], line[line.len() - 1]);
    let at = |share: f64| {
        Position::new(
            a.lat_deg() + (b.lat_deg() - a.lat_deg()) * share,
            a.lon_deg() + (b.lon_deg() - a.lon_deg()) * share,
        )
        .unwrap()
    };
    for step in 0..=6 {
        matcher.step(&network, &sight(at(0.1 + 0.1 * f64::from(step)), i64::from(step) * 2), &mut room);
    }
    assert_eq!(matcher.belief(0).unwrap().0, street);
    for step in 1..=5 {
        matcher.step(&network, &sight(at(0.7 - 0.12 * f64::from(step)), 12 + i64::from(step) * 2), &mut room);
    }
    assert_eq!(Some(matcher.belief(0).unwrap().0), network.reverse(street));
    // 700 m in a second: nobody drove that.
    let (matched, confirmed) = matcher.step(&network, &sight(middle().offset(700.0, 5.0), 23), &mut room);
    assert!(matched.is_some_and(|matched| matched.distance_m < 60.0));
    assert!(confirmed.is_none_or(|confirmed| confirmed.since.is_none_or(|since| since.way_m < 400.0)));
    // Off all roads there is nothing to match.
    let (matched, confirmed) = matcher.step(&network, &sight(middle().offset(3_000.0, 0.0), 400), &mut room);
    assert!(matched.is_none() && confirmed.is_none() && matcher.belief(0).is_none());
}

#[test]
fn of_two_parallel_streets_the_nearer_one_is_driven() {
    let mut dice = Dice::new(3);
    let mut sketch = super::town::Sketch::default();
    let mut row = |north_m: f64| -> Vec<usize> {
        (0..12).map(|at| sketch.node(middle().offset(f64::from(at) * 100.0, north_m))).collect()
    };
    let (low, high) = (row(0.0), row(25.0));
    sketch.way(&low, (true, true));
    sketch.way(&high, (true, true));
    for end in [0, 11] {
        sketch.way(&[low[end], high[end]], (true, true));
    }
    let network = sketch.network(&mut Dice::new(1)).unwrap();
    let (mut matcher, mut room, mut right) = (Matcher::default(), MatchRoom::default(), 0);
    for second in 0..100 {
        let place = middle().offset(100.0 + 8.0 * f64::from(second) + dice.noise_m(5.0), dice.noise_m(6.0));
        let (matched, _) = matcher.step(&network, &sight(place, i64::from(second)), &mut room);
        let way = matched.and_then(|matched| Some(network.street(matched.street)?.way));
        right += i32::from(way == Some(super::town::Sketch::way_id(0)));
    }
    assert!(right >= 97, "{right} of 100");
}

#[test]
fn what_was_matched_on_other_roads_is_forgotten() {
    let (here, mut room) = (plain_town(middle()), MatchRoom::default());
    let there = plain_town(middle().offset(20.0, 0.0));
    let mut matcher = Matcher::default();
    for second in 0..10 {
        matcher.step(&here, &sight(middle().offset(20.0 * second as f64, 0.0), second * 2), &mut room);
    }
    assert!(matcher.fits(&here) && !matcher.fits(&there) && matcher.belief(2).is_some());
    matcher.step(&there, &sight(middle().offset(200.0, 0.0), 20), &mut room);
    assert!(matcher.fits(&there) && matcher.belief(0).is_some() && matcher.belief(1).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_matcher_goes_on_as_it_was_saved(
        steps in prop::collection::vec((1_i64..40, -80.0..160.0, -60.0..60.0, any::<bool>()), 2..60), cut in any::<prop::sample::Index>(),
    ) {
        let network = plain_town(middle());
        let mut room = MatchRoom::default();
        let (mut matcher, mut second, mut east_m) = (Matcher::default(), 0, -700.0);
        let mut restored = None;
        for (index, (seconds, metres, north_m, known)) in steps.iter().enumerate() {
            (second, east_m) = (second + seconds, east_m + metres);
            let heading_deg = known.then_some(90.0);
            let one = Sight { heading_deg, ..sight(middle().offset(east_m, *north_m), second) };
            if index == cut.index(steps.len()) {
                let mut bytes = Vec::new();
                matcher.save(&mut Writer(&mut bytes));
                let again = Matcher::load(&mut Reader::new(&bytes)).unwrap();
                prop_assert_eq!(&again, &matcher);
                prop_assert!(again == Matcher::default() || again.fits(&network));
                restored = Some(again);
            }
            let went = matcher.step(&network, &one, &mut room);
            if let Some(restored) = &mut restored {
                prop_assert_eq!(restored.step(&network, &one, &mut MatchRoom::default()), went);
            }
            if let (Some(matched), _) = went {
                prop_assert!((0.0..=1.0).contains(&matched.confidence) && matched.distance_m <= 150.0);
            }
        }
    }
}

#[test]
fn a_town_is_matched_from_any_start() {
    let network = plain_town(middle());
    let starts = network.starts(middle(), Some(90.0));
    assert!(!starts.is_empty());
    let first: Start = starts[0];
    let (_, bearing_deg) = network.place_on(first.street, first.offset_m);
    assert!(crate::roads::geometry::angle_deg(bearing_deg, 90.0) <= 95.0);
}
