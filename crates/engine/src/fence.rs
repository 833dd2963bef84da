//! The circle around a stop, and when a driver counts as being there.

use crate::bytes::{Reader, Writer};
use crate::{Millis, RestoreError, Vehicle};

/// When a driver counts as at a stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fence {
    /// Radius in metres, 5..=2000.
    pub radius_m: f32,
    /// Time inside without a break before the driver counts as there, in ms, 0..=3,600,000.
    pub dwell_ms: i64,
    /// Radius in metres within which a driver with the order on board is "arriving", 0..=20000; 0 turns it off.
    pub arriving_m: f32,
}

impl Default for Fence {
    fn default() -> Self {
        Self::for_vehicle(Vehicle::Car)
    }
}

/// A fence outside its legal range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("fence {field} is {value}; it must be in {range}")]
pub struct InvalidFence {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// The legal range.
    pub range: &'static str,
}

impl Fence {
    /// A fence that suits the vehicle. Motor vehicles park a little way off and pass by on the road, so their
    /// circle is wider and their dwell longer; three times the 95 % GPS error (16 m) is the least that keeps a parked phone in.
    #[must_use]
    pub const fn for_vehicle(vehicle: Vehicle) -> Self {
        match vehicle {
            Vehicle::Foot => Self { radius_m: 50.0, dwell_ms: 15_000, arriving_m: 150.0 },
            Vehicle::Bicycle => Self { radius_m: 50.0, dwell_ms: 15_000, arriving_m: 250.0 },
            Vehicle::Motorbike => Self { radius_m: 60.0, dwell_ms: 15_000, arriving_m: 400.0 },
            Vehicle::Car => Self { radius_m: 75.0, dwell_ms: 20_000, arriving_m: 500.0 },
            Vehicle::Van => Self { radius_m: 90.0, dwell_ms: 20_000, arriving_m: 500.0 },
        }
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, with its value and the legal range.
    pub fn validate(&self) -> Result<(), InvalidFence> {
        // Written positively, so that NaN falls on the refusing side.
        if !(5.0..=2_000.0).contains(&self.radius_m) {
            return Err(InvalidFence { field: "radius_m", value: self.radius_m.into(), range: "5..=2000" });
        }
        if !(0..=3_600_000).contains(&self.dwell_ms) {
            return Err(InvalidFence { field: "dwell_ms", value: self.dwell_ms as f64, range: "0..=3600000" });
        }
        if !(0.0..=20_000.0).contains(&self.arriving_m) {
            return Err(InvalidFence { field: "arriving_m", value: self.arriving_m.into(), range: "0..=20000" });
        }
        Ok(())
    }
}

/// Leaving takes this many radii, plus the fix's accuracy: a phone on the line does not flap.
const LEAVE_RADII: f64 = 1.3;
/// Fixes outside in a row before a driver has left. Three outliers in a row are one in a million;
const LEAVE_FIXES: u8 = 3;
/// but phones that speak seldom need only two, this far apart in ms.
const LEAVE_SPAN_MS: i64 = 20_000;
/// So far beyond the fence nobody is there, in metres.
const FAR_M: f64 = 500.0;

/// What a fix says about a fence, when it says something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crossing {
    None,
    /// The driver was inside and has left, at the time of the first fix outside.
    Left(Millis),
    /// The driver was never seen inside and is far away for certain.
    Far,
}

/// Whether so many fixes outside in a row, over so long, mean that the driver has left.
pub(crate) const fn proves_leaving(fixes: u8, span_ms: i64) -> bool {
    fixes >= LEAVE_FIXES || (fixes >= 2 && span_ms >= LEAVE_SPAN_MS)
}

/// Where a fix is as seen from a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Inside,
    /// Neither surely in nor surely out.
    OnTheLine,
    Outside,
}

impl Fence {
    /// Where a fix `distance_m` from the centre is.
    pub(crate) fn place(&self, distance_m: f64, accuracy_m: f64) -> Place {
        let radius_m = f64::from(self.radius_m);
        // A fix vaguer than the fence is wide puts nobody inside.
        if distance_m <= radius_m && accuracy_m <= 2.0 * radius_m {
            return Place::Inside;
        }
        if distance_m <= LEAVE_RADII * radius_m + accuracy_m { Place::OnTheLine } else { Place::Outside }
    }
}

/// One driver's presence at one fence. Fixes must come in order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Presence {
    entered: Option<Millis>,
    last_inside: Millis,
    /// The last fix inside was slow: silence after it means staying, not a tunnel.
    slow: bool,
    outside: u8,
    outside_since: Millis,
}

impl Presence {
    /// Takes in a fix `distance_m` from the centre.
    pub(crate) fn watch(
        &mut self,
        fence: &Fence,
        distance_m: f64,
        accuracy_m: f64,
        slow: bool,
        taken: Millis,
    ) -> Crossing {
        match fence.place(distance_m, accuracy_m) {
            Place::Inside => {
                self.entered.get_or_insert(taken);
                (self.last_inside, self.slow, self.outside) = (taken, slow, 0);
                return Crossing::None;
            }
            Place::OnTheLine => {
                self.outside = 0;
                return Crossing::None;
            }
            Place::Outside => {}
        }
        if self.outside == 0 {
            self.outside_since = taken;
        }
        self.outside = self.outside.saturating_add(1);
        if !proves_leaving(self.outside, taken.since_ms(self.outside_since)) {
            return Crossing::None;
        }
        let leave_m = LEAVE_RADII * f64::from(fence.radius_m) + accuracy_m;
        match self.entered.take() {
            Some(_) => Crossing::Left(self.outside_since),
            None if distance_m > leave_m + FAR_M => Crossing::Far,
            None => Crossing::None,
        }
    }

    /// Since when the driver has been there, once the dwell is over by the fixes; time before `not_before` does not count.
    pub(crate) fn dwelt(&self, fence: &Fence, not_before: Millis) -> Option<Millis> {
        let since = self.entered?.max(not_before);
        (self.last_inside.since_ms(since) >= fence.dwell_ms).then_some(since)
    }

    /// When the dwell will be over if the phone says nothing more; `None` when silence would prove nothing.
    pub(crate) fn deadline(&self, fence: &Fence, not_before: Millis) -> Option<Millis> {
        let settled = self.slow && self.outside == 0;
        self.entered.filter(|_| settled).map(|entered| entered.max(not_before) + fence.dwell_ms)
    }

    /// Entry time, while inside.
    pub(crate) fn inside_since(&self) -> Option<Millis> {
        self.entered
    }

    /// Silence until `now` counts as having stayed inside.
    pub(crate) fn stay_until(&mut self, now: Millis) {
        self.last_inside = self.last_inside.max(now);
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.entered, |w, entered| {
            w.time(entered);
            w.int(self.last_inside.since_ms(entered));
            w.bool(self.slow);
        });
        w.u8(self.outside);
        if self.outside > 0 {
            w.time(self.outside_since);
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut presence = Self::default();
        if r.bool("fence")? {
            let entered = r.time("fence")?;
            presence.entered = Some(entered);
            presence.last_inside = entered + r.int("fence")?;
            presence.slow = r.bool("fence")?;
        }
        presence.outside = r.u8()?;
        if presence.outside > 0 {
            presence.outside_since = r.time("fence")?;
        }
        Ok(presence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FENCE: Fence = Fence { radius_m: 50.0, dwell_ms: 15_000, arriving_m: 300.0 };

    /// Feeds (second, distance in m, accuracy in m); expects since when the driver dwells (s) and when it was seen to leave.
    #[track_caller]
    fn check(fixes: &[(i64, f64, f64)], dwelt_s: Option<i64>, left_s: Option<i64>) {
        let (mut presence, mut dwelt, mut left) = (Presence::default(), None, None);
        for &(second, distance_m, accuracy_m) in fixes {
            if let Crossing::Left(at) = presence.watch(&FENCE, distance_m, accuracy_m, true, Millis(second * 1000)) {
                left = Some(at.0 / 1000);
            }
            dwelt = dwelt.or(presence.dwelt(&FENCE, Millis(i64::MIN)).map(|at| at.0 / 1000));
        }
        assert_eq!((dwelt, left), (dwelt_s, left_s));
    }

    #[test]
    fn being_there_takes_time_inside() {
        check(&[(0, 20.0, 5.0), (14, 20.0, 5.0)], None, None);
        check(&[(0, 20.0, 5.0), (15, 20.0, 5.0)], Some(0), None);
        check(&[(0, 60.0, 5.0), (15, 60.0, 5.0), (30, 60.0, 5.0)], None, None);
        check(&[(0, 20.0, 101.0), (15, 20.0, 101.0)], None, None);
    }

    #[test]
    fn driving_by_is_not_being_there() {
        check(
            &[(0, 80.0, 5.0), (2, 30.0, 5.0), (6, 30.0, 5.0), (8, 90.0, 5.0), (9, 110.0, 5.0), (16, 200.0, 5.0)],
            None,
            Some(8),
        );
    }

    #[test]
    fn an_outlier_or_two_do_not_end_the_stay() {
        check(&[(0, 20.0, 5.0), (5, 160.0, 5.0), (6, 160.0, 5.0), (7, 20.0, 5.0), (15, 20.0, 5.0)], Some(0), None);
        check(&[(0, 20.0, 5.0), (5, 69.0, 5.0), (6, 69.0, 5.0), (7, 69.0, 5.0), (15, 20.0, 5.0)], Some(0), None);
    }

    #[test]
    fn leaving_has_the_time_of_the_first_fix_outside() {
        check(&[(0, 0.0, 5.0), (60, 0.0, 5.0), (61, 90.0, 5.0), (62, 100.0, 5.0), (63, 110.0, 5.0)], Some(0), Some(61));
        check(&[(0, 0.0, 5.0), (60, 0.0, 5.0), (90, 900.0, 5.0), (120, 1_800.0, 5.0)], Some(0), Some(90));
    }

    #[test]
    fn silence_counts_only_after_a_slow_fix_inside() {
        let mut presence = Presence::default();
        presence.watch(&FENCE, 10.0, 5.0, false, Millis(0));
        assert_eq!(presence.deadline(&FENCE, Millis(0)), None);
        presence.watch(&FENCE, 10.0, 5.0, true, Millis(1_000));
        assert_eq!(presence.deadline(&FENCE, Millis(0)), Some(Millis(15_000)));
        assert_eq!(presence.deadline(&FENCE, Millis(9_000)), Some(Millis(24_000)));
        presence.watch(&FENCE, 100.0, 5.0, true, Millis(2_000));
        assert_eq!(presence.deadline(&FENCE, Millis(0)), None);
    }

    #[test]
    fn fences_have_legal_ranges() {
        for vehicle in Vehicle::ALL {
            assert_eq!(Fence::for_vehicle(vehicle).validate(), Ok(()));
        }
        let wide = Fence { radius_m: 2_001.0, ..FENCE };
        assert_eq!(wide.validate().unwrap_err().to_string(), "fence radius_m is 2001; it must be in 5..=2000");
        assert!(Fence { radius_m: f32::NAN, ..FENCE }.validate().is_err());
        assert!(Fence { dwell_ms: -1, ..FENCE }.validate().is_err());
        assert!(Fence { arriving_m: f32::INFINITY, ..FENCE }.validate().is_err());
    }
}
