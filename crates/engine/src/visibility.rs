//! What a customer may see of a trip, and when: by rules of the operator's, on top of what always holds (no exact position before the pick-up, none
//! after the end).

use std::str::FromStr;

use crate::foresight::DEGREE_M;
use crate::{Marker, Phase, Shown, TripView};

/// When something of a trip is seen. Once it is, it stays so for the trip: what comes and goes is worse than what is not there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// From the beginning.
    Always,
    /// Not at all.
    Never,
    /// When the driver makes at most so many stops before this drop-off.
    WithinStops(u8),
    /// When the arrival is at most so many minutes away.
    WithinMinutes(u16),
    /// When the way left is at most so many metres.
    WithinMetres(u32),
}

/// The text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not `always`, `never`, `within N stops`, `within N minutes` or `within N metres`")]
pub struct InvalidRule(pub String);

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let invalid = || InvalidRule(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["always"] => Ok(Self::Always),
            ["never"] => Ok(Self::Never),
            ["within", number, "stop" | "stops"] => number.parse().map(Self::WithinStops).map_err(|_| invalid()),
            ["within", number, "minute" | "minutes"] => number.parse().map(Self::WithinMinutes).map_err(|_| invalid()),
            ["within", number, "metre" | "metres"] => number.parse().map(Self::WithinMetres).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}

impl Rule {
    fn holds(self, trip: &TripView<'_>, marker: Option<&Marker>) -> bool {
        let eta = trip.newest_eta.or(trip.eta);
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::WithinStops(most) => trip.stops_left <= most,
            Self::WithinMinutes(most) => {
                eta.zip(marker).is_some_and(|(eta, marker)| eta.at.since_ms(marker.taken) <= i64::from(most) * 60_000)
            }
            Self::WithinMetres(most) => eta.is_some_and(|eta| f64::from(eta.distance_m) <= f64::from(most)),
        }
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visibility {
    /// Where the courier is, from the pick-up on; before it, if [`Self::coarse_m`] says so.
    pub position: Rule,
    /// The way the courier will take.
    pub route: Rule,
    /// When it will arrive.
    pub eta: Rule,
    /// How many stops it makes before.
    pub stops_left: Rule,
    /// Before the pick-up, the position is told to the middle of a square with sides this long, in metres; 0: not at all.
    pub coarse_m: u32,
}

impl Default for Visibility {
    fn default() -> Self {
        let always = Rule::Always;
        Self { position: always, route: always, eta: always, stops_left: always, coarse_m: 0 }
    }
}

/// What the rules let a customer see now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sees {
    /// See [`Visibility::position`].
    pub position: bool,
    /// See [`Visibility::route`].
    pub route: bool,
    /// See [`Visibility::eta`].
    pub eta: bool,
    /// See [`Visibility::stops_left`].
    pub stops_left: bool,
}

impl Sees {
    /// Everything, as operators do.
    pub const ALL: Self = Self { position: true, route: true, eta: true, stops_left: true };
}

impl Visibility {
    /// What is seen of a trip now, where `before` was.
    #[must_use]
    pub fn sees(&self, before: Sees, trip: &TripView<'_>, marker: Option<&Marker>) -> Sees {
        let holds = |before: bool, rule: Rule| before || rule.holds(trip, marker);
        Sees {
            position: holds(before.position, self.position),
            route: holds(before.route, self.route),
            eta: holds(before.eta, self.eta),
            stops_left: holds(before.stops_left, self.stops_left),
        }
    }

    /// The position as it is told before the pick-up; `None` if it is not, or it is not before.
    #[must_use]
    pub fn coarse(&self, phase: Phase, marker: &Marker) -> Option<Shown> {
        let before = matches!(phase, Phase::Assigned | Phase::ToPickup | Phase::AtPickup);
        (before && self.coarse_m > 0).then(|| coarse(&Shown::of(marker), self.coarse_m))
    }
}

/// A customer sees where the courier is from the pick-up on.
#[must_use]
pub const fn is_exact(phase: Phase) -> bool {
    matches!(phase, Phase::ToDropoff | Phase::Arriving | Phase::Arrived)
}

/// The middle of the square that a position is in, with nothing else that would tell more.
fn coarse(shown: &Shown, side_m: u32) -> Shown {
    let step_e6 = (f64::from(side_m) / DEGREE_M * 1e6).max(1.0);
    let middle = |value_e6: i32, step_e6: f64| ((f64::from(value_e6) / step_e6).floor() + 0.5) * step_e6;
    let lat_e6 = middle(shown.lat_e6, step_e6).clamp(-90e6, 90e6);
    // By the row's own latitude, so that the squares of a row do not depend on where in it the courier is.
    let narrowing = (lat_e6 / 1e6).to_radians().cos().max(1e-3);
    let lon_e6 = middle(shown.lon_e6, step_e6 / narrowing).clamp(-180e6, 180e6);
    Shown {
        lat_e6: lat_e6.round() as i32,
        lon_e6: lon_e6.round() as i32,
        heading_deg: None,
        speed_dmps: 0,
        accuracy_m: side_m,
        taken: shown.taken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Eta, EtaBasis, Millis, Position, TripId};
    use proptest::prelude::*;

    fn marker(lat: f64, lon: f64) -> Marker {
        Marker {
            position: Position::new(lat, lon).unwrap(),
            speed_mps: 8.0,
            heading_deg: Some(93.0),
            accuracy_m: 5.0,
            taken: Millis(0),
            standing: false,
            cell: 0,
            road: None,
        }
    }

    fn eta(minutes: i64, distance_m: f32) -> Eta {
        let at = Millis(minutes * 60_000);
        let basis = EtaBasis::StraightLine;
        Eta { at, low: at, high: at, distance_m, stops_left: 0, basis, pickup_at: None, cause: None }
    }

    #[track_caller]
    fn check(rule: &str, stops_left: u8, eta: Option<&Eta>, holds: bool) {
        let (id, phase) = (TripId(1), Phase::ToDropoff);
        let trip = TripView {
            id,
            assignment: 1,
            phase,
            phase_since: Millis(0),
            eta: None,
            newest_eta: eta,
            stops_left,
            ordinal: 0,
        };
        assert_eq!(rule.parse::<Rule>().unwrap().holds(&trip, Some(&marker(41.0, -8.0))), holds, "{rule}");
    }

    #[test]
    fn rules_hold_when_they_say() {
        let near = eta(9, 900.0);
        check("always", 9, None, true);
        check("never", 0, Some(&near), false);
        check("within 1 stop", 1, None, true);
        check("within 1 stops", 2, None, false);
        check("within 9 minutes", 9, Some(&near), true);
        check("within 8 minutes", 0, Some(&near), false);
        check("within 8 minutes", 0, None, false);
        check("within 900 metres", 0, Some(&near), true);
        check("within 899 metres", 0, Some(&near), false);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_is() {
        for text in ["", "sometimes", "within 3", "within -1 stops", "within 3 miles", "within 300 stops", "always 3"] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains("within N metres"), "{error}");
        }
    }

    #[test]
    fn coarse_is_told_before_the_pickup_only() {
        let rules = Visibility { coarse_m: 500, ..Visibility::default() };
        let told = Phase::ALL.map(|phase| rules.coarse(phase, &marker(41.0, -8.0)).is_some());
        assert_eq!(told, [true, true, true, false, false, false, false, false, false]);
        assert_eq!(Visibility::default().coarse(Phase::ToPickup, &marker(41.0, -8.0)), None);
        assert!(
            Phase::ALL.iter().all(|phase| !(is_exact(*phase) && rules.coarse(*phase, &marker(41.0, -8.0)).is_some()))
        );
    }

    proptest! {
        #[test]
        fn a_square_tells_only_which_square_it_is(lat in -80.0..80.0, lon in -179.0..179.0, north_m in -400.0..400.0, east_m in -400.0..400.0, side_m in 100..2000_u32) {
            let here = coarse(&Shown::of(&marker(lat, lon)), side_m);
            let away_m = here.position().distance_m(Position::new(lat, lon).unwrap());
            prop_assert!(away_m <= f64::from(side_m) * 0.75, "{away_m}");
            prop_assert_eq!((here.heading_deg, here.speed_dmps, here.accuracy_m), (None, 0, side_m));
            // Somebody near is in the same square, or in one whose middle is a side away.
            let there = marker(lat, lon).position.offset(east_m, north_m);
            let there = coarse(&Shown::of(&marker(there.lat_deg(), there.lon_deg())), side_m);
            let apart_m = here.position().distance_m(there.position());
            prop_assert!(apart_m == 0.0 || apart_m > f64::from(side_m) * 0.4, "{apart_m}");
        }
    }
}
