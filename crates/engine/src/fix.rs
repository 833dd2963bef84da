//! A position as a phone reports it, and the same after the check of its form.

use crate::{Invalid, InvalidPosition, Millis, Position, Reason};

/// What a phone said, unchecked: every field may hold anything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawFix {
    /// Latitude in degrees.
    pub lat_deg: f64,
    /// Longitude in degrees.
    pub lon_deg: f64,
    /// When it was measured, by the phone's clock.
    pub taken: Millis,
    /// Radius in metres that holds the true place in 68 % of cases (Android's and iOS' meaning). Zero, negative or
    /// NaN means unknown.
    pub accuracy_m: Option<f32>,
    /// Speed over ground in m/s. Outside 0..=400 means unknown (phones send -1).
    pub speed_mps: Option<f32>,
    /// Course in degrees clockwise from north. Outside 0..=360 means unknown; 360 is 0.
    pub heading_deg: Option<f32>,
    /// Altitude in metres. Not finite means unknown.
    pub altitude_m: Option<f32>,
    /// The phone says that an app made the position up.
    pub mock: bool,
}

/// Half the width, in degrees, of the square around (0, 0) in which phones without a fix place themselves (111 m).
const ZERO_ISLAND_DEG: f64 = 1e-3;

/// A speed above this is no measurement: faster than the fastest limit there is, m/s.
const FASTEST_MPS: f32 = 400.0;

impl RawFix {
    /// Checks the form: a place on Earth that is not (0, 0), and every optional number known or absent.
    /// `clock_offset_ms` is added to `taken`; see [`crate::Skew`].
    ///
    /// # Errors
    /// [`Reason::Invalid`] only; time, accuracy and speed are judged by the tracker, which knows the limits.
    pub fn admit(self, clock_offset_ms: i64) -> Result<Fix, Reason> {
        let position = Position::new(self.lat_deg, self.lon_deg).map_err(|error| {
            Reason::Invalid(match error {
                InvalidPosition::NotFinite { .. } => Invalid::NotFinite,
                InvalidPosition::Latitude { .. } => Invalid::Latitude,
                InvalidPosition::Longitude { .. } => Invalid::Longitude,
            })
        })?;
        if self.lat_deg.abs() < ZERO_ISLAND_DEG && self.lon_deg.abs() < ZERO_ISLAND_DEG {
            return Err(Reason::Invalid(Invalid::ZeroIsland));
        }
        Ok(Fix {
            position,
            taken: self.taken + clock_offset_ms,
            // Infinity stays: it is a radius, and over every limit.
            accuracy_m: self.accuracy_m.filter(|m| *m > 0.0),
            speed_mps: self.speed_mps.filter(|mps| (0.0..=FASTEST_MPS).contains(mps)),
            heading_deg: self.heading_deg.and_then(known_heading_deg),
            altitude_m: self.altitude_m.filter(|m| m.is_finite()),
            mock: self.mock,
        })
    }
}

fn known_heading_deg(deg: f32) -> Option<f32> {
    match deg {
        360.0 => Some(0.0),
        deg if (0.0..360.0).contains(&deg) => Some(deg),
        _ => None,
    }
}

/// A fix of sound form, its time in server time. Nothing downstream checks its numbers again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fix {
    position: Position,
    taken: Millis,
    accuracy_m: Option<f32>,
    speed_mps: Option<f32>,
    heading_deg: Option<f32>,
    altitude_m: Option<f32>,
    mock: bool,
}

impl Fix {
    /// Where, as measured.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// When, in server time: the phone's time with its clock error removed.
    #[must_use]
    pub const fn taken(&self) -> Millis {
        self.taken
    }

    /// 68 % radius in metres, above 0; `None` when the phone does not know.
    #[must_use]
    pub const fn accuracy_m(&self) -> Option<f32> {
        self.accuracy_m
    }

    /// Speed in m/s, 0..=400; `None` when unknown.
    #[must_use]
    pub const fn speed_mps(&self) -> Option<f32> {
        self.speed_mps
    }

    /// Course in degrees, 0..360 clockwise from north; `None` when unknown.
    #[must_use]
    pub const fn heading_deg(&self) -> Option<f32> {
        self.heading_deg
    }

    /// Altitude in metres, finite; `None` when unknown.
    #[must_use]
    pub const fn altitude_m(&self) -> Option<f32> {
        self.altitude_m
    }

    /// The phone marked it as made up by an app.
    #[must_use]
    pub const fn mock(&self) -> bool {
        self.mock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: RawFix = RawFix {
        lat_deg: 41.15,
        lon_deg: -8.61,
        taken: Millis(1_000),
        accuracy_m: None,
        speed_mps: None,
        heading_deg: None,
        altitude_m: None,
        mock: false,
    };

    #[track_caller]
    fn check_refused(lat_deg: f64, lon_deg: f64, why: Invalid) {
        let raw = RawFix { lat_deg, lon_deg, ..RAW };
        assert_eq!(raw.admit(0), Err(Reason::Invalid(why)));
    }

    #[test]
    fn what_is_no_place_is_refused_by_name() {
        check_refused(f64::NAN, 0.0, Invalid::NotFinite);
        check_refused(1.0, f64::NEG_INFINITY, Invalid::NotFinite);
        check_refused("1e999".parse().unwrap(), 0.0, Invalid::NotFinite);
        check_refused(91.0, 0.0, Invalid::Latitude);
        check_refused(0.0, 180.5, Invalid::Longitude);
        check_refused(0.0, 0.0, Invalid::ZeroIsland);
        check_refused(-0.0005, 0.0005, Invalid::ZeroIsland);
        assert!(RawFix { lat_deg: 0.0, lon_deg: 9.4, ..RAW }.admit(0).is_ok(), "the equator is a place");
    }

    #[test]
    fn unknown_has_many_spellings() {
        for accuracy_m in [0.0, -1.0, f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(RawFix { accuracy_m: Some(accuracy_m), ..RAW }.admit(0).unwrap().accuracy_m(), None);
        }
        for speed in [-1.0, f32::NAN, f32::INFINITY, 3e38] {
            assert_eq!(RawFix { speed_mps: Some(speed), ..RAW }.admit(0).unwrap().speed_mps(), None);
        }
        for (heading, known) in [(-1.0, None), (f32::NAN, None), (361.0, None), (360.0, Some(0.0)), (90.0, Some(90.0))]
        {
            assert_eq!(RawFix { heading_deg: Some(heading), ..RAW }.admit(0).unwrap().heading_deg(), known);
        }
        let infinite = RawFix { accuracy_m: Some(f32::INFINITY), ..RAW }.admit(0).unwrap();
        assert_eq!(infinite.accuracy_m(), Some(f32::INFINITY), "left for the accuracy limit to refuse");
    }

    #[test]
    fn the_clock_offset_is_added_once_and_saturates() {
        assert_eq!(RAW.admit(-400).unwrap().taken(), Millis(600));
        let raw = RawFix { taken: Millis(i64::MAX), ..RAW };
        assert_eq!(raw.admit(i64::MAX).unwrap().taken(), Millis(i64::MAX));
    }
}
