//! Which changes of the marker are worth a message.

use crate::{Limits, Marker};

/// Whether watchers who hold `told` should hear `current`. Watchers move the marker on by themselves, from its
/// speed and heading; as long as that is right within [`Limits::predict_tolerance_m`], nothing need be said.
#[must_use]
pub fn marker_worth_telling(told: Option<&Marker>, current: &Marker, limits: &Limits) -> bool {
    let Some(told) = told else { return true };
    let age_ms = current.taken.since_ms(told.taken);
    if told.standing != current.standing {
        return true;
    }
    if current.standing && told.position == current.position {
        return age_ms >= limits.standing_refresh_ms;
    }
    let tolerance_m = f64::from(limits.predict_tolerance_m);
    tolerance_m <= 0.0 || age_ms >= limits.longest_silence_ms || prediction_error_m(told, current) > tolerance_m
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

/// How far a watcher's own prediction from `told` is from `current`, in metres.
#[must_use]
pub fn prediction_error_m(told: &Marker, current: &Marker) -> f64 {
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

    #[track_caller]
    fn check(tolerance_m: f32, told: Marker, current: Marker, worth: bool) {
        let limits = Limits { predict_tolerance_m: tolerance_m, ..Limits::default() };
        assert_eq!(marker_worth_telling(Some(&told), &current, &limits), worth);
    }

    #[test]
    fn without_a_tolerance_every_move_is_told() {
        assert!(marker_worth_telling(None, &marker(0, 0.0, false), &Limits::default()));
        check(0.0, marker(0, 0.0, false), marker(1, 10.0, false), true);
    }

    #[test]
    fn what_watchers_foresee_is_not_told_until_the_longest_silence() {
        check(20.0, marker(0, 0.0, false), marker(5, 50.0, false), false);
        check(20.0, marker(0, 0.0, false), marker(5, 75.0, false), true);
        check(20.0, marker(0, 0.0, false), marker(10, 100.0, false), true);
    }

    #[test]
    fn standing_is_told_at_once_and_then_refreshed_seldom() {
        check(20.0, marker(0, 0.0, false), marker(1, 10.0, true), true);
        check(20.0, marker(0, 0.0, true), marker(1, 0.0, false), true);
        check(0.0, marker(0, 0.0, true), marker(9, 0.0, true), false);
        check(0.0, marker(0, 0.0, true), marker(10, 0.0, true), true);
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
