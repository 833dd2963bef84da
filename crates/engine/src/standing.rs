//! Telling a parked phone, whose fixes wander, from one that moves.

use crate::bytes::{Reader, Writer};
use crate::geo::Unit;
use crate::{Fix, Limits, Millis, Position, RestoreError};

/// A phone that measures this speed is moving, whatever its positions say. Standing phones report up to about 1 m/s.
const MOVING_MPS: f32 = 2.0;
/// How many standing radii the circle may grow to for vague fixes.
const RADIUS_GROWTH: f64 = 2.0;

/// What a fix says about standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    Moving,
    /// Just recognised as standing, or still so.
    Standing,
    /// Stood until now; this fix is the proof of motion.
    Leaving,
}

/// A circle the driver has been in, and since when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    centre: Position,
    since: Millis,
    standing: bool,
    /// Fixes outside in a row, and where the last of them was.
    outside: u8,
    last_outside: Position,
}

impl Standing {
    pub(crate) fn start(centre: Position, since: Millis) -> Self {
        Self { centre, since, standing: false, outside: 0, last_outside: centre }
    }

    pub(crate) fn is_standing(&self) -> bool {
        self.standing
    }

    /// Judges an accepted fix; `filtered` is where the filter has the driver after it (while moving).
    pub(crate) fn watch(&mut self, fix: &Fix, filtered: Position, limits: &Limits) -> Stance {
        let accuracy_m = f64::from(fix.accuracy_m().unwrap_or(limits.unknown_accuracy_m));
        if self.standing {
            return self.watch_standing(fix, accuracy_m, limits);
        }
        let least_m = f64::from(limits.standing_m);
        let radius_m = (1.5 * accuracy_m).clamp(least_m, RADIUS_GROWTH * least_m);
        let moves = fix.speed_mps().is_some_and(|mps| mps >= MOVING_MPS);
        if moves || distance_m(filtered, self.centre) > radius_m {
            *self = Self::start(filtered, fix.taken());
            return Stance::Moving;
        }
        // A wider circle takes a walker longer to leave.
        let needed_ms = (limits.standing_ms as f64 * radius_m / least_m) as i64;
        if fix.taken().since_ms(self.since) < needed_ms {
            return Stance::Moving;
        }
        *self = Self { standing: true, ..Self::start(filtered, self.since) };
        Stance::Standing
    }

    fn watch_standing(&mut self, fix: &Fix, accuracy_m: f64, limits: &Limits) -> Stance {
        let (place, away_m) = (fix.position(), distance_m(fix.position(), self.centre));
        let moves = fix.speed_mps().is_some_and(|mps| mps >= MOVING_MPS);
        let far = away_m > (RADIUS_GROWTH * f64::from(limits.standing_m)).max(3.0 * accuracy_m);
        if !(far || moves && away_m > accuracy_m.min(5.0)) {
            self.outside = 0;
            return Stance::Standing;
        }
        // Outliers lie on any side; a departure goes one way.
        let onward = self.outside == 0 || distance_m(place, self.last_outside) <= away_m;
        self.outside = if onward { self.outside.saturating_add(1) } else { 1 };
        self.last_outside = place;
        if self.outside < limits.leaving_fixes {
            return Stance::Standing;
        }
        *self = Self::start(place, fix.taken());
        Stance::Leaving
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.position(self.centre);
        w.time(self.since);
        w.bool(self.standing);
        w.u8(self.outside);
        w.position(self.last_outside);
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        Ok(Self {
            centre: r.position("standing")?,
            since: r.time("standing")?,
            standing: r.bool("standing")?,
            outside: r.u8()?,
            last_outside: r.position("standing")?,
        })
    }
}

fn distance_m(a: Position, b: Position) -> f64 {
    Unit::chord_m(a.unit(), b.unit())
}
