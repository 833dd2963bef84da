//! A parked phone, for a day: the whole tracker, as its fixes come in.

use super::*;
use crate::{Batch, Knowledge, LimitsTable, Plan, RawFix, Room, Tracker, Vehicle, World};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.even()).ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos()
    }
}

#[derive(Clone, Copy, Debug)]
enum Noise {
    /// Independent, normal, this many metres on each axis.
    Normal(f64),
    /// The same, but wandering: what GPS does for minutes on end.
    Wandering(f64),
    /// 4 m at the median, 36 m at the 99th percentile, at most 162 m.
    HeavyTail,
}

/// Parks a phone this far from the middle of a fence of 20 m for a day; gives what was told.
fn park(away_m: f64, noise: Noise, accuracy_m: Option<f32>, every_s: i64, seed: u64) -> Vec<FenceKind> {
    let middle = at(41.15, -8.61);
    let fences = index([circle(1, middle, 20.0)]);
    let place = middle.offset(away_m, 0.0);
    let (limits, knowledge, room) = (LimitsTable::default(), Knowledge::default(), Room::default());
    let world = World { fences: Some(&fences), ..World::new(&limits, &knowledge, &room) };
    let mut tracker = Tracker::new(Millis(0), Vehicle::Car);
    let (mut dice, mut effects, mut told) = (Dice(seed), Vec::new(), Vec::new());
    tracker.apply_plan(Millis(0), Plan { version: 1, available: true, ..Plan::default() }, &world, &mut effects);
    let (mut east_m, mut north_m) = (0.0, 0.0);
    for (seq, second) in (1..=86_400).step_by(every_s as usize).enumerate() {
        (east_m, north_m) = match noise {
            Noise::Normal(metres) => (metres * dice.normal(), metres * dice.normal()),
            Noise::Wandering(metres) => {
                let keep = (-(every_s as f64) / 60.0).exp();
                let fresh = metres * (1.0 - keep * keep).sqrt();
                (keep * east_m + fresh * dice.normal(), keep * north_m + fresh * dice.normal())
            }
            Noise::HeavyTail => {
                let (share, turn) = (dice.even(), std::f64::consts::TAU * dice.even());
                let error_m = (4.0 * (share / (1.0 - share)).powf(0.48)).min(162.0);
                (error_m * turn.cos(), error_m * turn.sin())
            }
        };
        let (taken, seen) = (Millis(second * 1000), place.offset(east_m, north_m));
        let fix = RawFix {
            lat_deg: seen.lat_deg(),
            lon_deg: seen.lon_deg(),
            taken,
            accuracy_m,
            speed_mps: None,
            heading_deg: None,
            altitude_m: None,
            mock: false,
        };
        effects.clear();
        let batch = Batch { session: 1, seq: seq as u64 + 1, sent: Some(taken), fixes: &[fix] };
        tracker.observe(taken, batch, &world, &mut effects);
        told.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Fence { kind, .. } => Some(*kind),
            _ => None,
        }));
    }
    told
}

/// Honest, silent and boastful phones.
const ACCURACIES: [Option<f32>; 3] = [None, Some(5.0), Some(20.0)];

#[track_caller]
fn check(away_m: f64, noise: Noise, allowed: fn(&[FenceKind]) -> bool) {
    for accuracy_m in ACCURACIES {
        for (seed, every_s) in [1, 5, 15, 30].into_iter().enumerate() {
            let told = park(away_m, noise, accuracy_m, every_s, seed as u64);
            let scene = format!("{away_m} m from the middle, {noise:?}, accuracy {accuracy_m:?}, every {every_s} s");
            assert!(allowed(&told), "{scene}: {told:?}");
        }
    }
}

const NORMAL: [Noise; 3] = [Noise::Normal(5.0), Noise::Normal(10.0), Noise::Normal(15.0)];
const WANDERING: [Noise; 2] = [Noise::Wandering(5.0), Noise::Wandering(10.0)];

fn once(told: &[FenceKind]) -> bool {
    matches!(told, [FenceKind::Inside | FenceKind::Enter])
}

fn at_most_once(told: &[FenceKind]) -> bool {
    told.is_empty() || once(told)
}

#[test]
fn parked_in_the_middle_it_is_inside_once() {
    NORMAL.into_iter().for_each(|noise| check(0.0, noise, once));
}

#[test]
fn parked_in_the_middle_with_outliers_it_is_inside_once() {
    check(0.0, Noise::HeavyTail, once);
}

#[test]
fn parked_in_the_middle_and_wandering_it_is_inside_once() {
    WANDERING.into_iter().for_each(|noise| check(0.0, noise, once));
}

#[test]
fn parked_on_the_line_it_enters_at_most_once() {
    NORMAL.into_iter().for_each(|noise| check(20.0, noise, at_most_once));
}

#[test]
fn parked_on_the_line_with_outliers_or_wandering_it_enters_at_most_once() {
    [Noise::HeavyTail, Noise::Wandering(5.0), Noise::Wandering(10.0)]
        .into_iter()
        .for_each(|noise| check(20.0, noise, at_most_once));
}

#[test]
fn parked_outside_it_stays_outside() {
    NORMAL.into_iter().for_each(|noise| check(32.0, noise, <[FenceKind]>::is_empty));
}

/// Also where the phone claims 5 m and errs by 15, or wanders as if it walked.
#[test]
fn parked_outside_with_outliers_or_wandering_it_stays_outside() {
    WANDERING.into_iter().for_each(|noise| check(32.0, noise, <[FenceKind]>::is_empty));
    check(32.0, Noise::HeavyTail, <[FenceKind]>::is_empty);
}
