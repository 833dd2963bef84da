//! Everything tunable, in one place, with defaults that are on and good.

use crate::Vehicle;

/// What becomes of a fix that the phone marks as made up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MockPolicy {
    /// Reject it with reason `mock`.
    #[default]
    Reject,
    /// Judge it like any other; the mark stays on the kept fix.
    Accept,
}

/// The limits of one kind of vehicle. Start from [`Limits::for_vehicle`], change fields, then [`Limits::validate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Oldest fix kept, in ms. 60,000..=31,622,400,000 (a minute to a year). Default 7 days: an offline weekend and a slow Monday.
    pub stale_ms: i64,
    /// How far ahead of the server a fix may be after clock correction, in ms. 0..=600,000. Default 10 s.
    pub future_ms: i64,
    /// Largest clock error that is corrected, in ms. 0..=2,678,400,000. Default 49 h: a day either way (a wrong date) and time zones mistaken.
    pub skew_max_ms: i64,
    /// Slack on both ends of duty for plan changes that travel slower than fixes, in ms. 0..=3,600,000. Default 120 s.
    pub shift_slack_ms: i64,
    /// Largest accuracy radius accepted, in metres. 5..=10,000. Default 100: GPS errs by 36 m at p99, cell towers by 500 m and more.
    pub accuracy_m: f32,
    /// Radius assumed when the phone does not know, in metres. 1..=1,000. Default 20: between p95 (16 m) and p99 (36 m) of real fixes.
    pub unknown_accuracy_m: f32,
    /// Fastest plausible speed in m/s. 1..=400. Twice what the vehicle does, as GPS jitters.
    pub speed_mps: f32,
    /// Fixes at a new place, consistent among themselves, after which it is believed. 2..=20. Default 3.
    pub jump_fixes: u8,
    /// Time those fixes must span, in ms. 0..=600,000. Default 4 s, so that one burst of a confused receiver does not count.
    pub jump_span_ms: i64,
    /// Random acceleration of the filter, as a power density in m^2/s^3. 0.01..=100. Higher follows faster and smooths less.
    pub accel_density: f32,
    /// Pause after which the filter starts afresh, in ms. 1,000..=3,600,000. Default 60 s: by then it knows nothing.
    pub filter_gap_ms: i64,
    /// Radius in metres within which a driver counts as standing. 2..=200. Default 15: the 95 % GPS error.
    pub standing_m: f32,
    /// Time within that radius before standing is recognised, in ms. 1,000..=600,000. Default 15 s; a walker leaves the circle sooner.
    pub standing_ms: i64,
    /// Fixes outside before a standing driver moves again. 1..=10. Default 2: one may be an outlier.
    pub leaving_fixes: u8,
    /// How often a standing marker is told again so that its age stays honest, in ms. 1,000..=600,000. Default 10 s.
    pub standing_refresh_ms: i64,
    /// Time without an accepted fix on a live trip before it is called silent, in ms. 1,000..=3,600,000. Default 60 s.
    pub silence_ms: i64,
    /// Distance driven in metres before arrival times are computed again. 0..=1,000. Default 25.
    pub eta_step_m: f32,
    /// Longest time between computations while fixes arrive, in ms. 1,000..=600,000. Default 15 s.
    pub eta_step_ms: i64,
    /// What becomes of mock fixes.
    pub mock: MockPolicy,
}

impl Default for Limits {
    fn default() -> Self {
        Self::for_vehicle(Vehicle::Car)
    }
}

/// A limit outside its legal range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("limit {field} is {value}; it must be in {min}..={max}")]
pub struct InvalidLimit {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// Smallest legal value.
    pub min: f64,
    /// Largest legal value.
    pub max: f64,
}

impl Limits {
    /// The defaults for a vehicle.
    #[must_use]
    pub fn for_vehicle(vehicle: Vehicle) -> Self {
        // Accelerations in town, squared and spread over a second or two: brisk for a motorbike, slight for a walker.
        let (speed_mps, accel_density) = match vehicle {
            Vehicle::Foot => (12.0, 0.3),
            Vehicle::Bicycle => (25.0, 1.0),
            Vehicle::Motorbike => (70.0, 4.0),
            Vehicle::Car => (70.0, 3.0),
            Vehicle::Van => (60.0, 2.5),
        };
        Self {
            stale_ms: 7 * 86_400_000,
            future_ms: 10_000,
            skew_max_ms: 49 * 3_600_000,
            shift_slack_ms: 120_000,
            accuracy_m: 100.0,
            unknown_accuracy_m: 20.0,
            speed_mps,
            jump_fixes: 3,
            jump_span_ms: 4_000,
            accel_density,
            filter_gap_ms: 60_000,
            standing_m: 15.0,
            standing_ms: 15_000,
            leaving_fixes: 2,
            standing_refresh_ms: 10_000,
            silence_ms: 60_000,
            eta_step_m: 25.0,
            eta_step_ms: 15_000,
            mock: MockPolicy::default(),
        }
    }

    /// Checks every field against the range its description gives.
    ///
    /// # Errors
    /// The first field out of range, with its value and the range.
    pub fn validate(&self) -> Result<(), InvalidLimit> {
        within("stale_ms", self.stale_ms as f64, 60e3, 31_622.4e6)?;
        within("future_ms", self.future_ms as f64, 0.0, 600e3)?;
        within("skew_max_ms", self.skew_max_ms as f64, 0.0, 2_678.4e6)?;
        within("shift_slack_ms", self.shift_slack_ms as f64, 0.0, 3_600e3)?;
        within("accuracy_m", self.accuracy_m.into(), 5.0, 10e3)?;
        within("unknown_accuracy_m", self.unknown_accuracy_m.into(), 1.0, 1e3)?;
        within("speed_mps", self.speed_mps.into(), 1.0, 400.0)?;
        within("jump_fixes", self.jump_fixes.into(), 2.0, 20.0)?;
        within("jump_span_ms", self.jump_span_ms as f64, 0.0, 600e3)?;
        within("accel_density", self.accel_density.into(), 0.01, 100.0)?;
        within("filter_gap_ms", self.filter_gap_ms as f64, 1e3, 3_600e3)?;
        within("standing_m", self.standing_m.into(), 2.0, 200.0)?;
        within("standing_ms", self.standing_ms as f64, 1e3, 600e3)?;
        within("leaving_fixes", self.leaving_fixes.into(), 1.0, 10.0)?;
        within("standing_refresh_ms", self.standing_refresh_ms as f64, 1e3, 600e3)?;
        within("silence_ms", self.silence_ms as f64, 1e3, 3_600e3)?;
        within("eta_step_m", self.eta_step_m.into(), 0.0, 1e3)?;
        within("eta_step_ms", self.eta_step_ms as f64, 1e3, 600e3)
    }
}

fn within(field: &'static str, value: f64, min: f64, max: f64) -> Result<(), InvalidLimit> {
    // NaN is in no range.
    if (min..=max).contains(&value) { Ok(()) } else { Err(InvalidLimit { field, value, min, max }) }
}

/// Limits of every vehicle, all of them valid.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsTable {
    by_vehicle: [Limits; Vehicle::ALL.len()],
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self { by_vehicle: Vehicle::ALL.map(Limits::for_vehicle) }
    }
}

impl LimitsTable {
    /// The limits of a vehicle.
    #[must_use]
    pub fn get(&self, vehicle: Vehicle) -> &Limits {
        &self.by_vehicle[vehicle as usize]
    }

    /// Replaces the limits of a vehicle.
    ///
    /// # Errors
    /// When `limits` are invalid; the table stays as it was.
    pub fn set(&mut self, vehicle: Vehicle, limits: Limits) -> Result<(), InvalidLimit> {
        limits.validate()?;
        self.by_vehicle[vehicle as usize] = limits;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        for vehicle in Vehicle::ALL {
            assert_eq!(Limits::for_vehicle(vehicle).validate(), Ok(()));
            assert_eq!(LimitsTable::default().get(vehicle), &Limits::for_vehicle(vehicle));
        }
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Limits), sentence: &str) {
        let mut limits = Limits::default();
        change(&mut limits);
        assert_eq!(limits.validate().unwrap_err().to_string(), sentence);
        let mut table = LimitsTable::default();
        assert!(table.set(Vehicle::Car, limits).is_err());
        assert_eq!(table, LimitsTable::default());
    }

    #[test]
    fn a_limit_out_of_range_is_named_with_its_range() {
        check_refused(|l| l.speed_mps = 0.0, "limit speed_mps is 0; it must be in 1..=400");
        check_refused(|l| l.accuracy_m = f32::NAN, "limit accuracy_m is NaN; it must be in 5..=10000");
        check_refused(|l| l.stale_ms = -1, "limit stale_ms is -1; it must be in 60000..=31622400000");
        check_refused(|l| l.jump_fixes = 1, "limit jump_fixes is 1; it must be in 2..=20");
    }

    #[test]
    fn a_table_takes_valid_limits() {
        let mut table = LimitsTable::default();
        let limits = Limits { speed_mps: 30.0, ..Limits::default() };
        table.set(Vehicle::Van, limits.clone()).unwrap();
        assert_eq!(table.get(Vehicle::Van), &limits);
    }
}
