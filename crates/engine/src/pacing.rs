//! Which changes of the marker are worth a message.

use crate::{Limits, Line, Marker, Phase, Shown, Told};

/// Whether anybody should hear `current` after `told`: always, but while the driver stands in one place only from time to time.
#[must_use]
pub fn marker_worth_telling(told: Option<&Marker>, current: &Marker, limits: &Limits) -> bool {
    let Some(told) = told else { return true };
    let same = told.standing && current.standing && told.position == current.position;
    !same || current.taken.since_ms(told.taken) >= limits.standing_refresh_ms
}

/// How exact watchers' own foresight must be, and for how long they may be left to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// A position is told when watchers see the courier further away than this, in metres. 0..=500; 0: every move is told.
    pub tolerance_m: f32,
    /// And when the last one is this old, in ms. 1,000..=600,000.
    pub longest_silence_ms: i64,
}

/// The pace by how far a trip has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pacing {
    /// Before the driver sets out, and at the kitchen. Default 25 m, 15 s.
    pub waiting: Pace,
    /// On the way to the pick-up and to the customer. Default 10 m, 10 s: less than a street is wide, and a heartbeat of a map.
    pub under_way: Pace,
    /// Near the door and at it, where somebody looks out of the window. Default 5 m, 5 s.
    pub arriving: Pace,
}

impl Default for Pacing {
    fn default() -> Self {
        let pace = |tolerance_m, longest_silence_ms| Pace { tolerance_m, longest_silence_ms };
        Self { waiting: pace(25.0, 15_000), under_way: pace(10.0, 10_000), arriving: pace(5.0, 5_000) }
    }
}

impl Pacing {
    /// The pace of a phase.
    #[must_use]
    pub const fn of(&self, phase: Phase) -> &Pace {
        match phase {
            Phase::ToPickup | Phase::ToDropoff => &self.under_way,
            Phase::Arriving | Phase::Arrived => &self.arriving,
            Phase::Assigned | Phase::AtPickup | Phase::Delivered | Phase::Cancelled | Phase::Failed => &self.waiting,
        }
    }
}

/// Whether watchers who hold `told` and `line` should hear `current`, a marker that is worth telling at all.
#[must_use]
pub fn is_unforeseen(told: Option<&Told>, line: Option<&Line>, current: &Marker, shown: &Shown, pace: &Pace) -> bool {
    let Some(told) = told else { return true };
    told.standing
        || current.standing
        || pace.tolerance_m <= 0.0
        || shown.taken.since_ms(told.shown.taken) >= pace.longest_silence_ms
        || told.error_m(line, shown) > f64::from(pace.tolerance_m)
}

/// The map of all drivers is told of one at most this often, in ms: it shows a town, not a crossing.
pub const AREA_LEAST_MS: i64 = 3_000;
/// And at least this often while fixes come, so that ages are honest.
const AREA_LONGEST_MS: i64 = 10_000;
/// What is that near to where the map has it need not be told, in metres: some pixels of a town.
const AREA_TOLERANCE_M: f64 = 20.0;

/// Whether the map of all drivers, which has `told`, should hear `current`. At most once in 3 s for one driver, and at least once in 10 s
/// while fixes come.
#[must_use]
pub fn area_worth_telling(told: &Marker, current: &Marker) -> bool {
    let age_ms = current.taken.since_ms(told.taken);
    if age_ms < AREA_LEAST_MS {
        return false;
    }
    age_ms >= AREA_LONGEST_MS || area_is_off(told, current)
}

/// Whether the map of all drivers, which has `told`, shows `current` wrongly. What was not worth telling at once, and has stayed the newest, is told
/// by this after [`AREA_LEAST_MS`].
#[must_use]
pub fn area_is_off(told: &Marker, current: &Marker) -> bool {
    told.standing != current.standing || prediction_error_m(told, current) > AREA_TOLERANCE_M
}

/// How far a straight way from `told` is from `current`, in metres.
fn prediction_error_m(told: &Marker, current: &Marker) -> f64 {
    let way_m = f64::from(told.speed_mps) * current.taken.since_s(told.taken).max(0.0);
    let predicted = match told.heading_deg {
        Some(heading_deg) => {
            let (sin, cos) = f64::from(heading_deg).to_radians().sin_cos();
            told.position.offset(way_m * sin, way_m * cos)
        }
        None => told.position,
    };
    predicted.distance_m(current.position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Millis, Position};

    fn marker(second: i64, north_m: f64, standing: bool) -> Marker {
        Marker {
            position: Position::new(41.15, -8.61).unwrap().offset(0.0, north_m),
            speed_mps: if standing { 0.0 } else { 10.0 },
            heading_deg: Some(0.0),
            accuracy_m: 5.0,
            taken: Millis(second * 1000),
            standing,
            cell: 0,
            road: None,
        }
    }

    fn unforeseen(tolerance_m: f32, told: Marker, current: Marker) -> bool {
        let pace = Pace { tolerance_m, longest_silence_ms: 10_000 };
        is_unforeseen(Some(&Told::new(&told, None)), None, &current, &Shown::of(&current), &pace)
    }

    #[test]
    fn without_a_tolerance_every_move_is_told() {
        let current = marker(0, 0.0, false);
        assert!(is_unforeseen(None, None, &current, &Shown::of(&current), &Pacing::default().under_way));
        assert!(unforeseen(0.0, current, marker(1, 10.0, false)));
    }

    #[test]
    fn what_watchers_foresee_is_not_told_until_the_longest_silence() {
        assert!(!unforeseen(20.0, marker(0, 0.0, false), marker(5, 50.0, false)));
        assert!(unforeseen(20.0, marker(0, 0.0, false), marker(5, 75.0, false)));
        assert!(unforeseen(20.0, marker(0, 0.0, false), marker(10, 100.0, false)));
    }

    #[test]
    fn standing_is_told_at_once_and_then_refreshed_seldom() {
        assert!(unforeseen(20.0, marker(0, 0.0, false), marker(1, 10.0, true)));
        assert!(unforeseen(20.0, marker(0, 0.0, true), marker(1, 0.0, false)));
        let worth = |told: Marker, current: Marker| marker_worth_telling(Some(&told), &current, &Limits::default());
        assert!(worth(marker(0, 0.0, false), marker(1, 10.0, true)));
        assert!(!worth(marker(0, 0.0, true), marker(9, 0.0, true)));
        assert!(worth(marker(0, 0.0, true), marker(10, 0.0, true)));
    }

    #[test]
    fn the_nearer_the_customer_the_closer_the_watch() {
        let pacing = Pacing::default();
        let tolerances = Phase::ALL.map(|phase| pacing.of(phase).tolerance_m);
        assert_eq!(tolerances, [25.0, 10.0, 25.0, 10.0, 5.0, 5.0, 25.0, 25.0, 25.0]);
    }

    #[test]
    fn the_map_of_all_is_told_seldom_but_in_time() {
        let check = |told: Marker, current: Marker, worth| assert_eq!(area_worth_telling(&told, &current), worth);
        check(marker(0, 0.0, false), marker(2, 500.0, true), false);
        assert!(area_is_off(&marker(0, 0.0, false), &marker(2, 500.0, false)));
        assert!(!area_is_off(&marker(0, 0.0, false), &marker(2, 30.0, false)));
        check(marker(0, 0.0, false), marker(3, 30.0, false), false);
        check(marker(0, 0.0, false), marker(3, 51.0, false), true);
        check(marker(0, 0.0, false), marker(3, 30.0, true), true);
        check(marker(0, 0.0, true), marker(9, 0.0, true), false);
        check(marker(0, 0.0, true), marker(10, 0.0, true), true);
    }
}
